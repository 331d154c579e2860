"""What each kind of queue has, and calls things: the headers of the files of `secateur.engines.foreign`.

Such a file begins with lines `-- key: value`; docs/engines.md explains them. Every queue needs those of all the others:
a refusal says who has the field that it lacks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

from secateur.cel.words import RUN_FIELDS, QueueWords

if TYPE_CHECKING:
    from secateur.cel import Filter

PACKAGE = "secateur.engines.foreign"
OWN = "secateur's own queue"
NO_FIELDS: Mapping[str, str] = MappingProxyType({})

_LINE = re.compile(r"^-- ([a-z]+): +(\S.*?) *$")


@cache
def headers() -> Mapping[str, Mapping[str, str]]:
    """The header of every kind of queue, by the name of its file."""
    found = sorted(path.name for path in files(PACKAGE).iterdir() if path.name.endswith(".sql"))
    read = {name: header_of(files(PACKAGE).joinpath(name).read_text(encoding="utf-8")) for name in found}
    return {name: header for name, header in read.items() if "engine" in header}


def header_of(text: str) -> Mapping[str, str]:
    """The lines up to the first that has another form."""
    header: dict[str, str] = {}
    for line in text.splitlines():
        if (found := _LINE.match(line)) is None or found[1] == "name":
            break
        header[found[1]] = found[2]
    return header


def fields_of(header: Mapping[str, str]) -> Mapping[str, str]:
    """Which of the `RUN_FIELDS` the queue has, and what its users call each: `fields: queue, tags = labels`."""
    named = [each.partition(" = ") for each in header.get("fields", "").split(", ") if each]
    return {field: own or field for field, _, own in named}


def words_of_queue(queue: str, data: str | None = None, fields: Mapping[str, str] = NO_FIELDS) -> QueueWords:
    """The words of a queue that has these fields. `queue` is how messages call it, `data` its word for `event.data`."""
    elsewhere = tuple(
        (field, tuple(header["engine"] for header in headers().values() if field in fields_of(header)))
        for field in RUN_FIELDS
        if field not in fields
    )
    return QueueWords(queue, data, tuple(fields.items()), elsewhere)


def require_fields(filter: Filter | None, words: QueueWords) -> None:
    """Raises `ExpressionError` for a filter that reads a field of a run which the queue does not have."""
    if filter is not None and not filter.run_fields <= {field for field, _ in words.fields}:
        from secateur.cel import SEARCH, compile  # loaded already: the filter came out of it

        compile(filter.source, SEARCH.of_queue(words))


def fields_of_run(fields: Iterable[str]) -> str:
    """SQL for these fields of a `run`, as one JSON object."""
    named = ", ".join(f"'{name}', run.{name}" for name in fields)
    return f"jsonb_build_object({named})"
