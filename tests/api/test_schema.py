"""The OpenAPI document is whole, and the API keeps to it: schemathesis tries all of it, right and wrong."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gated.api import examples, problems, schemas, views
from gated.api.limits import FailureLimiter
from gated.domain import Role
from gated.ids import new_id
from tests.api.conftest import START, Gate, passage_record, wanted_pass

CONFIG = """
# What the schema cannot say is refused with 422 and a code, and that is right: an unknown entrance, an end
# before the start, a plate of dots, a lane that is not there. A check in the hooks looks at the codes.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "404", "409", "412", "422"]

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "404", "405", "409", "412", "415", "422"]
"""

HOOKS = '''
import schemathesis

# Refusals of what a schema cannot say. Anything else that is refused though it fits the schema is a fault.
BY_MEANING = {
    "credential", "unknown-grid", "no-lease", "unknown-entrance", "unknown-lane", "ends-before-start",
    "ends-in-past", "shortens", "value_error", "moment", "day",
}


@schemathesis.check
def refused_by_meaning_only(ctx, response, case):
    """Data that fits the schema is refused only for what the schema cannot say."""
    meta = case.meta
    if response.status_code != 422 or meta is None or not meta.generation.mode.is_positive:
        return None
    codes = {error["code"] for error in response.json().get("errors", [])}
    assert codes <= BY_MEANING, f"refused with {sorted(codes - BY_MEANING)}: {response.text}"
'''


async def document(gate: Gate) -> dict[str, Any]:
    return dict((await gate.ask("GET", "/openapi.json", role=Role.VOLUNTEER)).json())


async def test_schemathesis_finds_nothing(
    gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # it shows each operation a wrong token or two: how many of these an address may show has its own tests
    monkeypatch.setattr(FailureLimiter, "wait", lambda *_: 0.0)
    made = (await gate.ask("POST", "/api/v1/passes", wanted_pass())).json()
    for n in range(5):
        await gate.store.record(passage_record(n, START, alert_id=new_id(START)))
    schema = await document(gate)
    (tmp_path / "openapi.json").write_text(json.dumps(schema))
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    (tmp_path / "hooks.py").write_text(HOOKS)
    run = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(tmp_path / "schemathesis.toml"),
        "run",
        str(tmp_path / "openapi.json"),
        "--url",
        gate.url,
        "--header",
        f"Authorization: Bearer {gate.tokens[Role.OPERATOR]}",
        "--checks",
        "all",
        "--mode",
        "all",
        "--phases",
        "examples,coverage,fuzzing,stateful",
        "--max-examples",
        "20",
        "--generation-deterministic",
        "--continue-on-failure",
        "--no-shrink",
        "--workers",
        "1",
        "--no-color",
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(100):
            output, _ = await run.communicate()
    except TimeoutError:
        run.kill()
        raise
    text = output.decode()
    print(text)
    assert run.returncode == 0, text[-20_000:]
    assert (await gate.ask("GET", f"/api/v1/passes/{made['id']}")).status_code == 200


async def test_every_problem_is_declared_and_documented(gate: Gate) -> None:
    schema = await document(gate)
    declared = {
        example["value"]["type"]
        for operations in schema["paths"].values()
        for operation in operations.values()
        for response in operation["responses"].values()
        for example in response.get("content", {}).get(problems.MEDIA_TYPE, {}).get("examples", {}).values()
    }
    of_paths_and_devices = {"not-found", "method-not-allowed", "bad-push", "busy"}
    assert declared == {kind.uri for kind in problems.ALL if kind.name not in of_paths_and_devices}
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    for kind in problems.ALL:
        assert f"`{kind.uri}`" in page
        assert kind.zh


async def test_every_operation_says_what_it_does(gate: Gate) -> None:
    schema = await document(gate)
    assert schema["openapi"].startswith("3.1")
    names = []
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            names.append(operation["operationId"])
            assert operation["summary"], (method, path)
            assert operation["tags"], (method, path)
            assert "500" in operation["responses"]
            if method not in ("get", "delete"):
                content = operation["requestBody"]["content"]
                assert list(content) == ["application/json"], (method, path)
    assert len(names) == len(set(names))
    assert "HTTPValidationError" not in schema["components"]["schemas"]


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (schemas.PassIn, examples.PASS_IN),
        (schemas.PassOut, examples.PASS_OUT),
        (views.OpeningOut, examples.OPENING),
        (views.PassageOut, examples.PASSAGE),
        (views.AlertOut, examples.ALERT),
        (views.LaneOut, examples.LANE),
        (views.DeviceOut, examples.DEVICE),
        (views.EntranceOut, examples.ENTRANCE),
        (views.GridOut, examples.GRID),
        (views.DecisionIn, examples.DECISION_IN),
        (views.DecisionOut, examples.DECISION_OUT),
    ],
)
def test_examples_are_right(model: type[BaseModel], example: dict[str, Any]) -> None:
    read = model.model_validate(example)
    if issubclass(model, schemas.Out):
        assert json.loads(read.model_dump_json()) == example


def test_kinds_of_problems_are_unique() -> None:
    names = [kind.name for kind in problems.ALL]
    assert len(names) == len(set(names)) > 20


@pytest.mark.parametrize("kind", problems.ALL, ids=lambda kind: kind.name)
def test_a_problem_is_a_problem(kind: problems.Kind) -> None:
    found = json.loads(problems.Problem(kind, "d", "中").body("/x"))
    assert found == {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": "d",
        "detail_zh": "中",
        "instance": "/x",
    }
