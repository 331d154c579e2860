"""What does exactness cost?

Counting by generated SQL against the statement that people write by hand, compiling at every keystroke, and the
evaluator against two other implementations of the language.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.bed import Bed, Ground, median_ratio, seed, timed
from secateur.cel import compile as compile_filter
from secateur.cel.sql.columns import COLUMNS, COLUMNS_OF_PARTS, Columns

TITLE = "The language"

RUNS = 200_000
COUNTS = 5

FORMS = {
    "string equality": ("event.data.vendor_id == 'v7'", "event -> 'data' ->> 'vendor_id' = 'v7'"),
    "number order": ("event.data.amount > 4000", "(event -> 'data' ->> 'amount')::numeric > 4000"),
    "both, AND-ed": (
        "event.data.vendor_id == 'v7' && event.data.amount > 100",
        "event -> 'data' ->> 'vendor_id' = 'v7' and (event -> 'data' ->> 'amount')::numeric > 100",
    ),
    "in a list": (
        "event.data.vendor_id in ['v1', 'v2', 'v3']",
        "event -> 'data' ->> 'vendor_id' in ('v1', 'v2', 'v3')",
    ),
    "prefix": ("event.data.vendor_id.startsWith('v99')", "starts_with(event -> 'data' ->> 'vendor_id', 'v99')"),
    "has": ("has(event.data.amount)", "event -> 'data' ? 'amount'"),
    "exists over two items": (
        "event.data.items.exists(item, item.quantity > 5)",
        "exists (select from jsonb_array_elements(event -> 'data' -> 'items') as item"
        " where (item ->> 'quantity')::numeric > 5)",
    ),
    "map, then exists": (
        "event.data.items.map(item, item.quantity).exists(quantity, quantity > 5)",
        "exists (select from jsonb_array_elements(event -> 'data' -> 'items') as item"
        " where (item ->> 'quantity')::numeric > 5)",
    ),
    "map, then all": (
        "event.data.items.map(item, item.quantity).all(quantity, quantity > 0)",
        "not exists (select from jsonb_array_elements(event -> 'data' -> 'items') as item"
        " where not (item ->> 'quantity')::numeric > 0)",
    ),
    "the size of a filter": (
        "event.data.items.filter(item, item.quantity > 5).size() > 0",
        "(select count(*) from jsonb_array_elements(event -> 'data' -> 'items') as item"
        " where (item ->> 'quantity')::numeric > 5) > 0",
    ),
    "filter, then exists": (
        "event.data.items.filter(item, item.quantity > 2).exists(item, item.sku == 's7')",
        "exists (select from jsonb_array_elements(event -> 'data' -> 'items') as item"
        " where (item ->> 'quantity')::numeric > 2 and item ->> 'sku' = 's7')",
    ),
    "in a map": (
        "'s7' in event.data.items.map(item, item.sku)",
        "'s7' in (select item ->> 'sku' from jsonb_array_elements(event -> 'data' -> 'items') as item)",
    ),
    "map of a function, then filter, then size": (
        "event.data.items.map(item, item.sku.upperAscii()).filter(sku, sku.startsWith('S7')).size() == 1",
        "(select count(*) from jsonb_array_elements(event -> 'data' -> 'items') as item"
        " where starts_with(upper(item ->> 'sku'), 'S7')) = 1",
    ),
    "the hour": (
        "run.started_at.getHours() == 3",
        "extract(hour from started_at at time zone 'UTC') = 3",
    ),
    "the hour in a time zone": (
        "run.started_at.getHours('Europe/Berlin') == 3",
        "extract(hour from started_at at time zone 'Europe/Berlin') = 3",
    ),
    "arithmetic": ("event.data.amount * 2 > 8000", "(event -> 'data' ->> 'amount')::numeric * 2 > 8000"),
}

COUNT = "select count(*) from secateur.runs as run where app_id = 'bench' and status = 'queued' and "

FORMS_OF_PARTS = {
    "string equality": ("event.data.vendor_id == 'v7'", "args ->> 'vendor_id' = 'v7'"),
    "name and number order": (
        "event.name == 'bench/run' && event.data.amount > 4000",
        "task = 'bench/run' and (args ->> 'amount')::numeric > 4000",
    ),
    "in a list": ("event.data.vendor_id in ['v1', 'v2', 'v3']", "args ->> 'vendor_id' in ('v1', 'v2', 'v3')"),
    "prefix": ("event.data.vendor_id.startsWith('v99')", "starts_with(args ->> 'vendor_id', 'v99')"),
    "has": ("has(event.data.amount)", "args ? 'amount'"),
    "exists over two items": (
        "event.data.items.exists(item, item.quantity > 5)",
        "exists (select from jsonb_array_elements(args -> 'items') as item where (item ->> 'quantity')::numeric > 5)",
    ),
}

JOBS = """
create table jobs as
select row_number() over () as id, 'bench/run'::text as task, event -> 'data' as args from secateur.runs
"""

COUNT_OF_PARTS = """
select count(*)
  from (select job.*, job.task as name, job.args as data,
               jsonb_build_object('name', job.task, 'data', job.args) as event
          from jobs as job) as run
 where """
"""As a queue of others is read: the event is built of the task and its arguments."""

TEN_TERMS = " && ".join(f"event.data.field_{n} {'==' if n % 2 else '>'} {n}" for n in range(10))
SMALL = "event.data.vendor_id == 'v7' && event.data.amount > 100"
EVENT = {"name": "bench/run", "data": {"vendor_id": "v7", "amount": 4000, "note": "x" * 200}}


async def measure(ground: Ground) -> list[str]:
    """Three tables: counts against the naive statement, compile times, evaluations per second."""
    runs = ground.scaled(RUNS)
    async with ground.bed() as bed:
        await seed(bed.database, runs)
        rows = [await _against_naive(bed, name, *pair) for name, pair in FORMS.items()]
        await bed.database.execute("create index on secateur.runs using gin (event jsonb_path_ops)")
        rows.append(await _against_naive(bed, "string equality, with a GIN index", *FORMS["string equality"]))
        await bed.database.execute(JOBS)
        await bed.database.execute("vacuum analyze jobs")
        parts = [await _of_parts(bed, name, *pair) for name, pair in FORMS_OF_PARTS.items()]
        await bed.database.execute("create index on jobs using gin (args jsonb_path_ops)")
        name, indexed = "string equality, with a GIN index", 'args @> \'{"vendor_id": "v7"}\''
        parts.append(await _of_parts(bed, name, FORMS_OF_PARTS["string equality"][0], indexed))
    return [
        f"### Exact count over {runs:,} runs, generated against hand-written SQL, median of {COUNTS} rounds",
        "",
        "A count needs to know only for which runs the filter is true. A claim evaluates the exact form, which also",
        "tells false from an error.",
        "",
        "| form | as counts have it | as claims have it | hand-written | counts' ratio | claims' ratio |",
        "|:--|---:|---:|---:|---:|---:|",
        *rows,
        "",
        f"### Exact count over {runs:,} jobs of another queue, whose event is built of two columns",
        "",
        "Conditions read the columns. What is written by hand does, too.",
        "",
        "| form | as counts have it | exact form | hand-written | counts' ratio | exact form's ratio |",
        "|:--|---:|---:|---:|---:|---:|",
        *parts,
        "",
        "### The compiler and the evaluator",
        "",
        "| what | figure |",
        "|:--|---:|",
        f"| compile ten terms | {1000 * _fastest(lambda: compile_filter(TEN_TERMS), 200):.2f} ms |",
        *_evaluations(),
    ]


async def _of_parts(bed: Bed, name: str, source: str, naive: str) -> str:
    return await _against_naive(bed, name, source, naive, COLUMNS_OF_PARTS, COUNT_OF_PARTS)


async def _against_naive(
    bed: Bed, name: str, source: str, naive: str, columns: Columns = COLUMNS, count: str = COUNT
) -> str:
    compiled = compile_filter(source).over(columns)
    sides: list[tuple[str, Sequence[str | None]]] = [
        compiled.matching.bind(1, None),
        compiled.condition.bind(1, None),
        (naive, ()),
    ]
    seconds: list[list[float]] = [[] for _ in sides]
    # In turns, so that whatever else the machine does meets all of them; the first round warms up.
    for _ in range(COUNTS + 1):
        for taken, (condition, parameters) in zip(seconds, sides, strict=True):
            taken.append(await timed(partial(bed.database.fetchval, f"{count}({condition})", *parameters)))
    counted, claimed, by_hand = (taken[1:] for taken in seconds)
    figures = " | ".join(f"{1000 * statistics.median(taken):,.0f} ms" for taken in (counted, claimed, by_hand))
    return f"| {name} | {figures} | {median_ratio(counted, by_hand):.2f} | {median_ratio(claimed, by_hand):.2f} |"


def _evaluations() -> list[str]:
    """Evaluations of a two-term filter per second, each on an event that comes as JSON text."""
    text = json.dumps(EVENT)
    candidates: dict[str, Callable[[], object]] = {
        "secateur": _secateur(text),
        "cel-python": _cel_python(text),
        "cel-expr-python": _cel_expr_python(text),
    }
    rates = {name: 1 / _fastest(evaluate, 2000) for name, evaluate in candidates.items()}
    return [
        f"| evaluations/s by {name}, JSON decoding included | {rate:,.0f} ({rate / rates['secateur']:.2f}) |"
        for name, rate in rates.items()
    ]


def _secateur(text: str) -> Callable[[], object]:
    from secateur.cel.values import decode_json

    filter = compile_filter(SMALL)
    return lambda: filter.evaluate({"event": decode_json(text)})


def _cel_python(text: str) -> Callable[[], object]:
    import celpy

    environment = celpy.Environment()
    program = environment.program(environment.compile(SMALL))
    return lambda: program.evaluate({"event": celpy.json_to_cel(json.loads(text))})


def _cel_expr_python(text: str) -> Callable[[], object]:
    from cel_expr_python import cel

    environment = cel.NewEnv(variables={"event": cel.Type.DYN})
    expression = environment.compile(SMALL)
    return lambda: expression.eval(data={"event": json.loads(text)})


def _fastest(action: Callable[[], object], times: int) -> float:
    """Seconds of one call, the median of five rounds."""
    rounds = []
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(times):
            action()
        rounds.append((time.perf_counter() - begun) / times)
    return statistics.median(rounds)
