"""The tables of the queues: their indexes, their dead rows, and the space that they waste."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from secateur.doctor.findings import SQL, Finding, Patient, Severity
from secateur.engines.foreign.discovery import installations
from secateur.engines.indexing import FilterIndexes
from secateur.errors import DatabaseError
from secateur.instants import utc
from secateur.schema.expected import TableParts, expected_indexes, expected_tables, expected_triggers
from secateur.schema.migrations import Part, bundled, parts_of
from secateur.words.figures import number
from secateur.words.shell import command_line

UNUSED = timedelta(days=7)
"""How long an index may wait for its first use."""

MANY_DEAD = 10_000
"""Dead rows that are too few to matter."""

WASTED_BYTES, WASTED_TIMES = 32 * 2**20, 3
"""A table or an index is bloated if it is that much larger, and that many times as large, as it needs to be."""

OLD_AGE, TOO_OLD_AGE = 1_000_000_000, 1_900_000_000
"""Transactions since a table was last frozen. At two billion, Postgres stops to write."""


async def _tables_of_others(patient: Patient) -> list[int]:
    """The object ids of the tables that hold the jobs of other engines' queues."""
    found: list[int] = []
    for each in await installations(patient.database):
        if "table" not in each.file.statements or not each.is_usable:
            continue
        for sql in each.each("table"):
            try:
                found.append(await patient.database.fetchval(f"select ({sql})::oid", repeatable=True))
            except DatabaseError:
                continue  # its queue's own check says what is wrong
    return found


async def tables(patient: Patient) -> list[Finding]:
    rows = await patient.database.fetch(SQL["weakened"], repeatable=True)
    weakened = dict.fromkeys((row["summary"], row["advice"]) for row in rows)
    there = {row["name"] for row in await patient.database.fetch(SQL["triggers"], repeatable=True)}
    parts = await _parts(patient)
    for name, definition in expected_triggers(parts).items():
        if name not in there:
            weakened[f"trigger {name} is missing, so what it refuses is written", definition] = None
    members = {(row["table"], row["name"]) for row in await patient.database.fetch(SQL["members"], repeatable=True)}
    weakened |= dict.fromkeys(_lost_members(expected_tables(parts), members))
    if not weakened:
        said = "whole and logged, no trigger missing or constraint disabled, and no row hidden"
        return [Finding("tables", Severity.OK, said)]
    return [
        Finding("tables", Severity.ERROR, summary, f"as the schema's owner: {advice}") for summary, advice in weakened
    ]


