"""The queues themselves: secateur's schema, its sweeps, its depth, and the engines that were found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from secateur.doctor.findings import SQL, Finding, Patient, Severity
from secateur.engines.foreign.gating import GateState
from secateur.engines.foreign.installing import installed_queues
from secateur.engines.listing import ListedQueue, list_queues
from secateur.engines.loading import find_queues
from secateur.errors import NotInstalled, PermissionDenied
from secateur.instants import utc
from secateur.ledger.ledger import Cancelling, Ledger
from secateur.ledger.wording import blocked_by, end_of
from secateur.schema import InstallSteps, Part, by_owner, check_installed, inspect_installation
from secateur.words.figures import duration, number
from secateur.words.lines import one_line
from secateur.words.shell import command_line

UNSUMMED_SECONDS = 60.0
"""How old the sums of the depth may be while there is something to add."""

KEEP_ONE = "keep a worker, a console or `secateur serve` running"


async def schema(patient: Patient) -> list[Finding]:
    """What `secateur install --check` says, as far as this role can see it."""
    database, install = patient.database, f"run {command_line('install')}"
    try:
        found = await inspect_installation(database)
    except NotInstalled as error:
        others = [each for each in await find_queues(database) if each.schema != "secateur"]
        if others and "has no secateur schema" in str(error):
            summary = "there is no schema `secateur`: queues are watched and filtered, and nothing can be cancelled"
            advice = f"to cancel in {others[0].name}: " + command_line("install", flags=[("--engine", others[0].name)])
            return [Finding("schema", Severity.NOTE, summary, advice)]
        return [Finding("schema", Severity.ERROR, str(error), install)]
    except PermissionDenied:
        # Everybody may see the dangers and the version.
        program = await check_installed(database)
        summary = f"of {program}, with no danger; its rights cannot be seen in full"
        return [Finding("schema", Severity.UNSEEN, summary, "ask as one of secateur's roles")]
    program = await database.fetchval(SQL["program"], repeatable=True)
    if Part.QUEUE not in found.parts:
        flags = [("--engine", name) for name in [*await installed_queues(database)][:1]]
        install = f"run {command_line('install', flags=flags)}"
    if found.is_complete:
        return [Finding("schema", Severity.OK, f"up to date, by secateur {program}", None, {"program": program})]
    return [*_steps(found, install)]


def _steps(found: InstallSteps, install: str) -> Iterator[Finding]:
    if found.is_older:
        summary = f"the schema is older than this program: {', '.join(found.files)} to be applied"
        yield Finding("schema", Severity.ERROR, summary, install, {"to_apply": found.files})
    for (problem, statement), objects in found.by_problem().items():
        summary = one_line(f"{problem}: {', '.join(objects)}")
        details = {"problem": problem, "objects": objects, "statement": statement}
        yield Finding("schema", Severity.ERROR, summary, by_owner(statement) or install, details)


async def _ledgers(patient: Patient) -> dict[str, Ledger]:
    """By the queue's name."""
    if not await installed_queues(patient.database) and not await _has_schema(patient):
        return {}
    found = await find_queues(patient.database)
    return {each.name: each.source.ledger for each in found if isinstance(each.source, Cancelling)}


async def _has_schema(patient: Patient) -> bool:
    return bool(await patient.database.fetchval("select to_regclass('secateur.cancellations') is not null"))


async def guarantee(patient: Patient) -> list[Finding]:
    """Commits, stops and undos that are still pending, and who is in their way."""
    if not await _has_schema(patient):
        return []
    rows = await patient.database.fetch(SQL["unconfirmed"], repeatable=True)
    ledgers = {ledger.installation: ledger for ledger in (await _ledgers(patient)).values()}
    findings = []
    for row in rows:
        if (ledger := ledgers.get(row["installation"])) is None:
            continue
        found = await ledger.cancellation(row["id"])
        if not found.is_pending:
            continue
        what = f"{end_of(found)} of cancellation" if found.is_over else "guarantee of cancellation"
        findings.append(
            Finding(
                "guarantee",
                Severity.ERROR,
                f"the {what} {found.id} is pending: it waits for {blocked_by(found)}",
                f"end it: {'; '.join(found.unblocking)}" if found.unblocking else "it comes into force by itself",
                {
                    "id": str(found.id),
                    "app_id": found.app_id,
                    "blocked_by": found.blocked_by,
                    "blocked_by_prepared": found.blocked_by_prepared,
                },
            )
        )
    return findings or [Finding("guarantee", Severity.OK, "every active cancellation is in force")]


