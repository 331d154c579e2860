"""The corpus files that pair sources with what becomes of them.

A block begins with a source, each line after `> `; what follows, up to the next block, is the expected text.
"""

from __future__ import annotations

from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")


def blocks(name: str) -> list[tuple[str, str]]:
    found: list[tuple[list[str], list[str]]] = []
    for line in (CORPUS / name).read_text(encoding="utf-8").split("\n"):
        if line.startswith("> "):
            if not found or found[-1][1]:
                found.append(([], []))
            found[-1][0].append(line[2:])
        elif found and (line or found[-1][1]):
            found[-1][1].append(line)
    return [("\n".join(source), "\n".join(expected).rstrip("\n")) for source, expected in found]
