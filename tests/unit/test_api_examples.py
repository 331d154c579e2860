"""The examples of the API's document: every answer has one, and each is what the models say."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import Mock

import pytest
from pydantic import TypeAdapter

from secateur.api import PATHS, create_api
from secateur.api.answers import Failure
from secateur.open_queue import OpenQueue

ROUTES = {
    (method, route.path_format): route for each in PATHS for route in each.router.routes for method in route.methods
}


@pytest.fixture(scope="module")
def document() -> Any:
    api = create_api(OpenQueue(Mock(), Mock(), Mock(), Mock()), author="server")
    found = api.openapi()
    assert found is api.openapi()
    return found


def test_every_answer_has_an_example_that_its_model_takes(document: Any) -> None:
    forms = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            route = ROUTES[method.upper(), path]
            for status, response in operation["responses"].items():
                for media_type, content in response.get("content", {}).items():
                    if media_type != "application/json":
                        assert isinstance(content["example"], str)
                    elif status.startswith("2"):
                        model = route.responses.get(int(status), {}).get("model", route.response_model)
                        for example in content["examples"].values():
                            read = TypeAdapter(model).validate_json(json.dumps(example["value"]), strict=True)
                            assert read.model_dump(mode="json", by_alias=True) == example["value"], (method, path)
                            forms += 1
                        assert content["examples"], (method, path, status)
                    else:
                        failure = Failure.model_validate(content["example"], strict=True)
                        assert str(failure.status) == status or status == "default"
    assert forms > 30


def test_a_token_is_shown_as_a_bearer(document: Any) -> None:
    assert document["components"]["securitySchemes"]["bearerToken"]["scheme"] == "bearer"
    assert document["security"] == [{"bearerToken": []}, {}]
    assert document["paths"]["/healthz"]["get"]["security"][0] == {}
