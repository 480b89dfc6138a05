"""The AsyncAPI document itself: whole, and no topic of the architecture left out."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gated.domain import BarrierPosition, Direction, LaneMode, OpeningOutcome, Outcome, Severity
from tests.mqtt.contract import Contract

TOPICS = {
    "gated/x/status": "status",
    "gated/x/devices/cam/availability": "availability",
    "gated/x/lanes/east-in/state": "laneState",
    "gated/x/lanes/east-in/passages": "passages",
    "gated/x/grids/g01/alerts": "alerts",
    "gated/x/grids/g01/alerts/01A/command": "alertCommand",
    "gated/x/lanes/east-in/command": "laneCommand",
    "gated/x/replay": "replay",
    "gated/x/grids/g01/alerts/replay": "alertsReplay",
    "gated/x/replies/worker/phone": "replies",
}


@pytest.mark.parametrize(("topic", "channel"), TOPICS.items())
def test_every_topic_is_described(contract: Contract, topic: str, channel: str) -> None:
    assert contract.channel(topic) == channel


def test_every_channel_is_a_topic_that_is_tested(contract: Contract) -> None:
    assert set(contract.document["channels"]) == set(TOPICS.values())


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        found = [node["$ref"]] if "$ref" in node else []
        return found + [reference for value in node.values() for reference in _references(value)]
    if isinstance(node, list):
        return [reference for value in node for reference in _references(value)]
    return []


def test_every_reference_leads_somewhere(contract: Contract) -> None:
    for reference in _references(contract.document):
        node: Any = contract.document
        for part in reference.removeprefix("#/").split("/"):
            assert part in node, reference
            node = node[part]


def test_every_schema_is_one(contract: Contract) -> None:
    for schema in contract.document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "field", "values"),
    [
        ("passage", "outcome", list(Outcome)),
        ("passage", "direction", list(Direction)),
        ("alert", "severity", list(Severity)),
        ("laneState", "mode", list(LaneMode)),
        ("laneState", "position", list(BarrierPosition)),
        ("commandReply", "outcome", list(OpeningOutcome)),
    ],
)
def test_the_vocabulary_is_the_domains(
    contract: Contract, schema: str, field: str, values: list[str]
) -> None:
    described = contract.document["components"]["schemas"][schema]["properties"][field]["enum"]
    assert sorted(described) == sorted(values)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("gated/x/status", b"away"),
        ("gated/x/lanes/east-in/passages", b"{}"),
        ("gated/x/grids/g01/alerts", b'{"type":"old"}'),
        ("gated/x/elsewhere", b"{}"),
    ],
)
def test_the_check_finds_breaches(contract: Contract, topic: str, payload: bytes) -> None:
    with pytest.raises(AssertionError):
        contract.check(topic, payload)
