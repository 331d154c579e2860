"""Whatever README.md and docs/*.md tell a reader to type does what it should, on a real queue of `billing`."""

from __future__ import annotations

import asyncio
import configparser
import io
import json
import re
import shlex
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import httpx
import pytest
from billing import CULPRIT, end_running, seed
from command_line import COMMAND, Here, environment
from documents import ROOT, SQL, Asked, Code, asked, codes, command_lines
from poolers import PGBOUNCER, pgbouncer

import secateur
from secateur.cli.arguments import parse
from secateur.cli.examples import A_CANCELLATION, A_PROPOSAL, A_RUN, EXAMPLES
from secateur.engines.foreign.file import engine_files
from secateur.engines.foreign.gating import GateKeeper
from secateur.engines.foreign.installing import install_queue
from secateur.engines.loading import find_installation
from secateur.errors import Conflict
from secateur.postgres.database import Database
from secateur.settings_loading import load_settings
from secateur.tokens.keeping import Tokens, TokenScope
from secateur.watch.forms import MessageForm
from servers import with_schema

NOT_RUN = {
    "python3 -m venv .venv": "makes a virtual environment; the tests run in one",
    ".venv/bin/pip install .": "installs the checkout; the tests run in it",
    "psql -f docs/citus.sql postgresql://…coordinator…": "needs Citus: test_citus.py runs the script",
    "select nodename, nodeport from pg_dist_placement join pg_dist_node using (groupid) where shardid ="
    " get_shard_id_for_distribution_column('secateur.apps', 'billing'::text)": "needs Citus: test_citus.py",
}
"""What is not run, and why. Each must occur."""

ENDLESS = {"start:console", "start:demo", "start:worker", "serve:serve", "mcp:serve"}
"""Commands that go on until they are stopped: here they are only parsed; others tests start each of them."""

LEFT_OUT = {
    "advise": ("--app", "billing"),
    "cancel": ("--app", "billing"),
    "approve": ("PROPOSAL",),
    "cancel-run": ("RUN",),
    "eval": (CULPRIT, "--event", "event.json"),
    "forget": ("retired",),
    "pause": ("billing",),
    "preview": ("--app", "billing"),
    "propose": ("--app", "billing"),
    "reject": ("PROPOSAL",),
    "restore-run": ("CANCELLED_RUN",),
    "resume": ("billing",),
    "retry": ("--app", "billing"),
    "runs": ("--app", "billing"),
    "show": ("ID",),
    "stop": ("ID",),
    "undo": ("ID",),
}
"""What a sentence leaves out that is about a command."""

ENGINE = "procrastinate"
"""The engine whose name stands for `--engine NAME`."""

OTHERS = ("NAME", *engine_files())
"""What a page may choose: all of them are tried on that one's queue."""

FLOOD = {"app_id": "billing", "function_id": "vendor-syncs", "if": CULPRIT}
BODIES: dict[str, object] = {
    "/v1/cancellations": FLOOD,
    "/v1/cancellations/preview": FLOOD,
    "/v1/retries": FLOOD,
    "/v1/retries/preview": FLOOD,
    "/v1/events": {"name": "vendor/sync", "data": {"vendor_id": "acme_inc"}},
}

pytestmark = pytest.mark.timeout(300)

CODES = list(codes())
BLOCKS = [code for code in CODES if code.language]
SENTENCES = [code for code in CODES if code.language is None]


