"""Multipart bodies as cameras send them: endless streams (alertStream, snapManager) and single pushes.

Pure and bounded. Cameras are careless with the format: a boundary that differs from the header's, bare line
feeds, a Content-Length that counts one CRLF too many or is not there, preambles, no end. So the parser goes
by the boundary line, and by Content-Length only to step over pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_PART = 8 * 1024 * 1024
MAX_HEAD = 8192
_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"\r\n]{1,200})"|([^\s;,"]{1,200}))', re.IGNORECASE)
_HEAD_END = re.compile(rb"\r?\n\r?\n")


class Malformed(ValueError):
    """What came is no multipart body, or has no bounds."""


class Part(NamedTuple):
    """One part. Header names in lower case. `cut`: it was longer than is kept, `body` is its beginning."""

    headers: dict[str, str]
    body: bytes
    cut: bool = False

    @property
    def content_type(self) -> str:
        """The media type alone, in lower case."""
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    @property
    def name(self) -> str:
        """The field name of a form's part."""
        found = re.search(r'\bname="?([^";]*)', self.headers.get("content-disposition", ""))
        return found[1].strip() if found else ""


def boundary_of(content_type: str) -> str | None:
    """The boundary that a Content-Type declares, without its leading dashes; None if it declares none."""
    found = _BOUNDARY.search(content_type)
    text = (found[1] or found[2]).strip() if found else ""
    # Some cameras (Dahua: "boundary=--myboundary") write the dashes of the delimiter into the header
    return text.lstrip("-") or None


class Parts:
    """An incremental parser. `feed` gives the parts that are complete so far; a part without Content-Length
    is complete when the next boundary comes. `keep`: how many bytes of a picture or other binary part are
    kept (0: only that it was there)."""

    def __init__(self, boundary: str, *, max_part: int = MAX_PART, keep: int = MAX_PART) -> None:
        delimiter = rb"(?:^|\r?\n)-{0,6}" + re.escape(boundary.encode("latin-1"))
        self._line = re.compile(delimiter + rb"(--)?[ \t]*\r?\n")
        self._last = re.compile(delimiter + rb"--")
        self._tail = len(boundary) + 16
        self._max = max_part
        self._keep = keep
        self._buffer = bytearray()
        self._searched = 0
        self._headers: dict[str, str] | None = None
        self._length: int | None = None
        self._inside = False

    def feed(self, data: bytes) -> Iterator[Part]:
        """Parts that these bytes complete. Raises Malformed once a part or its head is larger than any."""
        self._buffer += data
        while (part := self._next()) is not None:
            if part.headers or part.body:
                yield part

    def end(self) -> Iterator[Part]:
        """The stream is over: what was open is complete only if its final boundary came."""
        if self._headers is None:
            return
        found = self._last.search(self._buffer)
        if found is not None:
            yield self._part(bytes(self._buffer[: found.start()]))
            self._headers = None
            self._buffer.clear()

    def _next(self) -> Part | None:
        if not self._inside:
            found = self._line.search(self._buffer)
            if found is None:
                if len(self._buffer) > self._max:
                    raise Malformed("no boundary in what it sends")
                if len(self._buffer) > MAX_HEAD:
                    del self._buffer[: -self._tail]
                return None
            del self._buffer[: found.end()]
            self._inside = True
            self._searched = 0
        if self._headers is None:
            if self._buffer[:2] == b"\r\n" or self._buffer[:1] == b"\n":
                head, end = b"", 2 if self._buffer[:1] == b"\r" else 1
            else:
                match = _HEAD_END.search(self._buffer)
                if match is None:
                    if len(self._buffer) > MAX_HEAD:
                        raise Malformed("a part whose headers have no end")
                    return None
                head, end = bytes(self._buffer[: match.start()]), match.end()
            if (early := self._line.search(head + b"\n")) is not None:  # a part of headers only
                del self._buffer[: early.end()]
                return Part({}, b"")
            self._headers = _headers(head)
            length = self._headers.get("content-length", "").strip()
            self._length = int(length) if length.isascii() and length.isdigit() and len(length) < 10 else None
            del self._buffer[:end]
            self._searched = 0
            if self._length is not None and self._length > self._max:
                raise Malformed(f"a part of {self._length} bytes")
        return self._body()

    def _body(self) -> Part | None:
        if self._length is not None:
            if len(self._buffer) < self._length:
                return None
            kind = (self._headers or {}).get("content-type", "")
            early = None if "image" in kind else self._line.search(self._buffer, 0, self._length)
            if early is not None:  # it claims more than it has
                part = self._part(bytes(self._buffer[: early.start()]))
                del self._buffer[: early.end()]
                self._done(inside=True)
                return part
            # trust the length only if a boundary, or nothing yet, follows it
            follows = bytes(self._buffer[self._length : self._length + self._tail + 4])
            if not follows.strip() or follows.lstrip(b"\r\n").startswith(b"--"):
                part = self._part(bytes(self._buffer[: self._length]))
                del self._buffer[: self._length]
                self._done(inside=False)
                return part
        found = self._line.search(self._buffer, max(0, self._searched - self._tail))
        if found is None:
            self._searched = len(self._buffer)
            if self._searched > self._max:
                raise Malformed("a part without an end")
            return None
        part = self._part(bytes(self._buffer[: found.start()]))
        del self._buffer[: found.end()]
        self._done(inside=True)
        return part

    def _done(self, *, inside: bool) -> None:
        self._headers, self._length, self._searched, self._inside = None, None, 0, inside

    def _part(self, body: bytes) -> Part:
        headers = self._headers or {}
        kind = headers.get("content-type", "").lower()
        if len(body) > self._keep and not any(word in kind for word in ("xml", "text", "json")):
            return Part(headers, body[: self._keep], cut=True)
        return Part(headers, body)


def whole(body: bytes, content_type: str, *, keep: int = MAX_PART, most: int = 64) -> list[Part]:
    """The parts of a complete body. Raises Malformed."""
    boundary = boundary_of(content_type)
    if boundary is None:
        first = body.lstrip()[:220].split(b"\n", 1)[0].strip()
        if not first.startswith(b"--"):
            raise Malformed("a multipart body without a boundary")
        boundary = first[2:].decode("latin-1")
    parts = Parts(boundary, keep=keep)
    found: list[Part] = []
    for part in (*parts.feed(body.lstrip()), *parts.end()):
        found.append(part)
        if len(found) > most:
            raise Malformed("more parts than any such message has")
    return found


def _headers(head: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").split("\n"):
        name, colon, value = line.partition(":")
        if colon and len(found) < 32:
            found[name.strip().lower()] = value.strip()
    return found
