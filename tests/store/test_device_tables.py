"""What gated put on devices' lists, and what devices saw: on both databases."""

from __future__ import annotations

from datetime import timedelta

from gated.domain import CredentialKind
from gated.ports import AllowEntry
from gated.store import Store, device_events, device_lists
from tests.store import make

DAY = timedelta(days=1)


def entry(value: str, days: int) -> AllowEntry:
    return AllowEntry(CredentialKind.PLATE, value, make.NOW, make.NOW + days * DAY)


async def test_lists(url: str) -> None:
    store = await Store.open(url)
    try:
        many = [entry(f"津A{number:05d}", 7) for number in range(1200)]
        await store.write(lambda conn: device_lists.put(conn, "cam-1", many))
        await store.write(lambda conn: device_lists.put(conn, "cam-2", [entry("津A00001", 1)]))
        again = [entry("津A00001", 3), entry("津A00001", 5)]  # twice in one batch: the later one counts
        await store.write(lambda conn: device_lists.put(conn, "cam-1", again))
        gone = [one.value for one in many[2:]]
        await store.write(lambda conn: device_lists.dropped(conn, "cam-1", [*gone, "never there"]))
        assert await store.read(lambda conn: device_lists.of(conn, "cam-1")) == {
            "津A00000": make.NOW + 7 * DAY,
            "津A00001": make.NOW + 5 * DAY,
        }
        assert len(await store.read(lambda conn: device_lists.of(conn, "cam-2"))) == 1
        await store.write(lambda conn: device_lists.put(conn, "cam-2", []))
    finally:
        await store.close()


async def test_events(url: str) -> None:
    store = await Store.open(url)
    try:
        for number, device in enumerate(("a", "b", "a")):
            at = make.NOW + timedelta(seconds=number)
            await store.write(
                lambda conn, device=device, at=at: device_events.add(
                    conn, device, "mo\0tion", at, at, {"x": "\0"}, b"\xff\xd8" if device == "b" else None
                )
            )
        rows = await store.read(lambda conn: device_events.page(conn, limit=10))
        assert [(row.device, row.picture) for row in rows] == [("a", False), ("b", True), ("a", False)]
        assert "\0" not in rows[0].what + rows[0].details["x"]
        only = await store.read(lambda conn: device_events.page(conn, device="a", after=rows[0].n, limit=10))
        assert [row.n for row in only] == [rows[2].n]
        assert await store.read(lambda conn: device_events.picture(conn, rows[1].n)) == b"\xff\xd8"
        assert await store.read(lambda conn: device_events.picture(conn, 999)) is None
    finally:
        await store.close()
