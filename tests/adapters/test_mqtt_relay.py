"""`adapters.mqtt_relay.codec` in tables, fuzzed; what its configuration refuses."""

from __future__ import annotations

import contextlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.mqtt_relay import Config
from adapters.mqtt_relay import codec as c

SHELLY, TASMOTA, ESPHOME = (c.DIALECTS[name]("r", "gated-x") for name in ("shelly", "tasmota", "esphome"))


@pytest.mark.parametrize(
    ("dialect", "topic", "payload", "expected"),
    [
        (SHELLY, "r/online", b"true", [c.Online(True)]),
        (SHELLY, "r/online", b"false", [c.Online(False)]),
        (SHELLY, "gated-x/rpc", b'{"id":4,"result":{"was_on":false}}', [c.Switched("", True, 4)]),
        (SHELLY, "gated-x/rpc", b'{"id":4,"result":{"id":0,"output":false}}', [c.Switched("0", False, 4)]),
        (SHELLY, "gated-x/rpc", b'{"id":4,"error":{"code":-105,"message":"no"}}', [c.Refused(4, "-105: no")]),
        (
            SHELLY,
            "r/events/rpc",
            b'{"method":"NotifyStatus","params":{"ts":1,"input:1":{"id":1,"state":true},"x":1}}',
            [c.Input("1", True)],
        ),
        (
            SHELLY,
            "gated-x/rpc",
            b'{"id":1,"result":{"sys":{"unixtime":1.8e9}}}',
            [c.Told(unix=1.8e9), c.Told(all=True)],
        ),
        (TASMOTA, "tele/r/LWT", b"Online", [c.Online(True)]),
        (TASMOTA, "tele/r/LWT", b"Offline", [c.Online(False)]),
        (TASMOTA, "stat/r/POWER", b"ON", [c.Switched("1", True)]),
        (TASMOTA, "stat/r/POWER2", b"OFF", [c.Switched("2", False)]),
        (TASMOTA, "stat/r/SWITCH1", b'{"STATE":"ON"}', [c.Input("1", True)]),
        (TASMOTA, "stat/r/SWITCH1", b"OFF", [c.Input("1", False)]),
        (TASMOTA, "stat/r/RESULT", b'{"Switch2":{"Action":"ON"}}', [c.Input("2", True)]),
        (
            TASMOTA,
            "stat/r/STATUS8",
            b'{"StatusSNS":{"Switch1":"OFF"}}',
            [c.Input("1", False), c.Told(all=True)],
        ),
        (TASMOTA, "stat/r/LOGGING", b"anything", []),
        (ESPHOME, "r/status", b"online", [c.Online(True)]),
        (ESPHOME, "r/switch/gate/state", b"ON", [c.Switched("gate", True)]),
        (ESPHOME, "r/binary_sensor/loop/state", b"OFF", [c.Input("loop", False)]),
    ],
)
def test_heard(dialect: c.Dialect, topic: str, payload: bytes, expected: list[c.Heard]) -> None:
    assert dialect.heard(topic, payload) == expected


def test_pulses() -> None:
    sent = SHELLY.pulse("0", 700, 9)
    assert sent.topic == "r/rpc"
    assert orjson.loads(sent.payload) == {
        "id": 9, "src": "gated-x", "method": "Switch.Set",
        "params": {"id": 0, "on": True, "toggle_after": 0.7},
    }  # fmt: skip
    assert TASMOTA.pulse("1", 700, 9) == ("cmnd/r/Backlog0", b"PulseTime1 7; Power1 ON")
    assert ESPHOME.pulse("gate", 700, 9) == ("r/switch/gate/command", b"ON")
    assert ESPHOME.release("gate", 9) == [("r/switch/gate/command", b"OFF")]


@given(
    st.sampled_from([SHELLY, TASMOTA, ESPHOME]),
    st.sampled_from(
        ["r/online", "gated-x/rpc", "r/events/rpc", "tele/r/LWT", "stat/r/POWER1", "stat/r/RESULT",
         "stat/r/STATUS8", "stat/r/STATUS2", "stat/r/SWITCH1", "r/status", "r/switch/a/state"]
    ),
    st.one_of(
        st.binary(max_size=100),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "result", "params", "error", "input:0", "state", "output", "was_on",
                                 "sys", "unixtime", "StatusSNS", "StatusFWR", "Switch1", "STATE", "ver"]),
                inner, max_size=4,
            ),
            max_leaves=8,
        ).map(orjson.dumps),
    ),
)  # fmt: skip
def test_any_bytes_are_heard_or_malformed(dialect: c.Dialect, topic: str, payload: bytes) -> None:
    with contextlib.suppress(c.Malformed, ValueError):
        dialect.heard(topic, payload)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"firmware": "esphome"}, "name the switch"),
        ({"firmware": "shelly", "pulse": "host"}, "times its pulses itself"),
        ({"firmware": "tasmota", "outputs": ["gate"]}, "are numbers"),
        ({"firmware": "shelly", "topic": "a/#"}, "pattern"),
        ({"firmware": "shelly", "broker": {"certificate": "/x"}}, "tls is not on"),
        ({"firmware": "shelly", "broker": {"password": {"env": "X"}}}, "without a username"),
        ({"firmware": "shelly", "broker": {"password": "secret"}}, "not written here"),
    ],
)
def test_what_cannot_work_is_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Config.model_validate({"id": "r", "type": "mqtt_relay", "topic": "r"} | settings)


def test_the_first_output_is_the_default() -> None:
    for firmware, first in (("shelly", "0"), ("tasmota", "1")):
        values = {"id": "r", "type": "mqtt_relay", "topic": "r", "firmware": firmware}
        assert Config.model_validate(values).outputs == (first,)
        assert Config.model_validate(values | {"outputs": [3]}).outputs == ("3",)
