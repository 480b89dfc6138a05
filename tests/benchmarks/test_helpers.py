"""The figures are only worth what computes them: percentiles, turns, plates, the load generator's pacing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations

import pytest

from tests.benchmarks import report
from tests.benchmarks.path_world import CAMERAS, plates, push


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)])
def test_a_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert report.percentile(list(range(100, 0, -1)), share) == expected


def test_turns_reverse_every_other_round() -> None:
    assert list(report.turns(2, ["a", "b"])) == [(0, "a"), (0, "b"), (1, "b"), (1, "a")]


def test_plates_are_different_in_two_places_at_least() -> None:
    made = plates(600)
    assert made == plates(600)
    for one, other in combinations(made, 2):
        same_region = one[:2] == other[:2]
        assert not same_region or sum(a != b for a, b in zip(one, other, strict=True)) >= 2


def test_a_push_is_whole() -> None:
    head, _, body = push(CAMERAS[3], "津A12345", 7, 1_700_000_000.25).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    result = json.loads(body)["AlarmInfoPlate"]["result"]["PlateResult"]
    assert (result["license"], result["plateid"]) == ("津A12345", 7)
    assert result["timeStamp"]["Timeval"] == {"sec": 1_700_000_000, "usec": 250_000}


class _Camera(BaseHTTPRequestHandler):
    """Opens for everybody; the first reply of all is half a second late."""

    protocol_version = "HTTP/1.1"
    seen = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        _Camera.seen += 1
        if _Camera.seen == 1:
            time.sleep(0.5)
        body = b'{"Response_AlarmInfoPlate":{"info":"ok","ivs_ioctrl":{"io":0,"value":2,"delay":700}}}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Quiet."""


def test_a_server_that_stalls_is_not_spared_the_waiting() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Camera)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        job = {"port": server.server_address[1], "passes": 100, "rate": 240, "seconds": 1}
        command = [sys.executable, "-m", "tests.benchmarks.path_load", json.dumps(job)]
        done = subprocess.run(command, check=True, capture_output=True)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    result = json.loads(done.stdout)
    assert result["opened"] == len(result["latencies"]) == 240
    # one camera of 24, ten reads a second: five were due while the first was stalled, and waited for it
    waited = sorted((seconds for seconds in result["latencies"] if seconds > 0.08), reverse=True)
    assert waited[0] > 0.45
    assert 4 <= len(waited) <= 8
