"""The daemon's figures for Prometheus, in a registry of their own.

Holds and renders numbers; it measures nothing itself. `gated.app` updates it, or hands it functions that are
called while `/metrics` is rendered (`watch`): those must be look-ups that take microseconds.

No label ever holds a plate, a name or a request's path: their number must stay small, and metrics are read
by more eyes than passages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.process_collector import ProcessCollector

from gated.domain import OpeningOutcome, Outcome

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """All `gated_*` metrics. Attributes are prometheus-client objects; the methods are the short way."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.build = Info("gated_build", "Version of the daemon", registry=self.registry)
        self.passages = Counter(
            "gated_passages", "Passages recorded, by decision", ["outcome"], registry=self.registry
        )
        self.decision_seconds = Histogram(
            "gated_decision_seconds",
            "From the arrival of a read to its durable record, seconds",
            buckets=_FAST,
            registry=self.registry,
        )
        self.openings = Counter(
            "gated_openings", "Barrier openings, by what became of them", ["outcome"], registry=self.registry
        )
        self.store_batch = Histogram(
            "gated_store_batch_rows", "Records a transaction", buckets=_BATCH, registry=self.registry
        )
        self.store_queue = Gauge(
            "gated_store_queue", "Records that wait for the writer", registry=self.registry
        )
        self.outbox_backlog = Gauge(
            "gated_outbox_backlog", "Messages that the broker has not acknowledged", registry=self.registry
        )
        self.loop_lag_seconds = Gauge(
            "gated_loop_lag_seconds", "How late the event loop ran, last measured", registry=self.registry
        )
        self.devices_online = Gauge("gated_devices_online", "Devices online", registry=self.registry)
        self.devices_configured = Gauge("gated_devices", "Devices configured", registry=self.registry)
        self.mqtt_connected = Gauge(
            "gated_mqtt_connected", "1 while the broker is connected", registry=self.registry
        )
        self.passes_live = Gauge(
            "gated_passbook_credentials", "Credentials in the passbook", registry=self.registry
        )
        self.pushes = Counter(
            "gated_pushes", "Requests to /ingest, by status class", ["status"], registry=self.registry
        )
        self.requests = Counter(
            "gated_api_requests", "Requests to the JSON API", ["status"], registry=self.registry
        )
        self.auth_failures = Counter(
            "gated_auth_failures", "Requests with a wrong or no credential", ["at"], registry=self.registry
        )
        ProcessCollector(registry=self.registry)
        # made once: a label look-up costs more than the count itself
        self._passages = {outcome: self.passages.labels(outcome.value) for outcome in Outcome}
        self._openings = {outcome: self.openings.labels(outcome.value) for outcome in OpeningOutcome}
        self._pushes = {hundred: self.pushes.labels(f"{hundred}xx") for hundred in range(1, 6)}
        self._requests = {hundred: self.requests.labels(f"{hundred}xx") for hundred in range(1, 6)}
        self._failures = {at: self.auth_failures.labels(at) for at in ("api", "ingest")}

    def passage(self, outcome: Outcome, seconds: float) -> None:
        """One passage is on disk, `seconds` after its read arrived."""
        self._passages[outcome].inc()
        self.decision_seconds.observe(seconds)

    def opening(self, outcome: OpeningOutcome) -> None:
        """One opening is finished."""
        self._openings[outcome].inc()

    def push(self, status: int) -> None:
        """One push was answered."""
        self._pushes[status // 100].inc()

    def request(self, status: int) -> None:
        """One request to the JSON API was answered."""
        self._requests[status // 100].inc()

    def auth_failure(self, at: str) -> None:
        """A wrong or missing credential; `at` is api or ingest."""
        self._failures[at].inc()

    def watch(
        self,
        *,
        store_queue: Callable[[], float] | None = None,
        outbox_backlog: Callable[[], float] | None = None,
        loop_lag_seconds: Callable[[], float] | None = None,
        devices_online: Callable[[], float] | None = None,
        devices_configured: Callable[[], float] | None = None,
        mqtt_connected: Callable[[], float] | None = None,
        passes_live: Callable[[], float] | None = None,
    ) -> None:
        """Functions that are asked when `/metrics` is rendered, instead of gauges that are set."""
        for gauge, function in (
            (self.store_queue, store_queue),
            (self.outbox_backlog, outbox_backlog),
            (self.loop_lag_seconds, loop_lag_seconds),
            (self.devices_online, devices_online),
            (self.devices_configured, devices_configured),
            (self.mqtt_connected, mqtt_connected),
            (self.passes_live, passes_live),
        ):
            if function is not None:
                gauge.set_function(function)

    def render(self) -> bytes:
        """The text that Prometheus scrapes, of type `CONTENT_TYPE`."""
        return generate_latest(self.registry)
