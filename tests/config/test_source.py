"""YAML read strictly: what is refused, what is bounded, and that the place of everything is known."""

from __future__ import annotations

import itertools
import time

import pytest

from gated.config.errors import ConfigErrors, Mark
from gated.config.source import MAX_BYTES, parse


def refused(raw: bytes) -> str:
    with pytest.raises(ConfigErrors) as caught:
        parse(raw, "f")
    assert len(caught.value.problems) == 1
    found = caught.value.problems[0]
    return f"{found.line}:{found.column} {found.message}"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "1:1 the file is empty"),
        (b"# nothing\n", "1:1 the file is empty"),
        (b"- 1", "1:1 must be a mapping of sections (site:, lanes:, devices: ...)"),
        (b"just text", "1:1 must be a mapping of sections (site:, lanes:, devices: ...)"),
        (b"a: 1\nb: 2\na: 3", "3:1 'a' is given twice; the first is in line 1"),
        (b"a: {b: 1,\n b: 2}", "2:2 'b' is given twice; the first is in line 1"),
        (b"a: 1\n---\nb: 2", "2:1 a second document (---) in one file"),
        (b"a: !!python/object/apply:os.system [id]",
         "1:4 the tag tag:yaml.org,2002:python/object/apply:os.system is not allowed here"),
        (b"a: !secret x", "1:4 the tag !secret is not allowed here"),
        (b"a: *nobody", "1:4 *nobody refers to an anchor that is not defined above it"),
        (b"a: &a [*a]", "1:8 *a refers to an anchor that is not defined above it"),
        (b"a: &a {b: *a}", "1:11 *a refers to an anchor that is not defined above it"),
        (b"a: {<<: 1}", "1:5 << must name a mapping: <<: *anchor"),
        (b"1: a", "1:1 the key 1 must be a word"),
        (b"? [a]\n: b", "1:3 a key must be a plain word"),
        (b"a: \xff", "1:1 is not UTF-8"),
        (b"a: 1\nb: \xff", "2:1 is not UTF-8"),
        (b"a: 123456789012345678901234567890", "1:4 a number with more than 20 digits"),
        (b"a: " + b"[" * 1000, "1:28 nested more than 24 levels deep"),
    ],
)  # fmt: skip
def test_is_refused(raw: bytes, message: str) -> None:
    assert refused(raw) == message


@pytest.mark.parametrize(
    "raw", [b"a: [1\nb: 2", b"\ta: 1", b"a: 'x", b"a: b: c", b"a:\n  - 1\n - 2", b"a: \x01"]
)
def test_broken_yaml_is_refused_with_its_line(raw: bytes) -> None:
    assert "not valid YAML" in refused(raw)


def test_a_huge_file_is_refused_before_it_is_parsed() -> None:
    assert "is larger than 2 MiB" in refused(b"a: " + b"x" * MAX_BYTES)


@pytest.mark.parametrize(
    "line",
    [
        b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n",
        b"%c: &%c {<<: [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]}\n",
    ],
    ids=["a billion laughs", "a billion merges"],
)
def test_what_aliases_unfold_to_is_bounded(line: bytes) -> None:
    letters = [bytes([code]) for code in range(ord("a"), ord("a") + 20)]
    raw = b"a: &a {x: 1}\n"
    raw += b"".join(line % ((new, new) + (old,) * 9) for old, new in itertools.pairwise(letters))
    began = time.perf_counter()
    assert "aliases unfold to more than 200000 values" in refused(raw)
    assert time.perf_counter() - began < 5


def test_aliases_cannot_nest_deeper_than_written() -> None:
    raw = b"a: &a [[[[[[[[[[[[1]]]]]]]]]]]]\nb: &b [[[[[[[[[[[[*a]]]]]]]]]]]]\nc: [[[[*b]]]]"
    assert "nested more than 24 levels deep" in refused(raw)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-7", -7), ("007", "007"), ("1.5", 1.5), ("1e3", 1000.0), ("1:30", "1:30"),
        ("true", True), ("False", False), ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"),
        ("~", None), ("null", None), ("", None), ("'1'", "1"), ('"true"', "true"),
        ("2026-11-21", "2026-11-21"), ("0x10", "0x10"), ("1_000", "1_000"), ("津A12345", "津A12345"),
        ("sqlite:///a", "sqlite:///a"), ("127.0.0.1", "127.0.0.1"), ("1e5e5", "1e5e5"), (".", "."),
    ],
)  # fmt: skip
def test_words_mean_what_people_expect(text: str, value: object) -> None:
    found = parse(f"a: {text}\n".encode(), "f").data["a"]
    assert found == value
    assert type(found) is type(value)


def test_the_place_of_every_value_is_known() -> None:
    source = parse(b"a:\n  - b: 1\n    c: &x {d: 2}\n  - {<<: *x, e: 3}\n", "f")
    assert source.mark(("a", 0, "b")) == Mark(2, 5)
    assert source.mark(("a", 0, "c", "d")) == Mark(3, 12)
    assert source.mark(("a", 1, "d")) == Mark(3, 12)
    assert source.mark(("a", 1, "e")) == Mark(4, 14)
    assert source.mark(("a", 1, "nothing", 4)) == Mark(4, 5)
    assert source.mark(("nothing",)) == Mark(1, 1)


def test_a_byte_order_mark_is_taken() -> None:
    assert parse("\ufeffa: 1".encode(), "f").data == {"a": 1}
