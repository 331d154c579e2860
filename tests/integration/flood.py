"""A queue with thousands of rows in every table, in which a call that has a few ids must read a few rows."""

from __future__ import annotations

from pathlib import Path

import asyncpg

APP = "shop"
SIZE = 5000
"""Rows of each table, at least: whoever reads them all is noticed."""

QUIET = """
do $$
declare
  one regclass;
begin
  for one in select oid from pg_class where relnamespace = 'secateur'::regnamespace and relkind = 'r' loop
    execute format('alter table %s set (autovacuum_enabled = off)', one);
  end loop;
end
$$
"""
"""Nothing is analyzed unless a test does it."""

FLOOD = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")


async def flood(connection: asyncpg.Connection) -> None:
    await connection.execute(FLOOD)


# Tables by their rows that a sequential scan read, indexes by the entries that they gave, dead ones too.
READ = """
select relation.relname as name, pg_stat_get_xact_tuples_returned(relation.oid) as rows
  from pg_class as relation
 where relation.relnamespace = 'secateur'::regnamespace and relation.relkind in ('r', 'i')
   and pg_stat_get_xact_tuples_returned(relation.oid) > 0
"""


async def rows_read(connection: asyncpg.Connection) -> dict[str, int]:
    """So far, by this session, since its statistics were last sent: look twice, and take the difference."""
    return {row["name"]: row["rows"] for row in await connection.fetch(READ)}


async def functions_called(connection: asyncpg.Connection) -> set[str]:
    """The functions of the schema that this transaction has called, by anybody; `track_functions` is on."""
    rows = await connection.fetch(
        "select funcname from pg_stat_xact_user_functions where schemaname = 'secateur' and calls > 0"
    )
    return {row["funcname"] for row in rows}