def placed(found: list[tuple[str, Any]]) -> list[Any]:
    """As parameters whose test is named by the place of what is tried."""
    return [pytest.param(what, id=place) for place, what in found]


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue that the documents speak of, and `secateur serve` before it."""

    url: str
    of_others: str
    """A database with a queue of procrastinate."""
    server: str
    headers: dict[str, str]
    """With a token: a document may create one, and from then on the server asks for one."""
    api: dict[str, Any]
    directory: Path

    def do(self, work: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
        async def connected() -> Any:
            connection = await asyncpg.connect(self.url)
            try:
                return await work(connection)
            finally:
                await connection.close()

        return asyncio.run(connected())

    def value(self, sql: str, *arguments: object) -> Any:
        return self.do(lambda connection: connection.fetchval(sql, *arguments))

    def run(self) -> str:
        """The id of a new run that waits, of an app that no document cancels."""
        return str(self.value("select secateur.enqueue('mail', 'letters', '{\"data\": {}}')"))

    def cancelled_run(self) -> str:
        run = self.run()
        self.post(f"/v1/runs/{run}/cancel")
        return run

    def cancellation(self) -> str:
        """The id of a new cancellation, of that app."""
        self.run()
        return str(self.post("/v1/cancellations", {"app_id": "mail", "if": "event.data.no == 1"})["id"])

    def proposal(self) -> str:
        """The id of a new one, of that app."""
        self.run()
        return str(
            self.value(
                "select (secateur.propose_cancellation(gen_random_uuid(), 'mail', null, $1::jsonb, null, null, '1 day',"
                " 'nadia', 'cli')).id",
                '{"app_id": "mail", "if": "event.data.no == 1"}',
            )
        )

    def watch_rules(self) -> Path:
        """A configuration in which no rule fires."""
        file = self.directory / "watch.toml"
        target = "[watch.targets.none]\nkind = 'command'\ncommand = ['true']\n"
        file.write_text(f"{target}[watch.rules.old]\nmetric = 'claimable_age'\nthreshold = '9999d'\n")
        return file

    def queue_of_others(self) -> str:
        """Its name. It has its install and its gate, whatever was tried before."""

        async def make() -> None:
            async with Database.connect(self.of_others) as database:
                found = await find_installation(database, ENGINE)
                await install_queue(database, found)
                await GateKeeper(database, found).install(None)

        asyncio.run(make())
        return ENGINE

    def post(self, path: str, body: object = None) -> Any:
        answer = httpx.post(self.server + path, json=body, headers=self.headers, timeout=60)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    def prepare_token(self, words: list[str]) -> None:
        """So that a token can be created, or revoked, again."""

        async def prepare() -> None:
            async with Database.connect(self.url) as database:
                tokens, (action, *names) = Tokens(database), words
                for name in names[:1]:
                    with suppress(Conflict):
                        await tokens.create(name, TokenScope.VIEWER, expires=None, author="nadia", source="cli")
                    if action == "create":
                        await tokens.revoke(name, author="nadia", source="cli")

        asyncio.run(prepare())

    def filled(self, text: str) -> str:
        """A command line with values in place of what the reader has to fill in."""
        if "--engine " in text and not find_spec(ENGINE):
            pytest.skip(f"the package {ENGINE} is not installed")
        for pattern, value in (
            (r"postgresql://(?!\?)[^\s'\"]+", lambda: self.url),
            (r"\[(\w+)\]", lambda: r"\1"),
            (r"--context production", lambda: f"--database {self.url}"),
            (A_CANCELLATION, self.cancellation),
            (A_PROPOSAL, self.proposal),
            (rf"(?<=restore-run ){A_RUN}", self.cancelled_run),
            (A_RUN, self.run),
            # What has runs is not forgotten.
            (r"\bforget APP\b", lambda: "forget retired"),
            (r"\bCANCELLED_RUN\b", self.cancelled_run),
            (r"\bRUN\b", self.run),
            (r"\bPROPOSAL\b", self.proposal),
            (r"(?<=approve )ID\b|(?<=reject )ID\b", self.proposal),
            (r"\bID\b", self.cancellation),
            (rf"(?<=--engine )({'|'.join(OTHERS)})(?![\w-])", self.queue_of_others),
            (r"\bAPP\b", lambda: "billing"),
            (r"\bFUNCTION\b", lambda: "vendor-syncs"),
            (r"\bTIME\b", lambda: "+2h"),
            (r"\bN\b", lambda: "5000"),
            (r"\bEXPR\b", lambda: shlex.quote(CULPRIT)),
        ):
            if re.search(pattern, text):
                text = re.sub(pattern, value(), text)
        return text


async def _retire(url: str) -> None:
    """Functions that are no more, and wait to be forgotten."""
    connection = await asyncpg.connect(url)
    for app, function in (("retired", "vendor-syncs"), ("billing", "old-syncs")):
        await connection.execute("select secateur.register_function($1, $2, '{}', 4)", app, function)
    await connection.close()


async def _own_token(url: str) -> str:
    async with Database.connect(url) as database:
        create = Tokens(database).create("documents", TokenScope.OPERATOR, expires=None, author="nadia", source="cli")
        return (await create)[1]


async def _make_queue_of_others(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(files(ENGINE).joinpath("sql", "schema.sql").read_text(encoding="utf-8"))
    # The apps of the pages about coming from other queues: in some, what groups jobs has another name.
    await connection.execute(
        "insert into procrastinate_jobs (queue_name, task_name, args)"
        " select queue, 'vendor-syncs', jsonb_build_object('vendor_id', 'acme_inc')"
        " from unnest(array['billing', 'pgboss', '-']) as queue, generate_series(1, 10)"
    )
    await connection.close()


@pytest.fixture(scope="module")
def queue(postgres_servers: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    directory = tmp_path_factory.mktemp("documents")
    for name, block in (("event.json", '"name"'), ("body.json", '"app_id"')):
        # A message of the watch has both.
        (text,) = {
            code.text
            for code in BLOCKS
            if code.language == "json" and block in code.text and '"episode"' not in code.text
        }
        (directory / name).write_text(text, encoding="utf-8")
    server = postgres_servers("embedded")
    name = server.create_database(with_schema)
    url = server.postgres.database_url(name)
    other = server.create_database()
    of_others = server.postgres.database_url(other)
    if find_spec(ENGINE):
        asyncio.run(_make_queue_of_others(of_others))
    asyncio.run(seed(url))
    asyncio.run(_retire(url))
    asyncio.run(end_running(url))  # `--wait` would wait for it
    headers = {"X-Author": "nadia", "Authorization": f"Bearer {asyncio.run(_own_token(url))}"}
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment(url)
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        yield Queue(
            url,
            of_others,
            address,
            headers,
            httpx.get(f"{address}/openapi.json", headers=headers, timeout=60).raise_for_status().json(),
            directory,
        )
    finally:
        process.terminate()
        process.communicate()
        server.drop_database(name)
        server.drop_database(other)


# The shell

SHELL = [
    (place, line)
    for code in BLOCKS
    if code.language in {"sh", "console"}
    for place, line in command_lines(code)
    if line not in NOT_RUN
]
SHELL += [(code.place, code.text) for code in SENTENCES if code.text.startswith("make ")]
SHELL += [(f"help of {name}", example) for name, examples in EXAMPLES.items() for example in examples]
COMMANDS = [(code.place, code.text) for code in SENTENCES if re.match(r"secateur [a-z-]", code.text)]
COMMANDS += [
    (code.place, f"secateur {code.text}")
    for code in SENTENCES
    if re.match(r"(?!secateur )[a-z][a-z-]* --[a-z]", code.text)
]


@pytest.mark.parametrize("line", placed(SHELL))
def test_a_line_for_the_shell(line: str, queue: Queue, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(queue.filled(line), comments=True)
    match Path(words[0]).name:
        case "make":
            subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        case "secateur":
            _command(words[1:], queue, here, monkeypatch)
        case program:
            pytest.fail(f"{program}: neither tried here nor listed in NOT_RUN")


@pytest.mark.parametrize("line", placed(COMMANDS))
def test_a_command_in_a_sentence(line: str, queue: Queue, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(queue.filled(line))[1:]
    if words[0] in LEFT_OUT and all(word.startswith("-") for word in words[1:]):
        words += shlex.split(queue.filled(shlex.join(LEFT_OUT[words[0]])))
    if words[0] == "worker" and len(words) == 1:
        words.append("jobs:billing")
    _command(words, queue, here, monkeypatch)


def _command(words: list[str], queue: Queue, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs it as if it were confirmed, where it asks and ends by itself."""
    if not {"--help", "--spec"} & set(words):
        parsed = parse(words)
        if parsed.command in ENDLESS or getattr(parsed, "watch", False):
            return
        if parsed.command == "watch:watch" and not (parsed.check or parsed.once or parsed.dry_run):
            return
        if getattr(parsed, "yes", True) is False:
            words = [*words, "--yes"]
    if words[0] == "token":
        queue.prepare_token(words[1:])
    monkeypatch.chdir(queue.directory)
    variables = {"SECATEUR_CONFIG": str(queue.watch_rules())} if words[0] == "watch" else {}
    done = here(*words, url=queue.of_others if "--engine" in words else queue.url, **variables)
    # The tests' servers do not sync, of which the doctor warns.
    assert done.code == (3 if "doctor" in words else 0), done.err
    assert "Traceback" not in done.err


