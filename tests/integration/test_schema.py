"""The records' models and the migrated database say the same."""

from __future__ import annotations

import pytest
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from secateur.postgres.database import Database
from secateur.records import AppTable, CancellationTable, FunctionTable

COLUMNS = """
select attname, lower(format_type(atttypid, atttypmod)) as type, attnotnull as required,
       coalesce(attnum = any (indkey::int2[]), false) as key
  from pg_attribute
  left join pg_index on indrelid = attrelid and indisprimary
 where attrelid = $1::text::regclass and attnum > 0 and not attisdropped
"""

DATABASE_ONLY = {"secateur.cancellations": {"requires", "requires_suffices", "pruned_at"}}
"""Columns that only the functions use."""


@pytest.mark.parametrize("model", [AppTable, FunctionTable, CancellationTable], ids=lambda model: model.__tablename__)
async def test_model_and_table_agree(database: Database, model: type) -> None:
    table: Table = model.__table__
    dialect = postgresql.dialect()
    modelled = {
        column.name: (column.type.compile(dialect).lower(), not column.nullable, column.primary_key)
        for column in table.columns
    }
    name = f"{table.schema}.{table.name}"
    found = {row["attname"]: (row["type"], row["required"], row["key"]) for row in await database.fetch(COLUMNS, name)}
    for internal in DATABASE_ONLY.get(name, set()):
        found.pop(internal, None)
    assert found == modelled
