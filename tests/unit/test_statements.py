"""Files of named SQL: what is read, and what is refused."""

from __future__ import annotations

import pytest

from secateur.postgres.statements import Statements

TEXT = """-- What the file is about.

-- name: one
-- Why one.
select 1;

-- name: two_rows
select 1
union all
select 2
"""


def test_splits_by_name_and_keeps_the_comment() -> None:
    assert dict(Statements(TEXT, "text")) == {
        "one": "-- Why one.\nselect 1",
        "two_rows": "select 1\nunion all\nselect 2",
    }


def test_an_unknown_name_says_where_it_was_looked_for() -> None:
    with pytest.raises(KeyError, match=r"native\.sql has no statement `three`"):
        Statements(TEXT, "native.sql")["three"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("select 1", "SQL before the first"),
        ("-- name: a\nselect 1\n-- name: a\nselect 2", "`a` is defined twice"),
        ("-- name: a\n-- nothing\n-- name: b\nselect 2", "`a` has no SQL"),
    ],
)
def test_refuses_what_has_not_the_format(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Statements(text, "text")
