"""The CGI of a Dahua camera: what it is asked, and what its answers mean.

Pure: no I/O, no clock. An answer is `OK`, `name=value` lines, or `Error` and a reason; HTTP 200 may hold an
`Error`, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta, tzinfo
from typing import NamedTuple
from urllib.parse import quote, urlencode

from adapters.dahua.fields import Malformed, lines, text
from gated.domain import OpeningOutcome
from gated.ports import AllowEntry, Opened

HEARTBEAT_S = 5
PAGE = 1000
LIST_BATCH = 20
LIST = "TrafficRedList"
"""The vendor's name of the allow-list (白名单)."""

SYSTEM = "/cgi-bin/magicBox.cgi?action=getSystemInfo"
FIRMWARE = "/cgi-bin/magicBox.cgi?action=getSoftwareVersion"
CLOCK = "/cgi-bin/global.cgi?action=getCurrentTime"
OPENING = "/cgi-bin/trafficSnap.cgi"
_RECORD = re.compile(r"records\[([0-9]{1,6})\]\.(\w{1,64})")


def snap_stream(codes: Sequence[str]) -> str:
    """The stream of plates, with pictures."""
    return (
        "/cgi-bin/snapManager.cgi?action=attachFileProc&Flags[0]=Event"
        f"&Events=[{quote(','.join(codes), safe=',')}]&heartbeat={HEARTBEAT_S}"
    )


def event_stream(codes: Sequence[str]) -> str:
    """The stream of events of all kinds."""
    wanted = quote(",".join(codes), safe=",")
    return f"/cgi-bin/eventManager.cgi?action=attach&codes=[{wanted}]&heartbeat={HEARTBEAT_S}"


def snapshot(channel: int) -> str:
    """A picture of now."""
    return f"/cgi-bin/snapshot.cgi?channel={channel}"


def open_strobe(channel: int, open_type: str, plate: str) -> str:
    """Opens. The interface knows no length of the pulse: it is what the camera's own page says."""
    values = {"action": "openStrobe", "channel": channel, "info.openType": open_type}
    return f"{OPENING}?{urlencode({**values, 'info.plateNumber': plate}, quote_via=quote)}"


def missing(status: int, body: bytes) -> bool:
    """Whether the camera's firmware has no such CGI; so it did nothing."""
    return status in (404, 405, 501) or b"not implemented" in body[:256].lower()


def opened(status: int, body: bytes) -> Opened:
    """What an answer to an opening means."""
    said = text(body[:4096]).strip()
    words = "".join(c if c.isprintable() else " " for c in said[:120]).strip()
    if missing(status, body):
        return Opened(OpeningOutcome.REJECTED, "this firmware cannot be opened by CGI; try control: rpc2")
    if said[:5].lower() == "error":
        return Opened(OpeningOutcome.REJECTED, words)
    if status == 200 and (said == "OK" or said.startswith(("OK\r", "OK\n"))):
        return Opened(OpeningOutcome.ACCEPTED)
    if 400 <= status < 500:
        return Opened(OpeningOutcome.REJECTED, words or f"HTTP {status}")
    return Opened(OpeningOutcome.UNCERTAIN, f"an answer that is none (HTTP {status})")


def fine(status: int, body: bytes) -> bool:
    """Whether an answer is one, and no error."""
    return status == 200 and body.lstrip()[:5].lower() != b"error"


# --- its own list -----------------------------------------------------------------------------------------


class Records(NamedTuple):
    """A page of its list: record numbers and plates as it writes them. `total`: of all it found, if told."""

    plates: dict[str, str]
    total: int | None


def find(begin: int, count: int) -> str:
    """Asks for a page of its list."""
    return (
        f"/cgi-bin/recordFinder.cgi?action=find&name={LIST}&count={count}&QueryCount={count}"
        f"&QueryResultBegin={begin}"
    )


def find_plate(plate: str) -> str:
    """Asks for the records of one plate."""
    return f"/cgi-bin/recordFinder.cgi?action=find&name={LIST}&condition.PlateNumber={quote(plate)}&count=16"


def put(entry: AllowEntry, record: str | None, zone: tzinfo) -> str:
    """Adds an entry, or changes the record that there is."""
    first, last = entry.valid_from.astimezone(zone), entry.valid_until.astimezone(zone)
    values = {"action": "insert", "name": LIST} if record is None else {"action": "update", "name": LIST}
    if record is not None:
        values["recno"] = record
    values |= {
        "PlateNumber": entry.value,
        "MasterOfCar": "gated",
        "BeginTime": f"{first:%Y-%m-%d %H:%M:%S}",
        # the camera's end is taken to be inclusive, a pass's is not
        "CancelTime": f"{last - timedelta(seconds=1):%Y-%m-%d %H:%M:%S}",
        "AuthorityList.OpenGate": "true",
    }
    return f"/cgi-bin/recordUpdater.cgi?{urlencode(values, quote_via=quote)}"


def taken(status: int, body: bytes) -> bool:
    """Whether an entry was added (`RecNo=...`; -1 is "later") or changed (`OK`)."""
    return fine(status, body) and (body.strip()[:2] == b"OK" or b"RecNo=" in body[:256])


def remove(record: str) -> str:
    """Removes a record."""
    return f"/cgi-bin/recordUpdater.cgi?action=remove&name={LIST}&recno={quote(record)}"


def records(status: int, body: bytes) -> Records:
    """One page. Raises Malformed: an error is never taken for an empty list."""
    if not fine(status, body):
        raise Malformed(f"HTTP {status}" if status != 200 else "it answers Error")
    numbers: dict[str, str] = {}
    plates: dict[str, str] = {}
    told = lines(body)
    for name, value in told.items():
        found = _RECORD.fullmatch(name)
        if found is not None and found[2] == "RecNo":
            numbers[found[1]] = value
        elif found is not None and found[2] == "PlateNumber":
            plates[found[1]] = value
    total, count = _count(told.get("totalCount", "")), _count(told.get("found", ""))
    if count is None and not numbers:
        raise Malformed("no list of records")
    if count is not None and count != len(numbers):
        raise Malformed(f"it speaks of {count} records and gives {len(numbers)}")
    return Records({number: plates.get(row, "") for row, number in numbers.items()}, total)


def _count(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and len(value) < 8 else None
