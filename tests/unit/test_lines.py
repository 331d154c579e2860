"""Texts that are fitted into a number of cells."""

from __future__ import annotations

import pytest

from secateur.words.lines import cells, shorten_middle_to


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("vendor-syncs", 12, "vendor-syncs"),
        ("function-number-2999", 15, "functio…er-2999"),
        ("function-number-2999", 2, "f…"),
        ("function-number-2999", 1, "…"),
        ("a\nb", 4, "a\\nb"),
    ],
)
def test_what_is_too_long_loses_its_middle(text: str, width: int, shown: str) -> None:
    assert shorten_middle_to(text, width) == shown


@pytest.mark.parametrize("width", range(1, 14))
def test_wide_characters_never_take_more_than_the_width(width: int) -> None:
    assert cells(shorten_middle_to("課金システム同期", width)) <= width
