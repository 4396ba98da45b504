"""Requests made from the OpenAPI document: no fault of ours, and every answer is one that the document declares.

In this process, without a network. FORESHOCK_TEST_EXAMPLES=2000 makes a large run of it, FORESHOCK_TEST_SEED another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import get_state_machine_test
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from foreshock_server.app import create_app
from foreshock_server.errors import UnknownRun
from foreshock_server.notify.channel import NotDelivered
from foreshock_server.settings import Settings

EXAMPLES = int(os.environ.get("FORESHOCK_TEST_EXAMPLES", "40"))  # of each operation and mode
WALK = 40  # examples of one machine: what it may ask depends on answers, which hypothesis cannot repeat exactly for long
SEED = int(os.environ.get("FORESHOCK_TEST_SEED", "20"))
KNOWN = {"run": "run-1", "name": "policy", "channel_id": "none", "attempt": 1}
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.allow_header_conformance,
    checks.unsupported_method,
]
# What a JSON schema cannot say, so that something it allows is refused all the same:
BETWEEN_THE_LINES = {
    "post_block": "the lengths of arrays, and keys that their labels make",
    "get_runs": "which cursor is of which order",
    "get_data": "`first` must not lie after `last`",
    "get_heatmap": "the same",
    "get_figure": "the same",
    "backtest_rules": "which runs there are, and what is a pack",
    "suggest_threshold": "which runs and rules there are, and what is a pack",
    "create_own_rule": "what is a rule",
    "edit_rule": "what is YAML",
    "create_channel": "which text is an address, and which a secret",
}

_document = create_app(Settings(data_dir=Path("/nonexistent"), database_url="sqlite://")).openapi()
_operations = {
    operation["operationId"]: operation for path in _document["paths"].values() for operation in path.values()
}
OPERATIONS = sorted(_operations)
# …and those about which something can be wrong: not only a name of any kind in the address
FALLIBLE = [
    name
    for name in OPERATIONS
    if "requestBody" in _operations[name]
    or any(
        one["in"] == "query"
        or set(one["schema"]) - {"type", "title", "pattern"}
        or one["schema"].get("maxLength")
        for one in _operations[name].get("parameters", [])
    )
]


@pytest.fixture
def database_url(tmp_path) -> str:
    """What is refused is refused before a database sees it; the fuzzer of the whole ingest runs on both."""
    return f"sqlite:///{tmp_path / 'foreshock.db'}"


@pytest.fixture
def app(client, trainer, wire, monkeypatch) -> FastAPI:
    """With one run that has readings, streams that end at once, and channels that reach nobody."""

    class Nobody:
        def send(self, _message: object, _number: str) -> None:
            raise NotDelivered("no network in tests", permanent=False)

    monkeypatch.setattr("foreshock_server.notify.endpoint.open_channel", lambda _row, _deadline: Nobody())
    client.app.openapi_schema = _document  # as it would make it itself, for each test
    client.app.state.listeners.closing = True
    names = ["policy_entropy", "loss"]
    trainer.send(1, [wire.rows(1, range(50), [[i, float("nan")] for i in range(50)])], [wire.frame(1, names)])
    return client.app


def schema_of(app: FastAPI) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_takes_what_it_declares_and_answers_as_it_declares(app, name):
    wanted = CHECKS if name in BETWEEN_THE_LINES else [*CHECKS, checks.positive_data_acceptance]
    ask(app, name, GenerationMode.POSITIVE, wanted)


@pytest.mark.parametrize("name", FALLIBLE)
def test_every_operation_refuses_what_it_does_not_declare(app, name):
    ask(app, name, GenerationMode.NEGATIVE, [*CHECKS, checks.negative_data_rejection])


def ask(
    app: FastAPI,
    name: str,
    mode: GenerationMode,
    wanted: list[Any],
    examples: int = EXAMPLES,
    phases: Sequence[Phase] = tuple(Phase),
) -> None:
    operation = schema_of(app).find_operation_by_id(name)

    @seed(SEED)
    @settings(
        max_examples=examples,
        phases=phases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), known=st.booleans())
    def asked(case: Any, known: bool) -> None:
        if (
            known and mode is GenerationMode.POSITIVE
        ):  # else nearly all would be about runs that are not there
            case.path_parameters.update({key: KNOWN[key] for key in case.path_parameters if key in KNOWN})
        answer = case.call()
        # these refuse too, but schemathesis does not count them among the refusals
        case.validate_response(answer, checks=CHECKS if answer.status_code in (413, 431) else wanted)

    asked()


@pytest.mark.parametrize("walk", range(-(-EXAMPLES // WALK)))
def test_what_is_made_can_be_asked_for_and_what_is_deleted_is_gone(app, walk):
    machine = schema_of(app).as_state_machine()
    machine.validate_response = lambda self, response, case, **_: case.validate_response(
        response, checks=[*CHECKS, checks.use_after_free, checks.ensure_resource_availability]
    )
    seed(SEED + walk)(
        get_state_machine_test(
            machine,
            settings=settings(
                max_examples=WALK,
                stateful_step_count=6,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    )()


def test_the_document_declares_every_error_in_its_one_shape():
    for path, operations in _document["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if status >= "400":
                    assert answer["content"] == {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}
                    }, (path, status)
    assert "HTTPValidationError" not in json.dumps(_document)


def test_operation_ids_are_names():
    assert len(set(OPERATIONS)) == len(OPERATIONS)
    assert all(name.isidentifier() for name in OPERATIONS)


@pytest.mark.parametrize("name", BETWEEN_THE_LINES)
def test_every_exception_is_still_needed(app, name):
    with pytest.raises(FailureGroup):
        # no smaller one is looked for: that there is one is all
        ask(
            app,
            name,
            GenerationMode.POSITIVE,
            [checks.positive_data_acceptance],
            max(EXAMPLES, 300),
            [Phase.generate],
        )


def test_what_the_document_does_not_declare_is_found(app, monkeypatch):
    monkeypatch.setattr(UnknownRun, "status", 418)
    with pytest.raises(FailureGroup):
        ask(app, "get_one_run", GenerationMode.POSITIVE, CHECKS, phases=[Phase.generate])
