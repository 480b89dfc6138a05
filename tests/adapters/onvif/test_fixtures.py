"""Recordings of real cameras that lie beside the checkout: every line goes through the codec and nothing
is lost."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.onvif import envelope
from adapters.onvif.codec import Pulled, Reader
from adapters.onvif.times import system_time, utc
from gated.domain import InputChanged, Observed

FOLDER = Path(__file__).parents[3].parent / "shared" / "fixtures" / "onvif"
NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"the recordings of real cameras are not here ({FOLDER})"
)


def exchanges(name: str) -> list[dict[str, Any]]:
    with (FOLDER / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def tally(name: str) -> tuple[Counter[str], Counter[str]]:
    """What became of every reply, and of every notification in them."""
    replies: Counter[str] = Counter()
    made: Counter[str] = Counter()
    reader = Reader("cam")
    for exchange in exchanges(name):
        body = exchange["response"].encode()
        operation = exchange["soap_action"].rpartition("/")[2].removesuffix("Request")
        try:
            root = envelope.parse(body)
        except envelope.NotSoap as error:
            replies["web page" if error.html else "broken"] += 1
            continue
        fault = envelope.fault(root)
        if fault is not None:
            replies[f"{'refused' if fault.refused else 'fault'} {fault.codes[-1]}"] += 1
            continue
        replies[operation] += 1
        if operation != "PullMessages":
            continue
        found = reader.read(body, NOW)
        assert isinstance(found, Pulled)
        assert found.messages == body.count(b"NotificationMessage>") // 2
        assert found.messages == len(found.events) + len(found.ignored) + len(found.unparsed)
        assert found.current is not None
        for event in found.events:
            kind = event.what if isinstance(event, Observed) else type(event).__name__
            made[kind + (" initial" if getattr(event, "initial", False) else "")] += 1
        for ignored in found.ignored:
            made[f"ignored: {ignored.why}"] += 1
        made["unparsed"] += len(found.unparsed)
    return replies, +made


def test_hikvision() -> None:
    replies, made = tally("hikvision_compatible_20260219.jsonl")
    assert replies == {"CreatePullPointSubscription": 1, "PullMessages": 670, "Renew": 30}
    assert made == {
        "motion initial": 2,
        "scene_change initial": 1,
        "InputChanged initial": 3,
        "inside": 42,
        "ignored: the device's own load and uptime; its clock is measured directly": 8,
    }


def test_dahua() -> None:
    replies, made = tally("dahua_dh_sd4a425db_hny_20260219.jsonl")
    assert replies == {
        "fault BlockedThreadUpperLimit": 14,
        "CreatePullPointSubscription": 3,
        "PullMessages": 51,
    }
    assert made == {"motion": 18, "person": 2, "ignored: a message without a topic": 7}


def test_not_authorized() -> None:
    replies, _ = tally("hikvision_pullpoint_notauthorized.jsonl")
    assert replies == {"refused NotAuthorized": 5}


def test_web_page() -> None:
    replies, _ = tally("html_404_camera_20260321.jsonl")
    assert replies == {"web page": 10}


def test_pull_messages_sample() -> None:
    found = Reader("cam").read((FOLDER / "ex_onvif_pull_messages.xml").read_bytes(), NOW)
    assert isinstance(found, Pulled)
    assert [each.what for each in found.events if isinstance(each, Observed)] == [
        "motion",
        "motion",
        "tamper",
        "dark",
        "inside",
    ]
    assert len(found.ignored) == 3


def test_every_advertised_topic_has_a_meaning() -> None:
    """The topics of GetEventProperties, as messages without items: none is unknown but what vendors add."""
    root = envelope.parse((FOLDER / "ex_onvif_get_event_properties.xml").read_bytes())
    paths = []
    for element in root.iter():
        if element.get("{http://docs.oasis-open.org/wsn/t-1}topic") == "true":
            parts = [envelope.local(element)]
            for parent in element.iterancestors():
                if envelope.local(parent) == "TopicSet":
                    break
                parts.append(envelope.local(parent))
            paths.append("/".join(reversed(parts)))
    assert len(paths) > 20
    body = (FOLDER / "ex_onvif_pull_messages.xml").read_text(encoding="utf-8")
    one = body[body.index("<wsnt:NotificationMessage>") : body.index("</wsnt:NotificationMessage>") + 27]
    for path in paths:
        message = body.replace(one, one.replace("VideoSource/MotionAlarm", path))
        found = Reader("cam").read(message.encode(), NOW)
        assert isinstance(found, Pulled)
        assert not found.unknown, path


def test_small_replies() -> None:
    time = envelope.payload(envelope.parse((FOLDER / "ex_onvif_get_system_date_and_time.xml").read_bytes()))
    assert system_time(time) == datetime(2024, 7, 9, 19, 49, 6, tzinfo=UTC)
    created = envelope.payload(
        envelope.parse((FOLDER / "ex_onvif_create_pull_point_subscription.xml").read_bytes())
    )
    assert envelope.text_of(created, "SubscriptionReference", "Address").startswith("http://192.168.8.120/")
    assert utc(envelope.text_of(created, "TerminationTime")) == datetime(2025, 4, 15, 16, 50, 37, tzinfo=UTC)


async def test_device_information_by_onvif_zeep() -> None:
    from adapters.onvif import library

    operation = await library.build("devicemgmt", "GetDeviceInformation")
    root = envelope.parse((FOLDER / "ex_onvif_get_device_information.xml").read_bytes())
    found = await library.read(operation, root)
    assert found["Manufacturer"]
    assert found["SerialNumber"]


def test_inputs_of_hikvision_are_told_apart() -> None:
    names = set()
    for exchange in exchanges("hikvision_compatible_20260219.jsonl"):
        if "PullMessagesResponse" in exchange["response"]:
            found = Reader("cam").read(exchange["response"].encode(), NOW)
            assert isinstance(found, Pulled)
            names |= {event.input for event in found.events if isinstance(event, InputChanged)}
    assert len(names) == 3
