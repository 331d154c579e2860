"""What the console draws where there is nothing but ASCII."""

from __future__ import annotations

from pathlib import Path

from rich.cells import cell_len

from secateur_tui.frame.ascii_only import in_ascii

SOURCES = sorted(Path("tui").rglob("*.py"))


def test_every_sign_of_the_console_has_one_in_ascii() -> None:
    signs = {sign for path in SOURCES for sign in path.read_text() if not sign.isascii()}
    assert len(signs) > 20
    assert {sign for sign in signs if "?" in in_ascii(sign)} == set()


def test_everything_stays_as_wide_as_it_was() -> None:
    for text in ("Bücher", "日本", "é", "é", "🔥 vendor", "⣿⠁", "│ ✓ 3 · 50 % │", "\u200b"):
        assert in_ascii(text).isascii()
        assert len(in_ascii(text)) == cell_len(text), text
    assert in_ascii("Bücher 日") == "Bucher ??"
