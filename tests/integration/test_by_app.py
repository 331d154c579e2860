"""Every key has the app in it, so that all that belongs to an app can lie together on a server of its own."""

from __future__ import annotations

import pytest

from secateur.postgres.database import Database

OF_NO_APP = {"retention", "condition_vocabulary", "migrations", "installations", "gates", "gate_failures", "api_tokens"}
"""What is the same for all apps, or has several."""
KEYLESS = {"cancellation_deltas", "depth_deltas", "due_functions"}
"""Of which only sums are of interest, or whether there is one."""

TABLES = """
select relation.relname as name, attribute.attnotnull as required
  from pg_class as relation
  left join pg_attribute as attribute
    on attribute.attrelid = relation.oid and attribute.attname = 'app_id' and not attribute.attisdropped
 where relation.relnamespace = 'secateur'::regnamespace and relation.relkind in ('r', 'p')
"""

UNIQUE = """
select relation.relname as table, index.relname as name, indexed.indisprimary as primary,
       array(select attname::text from pg_attribute
              where attrelid = relation.oid and attnum = any (indexed.indkey::int2[])) as columns
  from pg_index as indexed
  join pg_class as index on index.oid = indexed.indexrelid
  join pg_class as relation on relation.oid = indexed.indrelid
 where relation.relnamespace = 'secateur'::regnamespace and relation.relkind in ('r', 'p') and indexed.indisunique
"""

FOREIGN = """
select conname as name, source.relname as source, target.relname as target,
       array(select format('%s = %s', mine.attname, theirs.attname)
               from unnest(conkey, confkey) as pair (mine, theirs)
               join pg_attribute as mine on mine.attrelid = conrelid and mine.attnum = pair.mine
               join pg_attribute as theirs on theirs.attrelid = confrelid and theirs.attnum = pair.theirs) as pairs
  from pg_constraint
  join pg_class as source on source.oid = conrelid
  join pg_class as target on target.oid = confrelid
 where contype = 'f' and source.relnamespace = 'secateur'::regnamespace
"""


@pytest.fixture
async def by_app(database: Database) -> set[str]:
    """The tables that have a column for the app."""
    return {row["name"] for row in await database.fetch(TABLES) if row["required"] is not None}


async def test_which_tables_have_the_app(database: Database, by_app: set[str]) -> None:
    tables = await database.fetch(TABLES)
    assert {row["name"] for row in tables} - by_app == OF_NO_APP
    assert [row["name"] for row in tables if row["name"] in by_app and not row["required"]] == []


async def test_every_key_has_the_app(database: Database, by_app: set[str]) -> None:
    keys = [row for row in await database.fetch(UNIQUE) if row["table"] in by_app]
    assert by_app - {row["table"] for row in keys if row["primary"]} == KEYLESS
    assert [row["name"] for row in keys if "app_id" not in row["columns"]] == []


async def test_every_reference_has_the_app(database: Database, by_app: set[str]) -> None:
    references = await database.fetch(FOREIGN)
    assert {row["source"] for row in references} >= {"cancellations", "cancel_requests", "sweeps", "restores"}
    assert [row["name"] for row in references if not {row["source"], row["target"]} <= by_app] == []
    assert [row["name"] for row in references if "app_id = app_id" not in row["pairs"]] == []
