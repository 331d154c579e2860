"""A payload as JSON that folds: what is open, what a row says, and how long it may take."""

from __future__ import annotations

import json
import time

from secateur_tui.frame.payload_tree import MOST_MEMBERS, OPEN_LINES, Line, _lines, json_text, opened_at_first, written


def test_a_small_payload_is_open() -> None:
    payload = {"data": {"items": [{"sku": "a"}], "amount": 3}, "name": "x"}
    lines = list(_lines(payload, opened_at_first(payload)))
    assert [line.path for line in lines] == [
        ("data",),
        ("data", "items"),
        ("data", "items", 0),
        ("data", "items", 0, "sku"),
        ("data", "amount"),
        ("name",),
    ]


def test_a_large_one_opens_level_by_level() -> None:
    payload = {f"part {number}": {f"key {key}": key for key in range(20)} for number in range(10)}
    lines = list(_lines(payload, opened_at_first(payload)))
    assert 10 < len(lines) <= OPEN_LINES


def test_more_members_than_are_listed_are_told() -> None:
    payload = {"ids": list(range(MOST_MEMBERS + 7))}
    lines = list(_lines(payload, {(), ("ids",)}))
    assert lines[-1] == Line(("ids", MOST_MEMBERS), None, 7)


def test_a_megabyte_is_laid_out_in_a_moment() -> None:
    payload = {"data": {"text": "x" * 1_000_000, "rows": [{"id": number} for number in range(50_000)]}}
    began = time.process_time()
    lines = list(_lines(payload, opened_at_first(payload)))
    assert time.process_time() - began < 0.1
    assert len(lines) <= OPEN_LINES


def test_values_are_json_and_paths_are_expressions() -> None:
    assert json_text({"a": None, "b": [True, 1.5, 'say "hi"']}) == '{"a": null, "b": [true, 1.5, "say \\"hi\\""]}'
    assert json.loads(json_text("tab\tü")) == "tab\tü"
    assert written(("data", "items", 0, "unit price")) == "event.data.items[0].`unit price`"
    assert written(()) == "event"
