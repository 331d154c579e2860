"""Expressions × payloads at random: SQL, evaluator and Google's implementation agree in value, type and error.

A modest number in every run of the tests, always the same ones; `make fuzz` draws new ones for as long as
SECATEUR_FUZZ_EXPRESSIONS says.
"""

from __future__ import annotations

import asyncio
import os
import re
from itertools import cycle

import pytest
from google_cel import GoogleCel
from hypothesis import HealthCheck, Phase, given, settings
from sides import Sides
from strategies import Trial, trials

from secateur.cel.sql.columns import COLUMNS_OF_PARTS

MODEST = 200
VARIABLE = "SECATEUR_FUZZ_EXPRESSIONS"
"""How many expressions, each with up to `PER_EXPRESSION` payloads."""

PER_EXPRESSION = 20

_wanted = os.environ.get(VARIABLE)
_settings = settings(
    max_examples=int(_wanted or MODEST),
    derandomize=_wanted is None,
    database=None,
    deadline=None,
    print_blob=False,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(0 if _wanted else 120)
def test_everybody_agrees(embedded_url: str) -> None:
    google = GoogleCel.if_installed()
    with asyncio.Runner() as runner:
        sides = runner.run(Sides.connect(embedded_url))
        try:

            @_settings
            @given(trials(PER_EXPRESSION))
            def agree(trial: Trial) -> None:
                differences = runner.run(sides.differences(trial.source, trial.payloads))
                if google is not None:
                    differences += google.differences(trial.source, trial.payloads)
                assert not differences, f"{trial.source}\n" + "\n".join(differences[:5])

            agree()
        finally:
            theirs = google.pairs if google else 0
            print(
                f"\n{sides.pairs:,} pairs ({sides.filters:,} of filters), {theirs:,} also with Google's implementation"
            )
            runner.run(sides.close())


@pytest.mark.timeout(0 if _wanted else 120)
def test_both_agree_on_an_event_that_arrives(embedded_url: str) -> None:
    """Some of what the expression reads is read of `async` instead: the first payload."""
    with asyncio.Runner() as runner:
        sides = runner.run(Sides.connect(embedded_url))
        try:

            @_settings
            @given(trials(PER_EXPRESSION))
            def agree(trial: Trial) -> None:
                source = re.sub(r"\bevent\.data\.([ysil])\b", r"async.data.\1", trial.source)
                differences = runner.run(sides.differences(source, trial.payloads, trial.payloads[0]))
                assert not differences, f"{source}\n" + "\n".join(differences[:5])

            agree()
        finally:
            print(f"\n{sides.pairs:,} pairs ({sides.filters:,} of filters)")
            runner.run(sides.close())


@pytest.mark.timeout(0 if _wanted else 120)
def test_both_agree_on_an_event_in_parts(embedded_url: str) -> None:
    """The event's name and data are columns. Every second text that is read is the name."""
    with asyncio.Runner() as runner:
        sides = runner.run(Sides.connect(embedded_url, COLUMNS_OF_PARTS))
        try:

            @_settings
            @given(trials(PER_EXPRESSION))
            def agree(trial: Trial) -> None:
                texts = cycle(("event.name", "event.data.s"))
                source = re.sub(r"\bevent\.data\.s\b", lambda _: next(texts), trial.source)
                differences = runner.run(sides.differences(source, trial.payloads))
                assert not differences, f"{source}\n" + "\n".join(differences[:5])

            agree()
        finally:
            print(f"\n{sides.pairs:,} pairs ({sides.filters:,} of filters)")
            runner.run(sides.close())
