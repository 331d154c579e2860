"""Cancel one run, from any place that shows it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from uuid import uuid4

from secateur.errors import Conflict, SecateurError
from secateur.runs import UNFINISHED, Run
from secateur.words.figures import ago
from secateur_tui.frame.place import PlaceScreen
from secateur_tui.frame.question import Choice, QuestionScreen
from secateur_tui.runs.questions import cancel_question
from secateur_tui.session import Session


async def cancel_one_run(place: PlaceScreen, run: Run, now: Callable[[], datetime]) -> bool:
    """Cancel the run if the user says yes, and say what came of it. To be called in a worker of the place.

    True if the run is not what the place shows: it was cancelled, or a worker was quicker.
    """
    session = place.session
    run = await _newest(session, run)
    if run.status not in UNFINISHED:
        return _too_late(place, run, now())
    asked = QuestionScreen(session, cancel_question(run, now()))
    if await place.app.push_screen_wait(asked) is not Choice.YES:
        return False
    try:
        await session.ask(
            session.queue.cancellations.cancel_run(
                run.id, author=session.author, source="tui", idempotency_key=str(uuid4())
            )
        )
    except Conflict:
        return _too_late(place, await _newest(session, run), now())
    except SecateurError as error:
        place.notify(str(error), severity="error", markup=False)
        return False
    place.notify("Cancelled this run; History undoes it.", markup=False)
    return True


async def _newest(session: Session, run: Run) -> Run:
    """The run as it is now: it may have begun, or ended, since it was found. As it was if that cannot be told."""
    with suppress(SecateurError):
        return await session.ask(session.queue.reader.run(run.id))
    return run


def _too_late(place: PlaceScreen, run: Run, now: datetime) -> bool:
    when = f" {ago(run.finished_at, now)}" if run.finished_at else ""
    told = f"Too late: this run is {run.status.value}{when}. Nothing was cancelled."
    place.notify(told, severity="warning", markup=False)
    return True