async def sweeps(patient: Patient) -> list[Finding]:
    """The problems that `/healthz` reports, and whether anybody is there to sweep."""
    ledgers = await _ledgers(patient)
    if not ledgers:
        return []
    findings = []
    open_ones = 0
    for name, ledger in ledgers.items():
        open_ones += len(await ledger.open_cancellations())
        for problem in (await ledger.activity()).problems:
            shown = command_line("show", str(problem.id))
            summary = f"cancellation {problem.id} of {name}: {one_line(problem.error)} (since {utc(problem.since)})"
            details = {"id": str(problem.id), "queue": name, "since": utc(problem.since)}
            findings.append(Finding("sweeps", Severity.WARNING, summary, f"{KEEP_ONE}; see {shown}", details))
    programs = await patient.database.fetchval(SQL["programs"], "secateur doctor", repeatable=True)
    figures = {"open": open_ones, "programs": programs}
    if not programs:
        severity = Severity.WARNING if open_ones else Severity.NOTE
        waiting = f"nobody sweeps the open cancellations ({number(open_ones)})" if open_ones else "nobody would sweep"
        summary = f"no other of its programs is connected: {waiting}"
        findings.append(Finding("sweeps", severity, summary, KEEP_ONE, figures))
    elif not findings:
        summary = f"{number(programs)} connections of its programs; {number(open_ones)} open cancellations"
        findings.append(Finding("sweeps", Severity.OK, summary, None, figures))
    return findings


async def depth(patient: Patient) -> list[Finding]:
    """Whether somebody adds up the depth of secateur's own queue, and whether it was right."""
    if not await patient.database.fetchval("select to_regclass('secateur.depth_deltas') is not null"):
        return []
    row = await patient.database.fetchrow(SQL["depth"], repeatable=True)
    assert row is not None  # noqa: S101 - it asks for scalars
    details = dict(row)
    if (row["waiting_seconds"] or 0) > UNSUMMED_SECONDS:
        summary = (
            f"nobody has added up the depth for {duration(row['waiting_seconds'])}: each refresh reads "
            f"about {number(row['deltas'])} rows"
        )
        return [Finding("depth", Severity.WARNING, summary, KEEP_ONE, details)]
    if row["drift"]:
        summary = (
            f"the last check, {duration(row['checked_seconds'])} ago, found the depth off by "
            f"{number(row['drift'])} runs, and corrected it: somebody writes to secateur.runs without its functions"
        )
        return [Finding("depth", Severity.WARNING, summary, "find who does: nothing else makes a drift", details)]
    return [Finding("depth", Severity.OK, "added up, and right when it was checked last", None, details)]


async def engines(patient: Patient) -> list[Finding]:
    """What `secateur engines` lists, and whether the gates hold."""
    found = await list_queues(patient.database)
    if not found:
        return [Finding("engines", Severity.NOTE, "no job queue of a kind that secateur knows", "run secateur engines")]
    return [_queue(each) for each in found]


def _queue(each: ListedQueue) -> Finding:
    details: Mapping[str, Any] = {
        "name": each.name,
        "version": each.version,
        "gate": each.gate,
        "backlog": each.backlog,
    }
    said = f"{each.name} {each.version}, {_counted(each)}, gate {each.gate}"
    missing: Sequence[str] = [one_line(text) for text in each.missing]
    if each.gate == GateState.STALE:
        # For a version that is not known no gate can be made.
        what = "install" if each.capabilities.cancel else "remove"
        command = command_line("gate", what, flags=[("--engine", each.name)])
        return Finding("engines", Severity.ERROR, f"{said}: {'; '.join(missing)}", command, details)
    if not each.capabilities.watch:
        return Finding(
            "engines", Severity.UNSEEN, f"{said}: {'; '.join(missing)}", "grant SELECT on its tables", details
        )
    if not missing:
        return Finding("engines", Severity.OK, said, None, details)
    return Finding("engines", Severity.NOTE, said, "; ".join(missing), details)


def _counted(each: ListedQueue) -> str:
    return "not readable" if each.backlog is None else f"{number(each.backlog)} waiting"
