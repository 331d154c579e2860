"""The two parts of the schema: the ledger alone, or secateur's own queue too, whichever way a database gets there."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from secateur.errors import DatabaseError, NotInstalled, SecateurError
from secateur.postgres.database import Database
from secateur.schema import EVERYTHING, Migration, Part, check_installed, inspect_installation, install
from secateur.schema.definitions import OF_THE_QUEUE
from secateur.schema.migrations import bundled, current, definition
from servers import Server

pytestmark = pytest.mark.one_postgres

LEDGER = frozenset({Part.LEDGER})

CATALOG: Mapping[str, str] = {
    "columns": """
        select own.oid::regclass::text as relation,
               row_number() over (partition by own.oid order by part.attnum) as place,
               part.attname, format_type(part.atttypid, part.atttypmod) as type, part.attnotnull,
               part.attidentity::text,
               part.attstorage::text, part.attcollation::regcollation::text as collation, part.attacl::text,
               pg_get_expr(missing.adbin, missing.adrelid) as otherwise
          from pg_class as own
          join pg_attribute as part on part.attrelid = own.oid and part.attnum > 0 and not part.attisdropped
          left join pg_attrdef as missing on missing.adrelid = own.oid and missing.adnum = part.attnum
         where own.relnamespace::regnamespace::text like 'secateur%' and own.relkind in ('r', 'v', 'c')
         order by 1, 2""",
    # An upgrade does not look again at rows that it has mended. NOT NULL is in `columns`; Postgres 18 names it as well.
    "constraints": """
        select conrelid::regclass::text as relation, conname, contype::text, condeferrable, conkey is null as keyless,
               replace(pg_get_constraintdef(oid), ' NOT VALID', '') as definition
          from pg_constraint
         where connamespace = 'secateur'::regnamespace and contype <> 'n' order by 1, 2""",
    "indexes": "select tablename, indexname, indexdef from pg_indexes where schemaname = 'secateur' order by 1, 2",
    # Of those that cost the same, the planner prefers by their age.
    "order of indexes": "select indrelid::regclass::text, array_agg(indexrelid::regclass::text order by indexrelid)"
    " from pg_index join pg_class on pg_class.oid = indrelid where relnamespace = 'secateur'::regnamespace"
    " group by indrelid order by 1",
    "triggers": """
        select tgrelid::regclass::text as relation, tgname, tgenabled::text, pg_get_triggerdef(oid) as definition
          from pg_trigger where not tgisinternal and tgrelid::regclass::text like 'secateur.%' order by 1, 2""",
    "relations": """
        select own.oid::regclass::text as relation, own.relkind::text, own.relpersistence::text, own.relrowsecurity,
               pg_get_userbyid(own.relowner) as owner, array(select unnest(own.reloptions) order by 1) as options,
               array(select one::text from unnest(own.relacl) as one order by 1) as rights,
               case when own.relkind = 'v' then pg_get_viewdef(own.oid) end as definition
          from pg_class as own
         where own.relnamespace::regnamespace::text like 'secateur%' and own.relkind in ('r', 'v', 'c')
         order by 1""",
    # Their names are Postgres's, and nobody's: each is its column's.
    "sequences": """
        select link.refobjid::regclass::text as relation, part.attname, known.seqtypid::regtype::text as type,
               known.seqstart,
               known.seqincrement, known.seqmin, known.seqmax, known.seqcache, known.seqcycle,
               pg_get_userbyid(own.relowner) as owner,
               array(select one::text from unnest(own.relacl) as one order by 1) as rights
          from pg_sequence as known
          join pg_class as own on own.oid = known.seqrelid
          join pg_depend as link on link.objid = known.seqrelid and link.deptype = 'i'
          join pg_attribute as part on part.attrelid = link.refobjid and part.attnum = link.refobjsubid
         order by 1, 2""",
    "functions": """
        select known.oid::regprocedure::text as signature, pg_get_functiondef(known.oid) as definition,
               pg_get_userbyid(known.proowner) as owner,
               array(select one::text from unnest(known.proacl) as one order by 1) as rights
          from pg_proc as known where known.pronamespace::regnamespace::text like 'secateur%' order by 1""",
    "schemas": """
        select nspname, pg_get_userbyid(nspowner) as owner,
               array(select one::text from unnest(nspacl) as one order by 1) as rights
          from pg_namespace where nspname like 'secateur%' order by 1""",
    "rights to come": """
        select pg_get_userbyid(defaclrole) as role, defaclobjtype::text, defaclacl::text
          from pg_default_acl where defaclnamespace = 'secateur'::regnamespace order by 1, 2""",
    "rows": """
        select 'retention' as name, to_jsonb(kept)::text as value from secateur.retention as kept
        union all
        select 'token', token from secateur.condition_vocabulary
        order by 1, 2""",
}
"""What there is in a database, question by question."""


async def catalog(database: Database) -> dict[str, list[dict[str, Any]]]:
    return {name: [dict(row) for row in await database.fetch(question)] for name, question in CATALOG.items()}


@asynccontextmanager
async def new_database(server: Server) -> AsyncIterator[Database]:
    for url in server.borrow():
        async with Database.connect(url) as database:
            yield database


@pytest.fixture
async def empty(empty_database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(empty_database_url) as database:
        yield database


async def objects(database: Database) -> set[str]:
    """The functions, tables, views and types of the schema, by name."""
    rows = await database.fetch("""
        select proname as name from pg_proc where pronamespace = 'secateur'::regnamespace
        union
        select relname from pg_class where relnamespace = 'secateur'::regnamespace and relkind in ('r', 'v', 'c')""")
    return {row["name"] for row in rows}


def made_by(sql: str) -> set[str]:
    return set(re.findall(r"^create (?:or replace )?(?:function|view|table|type) secateur\.(\w+)", sql, re.MULTILINE))


OF_QUEUE = (
    set()
    .union(*(made_by(one.sql) for one in bundled() if one.part is Part.QUEUE and (one.are_tables or not one.once)))
    .difference({"undecided"})
)
"""Everything of secateur's own queue. It replaces a view of the ledger."""