def _lost_members(expected: Mapping[str, TableParts], there: Collection[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What columns and constraints are missing, and how to make them again."""
    for table, wanted in expected.items():
        if not any(each[0] == table for each in there):
            yield f"secateur.{table} is missing: what it kept is in a backup only", "restore the table from a backup"
            continue
        lost = {name: sql for name, sql in wanted.columns.items() if (table, name) not in there}
        for name, definition in lost.items():
            summary = f"column {name} of secateur.{table} is missing: what it kept is in a backup only"
            yield summary, f"alter table secateur.{table} add column {definition}"
        for name, definition in wanted.constraints.items():
            if (table, name) in there or any(name.startswith(f"{table}_{column}_") for column in lost):
                continue
            summary = f"constraint {name} of secateur.{table} is missing, so what it refuses is written"
            yield summary, f"alter table secateur.{table} add constraint {name} {definition}"


async def _parts(patient: Patient) -> frozenset[Part]:
    """Those whose tables should be as this program makes them: none in an older schema, as `schema` says."""
    if not await patient.database.fetchval("select to_regclass('secateur.migrations') is not null", repeatable=True):
        return frozenset()
    rows = await patient.database.fetch("select name from secateur.migrations", repeatable=True)
    applied = {row["name"] for row in rows}
    parts = parts_of(applied)
    is_older = any(one.is_numbered and one.part in parts and one.name not in applied for one in bundled())
    return frozenset() if is_older else parts


async def indexes(patient: Patient) -> list[Finding]:
    rows = await patient.database.fetch(SQL["indexes"], await _tables_of_others(patient), repeatable=True)
    building = {row["name"] for row in await patient.database.fetch(SQL["building"], repeatable=True)}
    findings = []
    for row in rows:
        if row["is_valid"] and row["is_ready"]:
            continue
        name, details = f"{row['schema']}.{row['name']}", dict(row)
        if row["name"] in building:
            findings.append(Finding("indexes", Severity.NOTE, f"{name} is being built", None, details))
            continue
        summary = f"{name} on {row['table']} is not valid: it costs every write and serves no read"
        findings.append(Finding("indexes", Severity.WARNING, summary, f"reindex index concurrently {name}", details))
    findings += await _missing(patient, {row["name"] for row in rows if row["schema"] == "secateur"})
    findings += await _unused(patient)
    return findings or [Finding("indexes", Severity.OK, f"{number(len(rows))} indexes, all valid, none missing")]


async def _missing(patient: Patient, there: set[str]) -> list[Finding]:
    if not there:
        return []
    parts = await _parts(patient)
    return [
        Finding(
            "indexes",
            Severity.ERROR,
            f"secateur.{name} is missing: statements that need it read the whole table",
            "as the schema's owner: " + definition.replace(" index ", " index concurrently ", 1),
            {"schema": "secateur", "name": name},
        )
        for name, definition in expected_indexes(parts).items()
        if name not in there
    ]


async def _unused(patient: Patient) -> list[Finding]:
    """Of the indexes that `secateur advise` made."""
    now = await patient.database.fetchval("select now()", repeatable=True)
    return [
        Finding(
            "indexes",
            Severity.WARNING,
            f"{each.qualified} on {each.field} has served no count since it was made: it only costs every write",
            command_line("advise", flags=[("--drop", each.name)]),
            {"schema": each.schema, "name": each.name, "bytes": each.bytes, "scans": each.scans},
        )
        for each in await FilterIndexes(patient.database).all()
        if each.is_valid and each.scans == 0 and each.made_at is not None and now - each.made_at > UNUSED
    ]


async def bloat(patient: Patient) -> list[Finding]:
    tables = await _tables_of_others(patient)
    rows = await patient.database.fetch(SQL["rows"], tables, repeatable=True)
    findings = [*_dead(rows), *_old(rows)]
    sizes = await patient.database.fetch(SQL["sizes"], tables, repeatable=True)
    findings += _wasted(sizes)
    unknown = [row for row in sizes if row["needed"] is None and row["bytes"] > WASTED_BYTES]
    if unknown:
        names = ", ".join(dict.fromkeys(f"{row['schema']}.{row['table']}" for row in unknown))
        summary = f"how much of {names} is wasted cannot be estimated: no statistics, or no right to read the table"
        findings.append(Finding("bloat", Severity.UNSEEN, summary, "analyze it, or grant SELECT on it"))
    if findings:
        return findings
    total = sum(row["bytes"] for row in sizes)
    return [Finding("bloat", Severity.OK, f"{_size(total)} in tables and indexes, none of them bloated")]


def _dead(rows: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for row in rows:
        name = f"{row['schema']}.{row['table']}"
        details = {**row, "vacuumed_at": row["vacuumed_at"] and utc(row["vacuumed_at"])}
        if row["is_unvacuumed"]:
            summary = f"autovacuum is off for {name}: its dead rows are never removed"
            yield Finding("bloat", Severity.WARNING, summary, f"alter table {name} reset (autovacuum_enabled)", details)
        if row["dead"] >= MANY_DEAD and row["dead"] > row["live"]:
            when = "never vacuumed" if row["vacuumed_at"] is None else f"vacuumed at {details['vacuumed_at']}"
            summary = f"{name} has {number(row['dead'])} dead rows beside {number(row['live'])} live ones, {when}"
            advice = f"end what `transactions`, `prepared` and `slots` name; then vacuum (analyze) {name}"
            yield Finding("bloat", Severity.WARNING, summary, advice, details)


def _old(rows: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for row in rows:
        if row["frozen_age"] < OLD_AGE:
            continue
        name = f"{row['schema']}.{row['table']}"
        age = number(row["frozen_age"])
        summary = f"{name} was last frozen {age} transactions ago; at two billion, Postgres stops to write"
        severity = Severity.ERROR if row["frozen_age"] >= TOO_OLD_AGE else Severity.WARNING
        advice = f"end what `transactions`, `prepared` and `slots` name; then vacuum (freeze) {name}"
        yield Finding("bloat", severity, summary, advice, {"frozen_age": row["frozen_age"]})


def _wasted(rows: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for row in rows:
        needed = row["needed"]
        if needed is None or row["bytes"] - needed < WASTED_BYTES or row["bytes"] < WASTED_TIMES * needed:
            continue
        name = f"{row['schema']}.{row['name']}"
        advice = f"reindex index concurrently {name}"
        if row["kind"] == "table":
            advice = f"pg_repack --table {name}, which lets the queue go on; vacuum (full) stops it meanwhile"
        summary = f"{row['kind']} {name} has {_size(row['bytes'])} and needs about {_size(needed)}"
        yield Finding("bloat", Severity.WARNING, summary, advice, dict(row))


def _size(octets: int) -> str:
    return f"{octets / 2**30:,.1f} GB" if octets >= 2**30 else f"{octets / 2**20:,.0f} MB"
