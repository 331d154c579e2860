"""Fields, types and values of a sample of payloads, in bounded memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from backlog import summarise
from hypothesis import given
from hypothesis import strategies as st

from secateur.cel import compile
from secateur.cel.authoring import shapes
from secateur.cel.paths import EACH, fields_read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


def test_fields_with_types_and_shares() -> None:
    shape = summarise([{"data": {"amount": 1, "vip": True}}, {"data": {"amount": 1.5}}, {"data": {"amount": "1"}}, 7])
    amount = shape.fields["data", "amount"]
    assert (amount.count, amount.of, amount.share) == (3, 4, 0.75)
    assert dict(amount.types) == {"double": 1, "int": 1, "string": 1}
    assert shape.fields["data", "vip"].types == {"bool": 1}
    assert [field.path[-1] for field in shape.children(("data",))] == ["amount", "vip"]
    assert shape.fields[()].types == {"map": 3, "int": 1}
    assert shape.knows(("data",))
    assert not shape.knows(("data", "amount"))
    assert not shape.knows(("nothing",))


def test_values_by_frequency() -> None:
    shape = summarise([{"v": vendor} for vendor in ["acme"] * 3 + ["globex"] * 5 + [True, 1]])
    field = shape.fields["v",]
    assert field.values == (("globex", 5), ("acme", 3), (1, 1), (True, 1))
    assert field.all_values


def test_ids_have_no_values_worth_naming() -> None:
    field = summarise([{"id": f"run-{n}"} for n in range(1_000)]).fields["id",]
    assert field.values == ()
    assert not field.all_values
    few = summarise([{"id": f"run-{n}"} for n in range(10)]).fields["id",]
    assert few.values == ()
    assert not few.all_values


def test_the_flood_is_found_among_many_values() -> None:
    payloads = [{"v": "acme" if n % 4 == 0 else f"vendor-{n}"} for n in range(10_000)]
    field = summarise(payloads).fields["v",]
    assert [value for value, _ in field.values] == ["acme"]
    assert 2_000 <= field.values[0][1] <= 2_500
    assert not field.all_values


def test_elements_of_lists() -> None:
    shape = summarise([{"items": [{"sku": "a"}, {"sku": "b", "gift": True}]}, {"items": []}])
    assert shape.fields["items", EACH].count == 2
    gift = shape.fields["items", EACH, "gift"]
    assert (gift.count, gift.of) == (1, 2)


def test_objects_with_data_for_keys_are_not_gone_into() -> None:
    shape = summarise([{"by_id": {f"id-{n}": 1 for n in range(shapes.MAX_KEYS + 1)}}])
    assert shape.children(("by_id",)) == ()
    assert not shape.knows(("by_id",))


def test_memory_is_bounded() -> None:
    payloads = ({f"key-{n}-{m}": f"value-{n}" * 5 for m in range(100)} for n in range(1_000))
    tracemalloc.start()
    shape = summarise(payloads)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(shape.fields) == shapes.MAX_PATHS
    assert shape.sampled == 1_000
    assert not shape.knows(())
    assert peak < 20_000_000


@given(st.lists(JSON, max_size=10))
def test_any_payloads(payloads: list[Any]) -> None:
    shape = summarise(payloads)
    assert shape.sampled == len(payloads)
    for path, field in shape.fields.items():
        assert 0 < field.count <= field.of
        assert sum(field.types.values()) == field.count
        assert not path or field in shape.children(path[:-1])


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("event.data.b == 1 && has(event.data.a)", [("data", "b"), ("data", "a")]),
        ("has(event.data) && event.data.a == 1", [("data", "a")]),
        ("event.data.items.exists(item, item.amount > 1)", [("data", "items")]),
        ("event.exists(key, event[key] == 1)", []),
    ],
)
def test_the_fields_that_a_filter_reads(source: str, fields: list[tuple[str, ...]]) -> None:
    """Some field of the event, without its name, is none."""
    assert fields_read(compile(source).expression) == fields