async def test_tables_as_they_are_now_are_what_the_numbered_files_make(
    empty: Database, postgres_server: Server
) -> None:
    await install(empty, [one for one in current() if not one.are_tables])
    numbered = await catalog(empty)
    assert await empty.fetchval("select count(*) from secateur.migrations where name like 'queue%.sql'") == 0
    async with new_database(postgres_server) as database:
        await install(database)
        assert await catalog(database) == numbered
    async with new_database(postgres_server) as database:
        await install(database, parts=LEDGER)
        assert (await install(database)).files[:2] == ["queue.sql", "queue_depth.sql"]
        assert await catalog(database) == numbered


async def test_the_ledger_alone_has_nothing_of_the_queue(empty: Database) -> None:
    assert len(OF_QUEUE) > 150
    assert {"runs", "claim", "enqueue", "depth_totals", "claimed_run", "oldest_queued"} < OF_QUEUE
    await install(empty, parts=LEDGER)
    assert (await install(empty, parts=LEDGER)).is_complete
    assert (await inspect_installation(empty)).is_complete
    assert await objects(empty) & OF_QUEUE == set()
    await check_installed(empty)
    with pytest.raises(
        NotInstalled, match="has secateur's ledger for other queues, and not its own queue: run `secateur install`"
    ):
        await check_installed(empty, part=Part.QUEUE)


