"""What Prometheus scrapes adds up, however often it does."""

from __future__ import annotations

from gated.api.metrics import Metrics
from gated.domain import OpeningOutcome, Outcome


def value(metrics: Metrics, sample: str) -> float:
    lines = metrics.render().decode().splitlines()
    return float(next(line for line in lines if line.startswith(sample + " ")).rpartition(" ")[2])


def test_everything_is_counted_once() -> None:
    metrics = Metrics()
    for scrape in range(1, 4):
        for _ in range(300):
            metrics.passage(Outcome.GRANT, 0.003)
            metrics.opening(OpeningOutcome.ACCEPTED)
            metrics.push(200)
            metrics.request(404)
            metrics.auth_failure("api")
        for sample in (
            'gated_passages_total{outcome="grant"}',
            'gated_openings_total{outcome="accepted"}',
            'gated_pushes_total{status="2xx"}',
            'gated_api_requests_total{status="4xx"}',
            'gated_auth_failures_total{at="api"}',
            "gated_decision_seconds_count",
            'gated_decision_seconds_bucket{le="0.005"}',
        ):
            assert value(metrics, sample) == 300 * scrape, sample
        assert value(metrics, 'gated_decision_seconds_bucket{le="0.002"}') == 0
        assert round(value(metrics, "gated_decision_seconds_sum"), 6) == round(0.9 * scrape, 6)


def test_all_outcomes_are_there_before_anything_happened() -> None:
    metrics = Metrics()
    for outcome in Outcome:
        assert value(metrics, f'gated_passages_total{{outcome="{outcome.value}"}}') == 0
    for opening in OpeningOutcome:
        assert value(metrics, f'gated_openings_total{{outcome="{opening.value}"}}') == 0
