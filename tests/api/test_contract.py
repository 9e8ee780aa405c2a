"""The description of the interface is true: what does not fit it is refused, and each answer is described."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from commanding import KEY
from house import House
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.python import asgi
from schemathesis.specs.openapi import checks as described

from newsletter.database import connect
from newsletter.machines.tokens import SCOPES, create_token
from newsletter.migrations import upgrade
from newsletter.settings import load_settings
from subscribers.app import site_app

CHECKS = [
    not_a_server_error,
    described.status_code_conformance,
    described.content_type_conformance,
    described.response_headers_conformance,
    described.response_schema_conformance,
    described.negative_data_rejection,
]
OPERATIONS = ("publishItems", "listItems", "showItem", "withdrawItem", "listLists", "showList", "signUp")


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The operations of the description as it is served, and a session with a token for all of them, on SQLite."""
    folder = tmp_path_factory.mktemp("contract")
    engine = connect(f"sqlite:///{folder / 'house.db'}")
    upgrade(engine)
    house = House(
        engine, load_settings(home=folder, base_url="https://n.example", secret_key=KEY, site_hosts="testserver")
    ).create()
    house.publish("one", "two", countries=("GT",), themes=("trade",))
    with engine.begin() as connection:
        token = create_token(connection, "everything", SCOPES, None, house.now)
    app = site_app(engine, house.settings, house.clock)
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app)
    # That an address is too long says it too.
    schema.config.checks.negative_data_rejection.expected_statuses = ["4xx"]
    schema.config.checks.positive_data_acceptance.expected_statuses = ["2xx", "401", "403", "404", "409", "414", "429"]
    with asgi.get_client(app) as session:
        session.headers["Authorization"] = f"Bearer {token}"
        found = [result.ok() for result in schema.get_all_operations()]
        yield {"session": session} | {one.definition.raw["operationId"]: one for one in found}
    engine.dispose()


def test_all_are_tried(operations: dict[str, Any]) -> None:
    """No operation is left out below."""
    assert {*operations} == {"session", *OPERATIONS}


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_description_is_true(operations: dict[str, Any], name: str, mode: GenerationMode) -> None:
    """Whatever fits the description, and whatever does not, gets an answer that is described; never a fault of ours."""
    operation = operations[name]

    @given(st.data())
    @settings(max_examples=8, database=None, suppress_health_check=list(HealthCheck))
    def holds(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        answer = case.call(session=operations["session"])
        case.validate_response(answer, checks=CHECKS)

    holds()
