"""Logging: structlog to one JSON line an event (or lines for people on a terminal), redacted, on stderr.

`configure` is called once at start and again at a reload. The logs of libraries go the same way. Holds no
business rule; what is worth logging is decided where it happens.
"""

from __future__ import annotations

import base64
import logging
import string
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, MutableMapping
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
import structlog

from gated.config.models import LogSettings
from gated.redact import Redactor, Shown
from gated.times import iso

Event = MutableMapping[str, Any]

# Chatty below this level, and some print passwords at debug; so whatever our own level is, these keep theirs.
_LIBRARIES = {
    "asyncio": logging.WARNING,
    "alembic": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "onvif": logging.WARNING,
    "paho": logging.WARNING,
    "pymodbus": logging.CRITICAL,
    "sqlalchemy": logging.WARNING,
    "urllib3": logging.ERROR,
    "uvicorn": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
    "uvicorn.error": logging.WARNING,
    "zeep": logging.ERROR,
}
_REPEAT_S = 60.0
_MAX_KEYS = 1024


class _State:
    """What a reload may change under loggers that are bound already."""

    level: int = logging.INFO
    redactor: Redactor = Redactor()
    console: bool = False


_state = _State()


def configure(
    settings: LogSettings,
    secrets: Collection[str] = (),
    *,
    stream: TextIO | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Set up logging, or change level and redaction at a reload. `secrets`: values that must appear nowhere
    (`gated.config.values_of`). `stream`: standard error unless given."""
    output = sys.stderr if stream is None else stream
    _state.level = logging.getLevelNamesMapping()[settings.level.upper()]
    _state.redactor = Redactor(secrets, plates=settings.plates == "masked")
    _state.console = settings.format == "console" or (settings.format == "auto" and output.isatty())

    def stamp(_logger: Any, _method: str, event: Event) -> Event:
        event["at"] = iso(now())
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        stamp,
        structlog.processors.format_exc_info,
        _redact,
    ]
    structlog.configure(
        processors=[_drop, *shared, _render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(output),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.add_log_level, *shared[2:]],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    handler.addFilter(_Seldom())
    root = logging.getLogger()
    for old in [old for old in root.handlers if getattr(old, "gated", False)]:
        root.removeHandler(old)
    handler.gated = True  # type: ignore[attr-defined] # how the next call finds it
    root.addHandler(handler)
    root.setLevel(max(_state.level, logging.INFO))
    for name, level in _LIBRARIES.items():
        logging.getLogger(name).setLevel(max(level, _state.level))
    logging.captureWarnings(capture=True)


def debugging() -> bool:
    """Whether debug lines are written, for places where making one for nothing would cost too much."""
    return _state.level <= logging.DEBUG


def redactor() -> Redactor:
    """What logs are redacted with now; for texts that people see elsewhere (the check, the API's errors)."""
    return _state.redactor


class Repeats:
    """Lets something through at most once in `every` seconds for each key, and counts what it held back.

    `monotonic`: seconds. Remembers the 1024 keys that were used last.
    """

    def __init__(self, every: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._every, self._monotonic = every, monotonic
        self._seen: OrderedDict[object, tuple[float, int]] = OrderedDict()

    def due(self, key: object) -> int | None:
        """None: hold it back. Otherwise log it, with the number of repeats that were held back since."""
        at = self._monotonic()
        last = self._seen.pop(key, None)
        if last is not None and at - last[0] < self._every:
            self._seen[key] = (last[0], last[1] + 1)
            return None
        self._seen[key] = (at, 0)
        if len(self._seen) > _MAX_KEYS:
            self._seen.popitem(last=False)
        return 0 if last is None else last[1]


class Unparsed:
    """The daemon's `gated.ports.UnparsedLog`: each kind of message that an adapter cannot parse is logged
    once a device, as a Python literal that pastes into a test.

    Secrets and plates are taken out so that the sample still parses as it did. `kinds`: so many for each
    device; after that one line says that there are more. `size`: bytes of a sample.
    """

    def __init__(self, *, kinds: int = 20, size: int = 4096) -> None:
        self._kinds, self._size = kinds, size
        self._seen: dict[str, set[str]] = {}
        self.count: dict[str, int] = {}
        """How many messages of each device could not be parsed, logged or not."""

    def __call__(self, device: str, kind: str, sample: bytes | str, why: str) -> None:
        self.count[device] = self.count.get(device, 0) + 1
        seen = self._seen.setdefault(device, set())
        kind = kind[:80]
        if kind in seen or len(seen) > self._kinds:
            return
        seen.add(kind)
        log = structlog.get_logger()
        if len(seen) > self._kinds:
            log.warning(
                "unparsed_more", device=device, hint="more kinds of messages cannot be parsed; not logged"
            )
            return
        raw = sample.encode("utf-8", "surrogateescape") if isinstance(sample, str) else bytes(sample)
        # Cut before cleaning, with room to spare: a secret that the cut would split is cleaned with its head.
        clean = _state.redactor.sample(raw[: self._size * 2])[: self._size]
        log.warning(
            "unparsed",
            device=device,
            kind=kind,
            why=why[:500],
            size=len(raw),
            cut=len(raw) > len(clean) and len(clean) == self._size,
            sample=Shown(literal(clean)),
        )


def literal(sample: bytes) -> str:
    """A Python expression for `sample`: a str where it is printable UTF-8 (`"...".encode()`), bytes where it
    mostly is text, base64 otherwise."""
    try:
        text = sample.decode()
    except UnicodeDecodeError:
        printable = sum(byte in _PRINTABLE for byte in sample)
        if printable * 10 >= len(sample) * 7:
            return repr(sample)
        return f'base64.b64decode("{base64.b64encode(sample).decode()}")'
    if text.isascii():
        return repr(sample)
    return f"{text!r}.encode()"


_PRINTABLE = frozenset(string.printable.encode())


class _Seldom(logging.Filter):
    """The same line of a library at most once a minute: some log every failed reconnect of every device."""

    def __init__(self) -> None:
        super().__init__()
        self._repeats = Repeats(_REPEAT_S)

    def filter(self, record: logging.LogRecord) -> bool:
        held = self._repeats.due((record.name, record.levelno, str(record.msg)))
        if held:
            record.msg = f"{record.msg} [and {held} times before]"
        return held is not None


def _drop(_logger: Any, method: str, event: Event) -> Event:
    level = logging.ERROR if method == "exception" else logging.getLevelNamesMapping().get(method.upper(), 0)
    if level < _state.level:
        raise structlog.DropEvent
    return event


def _redact(_logger: Any, _method: str, event: Event) -> Event:
    # What structlog itself carries along for records of the standard library is not ours to touch.
    kept = {key: event.pop(key) for key in ("_record", "_from_structlog") if key in event}
    level = event.get("level")
    clean: Event = _state.redactor.record(event, plates=False if level == "debug" else None)
    clean.update(kept)
    return clean


def _render(_logger: Any, _method: str, event: Event) -> str:
    if _state.console:
        return _console(event)
    first = {"at": event.pop("at", None), "level": event.pop("level", None), "event": event.pop("event", "")}
    return orjson.dumps({**first, **event}, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _console(event: Event) -> str:
    """`21:16:03.123 warning  device_offline  device=cam-1 error='...'`. A device moves no cursor."""
    at, level = str(event.pop("at", ""))[11:23], str(event.pop("level", ""))
    what, trace = _plain(str(event.pop("event", ""))), event.pop("exception", None)
    pairs = " ".join(f"{key}={_plain(_word(value))}" for key, value in event.items())
    line = f"{at} {level:<8} {what:<24} {pairs}".rstrip()
    return f"{line}\n{trace}" if trace else line


def _word(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return repr(text) if isinstance(value, str) and (not text or " " in text) else text


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
