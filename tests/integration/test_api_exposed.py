"""`secateur serve` where others than this machine reach it: tokens, TLS, and a proxy in front."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import trustme
from api_client import data_of, failure_of, server_process
from command_line import Here

from patience import PATIENCE
from secateur.postgres.database import Database
from secateur.tokens.keeping import Tokens, TokenScope

pytestmark = pytest.mark.one_postgres


@pytest.fixture
def token(database_url: str) -> dict[str, str]:
    async def make() -> str:
        async with Database.connect(database_url) as database:
            day = timedelta(days=1)
            _, text = await Tokens(database).create("ci", TokenScope.OPERATOR, expires=day, author="a", source="cli")
            return text

    return {"Authorization": f"Bearer {asyncio.run(make())}"}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The files of a certificate for 127.0.0.1, and of its key."""
    issued, folder = authority.issue_cert("127.0.0.1"), tmp_path_factory.mktemp("tls")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.mark.parametrize("flags", [("--host", "0.0.0.0"), ("--host", "::"), ("--proxy",)])
def test_without_a_token_only_this_machine_is_served(here: Here, database_url: str, flags: tuple[str, ...]) -> None:
    refused = here("serve", "--port", "0", *flags, url=database_url)
    assert (refused.code, refused.out) == (2, "")
    assert (
        "others than this machine are served only with a token: create one with `secateur token create" in refused.err
    )


def test_with_a_token_others_are_served(token: dict[str, str], database_url: str) -> None:
    with server_process(database_url, "--host", "0.0.0.0") as (process, address):
        address = address.replace("0.0.0.0", "127.0.0.1")
        failure_of(httpx.get(f"{address}/v1/queues", timeout=PATIENCE), 401)
        named = {**token, "Host": "jobs.example.com", "Origin": "https://elsewhere.example"}
        answer = httpx.get(f"{address}/v1/queues", headers=named, timeout=PATIENCE)
        data_of(answer)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        preflight = httpx.options(f"{address}/v1/queues", headers={"Origin": "https://x.example"}, timeout=PATIENCE)
        failure_of(preflight, 401)
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
        assert "secateur: without TLS, whoever listens on the way reads the tokens: see --tls-cert" in err


def test_tls(token: dict[str, str], database_url: str, authority: trustme.CA, certificate: tuple[str, str]) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    flags = ("--tls-cert", certificate[0], "--tls-key", certificate[1])
    with server_process(database_url, *flags) as (process, address):
        assert address.startswith("https://127.0.0.1:")
        with httpx.Client(verify=trusting, timeout=PATIENCE) as client:
            data_of(client.get(f"{address}/v1/queues", headers=token))
            failure_of(client.get(f"{address}/v1/queues"), 401)
            failure_of(client.post(f"{address}/v1/cancellations", headers=token, content=b"x" * 300_000), 413)
        with pytest.raises(httpx.TransportError):
            httpx.get(address.replace("https", "http"), timeout=PATIENCE)
        process.terminate()
        assert process.communicate(timeout=PATIENCE) == ("", "")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--tls-cert", "{cert}"), "--tls-cert and --tls-key belong together"),
        (("--tls-cert", "/nowhere", "--tls-key", "{key}"), "--tls-cert: /nowhere cannot be read: No such file"),
        (("--tls-cert", "{key}", "--tls-key", "{cert}"), "must be a PEM certificate and its key without a password"),
        (("--tls-cert", "{cert}", "--tls-key", "{empty}"), "must be a PEM certificate and its key without a password"),
        (("--host", "no such host"), "--host: there is no host 'no such host' here"),
        (("--host", "192.0.2.1"), "cannot listen on 192.0.2.1:0: "),
        (("--proxy", "nginx"), "--proxy: 'nginx' does not appear to be an IPv4 or IPv6 network; give an address"),
    ],
)
def test_mistakes_are_told_before_anything_is_served(
    here: Here, database_url: str, certificate: tuple[str, str], tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    (tmp_path / "empty.pem").write_text("")
    names = {"cert": certificate[0], "key": certificate[1], "empty": str(tmp_path / "empty.pem")}
    refused = here("serve", "--port", "0", *(flag.format(**names) for flag in flags), url=database_url)
    assert refused.code in (1, 2)
    assert refused.out == ""
    assert said in refused.err


def test_a_trusted_proxy_says_for_whom_it_asks(token: dict[str, str], database_url: str) -> None:
    """Failures count for its clients, not for itself; and the audit has their addresses."""
    with server_process(database_url, "--proxy") as (_, address), httpx.Client(timeout=PATIENCE) as client:

        def ask(who: str, **headers: str) -> httpx.Response:
            return client.post(f"{address}/v1/queues/none/pause", headers={"X-Forwarded-For": who, **headers})

        statuses = [ask("203.0.113.7").status_code for _ in range(11)]
        assert statuses == [401] * 10 + [429]
        assert ask("203.0.113.8").status_code == 401
        assert ask("203.0.113.9", **token).status_code == 404
        entry = data_of(client.get(f"{address}/v1/audit", headers=token))[0]
        assert (entry["action"], entry["details"]["from"]) == ("request", "203.0.113.9")


def test_others_are_not_believed(token: dict[str, str], database_url: str) -> None:
    with server_process(database_url, "--proxy", "192.0.2.1") as (_, address), httpx.Client(timeout=PATIENCE) as client:
        statuses = {
            client.get(f"{address}/v1/queues", headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code
            for number in range(11)
        }
        assert statuses == {401, 429}
