"""Normal form of what is presented at a lane, so that a pass and a read of the same plate compare equal.

Pure. The grammar of Chinese plates (province, letter, serial; I and O never in the serial part) is in
`docs/glossary.md`. It only removes differences of writing; telling look-alikes apart is matching, elsewhere.
"""

from __future__ import annotations

import re
import unicodedata

from gated.domain import Credential, CredentialKind

PROVINCES = frozenset("京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新")
SPECIAL = frozenset("警学港澳挂使领")
_TRADITIONAL = str.maketrans("晉遼蘇滬閩贛魯粵瓊貴雲陝寧學領掛", "晋辽苏沪闽赣鲁粤琼贵云陕宁学领挂")
# middle dots and separators that people and cameras put between the letter and the serial
_SEPARATORS = dict.fromkeys(map(ord, " \t\r\n·•・‧∙⋅●.。-_–—'\"*\u200b\ufeff"))
_SERIAL_LETTERS = str.maketrans("OI", "01")
_NORMAL = re.compile(f"[{''.join(sorted(PROVINCES))}][A-Z][0-9A-HJ-NP-Z]{{1,14}}").fullmatch
"""A plate as it is written and read nearly always: in its normal form already."""
_MAX = {CredentialKind.PLATE: 16, CredentialKind.CARD: 32, CredentialKind.CODE: 512}


def normalise(kind: CredentialKind, raw: str) -> str:
    """The normal form of a credential. Raises ValueError with a sentence for a person if nothing is left or
    it is too long.

    Plate: full-width to half-width, upper case, no dots or spaces, simplified characters; after a province
    and its letter, O is 0 and I is 1, for the serial part has no such letters. Card: upper case, without
    separators. Code: only surrounding space is removed.
    """
    if kind is CredentialKind.PLATE and _NORMAL(raw):
        return raw
    if kind is CredentialKind.CODE:
        value = raw.strip()
    elif raw.isascii() and raw.isalnum():
        value = raw.upper()
    else:
        text = unicodedata.normalize("NFKC", raw).upper()
        value = text.translate(_SEPARATORS)
    if kind is CredentialKind.PLATE:
        value = _plate(value)
    elif kind is CredentialKind.CARD:
        value = value.replace(":", "")
    if not value:
        raise ValueError(f"the {kind.value} is empty")
    if len(value) > _MAX[kind]:
        raise ValueError(f"the {kind.value} is longer than {_MAX[kind]} characters")
    if kind is not CredentialKind.CODE and not value.isalnum():
        raise ValueError(f"the {kind.value} has characters that no {kind.value} has")
    return value


def _plate(value: str) -> str:
    value = value.translate(_TRADITIONAL)
    if len(value) > 2 and value[0] in PROVINCES:
        return value[:2] + value[2:].translate(_SERIAL_LETTERS)
    return value


def credential(kind: CredentialKind, raw: str) -> Credential:
    """A normalised credential; errors as `normalise`."""
    return Credential(kind, normalise(kind, raw))
