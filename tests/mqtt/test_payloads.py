"""Records become the payloads that the AsyncAPI document promises; the cursor follows acknowledgements."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from gated.domain import BarrierPosition, Outcome, Severity
from gated.outbox import Progress, alert_message, lane_state_message, passage_message, with_seq
from gated.store.records import OutboxMessage
from tests.mqtt.contract import Contract
from tests.mqtt.samples import alert, decision, lane_status, passage

MESSAGES = {
    "a granted passage": passage_message(passage(), decision()),
    "nothing read": passage_message(passage(credential=None), decision(Outcome.REFER, by_pass=False)),
    "a new alert": alert_message(alert(), "new"),
    "an alert of a device": alert_message(
        alert(lane=None, passage_id=None, device="cam", severity=Severity.CRITICAL), "update"
    ),
    "an alert to the grid above": alert_message(alert(), "new", grid="g00"),
    "the end of an alert": alert_message(alert(state="closed"), "end"),
    "a lane": lane_state_message(lane_status()),
    "a lane that nothing has passed": lane_state_message(
        lane_status(last_outcome=None, last_passage_id=None, last_at=None, barrier=None)
    ),
    "a lane with its boom up": lane_state_message(lane_status(position=BarrierPosition.OPEN)),
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_payloads_are_as_described(message: OutboxMessage, contract: Contract) -> None:
    body = with_seq(orjson.dumps(message.payload), 1)
    contract.check(f"gated/village/{message.topic}", body, retain=message.retain)


def test_a_passage_in_full() -> None:
    message = passage_message(passage(), decision())
    assert message.topic == "lanes/east-in/passages"
    assert not message.retain
    assert message.payload == {
        "id": "01PASSAGE",
        "lane": "east-in",
        "entrance": "east",
        "direction": "in",
        "credential": {"kind": "plate", "value": "津A12345"},
        "outcome": "grant",
        "reason": "valid_pass",
        "text": {"zh": "有效出入证", "en": "A valid pass"},
        "rule_id": "valid-pass",
        "pass_id": "01PASS",
        "device": "cam-east-in",
        "at": "2026-11-21T21:16:03.123Z",
        "received_at": "2026-11-21T21:16:03.373Z",
        "continues": None,
    }


def test_an_alert_goes_to_its_grid_or_to_the_one_above() -> None:
    assert alert_message(alert(), "new").topic == "grids/g01/alerts"
    above = alert_message(alert(), "new", grid="g00")
    assert (above.topic, above.payload["grid"]) == ("grids/g00/alerts", "g01")


@pytest.mark.parametrize("payload", [{}, {"a": 1}, {"a": {"b": []}, "zh": "网格"}])
def test_seq_is_put_in_without_parsing(payload: dict[str, Any]) -> None:
    assert json.loads(with_seq(orjson.dumps(payload), 7)) == {**payload, "seq": 7}


@pytest.mark.parametrize(
    ("settled", "acknowledged"),
    [
        ([], 0),
        ([1], 1),
        ([1, 2, 3], 3),
        ([3, 2], 0),
        ([3, 2, 1], 3),
        ([2, 1, 5], 2),
        ([2, 1, 5, 3], 5),
    ],
)
def test_the_cursor_stops_below_the_first_gap(settled: list[int], acknowledged: int) -> None:
    progress = Progress()
    for row in (1, 2, 3, 5):  # 4 was rolled back: ids may have holes
        progress.sent(row)
    for row in settled:
        progress.settle(row)
    assert progress.acknowledged == acknowledged


def test_what_was_on_its_way_is_forgotten_with_the_connection() -> None:
    progress = Progress(4)
    for row in (5, 6):
        progress.sent(row)
    progress.settle(6)
    progress.forget()
    assert (progress.acknowledged, len(progress)) == (4, 0)
    progress.sent(5)
    progress.settle(5)
    assert progress.acknowledged == 5
