"""The long run: the acceptance tests that kill and starve the daemon, for much longer than scripts/test does,
and an hour of garbage.

It measures nothing new; it asks the same questions until luck is no longer an answer.

    python -m tests.benchmarks.soak [--kills 200] [--rounds 3] [--garbage-seconds 3600]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from tests.benchmarks import soak_garbage
from tests.benchmarks.path_world import CACHE
from tests.benchmarks.report import emit, fault, finish, say

_KILL = "tests/acceptance/test_kill.py"
_REST = "tests/acceptance"


def _pytest(arguments: list[str], kills: int) -> tuple[bool, float]:
    """Runs pytest at the top of the checkout; whether all passed, and the seconds it took."""
    environment = os.environ | {"GATED_KILLS": str(kills), "GATED_REQUIRE_PEERS": "1"}
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-x", *arguments]
    done = subprocess.run(command, check=False, cwd=CACHE.parent, env=environment, stdout=sys.stderr)
    return done.returncode == 0, time.monotonic() - began


def _kills(count: int) -> None:
    say(f"{count} kills at random moments under load")
    passed, took = _pytest([_KILL], count)
    if not passed:
        fault("killed at random moments: the test above failed")
    emit("soak.kills_survived", count if passed else 0, "kills", n=count,
         limit_name="kills", limit=count, at_most=False)  # fmt: skip
    emit("soak.kills_took", took, "s", n=count)


def _acceptance(rounds: int) -> None:
    survived = 0
    for number in range(rounds):
        say(f"acceptance, round {number + 1} of {rounds}")
        passed, _ = _pytest([_REST, f"--ignore={_KILL}"], 20)
        survived += passed
    emit("soak.acceptance_rounds", survived, "rounds", n=rounds, limit_name="rounds",
         limit=rounds, at_most=False)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="kill -9 so often under load")
    parser.add_argument("--rounds", type=int, default=3, help="of the other acceptance tests")
    parser.add_argument("--garbage-seconds", type=float, default=3600, help="send broken pushes for so long")
    arguments = parser.parse_args()
    if arguments.kills:
        _kills(arguments.kills)
    if arguments.rounds:
        _acceptance(arguments.rounds)
    if arguments.garbage_seconds:
        say(f"garbage for {arguments.garbage_seconds:.0f} s")
        soak_garbage.run(arguments.garbage_seconds)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
