"""Who may call the HTTP API: every path by every kind of token, and what a token leaves behind."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import asyncpg
import httpx
import pytest
from api_client import FLOOD, data_of, failure_of, running_api
from command_line import Here
from roles import url_of

from secateur.api.attempts import MOST_FAILURES, WINDOW_SECONDS, TokenAttempts
from secateur.api.background import Background
from secateur.errors import Conflict, NotFound, PermissionDenied, ReadOnly, RequestError, Unreachable
from secateur.postgres.database import Database
from secateur.tokens.keeping import Tokens, TokenScope
from secateur.tokens.secrets import new_token

pytestmark = pytest.mark.one_postgres

VALID = {"viewer", "operator"}
KINDS = ("none", "viewer", "operator", "expired", "revoked", "garbage", "foreign", "basic", "twice")
READING_POSTS = {("POST", "/v1/cancellations/preview"), ("POST", "/v1/retries/preview")}


@dataclass(frozen=True, slots=True)
class Door:
    """A server that needs tokens, and a header for each kind of caller."""

    client: httpx.AsyncClient
    tokens: Tokens
    headers: dict[str, list[tuple[str, str]]]

    async def ask(self, kind: str, method: str, path: str, **more: object) -> httpx.Response:
        return await self.client.request(method, path, headers=self.headers[kind], **more)  # type: ignore[arg-type]


def bearer(text: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {text}")]


async def make(tokens: Tokens, name: str, scope: TokenScope = TokenScope.OPERATOR) -> str:
    _, text = await tokens.create(name, scope, expires=None, author="ada", source="cli")
    return text


@pytest.fixture
async def door(flooded: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Door]:
    monkeypatch.setattr("secateur.api.attempts.MOST_FAILURES", 10**6)
    tokens = Tokens(flooded)
    texts = {name: await make(tokens, name, TokenScope(name)) for name in sorted(VALID)}
    _, expired = await tokens.create("old", TokenScope.OPERATOR, expires=timedelta(hours=1), author="ada", source="cli")
    await flooded.execute("update secateur.api_tokens set expires_at = now() - interval '1 s' where name = 'old'")
    revoked = await make(tokens, "gone")
    await tokens.revoke("gone", author="ada", source="cli")
    headers = {
        "none": [],
        **{name: bearer(text) for name, text in texts.items()},
        "expired": bearer(expired),
        "revoked": bearer(revoked),
        "garbage": bearer("x"),
        "foreign": bearer(new_token()),
        "basic": [("Authorization", "Basic YWRhOmFkYQ==")],
        "twice": bearer(texts["operator"]) * 2,
    }
    async with running_api(flooded, tokens=tokens) as client:
        yield Door(client, tokens, headers)


def expected(kind: str, method: str, path: str) -> int | None:
    """The status of a refusal; None if the request goes on to the path."""
    if path == "/healthz" and kind == "none":
        return None
    if kind not in VALID:
        return 401
    reads = method in {"GET", "HEAD", "OPTIONS"} or (method, path) in READING_POSTS
    return None if reads or kind == "operator" else 403


async def test_every_path_by_every_kind_of_token(door: Door) -> None:
    """What passes reaches the path itself, and is refused there for its own reasons: no run and no app is called so."""
    document = (await door.ask("viewer", "GET", "/openapi.json")).json()
    paths = [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]
    paths += [("GET", "/openapi.json"), ("GET", "/nowhere"), ("POST", "/nowhere"), ("OPTIONS", "/v1/queues")]
    paths += [("HEAD", "/v1/queues"), ("TRACE", "/v1/queues"), ("POST", "/healthz"), ("GET", "//healthz")]
    assert len(paths) > 25
    wrong = []
    for method, path in paths:
        place = re.sub(r"\{\w*(run|cancellation|proposal)_id\}", str(uuid4()), path).replace("{app_id}", "none")
        for kind in KINDS:
            answer = await door.ask(kind, method, place.replace("{function_id}", "none"))
            refusal = expected(kind, method, path)
            if refusal is None and answer.status_code in {401, 403, 429}:
                wrong.append(f"{method} {path} by {kind}: {answer.status_code} {answer.text}")
            elif refusal is not None and answer.status_code != refusal:
                wrong.append(f"{method} {path} by {kind}: {answer.status_code}, not {refusal}")
            elif refusal == 401:
                assert answer.headers["www-authenticate"] == 'Bearer realm="secateur"'
    assert not wrong, "\n".join(wrong)


async def test_a_refusal_says_what_to_do_and_no_secret(door: Door) -> None:
    said = {kind: failure_of(await door.ask(kind, "GET", "/v1/queues"), 401).error for kind in KINDS[3:]}
    assert re.fullmatch(r"the token 'old' expired at \d{4}-\d\d-\d\d \d\d:\d\d UTC", said["expired"])
    assert re.fullmatch(r"the token 'gone' was revoked at \d{4}-\d\d-\d\d \d\d:\d\d UTC", said["revoked"])
    assert said["foreign"] == "there is no such token"
    for kind in ("garbage", "basic", "twice"):
        assert said[kind] == "this is not a secateur token: send `Authorization: Bearer TOKEN`"
    none = failure_of(await door.ask("none", "GET", "/v1/queues"), 401)
    assert none.error == "this server needs a token: send `Authorization: Bearer TOKEN`"
    only = failure_of(await door.ask("viewer", "POST", "/v1/cancellations", json=FLOOD), 403)
    assert only.error == "the token 'viewer' may only read; this needs scope operator"


async def test_another_secret_under_a_known_id_is_no_token(door: Door) -> None:
    known = door.headers["operator"][0][1]
    forged = known[:-43] + new_token()[-43:]
    answer = await door.client.get("/v1/queues", headers={"Authorization": forged})
    assert failure_of(answer, 401).error == "there is no such token"


async def test_what_an_operator_does_is_audited_under_the_tokens_name(door: Door, flooded: Database) -> None:
    committed = data_of(await door.ask("operator", "POST", "/v1/cancellations", json=FLOOD), 201)
    assert committed["created_by"] == "token operator"
    named = await door.client.post(
        "/v1/queues/billing/pause", headers=[*door.headers["operator"], ("X-Author", "token viewer")]
    )
    data_of(named)
    failure_of(await door.ask("operator", "POST", f"/v1/runs/{uuid4()}/cancel"), 404)
    data_of(await door.ask("operator", "POST", "/v1/cancellations/preview", json=FLOOD))
    data_of(await door.ask("operator", "POST", "/v1/events", json={"name": "nobody listens"}), 201)
    entries = data_of(await door.ask("viewer", "GET", "/v1/audit"))[:6][::-1]
    assert [(each["action"], each["author"]) for each in entries] == [
        ("request", "token operator"),
        ("commit", "token operator"),
        ("request", "token operator"),
        ("pause", "token viewer by token operator"),
        ("request", "token operator"),
        ("request", "token operator"),
    ]
    assert entries[0]["details"] == {"method": "POST", "path": "/v1/cancellations", "from": "127.0.0.1"}
    assert entries[-1]["details"]["path"] == "/v1/events"
    long = await door.client.post(
        "/v1/queues/billing/resume", headers=[*door.headers["operator"], ("X-Author", "x" * 200)]
    )
    assert [detail.field for detail in failure_of(long, 400).details] == ["X-Author"]


async def test_the_last_use_is_kept_once_a_minute(door: Door, flooded: Database) -> None:
    async def last_used() -> object:
        return await flooded.fetchval("select last_used_at from secateur.api_tokens where name = 'viewer'")

    assert await last_used() is None
    data_of(await door.ask("viewer", "GET", "/v1/queues"))
    first = await last_used()
    assert first is not None
    data_of(await door.ask("viewer", "GET", "/v1/queues"))
    assert await last_used() == first
    await flooded.execute("update secateur.api_tokens set last_used_at = now() - interval '61 s'")
    data_of(await door.ask("viewer", "GET", "/v1/queues"))
    assert await last_used() > first  # type: ignore[operator]
    audited = await flooded.fetchval("select count(*) from secateur.audit where action = 'request'")
    assert audited == 0


async def test_a_revocation_holds_from_the_next_request_on(door: Door) -> None:
    data_of(await door.ask("viewer", "GET", "/v1/queues"))
    await door.tokens.revoke("viewer", author="ada", source="cli")
    failure_of(await door.ask("viewer", "GET", "/v1/queues"), 401)


async def test_health_tells_strangers_the_status_alone(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def problems(_: Background) -> list[dict[str, object]]:
        return [{"what": "sweep", "error": "could not write the file /secret", "since": None}]

    monkeypatch.setattr(Background, "problems", problems)
    known = data_of(await door.ask("viewer", "GET", "/healthz"))
    assert (known["status"], len(known["problems"])) == ("degraded", 1)
    assert data_of(await door.ask("none", "GET", "/healthz")) == {"status": "degraded"}


async def test_the_first_token_closes_the_door_and_the_last_does_not_open_it(flooded: Database) -> None:
    tokens = Tokens(flooded)
    async with running_api(flooded, tokens=tokens) as client:
        data_of(await client.get("/v1/queues"))
        stale = await client.get("/v1/queues", headers={"Authorization": f"Bearer {new_token()}"})
        failure_of(stale, 401)
        text = await make(tokens, "first")
        failure_of(await client.get("/v1/queues"), 401)
        data_of(await client.get("/v1/queues", headers=dict(bearer(text))))
        await tokens.revoke("first", author="ada", source="cli")
        failure_of(await client.get("/v1/queues"), 401)
    async with running_api(flooded, tokens=tokens) as client:
        failure_of(await client.get("/v1/queues"), 401)


async def test_failures_are_limited_for_each_address(flooded: Database) -> None:
    tokens = Tokens(flooded)
    good, fresh = await make(tokens, "good"), await make(tokens, "fresh")
    async with running_api(flooded, tokens=tokens) as client:

        async def status(text: str) -> httpx.Response:
            return await client.get("/v1/queues", headers=dict(bearer(text)))

        data_of(await status(good))
        for _ in range(MOST_FAILURES):
            failure_of(await status(new_token()), 401)
        limited = await status(new_token())
        failure_of(limited, 429)
        assert 0 < int(limited.headers["retry-after"]) <= WINDOW_SECONDS
        failure_of(await client.get("/v1/queues"), 429)
        failure_of(await status(fresh), 429)  # as yet nobody has seen that it is good
        data_of(await status(good))
        await tokens.revoke("good", author="ada", source="cli")
        failure_of(await status(good), 429)
        data_of(await client.get("/healthz"))


def test_attempts_are_counted_in_bounded_memory() -> None:
    now = 0.0
    attempts = TokenAttempts(lambda: now)
    for number in range(MOST_FAILURES):
        assert attempts.wait("2001:db8::1") == 0
        assert attempts.fail(f"2001:db8::{number}") is (number == MOST_FAILURES - 1)
    assert attempts.wait("2001:db8::ffff") == WINDOW_SECONDS, "a client chooses its address within a /64"
    assert attempts.wait("2001:db8:0:1::1") == attempts.wait("10.0.0.1") == 0
    now = WINDOW_SECONDS
    assert attempts.wait("2001:db8::1") == 0
    for number in range(20_000):
        attempts.fail(f"10.{number // 65536}.{number // 256 % 256}.{number % 256}")
        attempts.succeed(str(number))
    assert len(attempts._failures) <= 10_000
    assert len(attempts._good) <= 1000


async def test_without_a_database_nobody_gets_in(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(*_: object) -> None:
        raise Unreachable("cannot reach the database")

    monkeypatch.setattr(Tokens, "find", lost)
    answer = await door.ask("operator", "POST", "/v1/cancellations", json=FLOOD)
    assert failure_of(answer, 503).error == "cannot reach the database"
    assert answer.headers["retry-after"] == "1"


class TestKeeping:
    async def test_only_a_hash_is_kept(self, flooded: Database) -> None:
        text = await make(Tokens(flooded), "ci")
        rows = await flooded.fetch("select to_jsonb(t)::text as row from secateur.api_tokens as t")
        rows += await flooded.fetch("select to_jsonb(a)::text as row from secateur.audit as a")
        assert len(rows) > 2
        assert not any(text[-43:] in row["row"] for row in rows)

    async def test_a_name_is_free_again_once_it_is_revoked(self, flooded: Database) -> None:
        tokens = Tokens(flooded)
        await make(tokens, "ci")
        with pytest.raises(Conflict, match="there is a token 'ci' already; choose another name, or revoke"):
            await make(tokens, "ci")
        first = await tokens.revoke("ci", author="ada", source="cli")
        again = await tokens.revoke("ci", author="bob", source="cli")
        assert again == first
        await make(tokens, "ci")
        assert [each.state for each in await tokens.list()] == ["valid", "revoked"]
        with pytest.raises(NotFound, match="there is no token 'other'"):
            await tokens.revoke("other", author="ada", source="cli")

    @pytest.mark.parametrize("name", ["", " ", "ci ", "x" * 65, "a\nb", "\x1b[2J"])
    async def test_a_name_is_a_name(self, flooded: Database, name: str) -> None:
        with pytest.raises(RequestError) as caught:
            await make(Tokens(flooded), name)
        assert [problem.field for problem in caught.value.problems] == ["name"]

    async def test_two_at_once_make_one(self, flooded: Database) -> None:
        made = await asyncio.gather(*(make(Tokens(flooded), "ci") for _ in range(5)), return_exceptions=True)
        assert sorted(type(each).__name__ for each in made) == ["Conflict"] * 4 + ["str"]

    async def test_a_read_only_session_makes_none(self, database_url: str) -> None:
        async with Database.connect(database_url, read_only=True) as database:
            with pytest.raises(ReadOnly):
                await make(Tokens(database), "ci")

    async def test_viewers_and_workers_make_none_and_a_viewers_server_knows_them(
        self, owner: asyncpg.Connection, database_url: str
    ) -> None:
        async with Database.connect(url_of("secateur_operator", database_url)) as database:
            text = await make(Tokens(database), "ci", TokenScope.VIEWER)
            (token,) = await Tokens(database).list()
            assert token.created_role == "a_operator"
        for role in ("secateur_viewer", "secateur_worker"):
            async with Database.connect(url_of(role, database_url)) as database:
                with pytest.raises(PermissionDenied):
                    await make(Tokens(database), "other")
                with pytest.raises(PermissionDenied):
                    await Tokens(database).revoke("ci", author="ada", source="cli")
        async with (
            Database.connect(url_of("secateur_viewer", database_url), read_only=True) as database,
            running_api(database, tokens=Tokens(database)) as client,
        ):
            data_of(await client.get("/v1/queues", headers=dict(bearer(text))))
            failure_of(await client.get("/v1/queues"), 401)


class TestTheCommand:
    def test_create_list_and_revoke(self, here: Here, embedded_url: str) -> None:
        assert "There is no token" in here("token", "list", url=embedded_url).out
        made = here("token", "create", "ci", "--scope", "operator", "--expires", "30d", url=embedded_url)
        assert re.fullmatch(r"secateur_[0-9a-f]{16}_[A-Za-z0-9_-]{43}\n", made.out)
        assert "Keep it: it is not shown again. It is valid until 2" in made.err
        assert made.out.strip()[-43:] not in made.err
        shown = here("token", "create", "wall", "--scope", "viewer", "--json", url=embedded_url).json
        assert (shown["name"], shown["scope"], shown["state"], shown["expires_at"]) == ("wall", "viewer", "valid", None)
        assert shown["token"].startswith(f"secateur_{shown['token_id']}_")
        listed = here("token", "list", "--json", url=embedded_url).json
        assert [each["name"] for each in listed] == ["wall", "ci"]
        assert "token" not in listed[0]
        assert "hash" not in str(listed)
        assert "never" in here("token", "list", url=embedded_url).out
        assert here("token", "revoke", "ci", url=embedded_url).out == "Revoked ci (operator, never used).\n"
        assert here("token", "list", "--json", url=embedded_url).json[1]["state"] == "revoked"
        audit = here("audit", "--json", url=embedded_url).json
        assert [each["action"] for each in audit[:3]] == ["revoke_token", "create_token", "create_token"]

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            (("create", "ci"), 2, "the following arguments are required: --scope"),
            (("create", "ci", "--scope", "root"), 2, "there is no `root`"),
            (("create", "ci", "--scope", "viewer", "--expires", "0d"), 2, "expires_at: must be in the future"),
            (("create", "ci", "--scope", "viewer", "--expires", "999999w"), 2, "expires_at: must be a time in the"),
            (("create", "", "--scope", "viewer"), 2, "name: must not be empty"),
            (("revoke", "ci"), 1, "there is no token 'ci'"),
            (("list", "--read-only", "--nonsense"), 2, "unrecognized arguments: --nonsense"),
            (("create", "ci", "--scope", "viewer", "--read-only"), 2, "is read-only"),
            ((), 2, "the following arguments are required: ACTION"),
        ],
    )
    def test_mistakes(self, here: Here, embedded_url: str, arguments: tuple[str, ...], code: int, said: str) -> None:
        failed = here("token", *arguments, url=embedded_url)
        assert (failed.code, failed.out) == (code, ""), failed
        assert said in failed.err
