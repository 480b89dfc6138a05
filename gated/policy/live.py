"""The policy in force and the one in its shadow: opened from the store, followed when another is activated.

The store says which text is in force; this makes it run for the site as it is configured. A text that does
not fit the site (an entrance is gone) goes on running with its names unchecked, and says so; one that cannot
be read at all is replaced by one that refers everything to people. It never grants for want of a policy.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy import Connection

from gated.config.errors import ConfigErrors
from gated.domain import AlertDraft, Severity, Text
from gated.policy.load import default_text, load, read, refer_all_text
from gated.store import Store, policies
from rules import Policy
from rules.build import SiteNames

log = structlog.get_logger()

WHO = "gated"
_UNFIT = "site|policy"


def opened(text: str, site: SiteNames, name: str) -> tuple[Policy, ConfigErrors | None]:
    """The policy of a text that was in force before, and what is wrong with it now. Never raises."""
    try:
        return load(text, site, name=name), None
    except ConfigErrors as errors:
        first = errors
    unchecked = SiteNames(site.zone, site.entrances, site.lanes, site.grids, checked=False)
    try:
        return load(text, unchecked, name=name), first
    except ConfigErrors:
        return load(refer_all_text(), site, name="the policy that refers everything"), first


class LivePolicies:
    """What the lanes decide by. `raise_alert`, `end_alert`: for a policy that does not fit the site."""

    def __init__(
        self,
        store: Store,
        site: Callable[[], SiteNames],
        clock: Callable[[], datetime],
        raise_alert: Callable[[AlertDraft], None],
        end_alert: Callable[[str], None],
    ) -> None:
        self._store = store
        self._site = site
        self._clock = clock
        self._raise = raise_alert
        self._end = end_alert
        self._last = -1
        self.live: Policy
        self.shadow: Policy | None = None
        self.live_n = 0

    async def open(self, first: Path | None) -> None:
        """Puts the stored policy in force; into an empty store goes `first`, or the default. Raises
        ConfigErrors where that cannot be used."""
        if await self._store.read(lambda conn: policies.current(conn, "live")) is None:
            text = default_text() if first is None else read(first)
            name = "the default policy" if first is None else str(first)
            load(text, self._site(), name=name)
            note = "the first policy of this store"
            await self._store.write(
                lambda conn: policies.activate(conn, self._clock(), WHO, "live", text, note)
            )
        await self.follow()

    async def follow(self) -> bool:
        """Takes over what was activated since; whether anything was. One small query where nothing was."""
        last = await self._store.read(policies.last)
        if last == self._last:
            return False
        live, shadow = await self._store.read(_current)
        self._last = last
        if live is not None and live.text is not None:
            self.live = self._made(live.text, live.hash or "")
            self.live_n = live.n
        self.shadow = None
        if shadow is not None and shadow.text is not None:
            self.shadow, _ = opened(shadow.text, self._site(), "the shadow policy")
        log.info(
            "policy_in_force",
            policy=self.live.hash[:12],
            rules=len(self.live.rules),
            shadow=None if self.shadow is None else self.shadow.hash[:12],
        )
        return True

    def reconfigured(self) -> None:
        """The site is another now: the same texts, for its entrances, lanes and grids."""
        self.live = self._made(self.live.text, self.live.hash)
        if self.shadow is not None:
            self.shadow, _ = opened(self.shadow.text, self._site(), "the shadow policy")

    def _made(self, text: str, version: str) -> Policy:
        policy, wrong = opened(text, self._site(), f"policy {version[:12]}")
        if wrong is None:
            self._end(_UNFIT)
        else:
            for problem in wrong.problems:
                log.error("policy_does_not_fit", place=f"line {problem.line}", problem=problem.message)
            self._raise(_unfit(wrong))
        return policy


def _current(conn: Connection) -> tuple[policies.Activation | None, policies.Activation | None]:
    return policies.current(conn, "live"), policies.current(conn, "shadow")


def _unfit(wrong: ConfigErrors) -> AlertDraft:
    first = wrong.problems[0]
    return AlertDraft(
        severity=Severity.CRITICAL,
        reason="policy_unfit",
        text=Text(
            f"村规与站点配置不符（第{first.line}行：{first.zh or first.message}），请修改后重新启用。",
            f"The policy does not fit the site (line {first.line}: {first.message}); mend and activate it.",
        ),
        fold_key=_UNFIT,
        lasting=True,
        grid="site",
    )
