"""What holds things back: open and prepared transactions, replication slots.

Three things wait for old transactions: vacuum (dead rows that they may still see stay), a sweep's end (a transaction
that is older than the commit may still insert a matching run), and a commit whose guarantee is pending.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from secateur.doctor.findings import SQL, Finding, Patient, Severity
from secateur.errors import DatabaseError, NotInstalled
from secateur.instants import utc
from secateur.words.figures import duration, number
from secateur.words.lines import one_line, shorten

LONG_SECONDS, TOO_LONG_SECONDS = 60.0, 3600.0
"""From when on a transaction is a warning, and from when on an error."""

OLD_TRANSACTIONS = 100_000
"""How many transactions others may have made since one whose times cannot be seen, before it counts as old."""

MUCH_WAL = 2**30
"""Bytes that a slot may hold back."""

STATEMENT = 60
"""Characters of a statement that are shown, up to its first literal."""

_LITERAL = re.compile(r"'|\$\w*\$|(?<![\w$.])\d")
"""Where a literal of SQL begins. It may hold what nobody should read here, such as an event."""


async def transactions(patient: Patient) -> list[Finding]:
    rows = await patient.database.fetch(SQL["transactions"], repeatable=True)
    horizons = await _horizons(patient)
    findings = [*_long(rows, horizons)]
    unseen = [row for row in rows if row["since"] is None and not row["is_standby"]]
    if unseen and not await patient.database.fetchval(SQL["sees_all"], repeatable=True):
        summary = (
            f"since when the transactions of {number(len(unseen))} sessions of other roles are open cannot be seen"
        )
        findings.append(
            Finding("transactions", Severity.UNSEEN, summary, "grant pg_read_all_stats to this role", _seen(unseen))
        )
    if not findings:
        findings.append(Finding("transactions", Severity.OK, "none is open for long"))
    return findings


def _seen(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"pids": [row["pid"] for row in rows]}


def _long(rows: Sequence[Mapping[str, Any]], horizons: Sequence[int]) -> Iterator[Finding]:
    for row in rows:
        seconds, sweeps = row["seconds"], _swept(horizons, row["age"])
        vacuum = (row["is_here"] or row["is_standby"]) and row["snapshot_age"] is not None
        is_long = row["snapshot_age"] >= OLD_TRANSACTIONS if seconds is None else seconds >= LONG_SECONDS
        if not is_long or not (vacuum or sweeps):
            continue
        terminate = f"select pg_terminate_backend({row['pid']})"
        yield Finding(
            "transactions",
            Severity.ERROR if seconds is not None and seconds >= TOO_LONG_SECONDS else Severity.WARNING,
            f"{_who(row)} {_open_for(row)}: {_effects(sweeps, vacuum=vacuum)}{_statement(row)}",
            "turn off hot_standby_feedback there, or end its longest query"
            if row["is_standby"]
            else f"ask its owner; to end it: {terminate}",
            {
                "pid": row["pid"],
                "role": row["role"],
                "database": row["database"],
                "application": row["application"],
                "address": row["address"],
                "state": row["state"],
                "since": row["since"] and utc(row["since"]),
                "statement_since": row["statement_since"] and utc(row["statement_since"]),
                "seconds": None if seconds is None else round(seconds, 1),
                "holds_back_sweeps": sweeps,
                "holds_back_vacuum": vacuum,
            },
        )


def _who(row: Mapping[str, Any]) -> str:
    where = "" if row["is_here"] or row["database"] is None else f" in {one_line(row['database'])}"
    by = f" of {one_line(row['role'])}" if row["role"] else ""
    named = f", {shorten(row['application'], 40)}" if row["application"] else ""
    return f"process {row['pid']}{by}{where}{named},"


def _open_for(row: Mapping[str, Any]) -> str:
    if row["seconds"] is None:
        return f"keeps a snapshot that is {number(row['snapshot_age'])} transactions old"
    idle = " and idle" if str(row["state"]).startswith("idle in transaction") else ""
    return f"has been in a transaction for {duration(row['seconds'])}{idle}"


def _effects(sweeps: int, *, vacuum: bool) -> str:
    parts = []
    if sweeps:
        parts.append(f"{number(sweeps)} cancellation{'' if sweeps == 1 else 's'} cannot complete")
    if vacuum:
        parts.append("vacuum keeps every row that died since, so that claims and the depth get slower")
    return " and ".join(parts)


def _statement(row: Mapping[str, Any]) -> str:
    if not row["statement"] or row["since"] is None:
        return ""
    shown, *hidden = _LITERAL.split(" ".join(row["statement"].split()), maxsplit=1)
    text = shorten(shown + "…" * bool(hidden), STATEMENT)
    return f". Its last statement began at {utc(row['statement_since'].replace(microsecond=0))}: {text}"


def _swept(horizons: Sequence[int], age: int | None) -> int:
    """How many sweeps wait for the end of a transaction of that age."""
    return 0 if age is None else sum(horizon < age for horizon in horizons)


async def _horizons(patient: Patient) -> list[int]:
    """Empty where there are none, and where this role may not see them."""
    try:
        return [row["age"] for row in await patient.database.fetch(SQL["horizons"], repeatable=True)]
    except (DatabaseError, NotInstalled):
        return []


async def prepared(patient: Patient) -> list[Finding]:
    rows = await patient.database.fetch(SQL["prepared"], repeatable=True)
    horizons = await _horizons(patient)
    findings = []
    for row in rows:
        if row["seconds"] < LONG_SECONDS:
            continue
        sweeps, where = _swept(horizons, row["age"]), one_line(row["database"])
        gid = row["gid"].replace("'", "''")
        findings.append(
            Finding(
                "prepared",
                Severity.ERROR if row["seconds"] >= TOO_LONG_SECONDS else Severity.WARNING,
                f"prepared transaction {one_line(row['gid'])!r} of {one_line(row['role'])} in {where} "
                f"has waited for {duration(row['seconds'])}: {_effects(sweeps, vacuum=True)}",
                f"ask its owner; to end it, in that database: rollback prepared '{one_line(gid)}'",
                {
                    "gid": row["gid"],
                    "role": row["role"],
                    "database": row["database"],
                    "since": utc(row["since"]),
                    "seconds": round(row["seconds"], 1),
                    "holds_back_sweeps": sweeps,
                },
            )
        )
    return findings or [Finding("prepared", Severity.OK, "no transaction is prepared and forgotten")]


async def slots(patient: Patient) -> list[Finding]:
    """Replication slots that nobody reads: they keep dead rows and the log of all writes, until the disk is full."""
    findings = []
    for row in await patient.database.fetch(SQL["slots"], repeatable=True):
        details = dict(row)
        old = max(row["age"] or 0, 0 if row["catalog_age"] is None else row["catalog_age"])
        name = one_line(row["name"])
        drop = "drop it if nobody needs it: select pg_drop_replication_slot('" + name.replace("'", "''") + "')"
        if row["wal_status"] == "lost":
            summary = f"slot {name} is lost: its reader can never go on"
            findings.append(Finding("slots", Severity.WARNING, summary, drop, details))
        elif not row["active"] and ((row["retained"] or 0) >= MUCH_WAL or old >= OLD_TRANSACTIONS):
            kept = f"{(row['retained'] or 0) / 2**30:,.1f} GB of the log"
            dead = " and dead rows" if row["age"] is not None else ""
            summary = f"slot {name} has no reader and holds back {kept}{dead}, until the disk is full"
            findings.append(Finding("slots", Severity.WARNING, summary, f"start its reader, or {drop}", details))
        elif row["active"] and (row["age"] or 0) >= OLD_TRANSACTIONS:
            summary = f"slot {name} holds back vacuum by {number(row['age'])} transactions: its reader is behind"
            findings.append(Finding("slots", Severity.WARNING, summary, "look at its reader", details))
    return findings or [Finding("slots", Severity.OK, "no replication slot holds anything back")]
