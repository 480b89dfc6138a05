"""Decisions of the village policy that gated ships with, beside the same rules written in Python by hand.

A day's mixture: most passes are in order, some are expired, for another entrance, revoked or too early, some
vehicles have none, some are misread by one look-alike.

`rules.decisions`: whole decisions a second (sentences, alerts, receipt, nearest miss) on one core, beside the
hand-written ones, which have neither receipt nor nearest miss; at least 0.15 of them is asked.
`rules.outcomes`: the bare outcome on both sides (0.5 would be the moonshot). `rules.p99`: of one whole
decision; at most 0.2 ms is asked. `rules.engine`: the same conditions, rule by rule in the CEL engine,
without the way over Python. With --peers (installed once into .cache): the same conditions in rule-engine 5
and cel-python, over facts that are there already.

    python -m tests.benchmarks.rules [--seconds 2] [--rounds 5] [--peers]
"""

from __future__ import annotations

import argparse
import gc
import importlib
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from gated.domain import Candidate, Credential, CredentialKind, Direction, PassFacts, PassState
from gated.policy import default_text, load
from rules import Policy, Situation, decide
from rules.build import SiteNames
from rules.decide import outcome_of
from rules.facts import Case, Facts
from tests.benchmarks import rules_by_hand
from tests.benchmarks.path_world import CACHE
from tests.benchmarks.report import emit, finish, note_if_busy, percentile, say, turns
from tests.rules.policies import SHANGHAI

NOW = datetime(2026, 11, 18, 12, tzinfo=SHANGHAI)
MIXTURE = 2000
PEERS = ("rule-engine==5.1.0", "cel-python==0.5.0")
Judge = Callable[[Situation], object]


def situations(seed: int = 1) -> list[Situation]:
    """A mixture of passages."""
    rng = random.Random(seed)
    made = []
    for number in range(MIXTURE):
        held = PassFacts(
            pass_id=f"01JD{number:022d}",
            kind=rng.choice(["resident", "tenant", "worker", "visitor"]),
            state=PassState.ACTIVE,
            valid_from=NOW - timedelta(days=90),
            valid_until=NOW + timedelta(days=275),
            entrances=None,
            hours=(),
        )
        plate = Credential(CredentialKind.PLATE, f"津A{number:05d}")
        exact, near = [held], []
        kind = rng.random()
        if kind < 0.05:
            exact = [replace(held, valid_until=NOW - timedelta(days=3))]
        elif kind < 0.08:
            exact = [replace(held, entrances=("west",))]
        elif kind < 0.10:
            exact = [replace(held, state=PassState.REVOKED, revoked_at=NOW - timedelta(days=1))]
        elif kind < 0.16:
            exact = []
        elif kind < 0.18:
            exact, near = [], [Candidate(held, 0.5, "5:8→B", "津A12B45")]
        made.append(
            Situation(
                lane="east-in",
                entrance="east",
                direction=rng.choice(list(Direction)),
                credential=plate,
                confidence=round(rng.uniform(0.86, 1.0), 2),
                candidates=[Candidate(one, value=plate.value) for one in exact],
                near=lambda near=near: near,  # type: ignore[misc]
            )
        )
    return made


def rate(judge: Judge, cases: Sequence[Situation], seconds: float) -> float:
    """Decisions a second."""
    count, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        for one in cases:
            judge(one)
        count += len(cases)
    return count / spent


def single(judge: Judge, cases: Sequence[Situation], count: int) -> list[float]:
    """So many decisions, each timed, in seconds."""
    found = []
    for number in range(count):
        one = cases[number % len(cases)]
        started = time.perf_counter()
        judge(one)
        found.append(time.perf_counter() - started)
    return found


def by_engine(policy: Policy) -> Judge:
    """The CEL engine for every rule, as if nothing were translated."""

    def judge(situation: Situation) -> object:
        lane = policy.at(situation.lane, situation.entrance, situation.direction)
        subject = situation.candidates[0] if situation.candidates else None
        return lane.carefully(Facts(Case(situation, NOW, policy.ground, subject), lane.table))

    return judge


# --- peers ------------------------------------------------------------------------------------------------


def install() -> None:
    """The peers, once."""
    folder = CACHE / "rule-peers"
    if not (folder / "rule_engine").is_dir() or not (folder / "celpy").is_dir():
        say("installing rule-engine and cel-python (once)")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *PEERS]
        subprocess.run(command, check=True)
    sys.path.append(str(folder))


