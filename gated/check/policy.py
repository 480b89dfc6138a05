"""Checks of the policy: the one in force in the store if there is one, else the one to begin with.

Reads only. A database that cannot be read is the store's check to tell of.
"""

from __future__ import annotations

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from gated.check.results import Result, State
from gated.config import ConfigErrors, SiteConfig
from gated.domain import Outcome
from gated.policy import default_text, load, read
from gated.store import policies
from gated.wiring import site_names
from rules import Policy


def policy(config: SiteConfig) -> list[Result]:
    """Whether the policy fits this site, and how it decides."""
    stored = _stored(config)
    try:
        if stored is not None:
            name, text = "in force in the store", stored
        elif config.policy.file is not None:
            name, text = str(config.policy.file), read(config.policy.file)
        else:
            name, text = "the one that gated ships with", default_text()
        found = load(text, site_names(config), name=name)
    except ConfigErrors as errors:
        hint = "edit it and put it in force: gated rules show > policy.yaml; gated rules activate policy.yaml"
        return [
            Result(
                "policy",
                f"{one.file}:{one.line}",
                State.MISCONFIGURED,
                f"{one.path}: {one.message}".removeprefix(": "),
                one.hint or hint,
                {"zh": one.zh} if one.zh else {},
            )
            for one in errors.problems
        ]
    return [_summary(found, name)]


def _summary(found: Policy, name: str) -> Result:
    counts = {outcome.value: sum(rule.outcome is outcome for rule in found.rules) for outcome in Outcome}
    message = (
        f"{name}: {len(found.rules)} rules ({counts['grant']} grant, {counts['refer']} refer, "
        f"{counts['deny']} deny), version {found.hash[:12]}"
    )
    return Result("policy", "policy", State.OK, message, "", {"hash": found.hash, "name": found.name.en})


def _stored(config: SiteConfig) -> str | None:
    path = config.store.path
    if path is not None and not path.exists():
        return None
    url = config.store.url if path is None else f"sqlite:///file:{path}?mode=ro&uri=true"
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    try:
        with engine.connect() as conn:
            found = policies.current(conn, "live")
    except SQLAlchemyError:
        return None
    finally:
        engine.dispose()
    return None if found is None else found.text
