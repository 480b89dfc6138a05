"""The reference of facts as Markdown, made from the table of facts, so that the text and the code are one.

python -m rules.reference > docs/policy-facts.md
"""

from __future__ import annotations

from collections.abc import Iterator

from rules.build import AFTER_DECISION
from rules.facts import TABLE, FactType

_HEAD = """\
# What a rule may ask 规则可用的事实

Made from the code by `python -m rules.reference`; a test keeps the two the same. How rules are written is in
[policy.md](policy.md).

Types are CEL's: `bool`, `int` (3), `double` (3.0), `string` ("west"), `list of strings`, `timestamp`. Numbers
of different types do not compare: write `passage.confidence < 0.6`, `presence.entries >= 2`. A `text` can
only be said: it stands in a sentence as `{pass.entrance_names}`, like every other fact.

A fact is found when a rule asks for it, and not otherwise. Where there is no pass, numbers are 0, texts
empty, and what would let somebody in is false.
"""
_SECTIONS = {
    "passage": "The passage 通行",
    "time": "Time at the site 当地时间",
    "match": "The match 匹配",
    "pass": "The pass 出入证",
    "proof": "Demanded proofs 查验证明",
    "holder": "The holder 持证人",
    "presence": "Presence 在内情况",
    "history": "History 历史",
    "lane": "The lane 通道",
    "site": "The site 全村",
    "seen": "What watching devices saw 值守设备",
    "lists": "Lists 名单",
    "subject": "For sentences 用于文字",
}
_TAIL = """\
## From the policy itself 政策自定

| name | type | meaning |
|---|---|---|
| `limits.NAME` | as written | a limit of this policy, at this lane 参数 |
| `groups.NAME` | list of strings | a named group of this policy: `pass.kind in groups.couriers` 分组 |
| `calendar.NAME` | bool | whether a window of the calendar is open now 日历时段 |

## When the decision is made 判定之后

Only rules that alert (`then: alert`) know these.

| name | type | meaning |
|---|---|---|
"""


def markdown() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_tables(), _TAIL + "\n".join(_after())]) + "\n"


def _tables() -> Iterator[str]:
    for section, title in _SECTIONS.items():
        rows = [one for one in TABLE.values() if one.name.partition(".")[0] == section]
        yield f"## {title}\n\n| name | type | meaning |\n|---|---|---|"
        for one in rows:
            values = f" ({', '.join(f'`{value}`' for value in one.values)})" if one.values else ""
            type_ = "text" if one.type is FactType.TEXT else one.type.value
            yield f"| `{one.name}` | {type_} | {one.en}{values} {one.zh} |"
        yield ""


def _after() -> Iterator[str]:
    for name, (type_, zh, en) in AFTER_DECISION.items():
        yield f"| `{name}` | {type_.value} | {en} {zh} |"


if __name__ == "__main__":
    print(markdown(), end="")
