"""Proposals in the console: found by the palette, reviewed, and approved by committing them."""

from __future__ import annotations

from console_driver import Console, Start
from standing_incident import ACME, ARRIVING, CULPRIT
from textual.widgets import Input

import secateur
from secateur.ledger.proposals import Proposals, ProposedCancellation
from secateur.requests import CancellationRequest

FLOOD = {"app_id": "billing", "function_id": "vendor-syncs", "if": CULPRIT}


async def propose(url: str) -> ProposedCancellation:
    async with secateur.connect(url) as queue:
        return await Proposals(queue.database, queue.cancellations).propose(
            CancellationRequest.parse(FLOOD), author="a model", source="mcp", reasoning="acme\x1b[2J floods"
        )


async def state_of(console: Console) -> tuple[str, int]:
    (found,) = await console.app.session.proposals.newest(only_open=False)
    return found.state, len(found.cancellation_ids)


async def consent(console: Console) -> None:
    await console.until(lambda: isinstance(console.app.focused, Input))
    await console.type("INC-4211")
    await console.press("enter")
    await console.type("vendor-syncs")
    await console.press("enter")
    await console.settled()


async def test_a_proposal_is_found_reviewed_and_approved(start: Start, incident_url: str) -> None:
    await propose(incident_url)
    async with start(incident_url) as console:
        await console.shows("A proposal waits; : shows it")
        await console.press("colon")
        await console.type("proposal acme")
        await console.press("enter")
        await console.shows("proposed by a model (login postgres)")
        await console.shows(r"who says: acme\x1b[2J floods")
        await console.shows(f"{ACME + ARRIVING:,} runs")
        assert "also" not in console.text
        await consent(console)
        await console.press("enter")
        await console.shows("in force")
        assert await state_of(console) == ("committed", 1)


async def test_above_a_budget_it_is_proposed_instead(start: Start, incident_url: str) -> None:
    async with start(incident_url) as console:
        await console.app.session.proposals.set_budget("billing", 5, author="ada", source="python")
        await console.filter_for("vendor-syncs", CULPRIT)
        await console.shows("exact")
        await console.press("f9")
        await consent(console)
        await console.press("enter")
        await console.shows("It is proposed")
        assert await state_of(console) == ("open", 0)
        await console.press("r")
        await console.shows("It is proposed")
        assert await state_of(console) == ("open", 0)
