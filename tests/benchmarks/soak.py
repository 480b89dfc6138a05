"""The long run: the acceptance tests that kill and starve the daemon, for much longer than scripts/test does.

It measures nothing new; it asks the same questions until luck is no longer an answer.

    python -m tests.benchmarks.soak [--kills 200] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

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


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="kill -9 so often under load")
    parser.add_argument("--rounds", type=int, default=3, help="of the other acceptance tests")
    arguments = parser.parse_args()
    say(f"{arguments.kills} kills at random moments under load")
    passed, took = _pytest([_KILL], arguments.kills)
    if not passed:
        fault("killed at random moments: the test above failed")
    emit("soak.kills_survived", arguments.kills if passed else 0, "kills", n=arguments.kills,
         limit_name="kills", limit=arguments.kills, at_most=False)  # fmt: skip
    emit("soak.kills_took", took, "s", n=arguments.kills)
    survived = 0
    for number in range(arguments.rounds):
        say(f"acceptance, round {number + 1} of {arguments.rounds}")
        passed, _ = _pytest([_REST, f"--ignore={_KILL}"], 20)
        survived += passed
    emit("soak.acceptance_rounds", survived, "rounds", n=arguments.rounds, limit_name="rounds",
         limit=arguments.rounds, at_most=False)  # fmt: skip
    return finish()


if __name__ == "__main__":
    sys.exit(main())
