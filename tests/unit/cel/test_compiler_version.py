"""A version of the compiler writes the same SQL for ever: records are compared with what it writes now."""

from __future__ import annotations

import hashlib
import json

from blocks import CORPUS

from secateur.cel import COMPILER_VERSION, compile


def test_the_same_version_writes_the_same_sql() -> None:
    """Otherwise whoever looks at an older record is told that it is not by secateur's compiler.

    When this fails because the SQL is meant to be other: raise `COMPILER_VERSION` and the bounds of `compiler` in
    records.sql and declaring.sql, and write the new version's file.
    """
    kept: dict[str, str] = json.loads((CORPUS / f"compiled_by_{COMPILER_VERSION}.json").read_text(encoding="utf-8"))
    assert len(kept) > 400
    assert [source for source, digest in kept.items() if compiled(source) != digest] == []


def compiled(source: str) -> str:
    """A digest of all that a cancellation keeps."""
    filter = compile(source)
    requirement = None if filter.requirement is None else [filter.requirement.stored(), filter.requirement.suffices]
    return hashlib.sha256(json.dumps([filter.condition.stored(), requirement]).encode()).hexdigest()[:16]
