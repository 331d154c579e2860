"""Which of the conditions that a search finds are suggested."""

from __future__ import annotations

from dataclasses import replace

from secateur.looking.conditions import Condition, chosen, evidence
from secateur.looking.conjuncts import Conjunct
from secateur.looking.contrasts import Extent

RUNS = 10_000


def condition(flood: int, baseline: int, *kinds: str) -> Condition:
    """True of the first so many events; each conjunct is of a field of its own."""
    extent = Extent((1 << flood) - 1, (1 << baseline) - 1)
    parts = tuple(
        Conjunct((f"field{number}",), kind, f"event.field{number} == {flood}", flood, extent, 1.0)
        for number, kind in enumerate(kinds)
    )
    found = Condition(parts, extent, float(len(parts)), 0.0, 0.0, (0, 0, 0, 0))
    return found.counted(flood, baseline, RUNS, RUNS)


def test_evidence_is_of_what_is_more_frequent_in_the_flood() -> None:
    assert evidence(10, 10, 100, 100) == evidence(5, 10, 100, 100) == 0
    assert 0 < evidence(20, 10, 100, 100) < evidence(200, 100, 1000, 1000)
    assert evidence(100, 0, 100, 100) > 100


def test_the_widest_range_that_has_more_than_usual_is_suggested_beside_the_most_telling() -> None:
    narrow, flood, too_wide = condition(600, 5, "range"), condition(1400, 400, "range"), condition(2200, 1300, "range")
    assert chosen([narrow, flood, too_wide])[:2] == [narrow, flood]
    as_usual = condition(1500, 1005, "range")
    assert chosen([narrow, as_usual]) == [narrow]


def test_a_narrower_condition_that_is_nearly_as_good_is_suggested() -> None:
    pair, triple, weaker = (
        condition(210, 9, "value", "value"),
        condition(195, 3, *["value"] * 3),
        condition(60, 20, "null"),
    )
    assert chosen(sorted([triple, pair, weaker], key=lambda each: -each.score))[0] in (pair, triple)
    suggested = chosen([pair, weaker, triple])
    assert suggested[0] is pair
    assert triple in suggested[:3]
    assert condition(30, 0, *["value"] * 3) not in chosen([pair, condition(30, 0, *["value"] * 3)])


def test_nothing_is_chosen_of_nothing() -> None:
    assert chosen([]) == []


def test_a_condition_with_clearly_more_excess_is_suggested_rather_than_a_narrower_one() -> None:
    """What was never usual tells most, even if only a part of the flood is like that."""
    never_usual = condition(260, 0, "size")
    wide, narrower = condition(9000, 8800, "size"), condition(240, 0, "size", "present")
    cause = replace(condition(2400, 1450, "value"), conjuncts=condition(2400, 1450, "null", "value").conjuncts[1:])
    found = sorted([never_usual, wide, narrower, cause], key=lambda each: -each.score)
    assert found[0] is never_usual
    assert cause in chosen(found)[:3]
    # With nothing else, the narrower one has its place.
    assert narrower in chosen([never_usual, narrower])[:3]


def test_a_shorter_condition_that_describes_as_much_is_suggested() -> None:
    """A field that merely goes with the flood makes the best condition too narrow."""
    both = condition(700, 50, "value", "value")
    single = replace(condition(880, 250, "value"), conjuncts=both.conjuncts[:1])
    triple = condition(600, 30, *["value"] * 3)
    other = replace(condition(690, 60, "suffix"), conjuncts=condition(690, 60, "null", "null", "suffix").conjuncts[2:])
    found = sorted([both, single, triple, other], key=lambda each: -each.score)
    assert found[0] is both
    assert single in chosen(found)[:3]


def test_what_is_chosen_is_chosen_once() -> None:
    found = [condition(600, 5, "range"), condition(1400, 400, "range"), condition(590, 4, "range", "value")]
    chosen_ones = chosen(found)
    assert len(chosen_ones) == len({id(each) for each in chosen_ones})
