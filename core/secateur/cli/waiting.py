"""`--wait`: rewriting the rows of a cancellation, or putting them back, until there is nothing left to do."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from secateur.backoff import Backoff, persist
from secateur.cli.describing import expected_in_words
from secateur.cli.opening import CommandSession
from secateur.cli.output import notice
from secateur.errors import SecateurError, Unreachable
from secateur.ledger.wording import blocked_by, sweep_in_words
from secateur.words.figures import number

if TYPE_CHECKING:
    from secateur.records import Cancellation

LOST_CONNECTION = Backoff(1, 1, attempts=60)
"""The work goes on in the database as long as anybody sweeps; the wait is only for its end."""


async def wait_for(session: CommandSession, cancellation: Cancellation, *, until_idle: bool = False) -> Cancellation:
    """The cancellation once it is complete, stopped or restored; with progress for whoever looks on.

    `until_idle` is as for `Cancellations.wait`.
    """
    wait = partial(session.queue.cancellations.wait, cancellation.id, until_idle=until_idle)
    work = asyncio.create_task(persist(wait, LOST_CONNECTION, Unreachable))
    try:
        while not (await asyncio.wait({work}, timeout=1))[0]:
            await _show_progress(session, cancellation.id)
    except asyncio.CancelledError:
        notice("secateur: stopped waiting; other secateur processes continue the work")
        raise
    finally:
        work.cancel()
    return await work


async def _show_progress(session: CommandSession, cancellation_id: UUID) -> None:
    if not sys.stderr.isatty():
        return
    try:
        now = await session.queue.cancellations.get(cancellation_id)
    except SecateurError:
        return
    if now.is_retry:
        done = f"{number(now.restored)} taken back" if now.restoring else f"{number(now.retried)} queued again"
        notice(f"  {done}")
        return
    failing = "" if (said := sweep_in_words(now)) is None else f"; {said}"
    if now.restoring:
        notice(f"  {number(now.restored + now.handed_over)} of {number(now.cancelled)} back{failing}")
        return
    expected = f" of {expected_in_words(now)}" if now.expected is not None else ""
    stopping = f", {number(now.stopping)} still running" if now.stopping else ""
    pending = f"; pending, waiting for {blocked_by(now)}" if now.is_pending else ""
    notice(f"  {number(now.cancelled)}{expected} cancelled{stopping}{pending}{failing}")
