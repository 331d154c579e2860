"""What a tab key completes, by the words before it; the database is asked only for names."""

from __future__ import annotations

import pytest

from secateur.cli.arguments import parsers
from secateur.cli.completing import Candidate, NameQuestion, candidates, split

PARSERS = parsers()
asked: list[NameQuestion] = []


def look(question: NameQuestion) -> list[Candidate]:
    asked.append(question)
    return [Candidate("billing"), Candidate("mail")]


def completed(line: str) -> list[str]:
    asked.clear()
    return [each.value for each in candidates(split(line), PARSERS, look)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("secateur", [""]),
        ("secateur ", [""]),
        ("secateur can", ["can"]),
        ("secateur cancel --if 'event.data.x == ", ["cancel", "--if", "event.data.x == "]),
        ('secateur cancel --reason "a ', ["cancel", "--reason", "a "]),
        ("secateur cancel --app billing ", ["cancel", "--app", "billing", ""]),
    ],
)
def test_a_line_is_split_as_far_as_it_goes(line: str, words: list[str]) -> None:
    assert split(line) == words


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("secateur can", ["cancel", "cancel-run"]),
        ("secateur --database postgresql://h/d can", ["cancel", "cancel-run"]),
        ("secateur cancel --no", ["--no-count"]),
        ("secateur cancle --no", []),
        ("secateur depth --history ", ["15m", "2h", "48h"]),
        ("secateur runs --status que", ["queued"]),
        ("secateur runs --status=que", ["--status=queued"]),
        ("secateur gate ", ["install", "check", "remove"]),
        ("secateur completion z", ["zsh"]),
        ("secateur cancel --app b", ["billing"]),
        ("secateur cancel --app=m", ["--app=mail"]),
        ("secateur cancel --if ", []),
        ("secateur cancel --request ", []),
        ("secateur cancel ", []),
        ("secateur pause billing m", ["mail"]),
        ("secateur pause billing mail ", []),
    ],
)
def test_what_may_follow(line: str, found: list[str]) -> None:
    assert completed(line) == found


def test_names_are_asked_for_with_what_was_given() -> None:
    completed("secateur --context prod cancel --app billing --function ")
    (question,) = asked
    assert (question.what, question.given) == ("FUNCTION", {"context": "prod", "app": "billing"})
    completed("secateur resume billing ")
    assert (asked[0].what, asked[0].given["app"]) == ("FUNCTION", "billing")
    completed("secateur undo --yes 8")
    assert (asked[0].what, asked[0].typed) == ("ID", "8")
    completed("secateur --context ")
    assert asked[0].what == "CONTEXT"
