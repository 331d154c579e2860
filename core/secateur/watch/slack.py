"""A message as Slack's incoming webhooks take it. Nothing is read as markup, so that no name can mention anybody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

LONGEST_TITLE = 150
LONGEST_TEXT = 3000
"""Of Slack, in characters."""

SIGNS = {"firing": "🔥", "guard": "🛡", "resolved": "✅"}


def slack_form(message: Mapping[str, Any]) -> dict[str, Any]:
    sign = SIGNS.get(str(message["kind"]), "")
    title = f"{sign} {message['summary']}"
    return {"text": _escaped(title)[:LONGEST_TEXT], "blocks": [*_blocks(message, title)]}


def _blocks(message: Mapping[str, Any], title: str) -> Iterator[dict[str, Any]]:
    if len(title) <= LONGEST_TITLE:
        yield {"type": "header", "text": _plain(title)}
    else:
        yield {"type": "section", "text": _plain(title[:LONGEST_TEXT])}
    if message["details"]:
        yield {"type": "section", "text": _plain("\n".join(message["details"])[:LONGEST_TEXT])}
    commands = (
        []
        if message["cancel"] is None
        else [{"what": "Cancel exactly these runs (it counts, then asks)", "command": message["cancel"]}]
    )
    for each in [*commands, *message["commands"]]:
        yield _preformatted(f"{each['what']}:", each["command"])
    if message["link"] is not None:
        link = {"type": "link", "url": message["link"]}
        yield {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [link]}]}


def _preformatted(label: str, text: str) -> dict[str, Any]:
    """A command is whole, or not there: half of one would do something else."""
    if len(text) > LONGEST_TEXT:
        text = "(too long for Slack; the message in the generic format has it)"
    return {
        "type": "rich_text",
        "elements": [
            {"type": "rich_text_section", "elements": [{"type": "text", "text": label}]},
            {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": text}]},
        ],
    }


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": True}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