FLAGS = [(code.place, code.text) for code in SENTENCES if re.match(r"--[a-z]", code.text)]


@pytest.fixture(scope="module")
def flags() -> set[str]:
    """Those of every command."""

    def help_of(*words: str) -> str:
        with redirect_stdout(io.StringIO()) as shown, pytest.raises(SystemExit):
            parse([*words, "--help"])
        return shown.getvalue()

    listed = help_of()
    known = re.findall(r"^    ([a-z][a-z-]*)  ", listed, re.MULTILINE)
    assert {"cancel", "undo", "worker"} <= set(known)
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", "\n".join([listed, *map(help_of, known)])))


@pytest.mark.parametrize("text", placed(FLAGS))
def test_a_flag_in_a_sentence(text: str, flags: set[str]) -> None:
    """It is one of some command's."""
    assert re.split(r"[ =]", text)[0] in flags


# SQL

OF_OTHERS = "docs/engines/"
"""What is SQL there is about queues of others: `tests/engines` executes it on their schemas."""

STATEMENTS = [(code.place, code.text) for code in BLOCKS if code.language == "sql"]
STATEMENTS += [(code.place, code.text) for code in SENTENCES if SQL.fullmatch(code.text) and code.text not in NOT_RUN]
STATEMENTS = [(place, text) for place, text in STATEMENTS if not place.startswith(OF_OTHERS)]


