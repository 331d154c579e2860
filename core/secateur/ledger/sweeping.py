"""Rewrites the rows that cancellations match, batch by batch, in any live process."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from secateur.errors import DatabaseError, NotInstalled, PermissionDenied, ReadOnly, Unreachable
from secateur.ledger.ledger import Ledger
from secateur.ledger.steps import OpenCancellation, SweepStep
from secateur.postgres.turnstile import STANDBY_SECONDS, in_background
from secateur.spans import note
from secateur.states import OPEN, State
from secateur.troubles import Trouble, Troubles

logger = logging.getLogger(__name__)

SWEEP_BATCH = 10_000
"""How many runs one transaction of a sweep examines, which takes about a quarter of a second."""

RESTORE_BATCH = 1_000
"""How many runs one transaction of a restore examines: few, because commits wait for the app's lock, which it holds."""

SWEEP_PAUSE = 1.0
"""Seconds between two looks for something to sweep."""

SHORTEST_WAIT = 0.05
"""Seconds before a waiting caller looks again, doubling up to `SWEEP_PAUSE`."""


class Sweeper:
    """Sweeps and restores the open cancellations of one ledger."""

    def __init__(self, ledger: Ledger, batch: int) -> None:
        self._ledger = ledger
        self._batch = batch
        self._hurried = asyncio.Event()
        self._rounds = Troubles(logger)
        self._sweeps = Troubles(logger)

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """The failures of `sweep_forever`."""
        return (*self._rounds, *self._sweeps)

    def hurry(self) -> None:
        """Look for work now."""
        self._hurried.set()

    async def finish(self, app_id: str, cancellation_id: UUID, *, until_idle: bool = False) -> None:
        """Sweep or restore, or wait for the process that does, until nothing is left to do for the cancellation.

        With `until_idle`, only until there is nothing to do right now.
        """
        pause = SHORTEST_WAIT
        open = OpenCancellation(app_id, cancellation_id, State.ACTIVE)
        while (step := await self._step(open)).state in OPEN and not (until_idle and step.idle):
            open = replace(open, state=step.state)
            if step.busy or step.idle:
                await asyncio.sleep(pause if step.wait is None else min(step.wait, SWEEP_PAUSE))
                pause = min(2 * pause, SWEEP_PAUSE)

    async def sweep_forever(self) -> None:
        """Sweep every open cancellation, until cancelled. Any number of processes may do this at once.

        Survives a database that goes away; returns if the role has no right to sweep. A repeated failure is logged
        less and less often, stored with the record, and listed in `troubles`.
        """
        with in_background():
            while True:
                pause = SWEEP_PAUSE
                try:
                    pause = await self._sweep_open()
                    self._rounds.went_well("sweeping")
                except PermissionDenied as error:
                    logger.warning("this process cannot sweep: %s", error)
                    return
                except ReadOnly:
                    # A standby: its primary's processes sweep, until it is one itself.
                    pause = STANDBY_SECONDS
                except (DatabaseError, NotInstalled) as error:
                    self._rounds.failed("sweeping", error)
                self._hurried.clear()
                # Before Python 3.12, `wait_for` loses a cancellation that arrives together with what it waits for.
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._hurried.wait()

    async def _sweep_open(self) -> float:
        """Sweep batches of every open cancellation in turn, until none has anything to do right now.

        Returns the seconds until one has, as far as that is known.
        """
        pause = SWEEP_PAUSE
        working = await self._ledger.open_cancellations()
        self._sweeps.keep_only({sweep_of(open.id) for open in working})
        while working:
            steps = [(open, await self._try_step(open)) for open in working]
            pause = min([pause, *(step.wait for _, step in steps if step.idle and step.wait is not None)])
            working = [
                replace(open, state=step.state)
                for open, step in steps
                if step.state in OPEN and not step.busy and not step.idle
            ]
        return pause

    async def _try_step(self, open: OpenCancellation) -> SweepStep:
        """A cancellation that fails does not delay the others; it is skipped until the next round."""
        what = sweep_of(open.id)
        try:
            step = await self._step(open)
        except (PermissionDenied, Unreachable):
            raise
        except DatabaseError as error:
            self._sweeps.failed(what, error)
            await self._note(open, str(error))
            return SweepStep(open.state, busy=True)
        if step.held_up is not None:
            self._sweeps.failed(what, step.held_up)
        elif not step.busy:
            self._sweeps.went_well(what)
        return step

    async def _step(self, open: OpenCancellation) -> SweepStep:
        began = time.time_ns()
        step = await self._one_step(open)
        if not step.busy and not step.idle:
            told = {"app": open.app_id, "cancellation": str(open.id), "runs": step.cancelled + step.restored}
            note("secateur.sweep", began, {f"secateur.{name}": value for name, value in told.items()})
        return step

    async def _one_step(self, open: OpenCancellation) -> SweepStep:
        if open.state == State.RESTORING:
            step = await self._ledger.restore(open.app_id, open.id, min(self._batch, RESTORE_BATCH))
        else:
            step = await self._ledger.sweep(open.app_id, open.id, self._batch)
        if step.undecided and await self._ledger.decide(open.app_id, open.id):
            # There is something to cancel now, or nothing left to wait for.
            step = replace(step, idle=False)
        if step.held_up is not None:
            await self._note(open, step.held_up)
        return step

    async def _note(self, open: OpenCancellation, error: str) -> None:
        with suppress(DatabaseError):  # with a full disk, this fails too
            await self._ledger.note_sweep_failure(open.app_id, open.id, error)


def sweep_of(cancellation_id: UUID) -> str:
    """The name of the work that rewrites the cancellation's rows, as logs and troubles use it."""
    return f"the sweep of cancellation {cancellation_id}"
