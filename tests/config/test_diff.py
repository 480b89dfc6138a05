"""What a reload changes, and what needs a restart."""

from __future__ import annotations

import pytest

from gated.config import Changes, diff, loads
from tests.config.texts import GOOD, changed, load_adapter, site

CASES = [
    ("nothing", "", "", Changes()),
    ("a comment", "devices:\n", "devices: # these\n", Changes()),
    ("a device's port", "host: 10.0.0.1", "host: 10.0.0.1, port: 81", Changes(devices_changed=("cam",))),
    ("a new device", "devices:\n", "devices:\n  - {id: new, type: relay, host: h}\n",
     Changes(devices_added=("new",))),
    ("a device gone", "  - {id: pusher, type: pusher, token: {env: TOKEN}}\n", "",
     Changes(devices_removed=("pusher",))),
    ("a device renamed", "{id: pusher,", "{id: pushes,",
     Changes(devices_added=("pushes",), devices_removed=("pusher",))),
    ("a lane's pulse", "direction: in", "direction: in\n    pulse_ms: 900",
     Changes(lanes_changed=("gate-in",))),
    ("the default pulse", "grids:", "defaults: {lane: {pulse_ms: 900}}\ngrids:",
     Changes(lanes_changed=("gate-in",))),
    ("a default that changes nothing", "grids:", "defaults: {lane: {pulse_ms: 700}}\ngrids:", Changes()),
    ("an entrance's grid", "grid: g1", "grid: all",
     Changes(lanes_changed=("gate-in",), sections=("entrances",))),
    ("an entrance's name", "name: gate,", "name: Gate,", Changes(sections=("entrances",))),
    ("the policy", "grids:", "policy: {file: /etc/gated/p.yaml}\ngrids:", Changes(sections=("policy",))),
    ("the log level", "grids:", "log: {level: debug}\ngrids:", Changes(sections=("log",))),
    ("the site's name", "en: Village", "en: Town", Changes(sections=("site",))),
    ("the site's id", "{id: village", "{id: town", Changes(sections=("site",), restart=("site.id",))),
    ("the port", "grids:", "api: {port: 9000}\ngrids:", Changes(restart=("api.port",))),
    ("the database", "gated.db", "other.db", Changes(restart=("store.url",))),
    ("the broker", "grids:", "mqtt: {host: b, tls: {}}\ngrids:",
     Changes(restart=("mqtt.host", "mqtt.port", "mqtt.tls"))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "changes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_reload_changes(old: str, new: str, changes: Changes) -> None:
    after = site(changed(old, new) if old else GOOD)
    assert diff(site(), after) == changes
    assert bool(changes) == (changes != Changes())


def test_a_device_whose_password_was_changed_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD + "mqtt: {username: gated, password: {env: BROKER}}\n"
    monkeypatch.setenv("CAM", "one-password")
    monkeypatch.setenv("BROKER", "another")
    before = loads(text, load_adapter)
    assert not diff(before, loads(text, load_adapter))
    monkeypatch.setenv("CAM", "two-password")
    monkeypatch.setenv("BROKER", "changed")
    after = loads(text, load_adapter)
    assert diff(before, after) == Changes(devices_changed=("cam",), restart=("mqtt.password",))
    monkeypatch.delenv("CAM")
    assert diff(after, loads(text, load_adapter)).devices_changed == ("cam",)


def test_what_is_remembered_of_a_secret_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM", "hunter2hunter2")
    assert "hunter2" not in repr(site().__dict__) + repr(site().__pydantic_private__)
