"""The request of a review in the forms that other programs read: JSON, a command line, curl."""

from __future__ import annotations

import json

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from secateur.requests import CancellationRequest
from secateur.words.lines import one_line
from secateur.words.shell import command_line
from secateur_tui.frame.chrome import KeyBar
from secateur_tui.frame.place import Dialog
from secateur_tui.keymap import bindings_of, display_of
from secateur_tui.session import Session
from secateur_tui.themes import toned

SERVER = "http://127.0.0.1:8484"
"""Where `secateur serve` listens unless it is told otherwise."""


def as_json(request: CancellationRequest) -> str:
    """The body that the API takes, and `secateur cancel --request`."""
    return json.dumps(request.body(), indent=2, ensure_ascii=False)


def as_curl(request: CancellationRequest, key: str) -> str:
    """The request to a server of this database, with the command that starts one as a comment."""
    path = "retries" if request.verb == "retry" else "cancellations"
    # JSON has no line that is just this word: a line break within a text is written as an escape.
    return (
        f"# a server of this database: {command_line('serve')}\n"
        f"curl {SERVER}/v1/{path} -H 'Content-Type: application/json' -H 'Idempotency-Key: {key}' -d @- <<'JSON'\n"
        f"{as_json(request)}\n"
        "JSON"
    )


class CopyScreen(Dialog[str | None]):
    """Returns the name of what was copied, or None."""

    place = "copying"
    BINDINGS = bindings_of("copying")

    def __init__(self, session: Session, request: CancellationRequest, key: str) -> None:
        super().__init__(session)
        self._forms = {
            "JSON": as_json(request),
            "command": request.command_line(),
            "curl": as_curl(request, key),
        }

    def compose(self) -> ComposeResult:
        parts = []
        for (name, text), action in zip(self._forms.items(), ("json", "command", "curl"), strict=True):
            key = display_of(f"copying.{action}")
            parts += [toned((f" {key} ", "key"), (name, "strong")), *_lines(text), Content("")]
        with VerticalScroll(id="copying", classes="panel") as panel:
            yield Static(Content("\n").join(parts[:-1]), markup=False)
        panel.border_title = Content(f"Copy, for {one_line(self.session.context or self.session.where)}")
        yield KeyBar()

    def action_json(self) -> None:
        self._copy("JSON")

    def action_command(self) -> None:
        self._copy("command")

    def action_curl(self) -> None:
        self._copy("curl")

    def action_close(self) -> None:
        self.dismiss(None)

    def _copy(self, name: str) -> None:
        self.app.copy_to_clipboard(self._forms[name])
        self.dismiss(name)


def _lines(text: str) -> list[Content]:
    return [toned((f"   {one_line(line)}", "field")) for line in text.split("\n")]