def flat(policy: Policy, cases: Sequence[Situation]) -> list[dict[str, Any]]:
    """Every fact that a deciding rule may ask, found already."""
    found = []
    for situation in cases:
        lane = policy.at(situation.lane, situation.entrance, situation.direction)
        subject = situation.candidates[0] if situation.candidates else None
        facts = Facts(Case(situation, NOW, policy.ground, subject), lane.table)
        names = {name for rule in lane.deciding for name in rule.condition.names}
        found.append(
            {name: lane.constants[name] if name in lane.constants else facts[name] for name in names}
        )
    return found


def rule_engine_rate(policy: Policy, cases: Sequence[Situation], seconds: float) -> float:
    """rule-engine 5: the conditions in its own language, tried in order."""
    engine = importlib.import_module("rule_engine")
    lane = policy.at("east-in", "east", Direction.IN)
    rules = [engine.Rule(_spelled(rule.condition.text)) for rule in lane.deciding]
    facts = [{name.replace(".", "_"): value for name, value in one.items()} for one in flat(policy, cases)]

    def judge(one: Any) -> object:
        return next((rule for rule in rules if rule.matches(one)), None)

    return rate(judge, facts, seconds)  # type: ignore[arg-type]


def _spelled(text: str) -> str:
    text = re.sub(r"size\(([a-z._]+)\)", r"\1.length", text)
    text = text.replace("&&", " and ").replace("||", " or ")
    text = re.sub(r"!(?!=)", "not ", text)
    return re.sub(r"\b([a-z_]+)\.(?!length)([a-z_]+)", r"\1_\2", text)


def cel_python_rate(policy: Policy, cases: Sequence[Situation], seconds: float) -> float:
    """cel-python: the same texts, tried in order."""
    celpy = importlib.import_module("celpy")
    env = celpy.Environment()
    lane = policy.at("east-in", "east", Direction.IN)
    programs = [env.program(env.compile(rule.condition.text)) for rule in lane.deciding]

    def nested(one: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in one.items():
            head, _, tail = name.partition(".")
            found.setdefault(head, {})[tail] = value
        return {head: celpy.json_to_cel(value) for head, value in found.items()}

    facts = [nested(one) for one in flat(policy, cases)]

    def judge(one: Any) -> object:
        return next((True for program in programs if program.evaluate(one)), None)

    return rate(judge, facts, seconds)  # type: ignore[arg-type]


def main() -> int:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="for each side and round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", action="store_true", help="also rule-engine 5 and cel-python")
    options = parser.parse_args()
    note_if_busy()
    policy = load(default_text(), SiteNames(zone=SHANGHAI, checked=False))
    cases = situations()
    sides: dict[str, Judge] = {
        "decisions": lambda one: decide(policy, one, NOW),
        "decisions by hand": lambda one: rules_by_hand.decide(one, NOW, SHANGHAI),
        "outcomes": lambda one: outcome_of(policy, one, NOW),
        "outcomes by hand": lambda one: rules_by_hand.outcome(one, NOW, SHANGHAI),
        "engine": by_engine(policy),
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for judge in sides.values():
        rate(judge, cases, 0.2)
    gc.collect()
    gc.freeze()
    for _, name in turns(options.rounds, list(sides)):
        found[name].append(rate(sides[name], cases, options.seconds))
    middle = {name: statistics.median(rates) for name, rates in found.items()}
    count = options.rounds
    emit(
        "rules.decisions", middle["decisions"], "decisions/s", n=count, at_most=False,
        limit_name="0.15 of the same policy by hand", limit=0.15 * middle["decisions by hand"],
    )  # fmt: skip
    emit(
        "rules.outcomes", middle["outcomes"], "outcomes/s", n=count, at_most=False,
        limit_name="0.15 of the same policy by hand", limit=0.15 * middle["outcomes by hand"],
    )  # fmt: skip
    emit("rules.decisions_by_hand", middle["decisions by hand"], "decisions/s", n=count)
    emit("rules.outcomes_by_hand", middle["outcomes by hand"], "outcomes/s", n=count)
    emit("rules.engine", middle["engine"], "outcomes/s", n=count)
    times = single(sides["decisions"], cases, 20_000)
    emit("rules.p50", percentile(times, 0.5) * 1000, "ms", n=len(times))
    emit("rules.p99", percentile(times, 0.99) * 1000, "ms", n=len(times), limit_name="asked for", limit=0.2)
    if options.peers:
        install()
        for name, peer in (("rule_engine", rule_engine_rate), ("cel_python", cel_python_rate)):
            emit(f"rules.{name}", peer(policy, cases, options.seconds), "outcomes/s", n=1)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
