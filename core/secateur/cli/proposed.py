"""Proposed cancellations as people and programs read them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

from secateur.cli.describing import instant, meant, scopes_in_words
from secateur.cli.output import fields, table, terminal_width
from secateur.errors import RequestError
from secateur.instants import utc
from secateur.ledger.proposals import Proposals, ProposedCancellation
from secateur.words.figures import runs
from secateur.words.lines import one_line
from secateur.words.shell import command_line
from secateur.words.tables import Column


def proposal_lines(proposal: ProposedCancellation, zone: tzinfo) -> list[str]:
    """Everything that is kept of it. What its author wrote is on lines of its own, and marked as said."""
    pairs = [
        ("id", str(proposal.id)),
        ("state", _state(proposal, zone)),
        ("proposed", f"{instant(proposal.proposed_at, zone)} by login {one_line(proposal.proposed_login)}"),
        ("author", f"{one_line(proposal.proposed_by)}, from {one_line(proposal.source)} (claimed, not verified)"),
        ("runs of", _scope(proposal)),
        ("if", one_line(_if(proposal))),
        ("was told", f"{_told(proposal)} (claimed, not verified)"),
        ("reasoning", one_line(proposal.reasoning) if proposal.reasoning else "-"),
    ]
    if proposal.decided_at is not None:
        decided = f"{instant(proposal.decided_at, zone)} by login {one_line(proposal.decided_login or '')}"
        pairs.append((str(proposal.decision), decided))
    if proposal.decision_reason:
        pairs.append(("because", one_line(proposal.decision_reason)))
    pairs += [("cancellation", str(each)) for each in proposal.cancellation_ids]
    return fields(pairs)


def proposal_table(proposals: Sequence[ProposedCancellation]) -> list[str]:
    columns = (
        Column("id", right=False),
        Column("state", right=False),
        Column("proposed", right=False),
        Column("by", right=False, shrinks_to=6),
        Column("runs of", right=False, shrinks_to=10),
        Column("if", right=False, shrinks_to=12),
    )
    rows = [
        (
            str(each.id),
            each.state,
            utc(each.proposed_at.replace(microsecond=0)),
            each.proposed_by,
            _scope(each),
            _if(each),
        )
        for each in proposals
    ]
    return table(columns, rows, terminal_width())


def proposed_lines(proposal: ProposedCancellation) -> list[str]:
    """After it was made."""
    return [
        f"Proposed as {proposal.id}: nothing is cancelled until somebody approves it.",
        f"  Look at it:  {command_line('proposals', str(proposal.id))}",
        f"  Approve it:  {command_line('approve', str(proposal.id))}",
        f"  Reject it:   {command_line('reject', str(proposal.id))}",
    ]


def _state(proposal: ProposedCancellation, zone: tzinfo) -> str:
    state = proposal.state
    return f"{state}, until {instant(proposal.expires_at, zone)}" if state == "open" else state


def _scope(proposal: ProposedCancellation) -> str:
    try:
        request = Proposals.request_of(proposal)
    except RequestError:
        return f"{proposal.app_id}, and what this program cannot read"
    return f"{scopes_in_words(request)}, {meant(request)}"


def _if(proposal: ProposedCancellation) -> str:
    return str(proposal.request.get("if") or "(every run)")


def _told(proposal: ProposedCancellation) -> str:
    matched = (proposal.seen or {}).get("matched")
    if not isinstance(matched, int):
        return "nothing was counted"
    about = "" if (proposal.seen or {}).get("exact") is True else "about "
    return f"{about}{runs(matched)} matched"
