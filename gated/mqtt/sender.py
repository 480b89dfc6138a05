"""What goes out on one link: announcements first, then answers, then the outbox; within a window, in slices.

Lives as long as its link. It keeps no message that is not on its way, except announcements (one a topic) and
a bounded number of answers.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass

import structlog

from gated.mqtt.endpoint import BrokerRefused
from gated.mqtt.link import Link
from gated.outbox import Outgoing, Relay

log = structlog.get_logger()

_SLICE_S = 0.002
"""How long publishing may hold the event loop at a stretch."""
_MOST_ANSWERS = 256
_SKIPPED = frozenset({0x90, 0x95, 0x99})
"""Reason codes of a PUBACK (MQTT 5, 3.4.2.1) that no repetition cures: topic name invalid, packet too large,
payload format invalid. The message is skipped and logged, so that the others behind it go on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a request; lost with its link, for whoever asked asks again."""

    topic: str
    payload: bytes
    correlation: bytes | None


@dataclass(slots=True)
class Counters:
    """Since the start; for metrics. `skipped`: messages that the broker will never take."""

    published: int = 0
    acknowledged: int = 0
    skipped: int = 0
    connects: int = 0


class Sender:
    """Publishes on `link`. `window`: messages on their way at most."""

    def __init__(self, link: Link, relay: Relay, window: int, counters: Counters) -> None:
        self.refusal: BrokerRefused | None = None
        self._link = link
        self._relay = relay
        self._window = min(window, link.limits.inflight or window)
        self._counters = counters
        self._announcements: dict[str, bytes] = {}
        self._answers: deque[Answer] = deque()
        self._due = False
        self._loop = asyncio.get_running_loop()

    @property
    def idle(self) -> bool:
        return not (self._announcements or self._answers or self._link.in_flight) and self._relay.idle

    def announce(self, topic: str, payload: bytes) -> None:
        """Publishes a retained state; a newer one takes the place of one that has not gone out yet."""
        self._announcements[topic] = payload
        self._pump_soon()

    def answer(self, answer: Answer) -> None:
        if len(self._answers) >= _MOST_ANSWERS:
            log.warning("mqtt_answer_dropped", topic=answer.topic)
            return
        self._answers.append(answer)
        self._pump_soon()

    def pump(self) -> None:
        """Publishes what the window allows, for one slice of time; goes on by itself after a pause."""
        until = time.perf_counter() + _SLICE_S
        while self._link.in_flight < self._window and not self._link.closed:
            if not self._publish_next():
                break
            if time.perf_counter() > until:
                self._pump_soon()
                break
        self._link.flush()

    def acknowledged(self, acks: list[tuple[object, int]]) -> None:
        """The broker's word on messages that were on their way."""
        for message, code in acks:
            self._counters.acknowledged += 1
            if isinstance(message, Outgoing):
                if code < 0x80:
                    if message.row is not None:
                        self._relay.settle(message.row)
                elif code in _SKIPPED:
                    self._skip(message, f"the broker refused it with reason 0x{code:02x}")
                else:
                    self.refusal = BrokerRefused(
                        "publish",
                        f"the broker takes no message on {message.topic} (reason 0x{code:02x}): "
                        "check what gated's user may write there",
                    )
                    self._link.close("publish refused")
                    return
            elif isinstance(message, Answer) and code >= 0x80:
                # the topic is the asker's choice: its trouble, not ours
                log.warning("mqtt_answer_refused", topic=message.topic, code=code)
        if not self._due:
            self.pump()

    def _publish_next(self) -> bool:
        if self._announcements:
            topic = next(iter(self._announcements))
            message = Outgoing(topic, self._announcements.pop(topic), retain=True)
        elif self._answers:
            self._publish_answer(self._answers.popleft())
            return True
        else:
            row = self._relay.take()
            if row is None:
                return False
            message = row
        try:
            self._link.publish(message.topic, message.payload, retain=message.retain, token=message)
        except ValueError as error:
            self._skip(message, str(error))
        else:
            self._counters.published += 1
        return True

    def _publish_answer(self, answer: Answer) -> None:
        try:
            self._link.publish(
                answer.topic, answer.payload, retain=False, token=answer, correlation=answer.correlation
            )
        except ValueError as error:
            log.warning("mqtt_answer_dropped", topic=answer.topic, bytes=len(answer.payload), why=str(error))
        else:
            self._counters.published += 1

    def _skip(self, message: Outgoing, why: str) -> None:
        self._counters.skipped += 1
        log.error("mqtt_message_skipped", topic=message.topic, row=message.row, why=why)
        if message.row is not None:
            self._relay.settle(message.row)

    def _pump_soon(self) -> None:
        if not self._due:
            self._due = True
            self._loop.call_soon(self._pump_now)

    def _pump_now(self) -> None:
        self._due = False
        self.pump()
