"""The kinds of fields that the API's models are made of, each as strict as its schema says.

pydantic is lenient by default (a number for a time, "5" for 5); a field here takes exactly what the OpenAPI
document declares, so that a wrong client finds out at once.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from gated.domain import Text
from gated.times import iso, parse_iso

_RFC3339: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_CONTROL: Final = r"\x00-\x1f\x7f-\x9f"


def _moment(value: object) -> datetime:
    """RFC 3339 to aware UTC."""
    if isinstance(value, datetime):
        return value
    try:
        if isinstance(value, str) and _RFC3339.fullmatch(value):
            return parse_iso(value.upper())
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError("moment", "must be an RFC 3339 time with a zone, as 2026-11-21T21:16:03Z")


def _whole(value: object) -> object:
    """To JSON 3.0 is an integer like 3."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _stripped(value: str) -> str:
    return value.strip()


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    PlainSerializer(iso, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-21T21:16:03.123Z"]}),
]
"""A time: RFC 3339, in any zone on the way in, UTC with milliseconds on the way out."""

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _day(value: object) -> date:
    """A day of the calendar."""
    if type(value) is date:
        return value
    try:
        if isinstance(value, str) and _DAY.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise PydanticCustomError("day", "must be a day, as 2026-11-21")


Day = Annotated[
    date,
    BeforeValidator(_day),
    PlainSerializer(date.isoformat, return_type=str),
    WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-11-21"]}),
]
"""A day at the site."""

# No control characters: they spoil terminals and logs, and PostgreSQL stores no NUL.
PLAIN: Final = rf"^[^{_CONTROL}]*$"
SAID: Final = rf"^[^{_CONTROL}]*[^{_CONTROL}\s][^{_CONTROL}]*$"

Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$", examples=["resident"])]
"""A kind, a limit: lower case, as a program compares it."""
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=SAID), AfterValidator(_stripped)]
Phone = Annotated[str, Field(pattern=r"^[0-9+() -]{3,32}$", examples=["13800000000"])]
Reference = Annotated[str, Field(pattern=r"^[0-9A-Za-z_.:-]{1,64}$")]
"""An id that another system or the configuration gave."""
Reason = Annotated[str, Field(min_length=1, max_length=200, pattern=SAID), AfterValidator(_stripped)]
CredentialValue = Annotated[str, Field(min_length=1, max_length=512, pattern=PLAIN, examples=["津A12345"])]
Clock = Annotated[
    str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["06:00"], min_length=5, max_length=5)
]
Amount = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000), BeforeValidator(_whole)]
Confidence = Annotated[float, Field(strict=True, ge=0, le=1)]


def both(text: Text) -> dict[str, str]:
    """A sentence in both languages, for a model's `TextOut`."""
    return {"zh": text.zh, "en": text.en}
