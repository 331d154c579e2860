"""The API answers as its own documentation says, whatever it is sent: requests made up by Schemathesis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from api_client import server_process
from billing import end_running, seed
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from servers import with_schema

EXAMPLES = 4
"""For each path and method: enough for what is out of bounds, of the wrong type, or missing."""


@pytest.fixture(scope="module")
def schema(postgres_servers: Any) -> Iterator[Any]:
    server = postgres_servers("embedded")
    name = server.create_database(with_schema)
    url = server.postgres.database_url(name)
    asyncio.run(seed(url))
    asyncio.run(end_running(url))
    with server_process(url) as (_, address):
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")
    server.drop_database(name)


contract = schemathesis.pytest.from_fixture("schema")


def status_has_its_own_words(context: Any, response: Any, case: Case) -> None:
    """`default` stands for what may happen to any request on the way, such as 408, and not for what a path answers."""
    if case.method != case.operation.method.upper():
        return  # it is about another operation, or about none
    documented = case.operation.definition.raw["responses"]
    assert str(response.status_code) in documented, f"{response.status_code}: {response.text}"


@contract.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_a_documented_one(case: Case) -> None:
    checks = [
        not_a_server_error,
        status_code_conformance,
        status_has_its_own_words,
        content_type_conformance,
        response_schema_conformance,
    ]
    case.call_and_validate(checks=checks, timeout=60)
