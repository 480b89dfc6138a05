"""Getting connected, or not: TLS, passwords, versions, brokers that misbehave; what the operator sees."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import structlog
from pydantic import ValidationError

from gated.mqtt.client import Backoff, Mqtt, probe
from gated.mqtt.endpoint import BrokerRefused, BrokerUnreachable, tls_context
from gated.mqtt.settings import MqttSettings, TlsSettings
from gated.store.store import Store
from tests.mqtt.brokers import Certificates, Serve, packet, server
from tests.mqtt.conftest import QUICK, ROOT, SITE, App, Subscriber, now, put, running, until
from tests.mqtt.samples import passages
from tests.peers.mosquitto import Mosquitto, free_port, require

mosquitto = pytest.mark.mosquitto
Subscribe = Callable[..., Subscriber]


@asynccontextmanager
async def away(store: Store, **settings: Any) -> AsyncIterator[Mqtt]:
    """Our side, not (yet) connected."""
    mqtt = Mqtt(MqttSettings(**settings), SITE, store, now, App().hooks(), backoff=QUICK)
    async with mqtt:
        yield mqtt


# --- settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "port", "protocol"),
    [
        ({}, 1883, "auto"),
        ({"tls": {}}, 8883, "auto"),
        ({"tls": {}, "port": 1884}, 1884, "auto"),
        ({"protocol": 5}, 1883, "5"),
        ({"protocol": "3.1.1"}, 1883, "3.1.1"),
    ],
)
def test_settings(given: dict[str, Any], port: int, protocol: str) -> None:
    settings = MqttSettings.model_validate(given)
    assert (settings.port, settings.protocol) == (port, protocol)


@pytest.mark.parametrize(
    "given",
    [
        {"hots": "x"},
        {"tls": {"insecure": True}},
        {"tls": {"cert": "/x"}},
        {"password": {"env": "X"}},
        {"username": "gated", "password": "literal"},
        {"prefix": "a/#"},
        {"prefix": "/a"},
        {"protocol": "4"},
        {"port": 0},
        {"inflight": 0},
    ],
)
def test_settings_that_cannot_work(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MqttSettings.model_validate(given)


@pytest.mark.parametrize("failures", [1, 2, 3, 10, 1000])
def test_the_back_off_grows_to_its_bound(failures: int) -> None:
    backoff = Backoff()
    delays = [backoff.delay(failures) for _ in range(50)]
    longest = min(30.0, 2.0**failures)
    assert longest / 2 <= min(delays) <= max(delays) <= longest
    assert len(set(delays)) > 1


# --- passwords ----------------------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path: Path) -> Any:
    """A broker that wants a password: gated / opensesame."""
    passwords = tmp_path / "passwd"
    subprocess.run(
        [require("mosquitto_passwd"), "-c", "-b", str(passwords), "gated", "opensesame"], check=True
    )
    config = f"allow_anonymous false\npersistence false\npassword_file {passwords}\n"
    with Mosquitto(tmp_path / "guarded", config) as broker:
        yield broker


@mosquitto
@pytest.mark.parametrize("protocol", ["5", "3.1.1", "auto"])
async def test_a_wrong_password_is_refused_and_then_mended(
    store: Store, guarded: Mosquitto, tmp_path: Path, protocol: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong-password\n")
    options = {"port": guarded.port, "username": "gated", "password": {"file": secret}, "protocol": protocol}
    with structlog.testing.capture_logs() as logged:
        async with away(store, **options) as mqtt:
            await until(lambda: mqtt.state.state == "refused", "refused")
            assert "user name or password" in (mqtt.state.error or "") or "not allow" in (
                mqtt.state.error or ""
            )
            since = mqtt.state.since
            await asyncio.sleep(0.7)  # several attempts more
            assert mqtt.state.since == since
            secret.write_text("opensesame\n")
            await until(lambda: mqtt.connected, "connected")
            assert mqtt.state.error is None
    assert [line["event"] for line in logged if line["log_level"] == "warning"] == ["mqtt_refused"]
    assert "wrong-password" not in str(logged)
    assert "opensesame" not in str(logged)


async def test_a_missing_secret_is_refused_with_its_place(store: Store, tmp_path: Path) -> None:
    async with away(store, username="gated", password={"file": tmp_path / "gone"}) as mqtt:
        await until(lambda: mqtt.state.state == "refused", "refused")
        assert str(tmp_path / "gone") in (mqtt.state.error or "")


async def test_nobody_there_is_unreachable_and_logged_once(store: Store) -> None:
    with structlog.testing.capture_logs() as logged:
        async with away(store, port=free_port()) as mqtt:
            await until(lambda: mqtt.state.state == "unreachable", "unreachable")
            await asyncio.sleep(0.7)
            assert "refused" in (mqtt.state.error or "").lower()  # the system's word: connection refused
    assert [line["event"] for line in logged if line["log_level"] == "warning"] == ["mqtt_unreachable"]


async def test_a_name_that_is_not_known(store: Store) -> None:
    async with away(store, host="broker.invalid") as mqtt:
        await until(lambda: mqtt.state.state == "unreachable", "unreachable", 20)
        assert "broker.invalid" in (mqtt.state.error or "")


# --- TLS ----------------------------------------------------------------------------------------------


def _tls_listener(certificates: Certificates, extra: str = "") -> str:
    return (
        "listener {port} 127.0.0.1\n"
        f"cafile {certificates.ca_crt}\n"
        f"certfile {certificates.server_crt}\n"
        f"keyfile {certificates.server_key}\n" + extra
    )


@pytest.fixture
def tls_broker(tmp_path: Path, certificates: Certificates) -> Any:
    with Mosquitto(tmp_path / "tls", listener=_tls_listener(certificates)) as broker:
        yield broker


@mosquitto
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_delivery_over_tls(
    store: Store, tls_broker: Mosquitto, certificates: Certificates, subscribe: Subscribe, protocol: str
) -> None:
    def configure(client: paho.Client) -> None:
        client.tls_set_context(ssl.create_default_context(cafile=str(certificates.ca_crt)))
        client.tls_insecure_set(True)  # the subscriber comes by address

    subscriber = subscribe(tls_broker.port, configure=configure)
    options = {"host": "localhost", "port": tls_broker.port, "tls": {"ca": certificates.ca_crt}}
    async with running(store, App(), protocol=protocol, **options):
        for start in range(0, 500, 100):
            await put(store, passages(100, lanes=1, first=start))
        await until(lambda: 500 in subscriber.seqs("lanes/lane-0/passages"), "the last")
        # answers come in bunches of TLS records: none may be left lying inside of the TLS layer
        for number in range(40):
            subscriber.ask(
                "replay",
                {"topic": "lanes/lane-0/passages", "from_seq": 1, "response_topic": f"x/{number}"},
            )
        subscriber.client.subscribe("x/#", 1)
    assert subscriber.seqs("lanes/lane-0/passages") == list(range(1, 501))


@mosquitto
async def test_a_client_certificate(store: Store, tmp_path: Path, certificates: Certificates) -> None:
    listener = _tls_listener(certificates, "require_certificate true\nuse_identity_as_username true\n")
    own = {"ca": certificates.ca_crt, "cert": certificates.client_crt, "key": certificates.client_key}
    with Mosquitto(tmp_path / "mutual", listener=listener) as broker:
        async with running(store, App(), host="localhost", port=broker.port, tls=own):
            pass
        async with away(store, host="localhost", port=broker.port, tls={"ca": certificates.ca_crt}) as mqtt:
            await until(lambda: mqtt.state.state == "refused", "refused")
            assert "certificate" in (mqtt.state.error or "")


def _send_until_it_fails(client: ssl.SSLSocket) -> None:
    for _ in range(100):  # the first is answered with a reset, a later one fails
        client.send(b"CONNECT")
        time.sleep(0.01)


def test_a_write_to_a_broker_that_has_gone_tells_the_alert_it_left_behind(certificates: Certificates) -> None:
    """In TLS 1.3 the certificate is judged after the handshake; a write may meet the end before the alert."""
    judge = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    judge.load_cert_chain(certificates.server_crt, certificates.server_key)
    judge.load_verify_locations(certificates.ca_crt)
    judge.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            held, _ = server.accept()
            with held, pytest.raises(ssl.SSLError):
                judge.wrap_socket(held, server_side=True)

        broker = threading.Thread(target=refuse)
        broker.start()
        context = tls_context(TlsSettings(ca=certificates.ca_crt))
        with (
            socket.create_connection(server.getsockname()) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as client,
        ):
            broker.join(5)
            client.setblocking(False)
            with pytest.raises(ssl.SSLError, match=r"(?i)alert certificate required"):
                _send_until_it_fails(client)


@mosquitto
@pytest.mark.parametrize(
    ("host", "tls", "word"),
    [
        ("localhost", {"ca": "other.crt"}, "not trusted"),
        ("localhost", {}, "not trusted"),
        ("127.0.0.1", {"ca": "ca.crt"}, "not trusted"),
        ("localhost", {"ca": "gone.crt"}, "mqtt.tls.ca"),
        ("localhost", {"ca": "ca.key"}, "mqtt.tls.ca"),
        ("localhost", {"ca": "ca.crt", "cert": "client.crt", "key": "other.key"}, "mqtt.tls.cert"),
    ],
)
async def test_tls_that_cannot_work_says_why(
    tls_broker: Mosquitto, certificates: Certificates, host: str, tls: dict[str, str], word: str
) -> None:
    paths = {key: certificates.folder / name for key, name in tls.items()}
    settings = MqttSettings.model_validate({"host": host, "port": tls_broker.port, "tls": paths})
    with pytest.raises(BrokerRefused, match=word) as refused:
        await probe(settings, "check")
    assert refused.value.kind == "tls"


@mosquitto
async def test_tls_to_a_plain_port_and_the_reverse(
    broker: Mosquitto, tls_broker: Mosquitto, certificates: Certificates
) -> None:
    settings = {"host": "localhost", "tls": {"ca": certificates.ca_crt}}
    with pytest.raises((BrokerRefused, BrokerUnreachable)):
        await probe(MqttSettings.model_validate({**settings, "port": broker.port}), "check")
    with pytest.raises((BrokerRefused, BrokerUnreachable)):
        await probe(MqttSettings(host="localhost", port=tls_broker.port), "check")


@mosquitto
@pytest.mark.parametrize(("protocol", "spoken"), [("auto", "5"), ("3.1.1", "3.1.1"), ("5", "5")])
async def test_a_probe(broker: Mosquitto, protocol: str, spoken: str) -> None:
    assert (
        await probe(MqttSettings.model_validate({"port": broker.port, "protocol": protocol}), "c") == spoken
    )


# --- brokers that are no mosquitto --------------------------------------------------------------------


class OldBroker:
    """Speaks MQTT 3.1.1 only. To version 5 it answers `refusal`, or hangs up where that is empty."""

    def __init__(self, refusal: bytes) -> None:
        self._refusal = refusal
        self.versions: list[int] = []
        self.published: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind, connect = await packet(reader)
        assert kind == 1
        self.versions.append(connect[6])
        if connect[6] != 4:
            writer.write(self._refusal)
            await writer.drain()
            return
        writer.write(b"\x20\x02\x00\x00")
        while True:
            kind, body = await packet(reader)
            if kind == 8:  # SUBSCRIBE, of three topics
                writer.write(b"\x90\x05" + body[:2] + b"\x01\x01\x01")
            elif kind == 3:
                length = int.from_bytes(body[:2], "big")
                self.published.append(body[2 : 2 + length])
                writer.write(b"\x40\x02" + body[2 + length : 4 + length])
            elif kind == 12:
                writer.write(b"\xd0\x00")
            elif kind == 14:
                return


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(b"\x20\x02\x00\x01", id="CONNACK of 3.1.1: unacceptable protocol version"),
        pytest.param(b"\x20\x03\x00\x84\x00", id="CONNACK of 5: unsupported protocol version"),
        pytest.param(b"", id="hangs up"),
    ],
)
async def test_falls_back_to_3_1_1(store: Store, refusal: bytes) -> None:
    old = OldBroker(refusal)
    async with server(old) as port:
        async with running(store, App(), port=port) as mqtt:
            assert mqtt.protocol == "3.1.1"
            await put(store, passages(3, lanes=1))
            await until(lambda: old.published.count(f"{ROOT}lanes/lane-0/passages".encode()) == 3, "them")
        assert old.versions == [5, 4]
        assert await probe(MqttSettings(port=port), "check") == "3.1.1"


async def test_no_fall_back_where_version_5_is_demanded(store: Store) -> None:
    old = OldBroker(b"\x20\x02\x00\x01")
    async with server(old) as port, away(store, port=port, protocol="5") as mqtt:
        await until(lambda: mqtt.state.state == "refused", "refused")
        assert "MQTT 5" in (mqtt.state.error or "")
    assert set(old.versions) == {5}


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(10)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()


async def _half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await packet(reader)
    writer.write(b"\x20\x03\x00")
    await writer.drain()


async def _bad_after_connack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    _, connect = await packet(reader)
    writer.write(b"\x20\x03\x00\x00\x00" if connect[6] == 5 else b"\x20\x02\x00\x00")
    writer.write(b"\x32\x05\x00\xff\xff\xff\xff")  # a PUBLISH whose topic is longer than the packet
    await writer.drain()
    await reader.read()


async def _busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    _, connect = await packet(reader)
    writer.write(b"\x20\x03\x00\x89\x00" if connect[6] == 5 else b"\x20\x02\x00\x03")
    await writer.drain()


@pytest.mark.parametrize("serve", [_garbage, _half, _bad_after_connack, _busy])
async def test_brokers_that_make_no_sense_are_tried_again(store: Store, serve: Serve) -> None:
    calls = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await serve(reader, writer)

    with structlog.testing.capture_logs() as logged:
        async with server(counted) as port, away(store, port=port) as mqtt:
            await until(lambda: calls >= 4, "tried again")
            await until(lambda: mqtt.state.state == "unreachable", "unreachable")
    assert not [line for line in logged if line["log_level"] == "error"], logged


async def test_a_broker_that_falls_silent_is_noticed(store: Store) -> None:
    """It accepts the connection and then answers nothing: the keep-alive ends it."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await packet(reader)
        writer.write(b"\x20\x06\x00\x00\x03\x13\x00\x01")  # it asks for a keep-alive of 1 s
        await reader.read(-1)

    async with server(silent) as port, away(store, port=port) as mqtt:
        await until(lambda: mqtt.connected, "connected")
        await until(lambda: not mqtt.connected, "noticed", 20)


async def test_stopping_does_not_wait_for_a_broker_that_hangs(store: Store) -> None:
    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with server(hang) as port:
        async with away(store, port=port):
            await asyncio.sleep(0.2)
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 1.0
