"""The form that a VZ camera sends as its heartbeat (`device_register`), as its few harmless fields.

Pure. The form also holds the camera's user name and password: they are dropped as they pass by, and appear
in no result and no error.
"""

from __future__ import annotations

import logging
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

FIELDS = frozenset({"device_name", "serialno", "ipaddr", "channel_num"})
MAX_FORM = 65536
_MAX_VALUE = 64

# the parser logs each broken form in words of its own, so that nothing could tell them for repeats
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class Malformed(ValueError):
    """The body is not what such a camera sends. The message holds nothing of the body."""


def _clean(value: bytes) -> str:
    # the first line only: behind a damaged boundary there may be the next field, which may be the password
    line = value.decode("utf-8", "replace").strip().split("\n", 1)[0]
    return "".join(c for c in line if c.isprintable()).strip()[:_MAX_VALUE]


def urlencoded(body: bytes) -> dict[str, str]:
    """The known fields of a URL-encoded form. Raises Malformed."""
    if len(body) > MAX_FORM:
        raise Malformed("a form larger than any heartbeat")
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), max_num_fields=64)
    except ValueError:
        raise Malformed("a form with more fields than any heartbeat") from None
    return {name.strip(): _clean(value.encode()) for name, value in pairs if name.strip() in FIELDS}


def multipart(body: bytes, content_type: str) -> dict[str, str]:
    """The known fields of a multipart form; all others, and what they hold, are dropped as they pass by.
    Raises Malformed."""
    if len(body) > MAX_FORM:
        raise Malformed("a form larger than any heartbeat")
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:  # some firmware leaves it out of the header
        boundary = body.lstrip().split(b"\n", 1)[0].strip()[2:]
    if not boundary or len(boundary) > 200:
        raise Malformed("a multipart form without a boundary")
    found: dict[str, str] = {}
    header, value, disposition, content = bytearray(), bytearray(), bytearray(), bytearray()

    def header_end() -> None:
        if bytes(header).strip().lower() == b"content-disposition":
            disposition[:] = value
        header.clear()
        value.clear()

    def part_end() -> None:
        name = (
            parse_options_header(bytes(disposition))[1].get(b"name", b"").decode("utf-8", "replace").strip()
        )
        if name in FIELDS:
            found[name] = _clean(bytes(content))
        disposition.clear()
        content.clear()

    try:
        parser = MultipartParser(
            boundary,
            {
                "on_header_field": lambda data, start, end: header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: value.extend(data[start:end]),
                "on_header_end": header_end,
                "on_part_data": lambda data, start, end: content.extend(data[start:end]),
                "on_part_end": part_end,
            },
        )
        parser.write(body.lstrip())
        parser.finalize()
    except FormParserError:
        raise Malformed("a broken multipart form") from None
    return found
