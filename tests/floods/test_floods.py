"""Of floods whose cause is known, the cause is suggested: judged on events that were not sampled."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
import realistic
import synthetic
from synthetic import Flood

from secateur.cel import EvaluationError, Filter
from secateur.cel import compile as compile_source
from secateur.looking.conditions import Condition
from secateur.looking.contrasts import Contrast
from secateur.looking.recounting import is_sure
from secateur.looking.suggested_filters import Search, suggested_filters

FLOODS = int(os.environ.get("SECATEUR_FLOODS", "6"))
"""Of each generator; `make floods` tries many."""

SAMPLED = int(os.environ.get("SECATEUR_FLOOD_RUNS", "1500"))
"""Events of the flood, and of the baseline."""

MORE = 4 * SAMPLED
"""Events that are counted in a second look, of each."""

WANTED = 0.97
"""Precision and recall of a right filter."""

FOUND = 0.95 if FLOODS >= 100 else 0.8
"""Floods of which one of the three filters must be right; of a few, all but one."""


def judge(filter_: Filter, flood: Flood) -> tuple[float, float]:
    """Precision and recall of the filter on what arrives, beside the cause itself."""
    hits = right = caused = 0
    for event in flood.unseen:
        hit, cause = matches(filter_, event), flood.is_of(event)
        hits += hit
        caused += cause
        right += hit and cause
    return right / max(1, hits), right / max(1, caused)


def second_look(search: Search, flood: Flood) -> list[Condition] | None:
    """As `secateur.looking.recounting` takes it in the database."""
    if is_sure(search.best()):
        return None
    looks = [Look(events) for events in flood.more(MORE)]
    found = [each.counted(*(look.count(each) for look in looks), MORE, MORE) for each in search.candidates()]
    return found or None


class Look:
    """How many events match. Many conditions share a conjunct, which is evaluated once."""

    def __init__(self, events: list[Any]) -> None:
        self._events = events
        self._known: dict[str, list[bool]] = {}

    def count(self, condition: Condition) -> int:
        return sum(map(all, zip(*(self._matching(each.source) for each in condition.conjuncts), strict=True)))

    def _matching(self, source: str) -> list[bool]:
        if source not in self._known:
            filter_ = compile_source(source)
            self._known[source] = [matches(filter_, event) for event in self._events]
        return self._known[source]


def matches(filter_: Filter, event: Any) -> bool:
    try:
        return filter_.evaluate({"event": event}) is True
    except EvaluationError:
        return False


def suggested(flood: Flood) -> list[tuple[str, float, float]]:
    """The filters that are suggested for the flood, each with its precision and recall."""
    arrivals, baseline = [{"event": event} for event in flood.arrivals], [{"event": e} for e in flood.baseline]
    search = Search(Contrast(flood.arrivals, flood.baseline))
    suggestions = suggested_filters(search, arrivals, baseline, second_look(search, flood))
    return [(each.filter.source, *judge(each.filter, flood)) for each in suggestions]


def is_right(judged: list[tuple[str, float, float]]) -> bool:
    return any(precision >= WANTED and recall >= WANTED for _, precision, recall in judged)


@pytest.mark.parametrize("generator", [synthetic, realistic], ids=["synthetic", "realistic"])
def test_the_cause_is_among_the_suggestions(generator: Any) -> None:
    found: Counter[str] = Counter()
    of: Counter[str] = Counter()
    missed: list[str] = []
    for seed in range(FLOODS):
        flood = generator.make_flood(seed, SAMPLED)
        judged = suggested(flood)
        of[flood.kind] += 1
        found[flood.kind] += is_right(judged)
        if not is_right(judged):
            usual = sum(map(flood.is_of, flood.baseline)) / SAMPLED
            lines = "".join(f"\n    {source}: {precision:.3f}, {recall:.3f}" for source, precision, recall in judged)
            missed.append(f"{seed} {flood.kind}, {flood.share:.1%} (usual {usual:.1%}): {flood.cause}{lines}")
            print(missed[-1], flush=True)
    print("\n" + "\n".join(f"{kind:30} {found[kind]:4} of {of[kind]:4}" for kind in of))
    print(f"{'all':30} {found.total():4} of {FLOODS:4}")
    assert found.total() >= FOUND * FLOODS, "\n".join(missed)
