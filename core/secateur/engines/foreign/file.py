"""What secateur knows of one kind of queue: its SQL file, `<engine>.sql` beside this module.

The file begins with a header of lines `-- key: value`, and goes on with named statements. Both are explained in
docs/engines.md, for whoever wants to add another kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from secateur.cel.words import RUN_FIELDS, QueueWords
from secateur.engines.words import PACKAGE, fields_of, fields_of_run, header_of, headers, words_of_queue
from secateur.postgres.statements import Statements

_KEYS = frozenset({"engine", "home", "prefix", "tried", "ids", "word", "fields", "stops", "priority", "claims"})
_IDS = {
    "bigint": (re.compile(r"0|[1-9][0-9]{0,17}"), "must be a whole number"),
    "uuid": (re.compile(r"(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "must be a UUID"),
    "text": (re.compile(r"[^\x00\s](?:[^\x00]{0,498}[^\x00\s])?"), "must be a text of 1 to 500 characters"),
}


@dataclass(frozen=True, slots=True)
class EngineFile:
    """One kind of queue."""

    engine: str
    """Its name, such as `procrastinate`."""
    stem: str
    """What its file and its page in docs/engines are called, such as `graphile_worker`."""
    home: str
    """The schema that it is usually in. An installation there goes by the engine's name alone."""
    prefix: str
    """What its tables' names usually begin with, where its users choose that; else empty."""
    tried: str
    """The versions that the statements were tried with, in words."""
    ids: str
    """The type of its ids: `bigint`, `uuid` or `text`."""
    word: str | None
    """What its users call `event.data`, such as `args`."""
    fields: Mapping[str, str]
    """Which of the `RUN_FIELDS` it has, as columns of its source, and what its users call each."""
    stops: str | None
    """When a running run that was asked to stop does so, as the end of “it stops at its …”; None if it never does."""
    priority: str | None
    """Which number is claimed first: `higher` or `lower`; None if it has no priorities."""
    claims: str | None
    """`one` if a claim is of one job; None if it may be of several."""
    statements: Mapping[str, str]

    @property
    def has_prefixes(self) -> bool:
        """Its users choose what its tables' names begin with."""
        return any("{prefix}" in statement for statement in self.statements.values())

    @property
    def words(self) -> QueueWords:
        return words_of_queue(self.engine, self.word, self.fields)

    @property
    def more_columns(self) -> Iterator[str]:
        """What to select besides the columns that every queue has."""
        source = self.statements["source"]
        yield from (f"run.{name}" for name in ("lost", "lease_expires_at") if f" as {name}" in source)
        if self.fields:
            yield f"{fields_of_run(self.fields)} as fields"

    def problem_of_run_id(self, run_id: str) -> str | None:
        """Why that cannot be the id of a run; None where it can be."""
        form, problem = _IDS[self.ids]
        return None if form.fullmatch(run_id) else problem


@cache
def engine_files() -> Mapping[str, EngineFile]:
    """Every kind of queue that secateur knows besides its own, by name."""
    return {each.engine: each for each in map(read_file, headers())}


def read_file(name: str) -> EngineFile:
    """Raises `ValueError` for a file that does not have the format."""
    text = files(PACKAGE).joinpath(name).read_text(encoding="utf-8")
    header = header_of(text)
    if not header.keys() <= _KEYS:
        raise ValueError(f"{name}: unknown in the header: {', '.join(sorted(header.keys() - _KEYS))}")
    if header["ids"] not in _IDS:
        raise ValueError(f"{name}: ids must be one of {', '.join(_IDS)}")
    fields = fields_of(header)
    if not fields.keys() <= {*RUN_FIELDS}:
        raise ValueError(f"{name}: fields must be of {', '.join(RUN_FIELDS)}")
    return EngineFile(
        engine=header["engine"],
        stem=name.removesuffix(".sql"),
        home=header["home"],
        prefix=header.get("prefix", ""),
        tried=header["tried"],
        ids=header["ids"],
        word=header.get("word"),
        fields=fields,
        stops=header.get("stops"),
        priority=header.get("priority"),
        claims=header.get("claims"),
        statements=Statements(text, f"{PACKAGE}/{name}"),
    )
