"""The normal form of what is presented: what is alike compares equal, and what is normal stays as it is."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gated import plates
from gated.domain import Credential, CredentialKind
from gated.plates import credential, normalise

PLATE, CARD, CODE = CredentialKind.PLATE, CredentialKind.CARD, CredentialKind.CODE

WRITTEN = [
    (PLATE, "津A12345", "津A12345"),
    (PLATE, "津·a12345", "津A12345"),
    (PLATE, "津A·12345", "津A12345"),
    (PLATE, "  津 A 1 2 3 4 5\t", "津A12345"),
    (PLATE, "津Ａ１２３４５", "津A12345"),
    (PLATE, "津AO12I5", "津A01215"),
    (PLATE, "津O12345", "津O12345"),
    (PLATE, "津AD12345", "津AD12345"),
    (PLATE, "粵Z1234港", "粤Z1234港"),
    (PLATE, "苏A1234學", "苏A1234学"),
    (PLATE, "使014578", "使014578"),
    (PLATE, "ab12oi", "AB12OI"),
    (CARD, "0a:1b:2c", "0A1B2C"),
    (CARD, "0a-1b 2c", "0A1B2C"),
    (CARD, "津A12345", "津A12345"),
    (CODE, " G1:xyz\n", "G1:xyz"),
    (CODE, "津a·O", "津a·O"),
]


@pytest.mark.parametrize(("kind", "raw", "normal"), WRITTEN)
def test_written_in_one_way(kind: CredentialKind, raw: str, normal: str) -> None:
    assert normalise(kind, raw) == normal
    assert normalise(kind, normal) == normal
    assert credential(kind, raw) == Credential(kind, normal)


@pytest.mark.parametrize(
    ("kind", "raw", "said"),
    [
        (PLATE, "", "empty"),
        (PLATE, " · - ", "empty"),
        (CARD, ":::", "empty"),
        (CODE, " ", "empty"),
        (PLATE, "津A" + "1" * 15, "longer than 16"),
        (CARD, "1" * 33, "longer than 32"),
        (CODE, "x" * 513, "longer than 512"),
        (PLATE, "津A12345?", "characters that no plate has"),
        (PLATE, "津A12345\x00", "characters that no plate has"),
        (CARD, "12/34", "characters that no card has"),
    ],
)
def test_what_is_no_credential(kind: CredentialKind, raw: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        normalise(kind, raw)


_letters = "".join(sorted(plates.PROVINCES | plates.SPECIAL)) + "ABCIOZabio0159Ａ１·- \n晉學"


def _result(kind: CredentialKind, raw: str) -> str:
    try:
        return normalise(kind, raw)
    except ValueError as error:
        return f"refused: {error}"


@given(
    st.sampled_from(CredentialKind),
    st.from_regex(r"\A[京津粤新][A-Z][0-9A-Z]{0,15}\n?\Z")
    | st.text(_letters, max_size=18)
    | st.text(max_size=18),
)
def test_a_plate_in_its_normal_form_is_seen_as_such(kind: CredentialKind, raw: str) -> None:
    shortcut = _result(kind, raw)
    with patch.object(plates, "_NORMAL", lambda _: None):
        assert _result(kind, raw) == shortcut
