"""Every key of the console in one table, from which bindings, footer, palette, help and docs/keys.md are made.

`python -m secateur_tui.keymap docs/keys.md` rewrites the table between the two `keys` comments of that file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from textual.binding import Binding, BindingType


@dataclass(frozen=True, slots=True)
class Action:
    """Something that a person can do in a place; `id` is `<place>.<method>`, for its `action_<method>`."""

    id: str
    keys: tuple[str, ...]
    """The first is the one that is shown."""
    description: str
    """One or two words, for the footer."""
    help: str
    """A sentence, for the help screen, the palette and docs/keys.md."""
    dangerous: bool = False
    """The action writes; a read-only console does not have it."""
    footer: bool = True

    @property
    def place(self) -> str:
        return self.id.partition(".")[0]

    @property
    def method(self) -> str:
        return self.id.partition(".")[2]


PLACES = {
    "console": "Everywhere",
    "queues": "1 Queues",
    "timeline": "Time view",
    "filter": "2 Filter",
    "review": "3 Review",
    "copying": "Copying",
    "history": "4 History",
    "runs": "5 Runs",
    "run": "Run",
    "editor": "Expression",
    "naming": "Saving a filter",
    "hot": "What stands out",
    "histogram": "Histogram of starts",
    "payload": "Payload",
    "completion": "While completing",
    "explain": "Explanation",
    "question": "Questions",
    "palette": "Palette",
    "help": "Help",
    "list": "Lists",
}
"""The places of actions, with their titles; the digit is the key that leads there."""

ACTIONS: tuple[Action, ...] = (
    Action("queues.open_filter", ("enter",), "filter", "Build a filter for the marked functions, or for the row"),
    Action("queues.clear_find", ("escape",), "show all", "Show every function again; else take all marks away"),
    Action(
        "queues.also_arriving",
        ("f",),
        "also arriving",
        "After a commit: review the same filter for what arrives in the next 2 h",
        True,
    ),
    Action(
        "queues.pause",
        ("p",),
        "pause",
        "Pause the function or app of the row, or resume it",
        True,
    ),
    Action("queues.stands_out", ("h",), "what stands out", "What the row's backlog is made of, and filters for it"),
    Action("queues.times", ("t",), "times", "How deep the row was: the last 15 minutes, 2 hours or 48 hours"),
    Action("queues.failed", ("e",), "failed", "List the failed runs of the row, with their errors"),
    Action("queues.retry", ("r",), "retry", "Build a filter for the failed runs of the row, to queue them again"),
    Action("queues.find", ("/",), "find", "Show only the functions whose name contains a text"),
    Action("queues.sort", ("s",), "sort", "Sort by the next column; a click on its title does the same"),
    Action("queues.reverse", ("S",), "reverse", "Reverse the order", footer=False),
    Action("queues.mark", ("m",), "mark", "Mark the function, to filter several functions of an app at once"),
    Action("queues.fold", ("space",), "fold", "Fold or unfold the app of the row"),
    Action("queues.detail", ("tab",), "hot values", "Go to the hot values of the row, and back", footer=False),
    Action("timeline.longer", ("t",), "longer", "Show a longer time, around the cursor"),
    Action("timeline.shorter", ("T",), "shorter", "Show a shorter time, around the cursor"),
    Action("timeline.earlier", ("left", "h"), "look back", "Move the cursor back in time, to see the figures there"),
    Action("timeline.later", ("right", "l"), "later", "Move the cursor forward; it goes away at now", footer=False),
    Action("timeline.first", ("home", "g"), "first", "Move the cursor to the left end", footer=False),
    Action("timeline.last", ("end", "G"), "now", "Take the cursor away, and show the time until now", footer=False),
    Action("timeline.open_filter", ("enter",), "filter", "Build a filter for these runs"),
    Action("timeline.back", ("escape",), "back", "Go back"),
    Action(
        "filter.review",
        ("f9", "ctrl+enter"),
        "review & cancel",
        "Count again and review the cancellation or the retry",
        True,
    ),
    Action(
        "filter.standing",
        ("f6",),
        "make standing",
        "If the window ends in the future: also cancel runs that arrive until then",
    ),
    Action("filter.with_cancelled", ("f7",), "also cancelled", "In a retry: include cancelled runs, or not"),
    Action("filter.cancel_run", ("x",), "cancel run", "In the examples: cancel only the chosen run", True),
    Action("hot.take", ("enter",), "take as filter", "Make the chosen filter or value the expression"),
    Action("hot.add", ("=",), "only these", "Add the condition with && to the expression"),
    Action("hot.exclude", ("-",), "not these", "Add the condition's negation with && to the expression"),
    Action("editor.take_grey", ("tab", "right"), "take the grey text", "Insert the grey text after the cursor"),
    Action(
        "completion.take",
        ("tab", "enter"),
        "take",
        "Insert the chosen candidate",
    ),
    Action("completion.down", ("down",), "down", "The next candidate", footer=False),
    Action("completion.up", ("up",), "up", "The previous candidate", footer=False),
    Action("completion.close", ("escape",), "close", "Close the list and continue typing"),
    Action("filter.back", ("escape",), "back", "Go back; the filter is kept for this session"),
    Action("filter.count_again", ("f5",), "count again", "Count again, and look for examples again", footer=False),
    Action("payload.add", ("=",), "only these", "Add the condition that the field has this value"),
    Action("payload.exclude", ("-",), "not these", "Add the condition that the field does not have this value"),
    Action("payload.copy", ("y",), "copy", "Copy the value as JSON; once more copies its path"),
    Action("payload.fold", ("space", "enter"), "fold", "Open or close the object or list"),
    Action("payload.open", ("right", "l"), "open", "Open the object or list", footer=False),
    Action("payload.close", ("left", "h"), "close", "Close the object or list around the row", footer=False),
    Action("filter.payload", ("enter",), "payload", "Go to the payload of the chosen example, and back"),
    Action("filter.open_run", ("o",), "open run", "Everything about the chosen example, and the reason for its state"),
    Action("filter.only", ("=",), "only these", "Add the condition that the field has the chosen example's value"),
    Action("filter.not_these", ("-",), "not these", "Add the negation of that condition"),
    Action("filter.cell_left", ("left", "h"), "field to the left", "In the examples: choose a field", footer=False),
    Action("filter.cell_right", ("right", "l"), "field to the right", "In the examples: choose a field", footer=False),
    Action("histogram.take", ("enter",), "take range", "Make the picked range the window"),
    Action("histogram.left", ("left", "h"), "left", "Pick the bar to the left", footer=False),
    Action("histogram.right", ("right", "l"), "right", "Pick the bar to the right", footer=False),
    Action("histogram.extend_left", ("shift+left",), "extend", "Extend the range to the left", footer=False),
    Action("histogram.extend_right", ("shift+right",), "extend", "Extend the range to the right", footer=False),
    Action("histogram.first", ("home",), "first", "Pick the first bar", footer=False),
    Action("histogram.last", ("end",), "last", "Pick the last bar", footer=False),
    Action("filter.explain", ("f2",), "explain", "Explain why the chosen example matches or not, or its error"),
    Action("filter.complete", ("ctrl+space", "ctrl+@"), "complete", "Complete the expression at the cursor"),
    Action(
        "filter.fix",
        ("f3", "alt+enter"),
        "fix",
        "Apply the fix that the message suggests",
        footer=False,
    ),
    Action(
        "filter.earlier",
        ("ctrl+r",),
        "earlier",
        "Choose from the saved filters and from earlier expressions, those of this function first",
        footer=False,
    ),
    Action("filter.save", ("ctrl+s",), "save", "Save the filter under a name, for this database", footer=False),
    Action("naming.save", ("enter",), "save", "Save the filter under this name"),
    Action("naming.leave", ("escape",), "leave it", "Save nothing"),
    Action("filter.previous_tab", ("[",), "previous tab", "The examples of the tab to the left", footer=False),
    Action("filter.next_tab", ("]",), "next tab", "The examples of the tab to the right"),
    Action("filter.next_field", ("tab",), "next", "Go to the next field or list", footer=False),
    Action("filter.previous_field", ("shift+tab",), "previous", "Go to the previous field or list", footer=False),
    Action(
        "review.also",
        ("f", "f6"),
        "also those for 2 h",
        "Also cancel matching runs that arrive in the next two hours, or only what is there now",
    ),
    Action("review.leave", ("escape",), "leave, nothing is written", "Leave without writing anything"),
    Action("review.copy", ("y", "ctrl+y"), "copy", "Copy the request: as JSON, as a command line, or for curl"),
    Action("review.scroll_down", ("pagedown",), "page down", "Scroll down", footer=False),
    Action("review.scroll_up", ("pageup",), "page up", "Scroll up", footer=False),
    Action("copying.json", ("j",), "JSON", "Copy the JSON body, which the API and `--request` take"),
    Action("copying.command", ("c",), "command", "Copy the command line"),
    Action("copying.curl", ("u",), "curl", "Copy the request to the API, for curl"),
    Action("copying.close", ("escape", "q", "y"), "close", "Copy nothing"),
    Action("review.ask_again", ("r",), "ask again", "After a failure: commit again under the same key", True),
    Action("history.stop", ("x",), "stop", "Stop the cancellation; what it cancelled stays cancelled", True),
    Action("history.undo", ("U",), "undo", "Put back the runs that it cancelled, exactly as they were", True),
    Action(
        "history.also",
        ("f",),
        "also those for 2 h",
        "Review a cancellation of what still arrives, for two hours",
        True,
    ),
    Action(
        "history.postmortem",
        ("P",),
        "postmortem",
        "Write down what happened around it, as Markdown, to a file in the current directory",
    ),
    Action("history.use_as_filter", ("u",), "use as filter", "Start a new filter from this cancellation"),
    Action("history.find", ("/",), "find", "Show only the cancellations that contain a text"),
    Action("history.back", ("escape",), "back", "Go back"),
    Action("runs.show", ("enter", "f2"), "open", "Everything about the chosen run, and the reason for its state"),
    Action("runs.status", ("s",), "status", "Show the runs of the next status: queued, scheduled, running, …"),
    Action("runs.order", ("o",), "order", "Newest first, or oldest first"),
    Action("runs.find", ("/",), "search", "Write an expression, and search for the runs that it is true of"),
    Action("runs.more", ("n",), "go on", "List the next runs, or go on with the search"),
    Action("runs.retry", ("r",), "retry", "Build a filter for the failed runs, to queue them again"),
    Action("runs.back", ("escape",), "back", "Stop a search that takes long; else go back"),
    Action("run.next", ("n",), "next", "The next run of the list"),
    Action("run.previous", ("p",), "previous", "The run before it"),
    Action("run.cancel", ("x",), "cancel", "Cancel only this run", True),
    Action("run.restore", ("U",), "restore", "Undo the cancellation of this run; show one of many", True),
    Action("run.retry", ("r",), "retry", "Build a filter for this run, to queue it again"),
    Action("run.other_part", ("tab",), "event", "Go to the event, or back to the timeline"),
    Action("run.back", ("escape",), "back", "Go back"),
    Action("explain.close", ("escape", "q", "f2"), "close", "Close the explanation"),
    Action("question.yes", ("y",), "yes", "Do what the question asks", True),
    Action("question.other", ("a",), "the other", "Do the alternative that the question offers", True),
    Action("question.no", ("escape", "n"), "no, leave it", "Leave everything as it is"),
    Action("palette.choose", ("enter",), "do it", "Do or go to what the row says"),
    Action("palette.down", ("down", "ctrl+n"), "down", "The next row", footer=False),
    Action("palette.up", ("up", "ctrl+p"), "up", "The previous row", footer=False),
    Action("palette.page_down", ("pagedown",), "page down", "Down by a page", footer=False),
    Action("palette.page_up", ("pageup",), "page up", "Up by a page", footer=False),
    Action("palette.close", ("escape",), "close", "Close the palette"),
    Action("help.find", ("/",), "find", "Show only the keys that mention a text"),
    Action("help.close", ("escape", "q", "?"), "close", "Close the help"),
    Action("list.up", ("up", "k"), "up", "Move up", footer=False),
    Action("list.down", ("down", "j"), "down", "Move down", footer=False),
    Action("list.first", ("home", "g"), "first", "Go to the first row", footer=False),
    Action("list.last", ("end", "G"), "last", "Go to the last row", footer=False),
    Action("list.page_up", ("pageup", "ctrl+u"), "page up", "Move up by a page", footer=False),
    Action("list.page_down", ("pagedown", "ctrl+d"), "page down", "Move down by a page", footer=False),
    Action("console.history", ("H", "4", "f4"), "history", "Every cancellation: who, when, why, and its progress"),
    Action("console.runs", ("5",), "runs", "Search the runs of the row, finished and failed ones too", footer=False),
    Action("console.queues", ("1",), "queues", "Live depth of every app and function"),
    Action("console.filter", ("2",), "filter", "The filter of the row, or the last open one", footer=False),
    Action(
        "console.undo",
        ("z",),
        "undo",
        "Undo what this console cancelled or retried last, after a question",
        True,
        False,
    ),
    Action("console.redo", ("Z",), "redo", "Do again what this console undid last, after a question", True, False),
    Action("console.palette", (":", "ctrl+p"), "go to", "Find a command, function, context or theme by a few letters"),
    Action("console.contexts", ("ctrl+o",), "database", "Go to another context of the configuration", footer=False),
    Action("console.help", ("?", "f1"), "help", "What every key does"),
    Action(
        "console.repaint",
        ("ctrl+l",),
        "paint again",
        "Paint the screen again, after another program wrote to it",
        footer=False,
    ),
    Action("console.suspend", ("ctrl+z",), "suspend", "Go back to the shell; `fg` continues", footer=False),
    Action("console.quit", ("q", "ctrl+q"), "quit", "Leave secateur; sweeps continue in any other process"),
)


_bound = False
"""Whether bindings were made, which would not follow a change of the table."""


def use(actions: Sequence[Action]) -> None:
    """Replace the table, before the screens are imported: their bindings are made then."""
    global ACTIONS
    if _bound:
        raise RuntimeError("the screens have their bindings already")
    ACTIONS = tuple(actions)


def actions_of(place: str, *, read_only: bool = False) -> Iterator[Action]:
    """The actions of a place that exist in this console, in the order of the table."""
    return (action for action in ACTIONS if action.place == place and not (read_only and action.dangerous))


def bindings_of(place: str, *, priority: bool = False) -> list[BindingType]:
    """The place's bindings; in a read-only console, `check_action` removes those that write.

    With `priority` they take precedence over the focused widget. Function keys always do, because a text field would
    use some of them to select text.
    """
    global _bound
    _bound = True
    return [
        Binding(
            ",".join(action.keys),
            action.method,
            action.description,
            show=action.footer,
            key_display=display(action.keys[0]),
            id=action.id,
            priority=priority or is_function_key(action.keys[0]),
        )
        for action in actions_of(place)
    ]


@cache
def keys_of(action: Action) -> tuple[str, ...]:
    """The action's keys by the names that Textual's events and bindings have for them."""
    return tuple(binding.key for binding in Binding.make_bindings([(",".join(action.keys), action.method, "")]))


def allowed(place: str, method: str, *, read_only: bool) -> bool:
    """Whether the console has this action; an action that is not in the table belongs to a widget, which decides."""
    return not (read_only and any(action.dangerous for action in ACTIONS if action.id == f"{place}.{method}"))


_NAMES = {
    "ctrl+@": "ctrl+space",  # what terminals send for it
    "escape": "esc",
    "pageup": "pgup",
    "pagedown": "pgdn",
    "up": "↑",
    "down": "↓",
    "right": "→",
    "slash": "/",
    "colon": ":",
    "question_mark": "?",
    "equals_sign": "=",
    "minus": "-",
    "upper_h": "H",
    "upper_g": "G",
    "upper_p": "P",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "left": "←",
    "upper_u": "U",
    "upper_z": "Z",
}


def is_function_key(key: str) -> bool:
    return re.fullmatch(r"f\d+", key) is not None


def display(key: str) -> str:
    """A key as people write it."""
    if is_function_key(key):
        return key.upper()
    return _NAMES.get(key, key)


def display_of(action_id: str) -> str:
    """The key that is shown for an action."""
    return next(display(action.keys[0]) for action in ACTIONS if action.id == action_id)


def shown_keys(action: Action) -> list[str]:
    """Each key of the action once, as people write it."""
    return list(dict.fromkeys(map(display, action.keys)))


def markdown_table() -> str:
    """The table of all keys in Markdown."""
    lines = ["| where | key | what |", "|---|---|---|"]
    for place, title in PLACES.items():
        for action in actions_of(place):
            keys = " ".join(f"`{key}`" for key in shown_keys(action))
            note = " *(not when read-only)*" if action.dangerous else ""
            lines.append(f"| {title} | {keys} | {action.help}{note} |")
    return "\n".join(lines)


START, END = "<!-- keys: made by python -m secateur_tui.keymap -->", "<!-- /keys -->"


def rewrite(text: str) -> str:
    """The document with an up-to-date table of keys. Raises ValueError if the two comments are missing."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"the two comments {START} and {END} are missing")
    return f"{before}{START}\n{markdown_table()}\n{END}{after}"


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(rewrite(document.read_text(encoding="utf-8")), encoding="utf-8")
