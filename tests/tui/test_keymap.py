"""One table of keys: what it says exists, and docs/keys.md says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur_tui import keymap
from secateur_tui.app import ConsoleApp
from secateur_tui.filter.editor import ExpressionEditor
from secateur_tui.filter.explaining import ExplainScreen
from secateur_tui.filter.histogram import HistogramChart
from secateur_tui.filter.naming import NameScreen
from secateur_tui.filter.screen import FilterScreen
from secateur_tui.frame.help import HelpScreen
from secateur_tui.frame.hot_table import HotTable
from secateur_tui.frame.line_table import LineTable
from secateur_tui.frame.palette import PaletteScreen
from secateur_tui.frame.payload_tree import PayloadTree
from secateur_tui.frame.question import QuestionScreen
from secateur_tui.history.screen import HistoryScreen
from secateur_tui.keymap import ACTIONS, PLACES, Action
from secateur_tui.queues.screen import QueuesScreen
from secateur_tui.queues.timeline import TimelineScreen
from secateur_tui.review.copying import CopyScreen
from secateur_tui.review.screen import ReviewScreen
from secateur_tui.runs.listing import RunsScreen
from secateur_tui.runs.single import RunScreen

OWNERS = {
    "console": ConsoleApp,
    "queues": QueuesScreen,
    "timeline": TimelineScreen,
    "runs": RunsScreen,
    "run": RunScreen,
    "filter": FilterScreen,
    "review": ReviewScreen,
    "copying": CopyScreen,
    "history": HistoryScreen,
    "editor": ExpressionEditor,
    "naming": NameScreen,
    "hot": HotTable,
    "histogram": HistogramChart,
    "payload": PayloadTree,
    "completion": ExpressionEditor,
    "explain": ExplainScreen,
    "question": QuestionScreen,
    "palette": PaletteScreen,
    "help": HelpScreen,
    "list": LineTable,
}


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_every_action_of_the_table_exists(action: Action) -> None:
    assert callable(getattr(OWNERS[action.place], f"action_{action.method}"))


@pytest.mark.parametrize("place", PLACES)
def test_no_key_means_two_things_at_one_place(place: str) -> None:
    keys = [key for action in keymap.actions_of(place) for key in action.keys]
    if place in ("queues", "filter", "history"):
        keys += [key for other in ("console", "list") for action in keymap.actions_of(other) for key in action.keys]
    assert len(keys) == len(set(keys))


def test_what_writes_is_dangerous() -> None:
    assert {action.id for action in ACTIONS if action.dangerous} == {
        "console.undo",
        "history.also",
        "console.redo",
        "queues.also_arriving",
        "queues.pause",
        "filter.review",
        "filter.cancel_run",
        "review.ask_again",
        "history.stop",
        "history.undo",
        "run.cancel",
        "run.restore",
        "question.yes",
        "question.other",
    }


def test_the_document_lists_the_keys_as_the_table_has_them() -> None:
    document = (Path(__file__).parents[2] / "docs/keys.md").read_text(encoding="utf-8")
    assert keymap.rewrite(document) == document, "run: python -m secateur_tui.keymap docs/keys.md"


def test_rewriting_needs_both_comments() -> None:
    with pytest.raises(ValueError, match="two comments"):
        keymap.rewrite("no table here")