@pytest.mark.parametrize("sql", placed(STATEMENTS))
def test_sql(sql: str, queue: Queue) -> None:
    queue.do(lambda connection: _execute(connection, sql, queue))


async def _execute(connection: asyncpg.Connection, sql: str, queue: Queue) -> None:
    """Leaves nothing behind."""
    if re.match(r"(rollback|commit) prepared", sql):
        await connection.execute("begin; select pg_current_xact_id(); prepare transaction 'name'")
        await connection.execute(sql)
        return
    victim = await asyncpg.connect(queue.url)
    sql = sql.replace("12345", str(victim.get_server_pid()))
    ours = await connection.fetchval("select quote_ident(current_database())")
    sql = re.sub(r"\bon database billing\b", f"on database {ours}", sql)
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("create role installer")
        await connection.execute(sql)
    finally:
        await transaction.rollback()
        victim.terminate()


SPANS = frozenset(
    name
    for path in Path(secateur.__file__).parent.rglob("*.py")
    for name in re.findall(r"(?:span|note)\(\s*\"secateur\.(\w+)\"", path.read_text(encoding="utf-8"))
)
"""The spans of OpenTelemetry that are made somewhere."""

NAMES = [(code.place, found[1]) for code in SENTENCES if (found := re.match(r"secateur\.([A-Za-z_]+)", code.text))]


@pytest.mark.parametrize("name", placed(NAMES))
def test_a_name_of_ours(name: str, queue: Queue) -> None:
    in_sql = queue.value(
        "select exists (select from pg_proc where proname = $1 and pronamespace = 'secateur'::regnamespace)"
        " or to_regclass('secateur.' || $1) is not null",
        name,
    )
    assert in_sql or hasattr(secateur, name) or name in SPANS


METHODS = [(code.place, found[1]) for code in SENTENCES if (found := re.match(r"queue\.(\w+)", code.text))]


@pytest.mark.parametrize("name", placed(METHODS))
def test_a_method_of_the_queue(name: str) -> None:
    assert hasattr(secateur.Queue, name)


# HTTP

PATHS = [(each.place, each) for each in asked(CODES)]


@pytest.mark.parametrize("wanted", placed(PATHS))
def test_a_path(wanted: Asked, queue: Queue) -> None:
    asked_for, _, query = wanted.path.partition("?")
    paths = asked_for.split("|")
    parameters = dict(each.split("=") for each in query.split("&") if each)
    known = {re.sub(r"\{\w+\}", "{}", path): methods for path, methods in queue.api["paths"].items()}
    known["/openapi.json"] = {"get": {}}
    method = {"HEAD": "get"}.get(wanted.method, wanted.method.lower())
    there = [path for path in paths if method in known.get(re.sub(r"\{\w+\}", "{}", path), {})]
    assert there, f"{wanted.method} {' or '.join(paths)} is not in the OpenAPI document"
    declared = known[re.sub(r"\{\w+\}", "{}", there[0])][method].get("parameters", ())
    assert set(parameters) <= {each["name"] for each in declared if each["in"] == "query"}
    path = (
        there[0]
        .replace("{app}", "retired" if wanted.method == "DELETE" else "billing")
        .replace("{function}", "vendor-syncs")
    )
    if "{id}" in path:
        of_run = queue.cancelled_run if "restore" in path else queue.run
        of_others = queue.proposal if "/proposals/" in path else queue.cancellation
        given = of_run if "/runs/" in path else of_others
        path = path.replace("{id}", given())
    answer = httpx.request(
        wanted.method,
        queue.server + path,
        params={name: value.replace("…", "billing") for name, value in parameters.items()},
        json=BODIES.get(path),
        headers=queue.headers,
        timeout=60,
    )
    assert answer.is_success, answer.text


