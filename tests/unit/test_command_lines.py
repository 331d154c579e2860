"""Every command line that is copied or printed means what it was made of: a real shell reads it, and our parser."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from secateur.bounds import INT_MAX
from secateur.cel.syntax.writing import text_literal
from secateur.cli.arguments import parse
from secateur.cli.requesting import read_request
from secateur.requests import CancellationRequest
from secateur.words.redaction import redact
from secateur.words.shell import command_line, work_at

NOW = datetime(2024, 2, 1, tzinfo=UTC)

_NASTY = (
    "--rollback",
    "-h",
    "--all",
    "--",
    "-",
    "-1",
    "=",
    "a b",
    "it's",
    '"',
    "$HOME",
    "`id`",
    "!!",
    "\\",
    "\n",
    "*",
    "~",
)
_NASTY += (
    "\x1b[2J",
    "\r",
    "\x7f",
    "\u202e",
    "\u200b",
    "ü",
    "漢",
    "\U0001f600",
    "--if=x",
    "now",
    "%s",
    ";",
    "&&",
    "é\n'\\",
)

texts = st.one_of(
    st.sampled_from(_NASTY),
    st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=40),
)
times = st.sampled_from((None, "2024-01-21T00:00:00Z", "2024-01-21T00:00:00.123456Z", "0001-01-01T00:00:00Z"))


@st.composite
def requests(draw: st.DrawFn) -> CancellationRequest:
    body: dict[str, object] = {"app_id": draw(texts)}
    match draw(st.integers(0, 2)):
        case 1:
            body["function_id"] = draw(texts)
        case 2:
            body["function_ids"] = draw(st.lists(texts, min_size=1, max_size=3))
    if draw(st.booleans()):
        before = draw(st.sampled_from(("", "-1 < event.data.n && ", "!")))
        body["if"] = f"{before}(event.data.x == {text_literal(draw(texts))})"
    body["started_after"] = draw(times)
    if draw(st.booleans()):
        body |= {"standing": True, "started_before": "2030-01-01T00:00:00Z"}
    body["rate"] = draw(st.sampled_from((None, 1, INT_MAX)))
    body["reason"] = draw(st.none() | texts)
    return CancellationRequest.parse({name: value for name, value in body.items() if value is not None})


def read_by_a_shell(lines: Sequence[str]) -> list[tuple[list[str], bytes]]:
    """The words of each command `secateur`, and what it would read from its standard input."""
    reader = """secateur() { printf '%s\\0' "$#" "$@"; if [ -p /dev/stdin ]; then cat; fi; printf '\\0'; }"""
    read = subprocess.run(
        ["bash", "-c", "\n".join([reader, *lines])],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )
    assert read.stderr == b"", read.stderr
    parts = read.stdout.split(b"\0")
    found = []
    while len(parts) > 1:
        count = int(parts.pop(0))
        words = [parts.pop(0).decode() for _ in range(count)]
        found.append((words, parts.pop(0)))
    return found


keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
MANY = settings(
    max_examples=5, deadline=None, phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck)
)


@MANY
@given(st.lists(st.tuples(requests(), st.none() | keys), min_size=20, max_size=30))
def test_a_copied_request_is_the_same_request(wanted: list[tuple[CancellationRequest, str | None]]) -> None:
    lines = [request.command_line(key=key, yes=key is not None) for request, key in wanted]
    assert all(line.isprintable() for line in lines)
    for (request, key), line, (words, stdin) in zip(wanted, lines, read_by_a_shell(lines), strict=True):
        arguments = parse(words)
        assert (arguments.idempotency_key, arguments.yes) == (key, key is not None), line
        if arguments.request == "-":
            assert CancellationRequest.parse(stdin) == request, line
        else:
            assert read_request(arguments, UTC)(NOW) == request, line


@MANY
@given(st.lists(st.lists(texts.filter(lambda text: text != "--"), min_size=1, max_size=2), min_size=20, max_size=30))
def test_a_printed_command_names_what_it_means(names: list[list[str]]) -> None:
    lines = [command_line("resume", *each) for each in names]
    for each, line, (words, _) in zip(names, lines, read_by_a_shell(lines), strict=True):
        arguments = parse(words)
        assert [name for name in (arguments.app, arguments.function) if name is not None] == each, line


@pytest.fixture
def anywhere() -> Iterator[None]:
    yield
    work_at()


places = st.one_of(
    st.fixed_dictionaries({"context": texts, "config": st.none() | texts}),
    st.fixed_dictionaries(
        {"database": st.sampled_from(("postgresql://ada@[::1]:5/b?sslmode=require&x=%20", "postgresql:///q"))}
    ),
)


@pytest.mark.usefixtures("anywhere")
@MANY
@given(places, st.lists(texts.filter(lambda text: text != "--"), min_size=1, max_size=20))
def test_a_printed_command_works_at_the_same_place(place: dict[str, str | None], names: list[str]) -> None:
    work_at(**place)
    lines = [command_line("resume", each) for each in names]
    for each, line, (words, _) in zip(names, lines, read_by_a_shell(lines), strict=True):
        arguments = parse(words)
        assert arguments.app == each, line
        found = {name: getattr(arguments, name) for name in place}
        assert found == place, line


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:hunter2@db/q", "postgresql://ada@db/q"),
        (
            "postgresql://ada:hunter2@db:5432,db2:5433/q?sslmode=require",
            "postgresql://ada@db:5432,db2:5433/q?sslmode=require",
        ),
        ("postgresql:///q?host=/tmp&password=hunter2", "postgresql:///q?host=/tmp"),
        ("postgresql:///q?p%61ssword=hunter2&passfile=/x", "postgresql:///q?passfile=/x"),
        ("postgresql:///q?sslpassword=hunter2", "postgresql:///q"),
        ("postgresql://ada:hunt/er2@db/q", "URL"),
        ("postgresql://ada:hunt#er2@db/q", "URL"),
        ("postgresql://ada:hunt?er2@db/q", "URL"),
        ("postgresql://ada:hunter2/q", "URL"),
        ("postgresql://[hunter2/q", "URL"),
        ("host=db password=hunter2", "URL"),
    ],
)
@pytest.mark.usefixtures("anywhere")
def test_no_printed_command_has_a_password(url: str, shown: str) -> None:
    work_at(database=url)
    line = command_line("show", "5")
    assert shlex.split(line) == ["secateur", "show", "--database", shown, "5"]
    said = redact(f"cannot reach {url}: see `{line}`")
    assert "hunter2" not in said


@pytest.mark.usefixtures("anywhere")
def test_an_error_keeps_the_place_of_its_hint() -> None:
    work_at(database="postgresql://ada:hunter2@db/q")
    said = f"db/q has no secateur schema: run `{command_line('install')}` (see postgresql://ada:hunter2@db/q)"
    assert redact(said).startswith(
        "db/q has no secateur schema: run `secateur install --database postgresql://ada@db/q`"
    )
    assert "hunter2" not in redact(said)


@MANY
@given(st.lists(requests(), min_size=10, max_size=20))
def test_a_copied_body_is_the_same_request(wanted: list[CancellationRequest]) -> None:
    for request in wanted:
        text = json.dumps(request.body(), indent=2, ensure_ascii=False)
        assert CancellationRequest.parse(text) == request
        assert CancellationRequest.parse(text.encode()) == request


def test_a_usual_one_looks_as_people_write_it() -> None:
    body = {"app_id": "billing", "if": "event.data.n == 1", "started_after": "2024-01-21T00:00:00Z", "reason": "-h"}
    assert CancellationRequest.parse(body).command_line() == (
        "secateur cancel --app billing --if 'event.data.n == 1' --after 2024-01-21T00:00:00Z --reason=-h"
    )
