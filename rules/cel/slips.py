"""Slips of the pen that a parser reports in its own terms: `=` for `==`, `and`, quotes of a Chinese keyboard.

Pure text; asked only about a text that the engine did not take, and only near where it stopped.
"""

from __future__ import annotations

import re

Slip = tuple[int, str, str, str]
"""Where, what in English, what in Chinese, the hint in English."""

_TOKEN = re.compile(
    r"""(?P<text>[rbRB]{0,2}(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))"""
    r"|(?P<comment>//[^\n]*)|(?P<word>[A-Za-z_][A-Za-z_0-9]*)|(?P<number>[0-9][0-9A-Za-z_.]*)"
    r"|(?P<sign><>|><|===|!==|=<|=>|==|!=|<=|>=|&&|\|\||=|&|\||\*\*)|(?P<other>\S)",
    re.DOTALL,
)
_SIGNS = {
    "=": "==", "===": "==", "!==": "!=", "<>": "!=", "><": "!=", "=<": "<=", "=>": ">=", "&": "&&", "|": "||",
}  # fmt: skip
_WORDS = {"and": "&&", "or": "||", "not": "!", "is": "=="}
_METHODS = {
    "contains": "contains",
    "like": "contains",
    "startswith": "startsWith",
    "endswith": "endsWith",
    "matches": "matches",
}
_WIDE = {
    "“": '"', "”": '"', "‘": "'", "’": "'", "（": "(", "）": ")", "，": ",", "＝": "==", "！": "!", "＜": "<",
    "＞": ">", "：": ":", "；": "", "。": ".", "【": "[", "】": "]", "≤": "<=", "≥": ">=", "≠": "!=",
    "、": ",", "且": "&&", "或": "||", "非": "!", "＆": "&&", "｜": "||", "　": " ",
}  # fmt: skip
_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\[^abfnrtvxXuU0-7?`\"'\\]")
_NEAR = 2  # how many tokens before the place at which the parser stopped may be at fault


def slip(text: str, offset: int) -> Slip | None:
    """The slip at the place where the parser stopped, or right before it; None if none is recognised."""
    tokens = list(_TOKEN.finditer(text))
    stop = next((index for index, one in enumerate(tokens) if one.end() > offset), len(tokens))
    for index in range(max(stop - _NEAR, 0), min(stop + 1, len(tokens))):
        found = _at(text, tokens[index].start(), tokens[index])
        if found is not None:
            return found
    return None


def _at(text: str, where: int, token: re.Match[str]) -> Slip | None:
    written = token[0]
    if token["sign"] and written in _SIGNS:
        meant = _SIGNS[written]
        return where, f"'{written}' is written {meant}", f"'{written}' 应写作 {meant}", ""
    if token["word"]:
        low = written.lower()
        if low in _WORDS:
            return where, f"'{written}' is written {_WORDS[low]}", f"'{written}' 应写作 {_WORDS[low]}", ""
        if low in _METHODS and text[:where].rstrip()[-1:] not in ("", "."):
            shape = f'text.{_METHODS[low]}("...")'
            return where, f"'{written}' stands behind a dot", f"请写作 {shape}", f"write {shape}"
        if low == "between":
            return where, "there is no 'between'", "请写作 1 <= x && x <= 3", "write 1 <= x && x <= 3"
        return None
    if token["text"] and written[0] in "\"'" and _ESCAPE.search(written):
        return where, "a backslash before what needs none", "反斜杠请写作 \\\\，或在引号前加 r", (
            "write \\\\ for a backslash, or r before the quotes"
        )  # fmt: skip
    if token["other"]:
        if written in _WIDE:
            meant = _WIDE[written]
            hint = f"write {meant}" if meant else "leave it out"
            return (
                where,
                f"'{written}' is of the Chinese keyboard",
                f"'{written}' 是中文标点，请用英文标点 {meant}".rstrip(),
                hint,
            )
        if written in "\"'":
            return where, "a text that does not end", "引号没有成对", "close the quotes"
        if written == "#":
            return where, "a comment begins with //", "注释以 // 开头", "write // instead of #"
        if written == ";":
            return where, "';' does not belong here", "请去掉分号", "leave it out"
        if written == "," and re.search(r"\bin\s*\([^()]*$", text[:where]):
            return where, "a list has square brackets", "列表请用方括号：x in [1, 2]", "write x in [1, 2]"
    return None