# JSON, TOML and Python

JSON = [(code.place, code.text) for code in BLOCKS if code.language == "json"]
TOML = [(code.place, code.text) for code in BLOCKS if code.language == "toml"]
PYTHON = [(code.place, code) for code in BLOCKS if code.language == "python"]


@pytest.mark.parametrize("text", placed(JSON))
def test_json(text: str, queue: Queue) -> None:
    """An event is enqueued, a request counted, and a message of the watch one as it is posted."""
    if "episode" in json.loads(text):
        assert MessageForm.model_validate_json(text).as_json() == json.loads(text)
        return
    path = "/v1/cancellations/preview" if "app_id" in json.loads(text) else "/v1/events"
    answer = httpx.post(
        queue.server + path,
        content=text,
        headers={"Content-Type": "application/json", **queue.headers},
        timeout=60,
    )
    assert answer.is_success, answer.text


@pytest.mark.parametrize("text", placed(TOML))
def test_toml(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    settings = load_settings(file)
    for name in settings.contexts:
        settings.target(context=name, environment={})


@pytest.mark.parametrize("code", placed(PYTHON))
def test_python(code: Code, queue: Queue) -> None:
    """Runs it, with what it takes for granted, and its `main` if it has one."""

    def job(*_: object) -> bool:
        return True

    text = re.sub(r"postgresql://[^\"']*", lambda _: queue.url, code.text)
    names: dict[str, Any] = {"fetch": job, "store": job, "print_invoice": job, "vendors": ["acme_inc", "globex"]}
    exec(compile("\n" * (code.line - 1) + text, str(ROOT / code.file), "exec"), names)
    if "main" in names:
        asyncio.run(names["main"]())


# Configurations

UNITS = [(code.place, code.text) for code in BLOCKS if code.language == "ini"]
IMAGES = [(code.place, code.text) for code in BLOCKS if code.language == "dockerfile"]


@pytest.mark.parametrize("text", placed(UNITS))
def test_a_unit_or_a_pooler(text: str, queue: Queue, here: Here) -> None:
    read = configparser.RawConfigParser(strict=False)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    read.read_string(text)
    if "pgbouncer" in read:
        if PGBOUNCER is None:
            pytest.skip("PgBouncer is not installed")
        lines = [f"{name} = {value}" for name, value in read["pgbouncer"].items()]
        # Where another user can read it, as tests' own directories may not be.
        with (
            TemporaryDirectory(prefix="pgbouncer-") as directory,
            pgbouncer(queue.url, Path(directory), "session", 20, *lines) as pooled,
        ):
            assert here("depth", url=pooled).code == 0
        return
    assert set(read.sections()) <= {"Unit", "Service", "Install"}
    program, *words = shlex.split(read["Service"]["ExecStart"])
    assert Path(program).name == "secateur"
    parse(words)


@pytest.mark.parametrize("text", placed(IMAGES))
def test_an_image(text: str) -> None:
    told = [line.split(maxsplit=1) for line in text.splitlines() if line]
    known = {"FROM", "COPY", "RUN", "USER", "ENV", "STOPSIGNAL", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert {instruction for instruction, _ in told} <= known
    last = dict(told)
    assert json.loads(last["ENTRYPOINT"]) == ["secateur"]
    parse(json.loads(last["CMD"]))


# All of it


def test_each_place_is_where_the_code_is() -> None:
    lines = {file: (ROOT / file).read_text(encoding="utf-8").splitlines() for file in {code.file for code in CODES}}
    for code in CODES:
        if words := code.text.split():
            assert words[0] in lines[code.file][code.line - 1], code


def test_no_block_is_of_a_language_that_nothing_here_tries() -> None:
    tried = {"sh", "console", "sql", "json", "toml", "python", "cel", "ini", "dockerfile"}
    assert [code.place for code in BLOCKS if code.language not in tried] == []


def test_whatever_is_not_run_occurs() -> None:
    found = {code.text for code in SENTENCES}
    found |= {line for code in BLOCKS if code.language in {"sh", "console"} for _, line in command_lines(code)}
    assert set(NOT_RUN) <= found
