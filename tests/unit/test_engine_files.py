"""Each kind of queue that secateur knows has a file with all that the generic engine needs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.cel.declarations import RUN_FIELDS
from secateur.engines.foreign.batches import and_then
from secateur.engines.foreign.file import EngineFile, engine_files
from secateur.engines.foreign.gating import can_gate
from secateur.engines.foreign.installation import Installation

NEEDED = {"detect", "source", "unfinished", "failed", "cancelled", "ended", "depth", "claim_order"}
COLUMNS = (
    *("key", "id", "app_id", "function_id", "name", "data", "event", "status", "state", "priority", "attempt"),
    *("started_at", "scheduled_for", "claimed_at", "finished_at", "worker", "error"),
)


@pytest.fixture(params=sorted(engine_files()))
def file(request: pytest.FixtureRequest) -> EngineFile:
    return engine_files()[request.param]


def test_it_has_every_statement(file: EngineFile) -> None:
    assert file.statements.keys() >= NEEDED


def test_its_source_has_every_column(file: EngineFile) -> None:
    source = re.sub(r"--.*", "", file.statements["source"])
    missing = [
        column for column in COLUMNS if not re.search(rf"\b(as|job\.|\.){re.escape(column)}\b| as {column}\b", source)
    ]
    assert [column for column in missing if f"job.{column}" not in source] == []


def test_nothing_is_left_to_be_filled_in(file: EngineFile) -> None:
    names = set(re.findall(r"\bas (\w+)\b", file.statements["detect"] + file.statements.get("parts", "")))
    parts = [dict.fromkeys(names, '"a queue"')]
    here = Installation(file, "a schema", "a_prefix_", "1", True, places=parts[0], parts=parts)
    filled = {name: sql for name in file.statements.keys() - {"detect", "parts"} for sql in here.each(name)}
    filled["source"] = here.source.replace("{sampled}", "")
    left = {name: re.findall(r"\{\w+\}", sql) for name, sql in filled.items()}
    assert {name: places for name, places in left.items() if places} == {}


def test_what_it_cancels_can_be_taken_in_the_same_statement(file: EngineFile) -> None:
    """The last select, at the beginning of a line, gives the rows."""
    if "cancel" not in file.statements:
        pytest.skip("nothing can be cancelled there")
    taking = and_then(file.statements["cancel"], "select id, pre from cancelled")
    before, _, rows = taking.partition("cancelled as (\nselect ")
    assert before.count("(") == before.count(")")
    assert rows.removesuffix("\n)\nselect id, pre from cancelled").count("(") == rows.count(")") - 1
    assert all(re.search(rf"\b{column}\b", rows) for column in ("id", "function_id", "pre", "running"))


@pytest.mark.parametrize(
    ("schema", "prefix", "name"),
    [("public", "", "procrastinate"), ("jobs", "", "procrastinate:jobs"), ("public", "x_", "procrastinate:public.x_")],
)
def test_it_goes_by_its_place_where_that_is_not_the_usual_one(schema: str, prefix: str, name: str) -> None:
    assert Installation(engine_files()["procrastinate"], schema, prefix, "1", True).name == name


@pytest.mark.parametrize("schema", ["a'b", "a\\b", "{s}"])
def test_names_that_no_literal_can_hold_are_not_used(schema: str) -> None:
    assert not Installation(engine_files()["procrastinate"], schema, "", "1", True).is_usable


@pytest.mark.parametrize(
    ("ids", "good", "bad"),
    [
        ("bigint", ["0", "17", "9" * 18], ["", "-1", "017", "1.0", "x", "9" * 19, "٣"]),
        ("uuid", ["0190a5d2-7c1e-7e7b-9f7a-3c5d1e2f4a6b"], ["", "17", "0190a5d27c1e7e7b9f7a3c5d1e2f4a6b", "\x00"]),
        ("text", ["a", "order-17"], ["", " ", "a\x00b", "x" * 501]),
    ],
)
def test_ids_are_told_from_what_can_be_none(ids: str, good: list[str], bad: list[str]) -> None:
    file = replace(engine_files()["procrastinate"], ids=ids)
    assert [file.problem_of_run_id(each) for each in good] == [None] * len(good)
    assert None not in [file.problem_of_run_id(each) for each in bad]


def test_the_table_of_the_documentation_says_what_the_files_can() -> None:
    page = Path(__file__).parents[2] / "docs" / "engines.md"
    row = r"^\| \[([\w-]+)\]\(engines/(\w+)\.md\) \|(.*)\|$"
    rows = re.findall(row, page.read_text(encoding="utf-8"), re.MULTILINE)
    said = {engine: [cell.strip() for cell in cells.split("|")] for engine, _, cells in rows}
    assert said.keys() == engine_files().keys()
    for engine, stem, _ in rows:
        assert (page.parent / "engines" / f"{stem}.md").exists(), engine
        assert stem == engine_files()[engine].stem
    for engine, (tried, watched, cancelled, running, gate) in said.items():
        file = engine_files()[engine]
        here = Installation(file, "a", "", "1", True)
        assert (tried, watched) == (file.tried, "yes")
        assert cancelled == ("yes" if here.can_cancel else "no")
        assert running == ("goes on to its end" if file.stops is None else f"stops at its {file.stops}")
        assert (gate.split(":")[0] == "yes") == can_gate(here), f"the gate of {engine}: change its row in {page.name}"
        assert gate == "yes" or re.match("no(: .|t yet$)", gate), f"{engine}: say why it has no gate"


def test_the_documentation_says_which_fields_of_a_run_each_has() -> None:
    pages = Path(__file__).parents[2] / "docs"
    row = r"^\| `run\.(\w+)` \|[^|]*\| ([^|]*) \|$"
    said = dict(re.findall(row, (pages / "engines.md").read_text(encoding="utf-8"), re.MULTILINE))
    files = engine_files().values()
    assert said == {field: ", ".join(each.engine for each in files if field in each.fields) for field in RUN_FIELDS}
    for each in files:
        page = (pages / "engines" / f"{each.stem}.md").read_text(encoding="utf-8")
        names = ", ".join(f"`run.{field}`" for field in each.fields)
        assert f"| {names} | {', '.join(f'`{own}`' for own in each.fields.values())} |\n" in page
        for field in each.fields:
            assert re.search(rf"\bas {field}\b|\bjob\.{field}\b", each.statements["source"])


def test_no_two_installations_have_one_name(file: EngineFile) -> None:
    """Whatever their schemas and prefixes are called, and whether its users can choose a prefix or not."""
    schemas = [file.home, "jobs", "a", "a.b", "a.b.c", '"a', '"a.b"', 'a"', "a:b", "jobs.", "."]
    prefixes = [file.prefix, *(["", "b", "b.c", "b.", '"', ".", "x_"] if file.has_prefixes else [])]
    names = {(schema, prefix): named(file, schema, prefix) for schema in schemas for prefix in {*prefixes}}
    assert len({*names.values()}) == len(names)
    assert names[file.home, file.prefix] == file.engine
    assert names["jobs", file.prefix] == f"{file.engine}:jobs"


def test_names_of_schemas_with_dots() -> None:
    files = engine_files()
    assert named(files["chancy"], "a", "b") == "chancy:a.b"
    assert named(files["chancy"], "a.b", "chancy_") == 'chancy:"a.b"'
    assert named(files["oban"], "a.b", "") == "oban:a.b"


def named(file: EngineFile, schema: str, prefix: str) -> str:
    return Installation(file, schema, prefix, "any", True).name
