"""A broker for demos and trials, from a Python package: no system package, no root, nothing left behind.

It is iotcore (rumqttd inside), which cannot be stopped within a process; so it runs in a child that ends
with its parent, also when the parent is killed. It speaks MQTT 3.1.1 and 5 on two ports, keeps queues for
clients that are away, and forgets everything when it ends. A site runs mosquitto instead
(`deploy/mosquitto/`).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_CONFIG = """\
id = 0

[router]
id = 0
max_connections = {connections}
max_outgoing_packet_count = 200
max_segment_size = 10485760
max_segment_count = 10

[v4.one]
name = "mqtt-3.1.1"
listen = "{host}:{port_311}"
next_connection_delay_ms = 1
[v4.one.connections]
connection_timeout_ms = 10000
max_payload_size = 131072
max_inflight_count = 100
dynamic_filters = true

[v5.one]
name = "mqtt-5"
listen = "{host}:{port_5}"
next_connection_delay_ms = 1
[v5.one.connections]
connection_timeout_ms = 10000
max_payload_size = 131072
max_inflight_count = 100
dynamic_filters = true
"""


class EmbeddedUnavailable(RuntimeError):
    """The embedded broker cannot run here; the message says what to install."""


class EmbeddedBroker:
    """The broker, for the length of an `async with`. `port` speaks MQTT 5, `port_311` speaks MQTT 3.1.1; 0
    lets the system choose. Raises EmbeddedUnavailable when the package is missing, OSError when a port is
    taken."""

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, port_311: int = 0, connections: int = 200
    ) -> None:
        self.host = host
        self.port = port
        self.port_311 = port_311
        self._connections = connections
        self._folder: Path | None = None
        self._broker: Any = None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def start(self) -> None:
        """Starts it and returns when it listens (blocking, some 100 ms)."""
        try:
            from iotcore import Broker
        except ImportError as error:
            raise EmbeddedUnavailable(
                "the embedded broker is missing: pip install 'gated[demo]', or use mosquitto"
            ) from error
        self._choose_ports()
        self._folder = Path(tempfile.mkdtemp(prefix="gated-broker-"))
        config = self._folder / "broker.toml"
        config.write_text(
            _CONFIG.format(
                host=self.host,
                port_5=self.port,
                port_311=self.port_311,
                connections=self._connections,
            )
        )
        try:
            self._broker = Broker(config_path=str(config))
            self._broker.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends it and waits until its ports are free. Safe to call again."""
        broker, self._broker = self._broker, None
        if broker is not None:
            broker.stop()
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def _choose_ports(self) -> None:
        """Fills in the ports that were left to the system; both are held while choosing, so they differ."""
        with contextlib.ExitStack() as held:
            for name in ("port", "port_311"):
                if getattr(self, name) == 0:
                    one = held.enter_context(socket.socket())
                    one.bind((self.host, 0))
                    setattr(self, name, one.getsockname()[1])
