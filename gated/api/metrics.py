"""The daemon's figures for Prometheus, in a registry of their own.

Holds and renders numbers; it measures nothing itself. `gated.app` updates it, or hands it functions that are
called while `/metrics` is rendered (`watch`): those must be look-ups that take microseconds.

No label ever holds a plate, a name or a request's path: their number must stay small, and metrics are read
by more eyes than passages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.process_collector import ProcessCollector

from gated.domain import OpeningOutcome, Outcome

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

_FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


_SECONDS_KEPT = 256
_Key = TypeVar("_Key")


class _Tally(Generic[_Key]):
    """Counts by one label, in plain integers until they are settled: prometheus-client takes a lock for each
    count, which costs a passage more than all that is counted of it."""

    def __init__(self, counter: Counter, keys: Iterable[tuple[_Key, str]]) -> None:
        self._children = {key: counter.labels(label) for key, label in keys}
        self.counts = dict.fromkeys(self._children, 0)

    def settle(self) -> None:
        """Hands the counts over to the counter."""
        for key, count in self.counts.items():
            if count:
                self.counts[key] = 0
                self._children[key].inc(count)


class Metrics:
    """All `gated_*` metrics. Attributes are prometheus-client objects, which are up to date when they are
    rendered; the methods are the short way, for one thread."""

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
        self.district_connected = Gauge(
            "gated_district_connected", "1 while the district's platform can be told", registry=self.registry
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
        hundreds = [(hundred, f"{hundred}xx") for hundred in range(1, 6)]
        self._passages = _Tally(self.passages, [(outcome, outcome.value) for outcome in Outcome])
        self._openings = _Tally(self.openings, [(outcome, outcome.value) for outcome in OpeningOutcome])
        self._pushes = _Tally(self.pushes, hundreds)
        self._requests = _Tally(self.requests, hundreds)
        self._failures = _Tally(self.auth_failures, [(at, at) for at in ("api", "ingest")])
        self._seconds: list[float] = []

    def passage(self, outcome: Outcome, seconds: float) -> None:
        """One passage is on disk, `seconds` after its read arrived."""
        self._passages.counts[outcome] += 1
        self._seconds.append(seconds)
        if len(self._seconds) >= _SECONDS_KEPT:
            self._settle_seconds()

    def opening(self, outcome: OpeningOutcome) -> None:
        """One opening is finished."""
        self._openings.counts[outcome] += 1

    def push(self, status: int) -> None:
        """One push was answered."""
        self._pushes.counts[status // 100] += 1

    def request(self, status: int) -> None:
        """One request to the JSON API was answered."""
        self._requests.counts[status // 100] += 1

    def auth_failure(self, at: str) -> None:
        """A wrong or missing credential; `at` is api or ingest."""
        self._failures.counts[at] += 1

    def watch(
        self,
        *,
        store_queue: Callable[[], float] | None = None,
        outbox_backlog: Callable[[], float] | None = None,
        loop_lag_seconds: Callable[[], float] | None = None,
        devices_online: Callable[[], float] | None = None,
        devices_configured: Callable[[], float] | None = None,
        mqtt_connected: Callable[[], float] | None = None,
        district_connected: Callable[[], float] | None = None,
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
            (self.district_connected, district_connected),
            (self.passes_live, passes_live),
        ):
            if function is not None:
                gauge.set_function(function)

    def render(self) -> bytes:
        """The text that Prometheus scrapes, of type `CONTENT_TYPE`."""
        for tally in (self._passages, self._openings, self._pushes, self._requests, self._failures):
            tally.settle()
        self._settle_seconds()
        return generate_latest(self.registry)

    def _settle_seconds(self) -> None:
        for seconds in self._seconds:
            self.decision_seconds.observe(seconds)
        self._seconds.clear()
