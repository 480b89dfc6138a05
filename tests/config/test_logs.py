"""Logging: one line an event, for machines and for people; samples that paste into tests."""

from __future__ import annotations

import ast
import base64
import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from gated import logs
from gated.config import LogSettings
from gated.ports import UnparsedLog

NOW = datetime(2026, 11, 21, 13, 16, 3, 123456, tzinfo=UTC)
SECRET = "hunter2hunter2"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(**settings: Any) -> io.StringIO:
    """Logging set up to write into the returned buffer."""
    out = io.StringIO()
    logs.configure(LogSettings(**settings), [SECRET], stream=out, now=lambda: NOW)
    return out


def events(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_utc_milliseconds_first() -> None:
    out = lines()
    structlog.get_logger().info("passage", lane="gate-in", ms=1.5, text="two\nlines 中文")
    assert out.getvalue() == (
        '{"at":"2026-11-21T13:16:03.123Z","level":"info","event":"passage","lane":"gate-in","ms":1.5,'
        '"text":"two\\nlines 中文"}\n'
    )


def test_plates_are_masked_above_debug_level_only() -> None:
    out = lines(level="debug")
    log = structlog.get_logger()
    for method in (log.debug, log.info, log.error):
        method("read", plate="津A12345")
    assert [event["plate"] for event in events(out)] == ["津A12345", "津A***45", "津A***45"]


def test_plates_are_clear_where_configured_and_secrets_never() -> None:
    out = lines(level="debug", plates="clear")
    structlog.get_logger().info("read", plate="津A12345", password="x", text=SECRET)
    structlog.get_logger().debug("read", plate="津A12345", password="x", text=SECRET)
    for event in events(out):
        assert (event["plate"], event["password"], event["text"]) == ("津A12345", "***", "***")


@pytest.mark.parametrize(("level", "seen"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_kept_also_by_loggers_bound_before(level: Any, seen: int) -> None:
    out = lines(level="debug")
    log = structlog.get_logger().bind(part="x")
    logs.configure(LogSettings(level=level), stream=out)
    for method in (log.debug, log.info, log.warning, log.error):
        method("said")
    assert len(events(out)) == seen


def test_a_reload_changes_level_and_masking() -> None:
    log = structlog.get_logger()
    lines(level="error")
    out = lines(level="debug", plates="clear")
    log.info("said", plate="津A12345")
    logging.getLogger("some.library").warning("once")
    assert [event.get("plate") for event in events(out)] == ["津A12345", None]


def test_an_exception_is_in_the_line_without_secrets() -> None:
    out = lines()
    try:
        raise ValueError(f"password={SECRET}")
    except ValueError:
        structlog.get_logger().exception("failed")
    (event,) = events(out)
    assert event["exception"].endswith("ValueError: password=***")


def test_libraries_log_the_same_way_and_their_chatter_is_dropped() -> None:
    out = lines(level="debug")
    logging.getLogger("uvicorn.error").warning("bad request from %s", "10.0.0.1")
    logging.getLogger("uvicorn.access").info("GET /ingest?key=x")
    logging.getLogger("zeep.transports").debug("HTTP Post: Authorization")
    logging.getLogger("sqlalchemy.engine").info("SELECT")
    (event,) = events(out)
    assert event == {
        "at": "2026-11-21T13:16:03.123Z", "level": "warning", "event": "bad request from 10.0.0.1",
        "logger": "uvicorn.error",
    }  # fmt: skip


def test_a_library_that_repeats_itself_is_heard_once() -> None:
    out = lines()
    for number in range(100):
        logging.getLogger("some.library").warning("connection %s lost", number)
    assert [event["event"] for event in events(out)] == ["connection 0 lost"]


def test_lines_for_people_carry_no_control_characters() -> None:
    out = lines(format="console")
    structlog.get_logger().warning("odd", device="cam\x1b[2J\r", n=3, empty="", name="two words")
    assert out.getvalue() == (
        "13:16:03.123 warning  odd                      device=cam\\x1b[2J\\r n=3 empty='' name='two words'\n"
    )


def test_repeats_are_held_back_and_counted() -> None:
    at = 0.0
    repeats = logs.Repeats(60, lambda: at)
    assert [repeats.due("a"), repeats.due("a"), repeats.due("b"), repeats.due("a")] == [0, None, 0, None]
    at = 61.0
    assert [repeats.due("a"), repeats.due("a")] == [2, None]
    for number in range(5000):
        repeats.due(number)
    assert len(repeats._seen) <= 1025


# --- what could not be parsed -------------------------------------------------------------------------------


def value(expression: str) -> bytes:
    """The bytes of a logged sample, evaluated as a test would."""
    if expression.startswith("base64."):
        return base64.b64decode(expression.split('"')[1])
    if expression.endswith(".encode()"):
        return str(ast.literal_eval(expression.removesuffix(".encode()"))).encode()
    return bytes(ast.literal_eval(expression))


@pytest.mark.parametrize(
    ("sent", "logged", "start"),
    [
        (b'{"a": "b"}', b'{"a": "b"}', "b'"),
        ('{"a": "绿"}', '{"a": "绿"}'.encode(), "'"),
        ('{"a": "绿牌照"} and so on'.encode("gb18030"), '{"a": "绿牌照"} and so on'.encode("gb18030"), "b'"),
        (bytes(range(128, 256)), bytes(range(128, 256)), "base64.b64decode("),
        ("lone \udc80 byte", b"lone \x80 byte", "b'"),
        (b"", b"", "b'"),
        ('{"license":"津A12345"}', '{"license":"津A00000"}'.encode(), "'"),
        (f"pw {SECRET}".encode(), b"pw ***", "b'"),
    ],
)
def test_a_sample_pastes_into_a_test(sent: bytes | str, logged: bytes, start: str) -> None:
    out = lines()
    unparsed: UnparsedLog = logs.Unparsed()
    unparsed("cam", "event", sent, "no such topic")
    (event,) = events(out)
    assert (event["event"], event["device"], event["kind"], event["why"]) == (
        "unparsed", "cam", "event", "no such topic",
    )  # fmt: skip
    assert event["sample"].startswith(start)
    assert value(event["sample"]) == logged


def test_each_kind_is_logged_once_a_device_and_only_so_many() -> None:
    out = lines()
    unparsed = logs.Unparsed(kinds=3)
    for _ in range(5):
        for device in ("a", "b"):
            for kind in ("1", "2", "3", "4", "5"):
                unparsed(device, kind, b"x", "")
    assert [(event["event"], event["device"]) for event in events(out)] == [
        *[("unparsed", "a")] * 3, ("unparsed_more", "a"), *[("unparsed", "b")] * 3, ("unparsed_more", "b"),
    ]  # fmt: skip
    assert unparsed.count == {"a": 25, "b": 25}


def test_a_sample_is_bounded() -> None:
    out = lines()
    logs.Unparsed(size=100)("cam", "big", b"x" * 1_000_000, "too long")
    (event,) = events(out)
    assert value(event["sample"]) == b"x" * 100
    assert (event["cut"], event["size"]) == (True, 1_000_000)
