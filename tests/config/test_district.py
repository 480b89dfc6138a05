"""The section `district`: what is refused, and where it says so."""

from __future__ import annotations

import pytest

from gated.config import ConfigErrors, SiteConfig, diff, loads
from gated.wiring import load_adapter

SITE = """\
site: {id: v, name: V}
store: {url: "sqlite:////tmp/gated.db"}
grids: [{id: g, name: G}]
entrances: [{id: east, name: East, grid: g}]
lanes: [{id: east-in, entrance: east, direction: in, cameras: [cam], watch_only: true}]
devices: [{id: cam, type: vzenith, token: {env: PW}}]
"""
LANE = "31011500001310000001"


def site(**settings: str) -> SiteConfig:
    given = {
        "url": "https://192.0.2.9:8443", "number": "'31011500001190000009'", "password": "{env: PW}",
        "lanes": f"{{east-in: '{LANE}'}}", **settings,
    }  # fmt: skip
    section = "".join(f"  {key}: {value}\n" for key, value in given.items() if value)
    return loads(f"{SITE}district:\n{section}", load_adapter, name="gated.yaml")


def test_it_is_off_unless_it_is_written() -> None:
    assert loads(SITE, load_adapter, name="gated.yaml").district is None
    district = site().district
    assert district is not None
    assert district.lanes == {"east-in": LANE}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"url": "192.0.2.9"}, "url"),
        ({"url": "https://192.0.2.9:99999"}, "no address"),
        ({"url": "https://user@192.0.2.9"}, "no address"),
        ({"url": "http://192.0.2.9", "certificate": "/etc/x.pem"}, "not https"),
        ({"number": "'123'"}, "20 digits"),
        ({"password": "secret"}, "not written here"),
        ({"lanes": "{}"}, "lanes"),
        ({"lanes": f"{{west-in: '{LANE}'}}"}, "west-in"),
        ({"lanes": "{east-in: '1'}"}, "20 digits"),
        ({"faces": "true"}, "faces"),
    ],
)
def test_what_cannot_work(settings: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        site(**settings)
    assert says in str(caught.value)
    assert "gated.yaml:" in str(caught.value)


def test_a_change_of_it_takes_effect_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "one")
    before = site()
    assert diff(before, site()).sections == ()
    assert diff(before, site(url="https://192.0.2.10")).sections == ("district",)
    monkeypatch.setenv("PW", "two")
    assert diff(before, site()).sections == ("district",)
