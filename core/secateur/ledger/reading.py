"""Records from the database's JSON, one by one: an odd row is shown as far as it can be, and hides no other.

Rows are odd that an older program, or somebody past the queue's functions, has written: with times outside of the
calendar, a request that is no object, texts of megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from secateur.bounds import LONGEST_NAME, LONGEST_REASON
from secateur.instants import OddTime, read_instant

if TYPE_CHECKING:
    from pydantic import BaseModel

Record = TypeVar("Record", bound="BaseModel")

LONGEST = {
    "if_": 40_000,
    "reason": LONGEST_REASON,
    "created_by": LONGEST_NAME,
    "stopped_by": LONGEST_NAME,
    "undone_by": LONGEST_NAME,
    "author": LONGEST_NAME,
    "source": LONGEST_NAME,
    "idempotency_key": 1000,
}
"""The most characters of a text that are shown. No text that the functions accepted is longer."""

_STAND_INS: Mapping[str, Any] = {"int_": 0, "bool": False, "string": "", "dict": {}, "list": [], "model": {}}
"""Values for odd fields. The key is how pydantic's name of the error begins."""


def read_record(model: type[Record], fields: Mapping[str, Any], moments: Sequence[str]) -> tuple[Record, list[str]]:
    """The record, and the names of the fields in which it is odd; `moments` are its times.

    A time that is odd is an `OddTime`, a text that is too long is cut, and what has another type than it should is
    left out, or empty where it must be there.
    """
    from pydantic import ValidationError

    values = dict(fields)
    times = {name: read_instant(values[name]) for name in moments if isinstance(values.get(name), str)}
    odd = {name for name, moment in times.items() if isinstance(moment, OddTime)}
    values |= times
    for name, longest in LONGEST.items():
        text = values.get(name)
        if isinstance(text, str) and len(text) > longest:
            values[name] = f"{text[: longest - 1]}…"
            odd.add(name)
    try:
        record = model.model_validate(values)
    except ValidationError as error:
        for fault in error.errors():
            name = str(fault["loc"][0])
            odd.add(name)
            if not model.model_fields[name].is_required():
                values.pop(name, None)
            elif len(fault["loc"]) > 1:
                values[name] = {}
            else:
                values[name] = _stand_in(fault["type"])
        record = model.model_validate(values)
    for name, moment in times.items():
        setattr(record, name, moment)  # validation makes a plain time of it
    return record, sorted(odd)


def _stand_in(fault: str) -> Any:
    if fault.startswith(("datetime", "timezone", "date")):
        return datetime.min
    return next((value for kind, value in _STAND_INS.items() if fault.startswith(kind)), "")