async def test_every_granted_function_of_the_ledger_alone_answers(empty: Database) -> None:
    """With nulls for arguments, in the words of the schema: none calls what is not there."""
    await install(empty, parts=LEDGER)
    calls = await empty.fetch("""
        select routine.proname as name,
               format('select secateur.%I(%s)', routine.proname,
                      (select string_agg('null::' || format_type(argument.type, null), ', ' order by argument.place)
                         from unnest(routine.proargtypes::oid[]) with ordinality as argument (type, place))) as call
          from pg_proc as routine
          join lateral aclexplode(routine.proacl) as item on item.grantee::regrole::text like 'secateur_%'
         where routine.pronamespace = 'secateur'::regnamespace
         group by routine.oid order by 1""")
    assert {row["name"] for row in calls} > {"commit_jobs", "stop_cancellation", "open_cancellations", "create_token"}
    unknown = []
    for row in calls:
        try:
            await empty.fetch(row["call"])
        except SecateurError as error:
            if "does not exist" in str(error):
                unknown.append((row["name"], str(error)))
    assert unknown == []


async def test_what_is_there_is_upgraded_and_nothing_is_added(empty: Database) -> None:
    await install(empty, parts=LEDGER)
    await empty.execute("update secateur.migrations set checksum = '' where name = 'committing.sql'")
    assert "committing.sql" in (await inspect_installation(empty)).files
    with pytest.raises(NotInstalled, match="older than this program: run `secateur install --engine NAME`"):
        await check_installed(empty)
    with pytest.raises(NotInstalled, match="not its own queue: run `secateur install`"):
        await check_installed(empty, part=Part.QUEUE)
    steps = await install(empty, parts=LEDGER)
    assert {"committing.sql", "rights.sql"} <= set(steps.files)
    assert set(steps.files).isdisjoint({path.rpartition("/")[2] for path in OF_THE_QUEUE})
    assert await objects(empty) & OF_QUEUE == set()


async def test_the_queue_stays_where_it_is(database: Database) -> None:
    before = await catalog(database)
    assert (await install(database, parts=LEDGER)).is_complete
    await database.execute("update secateur.migrations set checksum = '' where name = 'claiming.sql'")
    assert "claiming.sql" in (await install(database, parts=LEDGER)).files
    assert await catalog(database) == before


async def test_an_older_install_has_both_parts(empty: Database) -> None:
    """There were no files of tables then."""
    await install(empty, [one for one in current() if not one.are_tables])
    assert (await install(empty, parts=LEDGER)).is_complete
    assert (await inspect_installation(empty, parts=EVERYTHING)).is_complete
    await check_installed(empty, part=Part.QUEUE)


async def test_a_numbered_file_to_come_goes_to_its_part(empty: Database) -> None:
    changes = [
        Migration("9001_x.sql", "alter table secateur.budgets add column more int", once=True, part=Part.LEDGER),
        Migration("9002_x.sql", "alter table secateur.runs add column more int", once=True, part=Part.QUEUE),
    ]
    known = [*changes, *current()]
    await install(empty, parts=LEDGER)
    assert (await install(empty, known, parts=LEDGER)).files == ["9001_x.sql"]
    # The queue's tables as they are now have its change already.
    steps = await install(empty, known)
    assert "9002_x.sql" not in steps.files
    assert "9002_x.sql" in steps.noted
    assert (await install(empty, known)).is_complete
    assert (await inspect_installation(empty, known)).is_complete


async def test_an_older_program_refuses_a_ledger_alone(empty: Database) -> None:
    await install(empty, parts=LEDGER)
    older = [one for one in current() if not one.are_tables]
    for attempt in (install, check_installed, inspect_installation):
        with pytest.raises(DatabaseError, match=r"newer than this program.*it has .*ledger\.sql"):
            await attempt(empty, older)


def test_a_new_numbered_file_says_which_part_it_changes() -> None:
    """Those up to 0044 change both, and are for databases that have both."""
    for one in bundled():
        if one.is_numbered and one.name > "0044_preimages.sql":
            assert re.search(r"^-- part: (ledger|queue)$", one.sql, re.MULTILINE), one.name


def test_only_a_view_of_the_ledger_is_replaced_by_the_queue() -> None:
    of_ledger = set().union(*(made_by(one.sql) for one in bundled() if one.part is Part.LEDGER and not one.once))
    of_queue = set().union(*(made_by(definition(path.rpartition("/")[2])) for path in OF_THE_QUEUE))
    assert of_ledger & of_queue == {"undecided"}
