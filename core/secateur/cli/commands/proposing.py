"""`propose`, `proposals`, `approve`, `reject` and `budget`."""

from __future__ import annotations

import argparse

from secateur.cli.asking import require_a_terminal
from secateur.cli.commands.cancel import agreed, committed_lines, exit_code, look
from secateur.cli.describing import follow, pending
from secateur.cli.identifying import read_proposal_id
from secateur.cli.opening import find_place, open_session
from secateur.cli.output import done, json_line, line, notice, table, write
from secateur.cli.proposed import proposal_lines, proposal_table, proposed_lines
from secateur.cli.requesting import read_request
from secateur.cli.waiting import wait_for
from secateur.ledger.forms import cancellation_form
from secateur.ledger.proposal_forms import count_in_proposal, proposal_form
from secateur.ledger.proposals import LIFETIME, Proposals
from secateur.looking.timed_counting import Seen
from secateur.words.figures import number
from secateur.words.tables import Column


async def propose(arguments: argparse.Namespace) -> int:
    place = find_place(arguments, writes=True)
    resolve = read_request(arguments, place.settings.zone)
    async with open_session(place) as session:
        request = resolve(await session.queue.reader.clock())
        seen = Seen(None, "--no-count was given") if arguments.no_count else await look(session, request)
        made = await session.proposals.propose(
            request,
            author=place.settings.author_name,
            source="cli",
            reasoning=arguments.reasoning,
            seen=count_in_proposal(seen.count),
            lifetime=arguments.expires or LIFETIME,
        )
    done.append(f"proposal {made.id} is made")
    if arguments.json:
        json_line(proposal_form(made).as_json())
    else:
        write(proposed_lines(made))
    return 0


async def proposals(arguments: argparse.Namespace) -> int:
    place = find_place(arguments)
    proposal_id = None if arguments.id is None else read_proposal_id(arguments.id)
    async with open_session(place) as session:
        if proposal_id is not None:
            found = [await session.proposals.get(proposal_id)]
        else:
            found = list(await session.proposals.newest(only_open=not arguments.all, limit=arguments.limit))
    zone = place.settings.zone
    if arguments.json:
        documents = [proposal_form(each).as_json() for each in found]
        json_line(documents if arguments.id is None else documents[0])
    elif arguments.id is not None:
        write(proposal_lines(found[0], zone))
    elif found:
        write(proposal_table(found))
    else:
        line("No proposal is open." if not arguments.all else "Nothing was proposed yet.")
    return 0


async def approve(arguments: argparse.Namespace) -> int:
    place = find_place(arguments, writes=True)
    proposal_id = read_proposal_id(arguments.id)
    if not arguments.yes:
        require_a_terminal("add --yes to approve it without being asked")
    async with open_session(place) as session:
        began = await session.queue.reader.clock()
        proposal = await session.proposals.get(proposal_id)
        request = Proposals.request_of(proposal)
        if not arguments.json:
            write([*proposal_lines(proposal, place.settings.zone), ""])
        seen = await look(session, request)
        if not agreed(arguments, session, request, seen):
            notice("Nothing was approved.")
            return 1
        committed = await session.proposals.approve(
            proposal_id, author=place.settings.author_name, source="cli", expected=seen.count
        )
        done.extend(f"cancellation {each.id} is committed{follow(each.id)}" for each in committed)
        if not arguments.json:
            write(committed_lines(committed, began, waits=False))
        for each in committed:
            for said in pending(each):
                notice(said)
        if session.queue.cancellations.wants_sweep(committed[0].app_id):
            committed = [await wait_for(session, each, until_idle=True) for each in committed]
    if arguments.json:
        documents = [cancellation_form(each).as_json() for each in committed]
        json_line(documents if request.function_ids is not None else documents[0])
    return exit_code(committed, waited=False)


async def reject(arguments: argparse.Namespace) -> int:
    place = find_place(arguments, writes=True)
    proposal_id = read_proposal_id(arguments.id)
    async with open_session(place) as session:
        await session.proposals.reject(
            proposal_id, author=place.settings.author_name, source="cli", reason=arguments.reason
        )
        rejected = await session.proposals.get(proposal_id)
    done.append(f"proposal {rejected.id} is rejected")
    if arguments.json:
        json_line(proposal_form(rejected).as_json())
    else:
        line("Rejected: it can be approved no more.")
    return 0


async def budget(arguments: argparse.Namespace) -> int:
    changes = arguments.runs is not None or arguments.none
    place = find_place(arguments, writes=changes)
    async with open_session(place) as session:
        if changes:
            await session.proposals.set_budget(
                arguments.app, arguments.runs, author=place.settings.author_name, source="cli"
            )
            done.append("the budget is set")
        budgets = await session.proposals.budgets()
    if arguments.json:
        json_line([{"app_id": each.app_id, "runs": each.runs, "set_login": each.set_login} for each in budgets])
    elif budgets:
        columns = (Column("app", right=False), Column("runs"), Column("set by", right=False))
        write(
            table(
                columns, [(each.app_id or "(every other app)", number(each.runs), each.set_login) for each in budgets]
            )
        )
    else:
        line("There is no budget: one login may cancel as many runs as match.")
    return 0
