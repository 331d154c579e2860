"""What README.md and docs/*.md tell a reader to type: code blocks and code within sentences, with file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

METHODS = "GET|HEAD|POST|PUT|PATCH|DELETE"
SQL = re.compile(
    r"(select|grant|revoke|alter|create|drop|insert into|update|delete from|(rollback|commit) prepared)\s+\S.*",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Code:
    """A block of code, whose language is what stands behind the fence, or code within a sentence: `language` None."""

    file: str
    line: int
    text: str
    language: str | None = None

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


def codes() -> Iterator[Code]:
    """All code of all documents."""
    for document in DOCUMENTS:
        yield from codes_of(document.relative_to(ROOT).as_posix(), document.read_text(encoding="utf-8"))


def codes_of(file: str, source: str) -> Iterator[Code]:
    """All code of a document, in its order."""
    lines = source.splitlines()
    first = last = 0
    for token in MarkdownIt("commonmark").enable("table").parse(source):
        if token.map is not None:
            first, last = token.map
        if token.type == "fence":
            yield Code(file, first + 2, token.content, token.info.strip())
        elif token.type == "inline":
            block = "\n".join(lines[first:last])
            read = 0
            for child in token.children or ():
                if child.type == "code_inline":
                    # Where the line was broken, the parser has a space.
                    words = r"\s+".join(map(re.escape, child.content.split()))
                    found = re.compile(rf"`\s*{words}\s*`").search(block, read)
                    read, line = (found.end(), block.count("\n", 0, found.start())) if found else (read, 0)
                    yield Code(file, first + line + 1, child.content)


@dataclass(frozen=True, slots=True)
class Asked:
    """A method and a path of the HTTP API, whose `{names}` are to be filled in."""

    place: str
    method: str
    path: str


def asked(found: list[Code]) -> Iterator[Asked]:
    """What code within sentences asks of the API.

    `[/{function}]` is a path with and one without it. `…/cancel` goes on from the path before it, or takes the place of
    its last part; then both are given, joined by `|`.
    """
    before = Asked("", "GET", "")
    for code in found:
        read = re.fullmatch(rf"(?:({METHODS}) )?((?:/healthz|/openapi\.json|/v1/|…/)\S*)", code.text)
        if code.language is not None or read is None:
            continue
        method, path = read[1] or before.method, read[2]
        if path.startswith("…"):
            path = f"{before.path}{path[1:]}|{before.path.rpartition('/')[0]}{path[1:]}"
        else:
            before = Asked(code.place, method if read[1] else "GET", path)
            method = before.method
        without = re.sub(r"\[[^]]*\]", "", path)
        for each in dict.fromkeys((path.replace("[", "").replace("]", ""), without)):
            yield Asked(code.place, method, each)


def command_lines(code: Code) -> Iterator[tuple[str, str]]:
    """Each command of a block for the shell, with its place."""
    text = code.text
    for number, line in enumerate(re.sub(r"\\\n", "  ", text).splitlines()):
        for command in re.split(r"\s+&&\s+", line):
            if command.strip() and not command.lstrip().startswith("#"):
                yield f"{code.file}:{code.line + number}", command.strip()
