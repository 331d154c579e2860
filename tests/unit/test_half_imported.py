"""Modules that another thread is importing at this moment: they are there, and hold nothing yet."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from textual.widget import Widget

from secateur.spans import traceparent, tracer
from secateur_tui.frame.text_fields import is_text_field


def test_no_widget_is_a_text_area_before_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual.widgets._text_area", ModuleType("textual.widgets._text_area"))
    assert not is_text_field(Widget())


def test_no_tracer_is_asked_for_before_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    half = ModuleType("opentelemetry.trace")
    vars(half)["get_tracer"] = None
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", half)
    assert tracer() is None
    assert traceparent() is None
