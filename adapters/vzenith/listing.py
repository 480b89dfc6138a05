"""Changes of a camera's own allow-list (白名单): they ride on the replies to its pushes, few at a time.

The camera acknowledges nothing: that the reply was written to it is all that is known.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta, tzinfo
from typing import Any

from gated.ports import AllowEntry, DeviceUnavailable

BATCH = 5
"""How many one reply carries: what is reported to work; no text gives the limit."""

Operation = Mapping[str, object]


def adding(entries: Sequence[AllowEntry], zone: tzinfo) -> Operation:
    """`white_list_operate` that adds plates, or replaces them. Its end is inclusive, a pass's is not."""
    return {
        "operate_type": 0,
        "white_list_data": [
            {
                "plate": entry.value,
                "enable": 1,
                "need_alarm": 0,
                "enable_time": entry.valid_from.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S"),
                "overdue_time": (entry.valid_until - timedelta(seconds=1))
                .astimezone(zone)
                .strftime("%Y-%m-%d %H:%M:%S"),
            }
            for entry in entries
        ],
    }


def adding_one(entry: AllowEntry, zone: tzinfo) -> Operation:
    """`white_list_operator` over MQTT, which takes one plate at a time (as public code that sends it to
    cameras does)."""
    only: Any = adding([entry], zone)["white_list_data"]
    return {"operator_type": "update_or_add", "dldb_rec": {**only[0], "time_seg_enable": 0}}


def dropping_one(value: str) -> Operation:
    """The same for removing a plate."""
    return {"operator_type": "delete", "plate": value}


def dropping(values: Sequence[str]) -> Operation:
    """`white_list_operate` that removes plates."""
    return {
        "operate_type": 1,
        "white_list_data": [{"plate": value, "enable": 1, "need_alarm": 0} for value in values],
    }


class ListOrders:
    """Operations that wait for a reply to ride on, in order. `wait_s`: how long one waits."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._waiting: deque[tuple[Operation, asyncio.Future[bool]]] = deque()

    @property
    def waiting(self) -> bool:
        """Whether the next reply has something to carry."""
        return bool(self._waiting)

    async def send(self, operation: Operation) -> None:
        """Returns once it was written to the camera. Raises DeviceUnavailable."""
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        order = (operation, written)
        self._waiting.append(order)
        try:
            async with asyncio.timeout(self._wait_s):
                if not await written:
                    raise DeviceUnavailable("the camera hung up before its reply was sent")
        except TimeoutError:
            raise DeviceUnavailable("the camera asked nothing that could be answered in time") from None
        finally:
            if order in self._waiting:
                self._waiting.remove(order)

    def take(self) -> tuple[Operation, Callable[[bool], None]] | None:
        """What the reply that is being built is to carry, and whom to tell that it was written."""
        if not self._waiting:
            return None
        operation, written = self._waiting.popleft()

        def told(sent: bool) -> None:
            if not written.done():
                written.set_result(sent)

        return operation, told
