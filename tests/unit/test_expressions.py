"""Expressions that were used, and filters that were saved: kept for the next console, bounded, never in the way."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from secateur.errors import SecateurError
from secateur_tui import expressions
from secateur_tui.expressions import Expressions, Kept, of_user


def used(if_: str, function_id: str | None = "f") -> Kept:
    return Kept("app", function_id, if_)


async def again(path: Path, context: str = "prod") -> list[str]:
    """What another console finds."""
    other = Expressions(path, context)
    await other.load()
    return [each.if_ for each in other.kept]


async def test_the_newest_is_first_and_each_is_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "state" / "expressions.sqlite3"
    one = Expressions(path, "prod")
    for expression in ("a", "b", "c", "a"):
        await one.keep(used(expression))
    assert [each.if_ for each in one.kept] == ["a", "c", "b"]
    assert await again(path) == ["a", "c", "b"]
    assert await again(path, "staging") == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_saved_filter_is_replaced_by_one_of_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "expressions.sqlite3"
    one = Expressions(path, "prod")
    await one.keep(used("later"))
    await one.keep(Kept("app", None, "old", name="loop"))
    await one.keep(Kept("app", None, "new", "-2h", "", name="loop"))
    other = Expressions(path, "prod")
    await other.load()
    assert [(each.name, each.if_, each.started_after) for each in other.kept] == [
        ("loop", "new", "-2h"),
        ("", "later", ""),
    ]


async def test_consoles_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "expressions.sqlite3"
    consoles = [Expressions(path, "prod") for _ in range(8)]
    await asyncio.gather(*(each.keep(used(f"e{number}")) for number, each in enumerate(consoles)))
    assert sorted(await again(path)) == [f"e{number}" for number in range(8)]


async def test_what_is_used_is_bounded_and_what_is_saved_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expressions, "MOST_OF_SCOPE", 2)
    monkeypatch.setattr(expressions, "MOST", 3)
    path = tmp_path / "expressions.sqlite3"
    one = Expressions(path, "prod")
    await one.keep(Kept("app", "f", "saved", name="mine"))
    for expression in ("a", "b", "c"):
        await one.keep(used(expression))
    assert await again(path) == ["saved", "c", "b"]
    for function_id in ("g", "h"):
        await one.keep(used("d", function_id))
    assert await again(path) == ["saved", "d", "d", "c"]


@pytest.mark.parametrize("spoil", ["no directory", "no database"])
async def test_a_file_that_cannot_be_used_is_told_of(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "expressions.sqlite3"
    if spoil == "no directory":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "expressions.sqlite3"
    else:
        path.write_text("this is no database, and long enough to be taken for one" * 100)
    one = Expressions(path, "prod")
    with pytest.raises(SecateurError, match=r"expressions cannot be kept in .*expressions\.sqlite3"):
        await one.keep(used("a"))
    assert [each.if_ for each in one.kept] == ["a"], "for this console it is there"


async def test_the_user_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    await of_user("prod").keep(used("a"))
    assert (tmp_path / "secateur" / "expressions.sqlite3").exists()
