"""gated.yaml: what it means, and what is said of every kind of mistake, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gated.config import ConfigErrors, load, loads
from gated.domain import Direction
from gated.ports import Secret
from tests.config.texts import GOOD, changed, load_adapter, site


def problems(text: str) -> list[str]:
    """`line path: message -> hint` of every problem."""
    with pytest.raises(ConfigErrors) as caught:
        site(text)
    return [f"{p.line} {p.path}: {p.message} -> {p.hint}".removesuffix(" -> ") for p in caught.value.problems]


def test_a_good_configuration_is_read() -> None:
    config = site()
    assert config.site.name.zh == "村"
    assert config.grid("g1").name.en == "第一网格"
    assert config.root_grid == "all"
    assert config.grid_of_lane("gate-in") == "g1"
    lane = config.lane("gate-in")
    assert (lane.direction, lane.pulse_ms, lane.merge_ms) == (Direction.IN, 700, 5000)
    assert lane.barrier is not None
    assert lane.barrier.output == "0"
    assert [found.id for found in config.lanes_of_device("relay")] == ["gate-in"]
    assert config.lanes_of_device("pusher") == ()
    assert config.device("cam").model_dump()["password"] == {"env": "CAM", "file": None}
    assert (config.api.port, config.mqtt.port, config.log.level) == (8440, 1883, "info")


def test_unknown_ids_raise_key_error() -> None:
    config = site()
    for ask in (config.lane, config.device, config.entrance, config.grid):
        with pytest.raises(KeyError):
            ask("nobody")


def test_defaults_are_merged_into_lanes() -> None:
    text = GOOD + "defaults: {lane: {pulse_ms: 900, merge_ms: 2000}}\n"
    assert site(text).lane("gate-in").pulse_ms == 900
    own = changed("    entrance: gate\n", "    entrance: gate\n    pulse_ms: 1000\n", text)
    assert (site(own).lane("gate-in").pulse_ms, site(own).lane("gate-in").merge_ms) == (1000, 2000)


def test_anchors_and_merge_keys_work() -> None:
    text = changed(
        "devices:\n",
        "x-camera: &camera {type: camera, host: 10.0.0.9, port: 8080}\n"
        "devices:\n  - {<<: *camera, id: cam2, port: 81}\n",
    )
    device = site(text).device("cam2").model_dump()
    assert (device["host"], device["port"]) == ("10.0.0.9", 81)


def test_words_that_yaml_takes_for_something_else_stay_words() -> None:
    text = changed("{id: all, name: all}", "{id: all, name: {zh: no, en: on}}")
    text = changed("output: 0", "output: 007", text)
    config = site(text)
    assert (config.grid("all").name.zh, config.grid("all").name.en) == ("no", "on")
    barrier = config.lane("gate-in").barrier
    assert barrier is not None
    assert barrier.output == "007"


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "cam.secret").write_text("s3cret\n")
    text = changed("{env: CAM}", "{file: cam.secret}")
    text = changed("sqlite:////var/lib/gated/gated.db", "sqlite:///state/gated.db", text)
    text += "mqtt: {tls: {ca: ca.pem}}\n"
    file = tmp_path / "gated.yaml"
    file.write_text(text)
    config = load(file, load_adapter)
    secret = config.device("cam").password  # type: ignore[attr-defined]
    assert isinstance(secret, Secret)
    assert secret.value() == "s3cret"
    assert config.store.path == tmp_path / "state/gated.db"
    assert config.mqtt.tls is not None
    assert config.mqtt.tls.ca == tmp_path / "ca.pem"
    assert config.mqtt.port == 8883


def test_every_problem_is_reported_at_once_and_in_order() -> None:
    text = changed("direction: in", "direction: inn")
    text = changed("host: 10.0.0.2", "hsot: 10.0.0.2", text)
    text = changed("{id: gate, name: gate, grid: g1}", "{id: gate, name: gate, grid: g7}", text)
    assert problems(text) == [
        "7 entrances[0].grid: no grid has the id 'g7' -> there are: all, g1",
        "11 lanes[0].direction: 'inn' is not one of: in or out",
        "16 devices[1].host: is missing",
        "16 devices[1].hsot: unknown key -> did you mean 'host'?",
    ]


LANE = "    barrier: {device: relay, output: 0}\n"
SECOND = (
    "  - {id: gate-out, entrance: gate, direction: out, cameras: [{device: cam, channel: 2}],"
    " barrier: {device: relay, output: 1}}\n"
)
OWN_BOTH = "name another channel, and give both their own `channel:`"
OWN = f"each channel belongs to one lane and one purpose; {OWN_BOTH}"
TYPE = "say what speaks to the device: onvif, vzenith, webhook, modbus (docs/devices)"
TWICE = "give each its own id; ids are in records and topics, so rename the newer one"
OUTPUT = "each output belongs to one lane and one purpose; name another output"
INPUT = "each input belongs to one lane and one purpose; name another input"
BORROWING = SECOND.replace("device: cam, channel: 2", "device: pusher").replace("output: 1", "output: 0")
ID = "an id is a-z, 0-9, - and _, begins with a letter or digit, and has at most 63 characters"

CASES: list[tuple[str, str, str, str]] = [
    # what is replaced, by what, the problem
    ("an unknown section", "grids:\n", "girds:\n", "3 girds: unknown section -> did you mean 'grids'?"),
    ("an unknown key", "site: {id", "site: {nmae: x, id", "1 site.nmae: unknown key -> did you mean 'name'?"),
    ("a section that is missing", GOOD[GOOD.index("store:") : GOOD.index("grids:")], "",
     "1 store: is missing -> add a section `store:`"),
    ("an id in capitals", "{id: g1,", "{id: G1,", f"5 grids[1].id: 'G1' is no id -> {ID}"),
    ("a pulse that is too short", LANE, LANE + "    pulse_ms: 100\n",
     "14 lanes[0].pulse_ms: 100 must be between 500 and 1500"),
    ("a pulse in words", LANE, LANE + "    pulse_ms: long\n",
     "14 lanes[0].pulse_ms: 'long' is not a whole number"),
    ("a pulse that is too long in the defaults", "grids:", "defaults: {lane: {pulse_ms: 2000}}\ngrids:",
     "3 defaults.lane.pulse_ms: 2000 must be between 500 and 1500"),
    ("merging for longer than a read lives", LANE, LANE + "    merge_ms: 20000\n",
     "9 lanes[0]: merge_ms is longer than max_age_ms: reads would be stale before they are merged"),
    ("an unknown device", "cameras: [cam]", "cameras: [cma]",
     "12 lanes[0].cameras[0]: no device has the id 'cma' -> did you mean 'cam'?"),
    ("an unknown entrance", "entrance: gate\n", "entrance: moon\n",
     "10 lanes[0].entrance: no entrance has the id 'moon' -> there are: gate"),
    ("a lane without a camera", "    cameras: [cam]\n", "",
     "9 lanes[0]: has no camera: name at least one device whose reads belong to this lane"),
    ("a lane without a barrier", LANE, "",
     "9 lanes[0]: has no barrier: name one, or say watch_only: true if it only records"),
    ("a lane that watches and opens", LANE, LANE + "    watch_only: true\n",
     "9 lanes[0]: is watch_only and has a barrier: keep one of the two"),
    ("grids in a circle", "{id: all, name: all}", "{id: all, name: all, parent: g1}",
     "4 grids[0].parent: grids in a circle: all -> g1 -> all -> one of them must have no parent"),
    ("a grid that is its own parent", "parent: all", "parent: g1",
     "5 grids[1].parent: grids in a circle: g1 -> g1 -> one of them must have no parent"),
    ("an id twice", "{id: relay, type", "{id: cam, type",
     f"16 devices[1].id: the id 'cam' is taken by devices[0] -> {TWICE}"),
    ("a camera of two lanes", "devices:\n", SECOND + "devices:\n",
     f"14 lanes[1].cameras[0]: 'cam', channel '2', already is the camera of lane 'gate-in' -> {OWN}"),
    ("a barrier output of two lanes", "devices:\n",
     BORROWING + "devices:\n",
     f"14 lanes[1].barrier: 'relay', output '0', already is the barrier of lane 'gate-in' -> {OUTPUT}"),
    ("one contact for fire and presence", LANE,
     LANE + "    presence: {device: relay, input: 3}\n    fire: {device: relay, input: 3}\n",
     f"15 lanes[0].fire: 'relay', input '3', already is the presence of lane 'gate-in' -> {INPUT}"),
    ("a position of both kinds", LANE, LANE + "    position: {device: relay, input: 1, output: 0}\n",
     "14 lanes[0].position: give an input or an output, not both"),
    ("a device without a type", "type: relay, ", "",
     f"16 devices[1].type: is missing -> {TYPE}"),
    ("an unknown device type", "type: relay", "type: rely",
     "16 devices[1].type: no adapter is called 'rely' -> did you mean 'relay'?"),
    ("a type that is a path", "type: relay", "type: ../relay",
     f"16 devices[1].type: is no device type -> {TYPE}"),
    ("a push device without a token", ", token: {env: TOKEN}", "", "17 devices[2].token: is missing"),
    ("a device that is no mapping", "  - {id: relay, type: relay, host: 10.0.0.2}", "  - relay",
     "16 devices[1]: is not a mapping (key: value)"),
    ("a time zone that there is not", "site: {id", "site: {timezone: Asia/Peking, id",
     "1 site.timezone: no time zone is called 'Asia/Peking'; write it like Asia/Shanghai"),
    ("a time zone that is a path", "site: {id", "site: {timezone: ../../etc/passwd, id",
     "1 site.timezone: no time zone is called '../../etc/passwd'; write it like Asia/Shanghai"),
    ("a database in memory", "sqlite:////var/lib/gated/gated.db", "sqlite://",
     "2 store.url: must name a file: sqlite:////var/lib/gated/gated.db (four slashes)"),
    ("another kind of database", "sqlite:////var/lib/gated/gated.db", "mysql://h/d",
     "2 store.url: must begin with sqlite:/// or postgresql://"),
    ("a database password in the URL", "sqlite:////var/lib/gated/gated.db", "postgresql://u:geheim@h/d",
     "2 store.url: holds a password; leave it out and use ~/.pgpass or the variable PGPASSWORD"),
    ("a port that there is not", "grids:", "api: {port: 99999}\ngrids:",
     "3 api.port: 99999 must be between 0 and 65535"),
    ("a policy in this file", "grids:", "policy: {no_pass: refer}\ngrids:",
     "3 policy.no_pass: unknown key -> there are: file"),
    ("a list that is none", "cameras: [cam]", "cameras: cam",
     "12 lanes[0].cameras: 'cam' is not a list (- item)"),
    ("a client certificate without its key", "grids:", "mqtt: {tls: {cert: a.pem}}\ngrids:",
     "3 mqtt.tls: a client certificate needs both cert and key"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "problem"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_mistake_is_named_with_its_line_and_what_to_do(old: str, new: str, problem: str) -> None:
    found = problems(changed(old, new))
    assert problem in found


SECRETS = [
    ("a literal", "{env: CAM}", "hunter2hunter2",
     "15 devices[0].password: a secret is not written here: use {env: NAME} or {file: PATH}"),
    ("both places", "{env: CAM}", "{env: CAM, file: hunter2hunter2}",
     "15 devices[0].password: give exactly one of env and file"),
    ("a value", "{env: CAM}", "{value: hunter2hunter2}",
     "15 devices[0].password.value: unknown key -> there are: env, file"),
    ("a list", "{env: CAM}", "[hunter2hunter2]", "15 devices[0].password: is not a mapping (key: value)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "problem"), [case[1:] for case in SECRETS], ids=[case[0] for case in SECRETS]
)
def test_a_secret_is_refused_and_never_repeated(old: str, new: str, problem: str) -> None:
    found = problems(changed(old, new))
    assert problem in found
    assert "hunter2" not in "".join(found)


def test_messages_are_also_in_chinese() -> None:
    with pytest.raises(ConfigErrors) as caught:
        site(changed("grid: g1", "grid: g9"))
    text = str(caught.value)
    assert text.splitlines()[0] == "gated.yaml:7:28: entrances[0].grid: no grid has the id 'g9'"
    assert "没有编号为 'g9' 的网格" in text
    assert caught.value.problems[0].as_dict()["line"] == 7


def test_an_adapter_that_cannot_be_imported_is_a_problem_of_its_device() -> None:
    def broken(type_: str) -> object:
        if type_ == "relay":
            raise ImportError("No module named 'pymodbus'")
        return load_adapter(type_)

    with pytest.raises(ConfigErrors) as caught:
        loads(GOOD, broken)  # type: ignore[arg-type]
    assert [p.message for p in caught.value.problems] == [
        "the adapter 'relay' cannot be loaded: No module named 'pymodbus'"
    ]


def test_the_fire_contact_may_be_shared_by_lanes() -> None:
    fire = "    fire: {device: relay, input: 6}\n"
    text = changed(LANE, LANE + fire)
    text = changed("    cameras: [cam]\n", "    cameras: [{device: cam, channel: 1}]\n", text)
    text = changed(
        "devices:\n", SECOND.replace("}}\n", "}, fire: {device: relay, input: 6}}\n") + "devices:\n", text
    )
    assert len(site(text).lanes) == 2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml", load_adapter)
