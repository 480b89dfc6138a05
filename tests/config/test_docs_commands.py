"""The commands in the texts: each is one that there is, with options that it has, on files that there are.

Those of the operators' pages that touch nothing but a database are run, on a site of their own."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from gated.cli import app
from tests.config.conftest import Run
from tests.config.ports import free_port

TOP = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page for place in ("README.md", "docs", "deploy") for page in
    ([TOP / place] if place.endswith(".md") else (TOP / place).rglob("*.md"))
)  # fmt: skip
UNITS = sorted((TOP / "deploy/systemd").glob("*.service"))
BACKUPS = "/var/lib/gated/backups/"
STANDS_FOR = {"ROLE": "staff", "NAME": "x", "ID": "x", "FILE": "x", "SECONDS": "1", "N": "1"}

_BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_END = re.compile(r"[;&|()]+")


@dataclass(frozen=True)
class Command:
    """A command in a text: `words[0]` is `gated` or `scripts/NAME`. `block`: it stands where it is pasted."""

    page: str
    words: tuple[str, ...]
    block: bool

    @property
    def mention(self) -> bool:
        """The text speaks of it by its name; nobody types it so."""
        return len(self.words) == 1 or (len(self.words) == 2 and not self.block)

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def lines(text: str) -> Iterator[tuple[str, bool]]:
    """What is to be typed: lines behind a prompt, with their continuations, and code in the text."""
    for block in _BLOCK.findall(text):
        for line in re.findall(r"^[$#] (.*)", block.replace("\\\n", " "), re.MULTILINE):
            yield line, True
    for code in _INLINE.findall(re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)):
        yield code, False


def commands(page: str, text: str) -> Iterator[Command]:
    """Those of ours among them, also behind `setpriv ...` and `docker compose exec ...`."""
    for line, block in lines(text):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # an apostrophe: no shell's words
            continue
        if ">" in words:  # where the output goes is the shell's
            words = words[: words.index(">")]
        simple: list[str] = []
        for word in [*words, ";"]:
            if not _END.fullmatch(word):
                simple.append(word)
                continue
            if found := ours(simple):
                yield Command(page, tuple(found), block)
            simple = []


def ours(words: list[str]) -> list[str]:
    """The words of our own command in a simple one, from its name on; none, if it is another's."""
    if words and words[0] in {"setpriv", "docker"} and "gated" in words:
        words = words[len(words) - 1 - words[::-1].index("gated") :]
    if words and Path(words[0]).name == "gated":
        return ["gated", *words[1:]]
    return words if words and words[0].startswith("scripts/") else []


def everywhere() -> list[Command]:
    found: list[Command] = []
    for page in PAGES:
        found += commands(page.relative_to(TOP).as_posix(), page.read_text())
    for unit in UNITS:
        started = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
        script = ";".join(re.sub(r"^/bin/sh -c '(.*)'$", r"\1", line) for line in started)
        found += commands(unit.relative_to(TOP).as_posix(), f"```console\n$ {script}\n```")
    return found


COMMANDS = everywhere()


def parsed(words: tuple[str, ...]) -> None:
    """Raises for what the command line would refuse before it does anything."""
    command: Any = typer.main.get_command(app)
    rest = [STANDS_FOR.get(word, word) for word in words if word != "..."]
    rest = [__file__ if word.startswith((BACKUPS, "$f")) else word for word in rest]  # one that exists
    name, *rest = rest
    context: Any = None
    while True:
        context = command.make_context(name, rest, parent=context)
        if not hasattr(command, "resolve_command"):
            return
        # a group keeps the words of its command aside
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])


def test_the_commands_are_found() -> None:
    """The tests below say nothing about commands that they do not see."""
    shown = {str(command) for command in COMMANDS}
    assert len(shown) > 30
    for one in (
        "README.md: scripts/demo",
        "docs/install.md: gated simulate --passes -c deploy/sites/liuanzhuang/gated.yaml",
        "docs/install.md: gated check",
        "docs/install.md: gated token create --role operator --name 'Zhang San'",
        "docs/operations.md: gated restore /var/lib/gated/backups/1-Monday.backup",
        "docs/operations.md: gated token revoke ID",
        "deploy/systemd/gated-backup.service: gated backup '$f.new' -c /etc/gated/gated.yaml",
        "deploy/systemd/gated.service: gated run -c /etc/gated/gated.yaml",
    ):
        assert one in shown, "\n".join(sorted(shown))


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.words[0] == "gated"], ids=str)
def test_a_command_is_one_that_there_is(command: Command) -> None:
    if not command.mention:
        parsed(command.words)
    elif len(command.words) == 2:
        assert command.words[1] in {*typer.main.get_command(app).commands, "..."}


@pytest.mark.parametrize("words", [
    "gated chek", "gated check --fast", "gated token create --role king --name x", "gated backup",
    "gated token create --role staff",
])  # fmt: skip
def test_one_that_there_is_not_is_seen(words: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|not one of|missing|invalid"):
        parsed(tuple(words.split()))


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.words[0] != "gated"], ids=str)
def test_a_script_is_there_and_has_the_options(command: Command) -> None:
    script, *arguments = command.words
    assert (TOP / script).is_file()
    if script == "scripts/demo":
        parsed(("gated", "demo", *arguments))
    elif script != "scripts/test":  # what follows that is pytest's
        sources = [TOP / script, *(TOP / "tests/benchmarks").glob("*.py")]
        text = "\n".join(source.read_text() for source in sources)
        for word in arguments:
            assert word.isdigit() or re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text), word


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(TOP).as_posix())
def test_the_files_that_blocks_name_are_there(page: Path) -> None:
    for line, block in lines(page.read_text()):
        if not block:
            continue
        for place in re.findall(r"(?<![\w./-])(?:/opt/gated/src/|(?=deploy/))([\w./*-]+)", line):
            assert list(TOP.glob(place)), line


# --- run ----------------------------------------------------------------------------------------------------


QUICK = {"version", "check", "token", "backup", "restore"}


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the minimal site in it, its devices and its broker away, as the configuration to use."""
    text = (TOP / "deploy/sites/minimal/gated.yaml").read_text()
    text = text.replace("/var/lib/gated", str(tmp_path)).replace("mqtt:", f"mqtt:\n  port: {free_port()}")
    text = re.sub(r"host: 192\.168\.\S+", lambda _: f"host: 127.0.0.1\n    port: {free_port()}", text)
    (tmp_path / "gated.yaml").write_text(text)
    (tmp_path / "backups").mkdir()
    monkeypatch.setenv("GATED_CONFIG", str(tmp_path / "gated.yaml"))
    monkeypatch.setenv("GATED_MQTT_PASSWORD", "the password of the broker")
    monkeypatch.setenv("GATED_CAMERA_PASSWORD", "the password of the camera")
    return tmp_path


def nightly(box: Path) -> Path:
    """What the timer's unit leaves in the backups of `box`."""
    [unit] = [one for one in UNITS if "backup" in one.name]
    [script] = re.findall(r"^ExecStart=/bin/sh -c '(.*)'$", unit.read_text(), re.MULTILINE)
    script = script.replace("%%", "%").replace("/opt/gated/venv/bin/gated", f"{sys.executable} -m gated")
    script = script.replace("/var/lib/gated", str(box)).replace("/etc/gated", str(box))
    subprocess.run(["/bin/sh", "-c", script], check=True, env={**os.environ, "LC_ALL": "C"})
    [made] = (box / "backups").iterdir()
    return made


def test_the_operators_pages_can_be_followed(box: Path, gated: Run, terminal: Callable[[str], None]) -> None:
    """In their order. That the broker and the devices are away is all that the check finds."""
    night = nightly(box)
    assert re.fullmatch(r"[1-7]-[A-Z][a-z]+day\.backup", night.name)
    night.rename(night.with_name("1-Monday.backup"))
    done: set[str] = set()
    followed = [one for one in COMMANDS if one.page in {"docs/install.md", "docs/operations.md"}]
    for command in followed:
        words = list(command.words[1:])
        if command.mention or words[0] not in QUICK:
            continue
        if words[:2] == ["token", "revoke"]:
            words[2] = json.loads(gated("token", "list", "--json")[1])[0]["id"]
        terminal("yes\n")  # restore asks
        here = {**STANDS_FOR, "FILE": f"{box}/gated.yaml"}
        words = [here.get(word, word).replace(BACKUPS, f"{box}/backups/") for word in words]
        code, out, err = gated(*words)
        assert code == (1 if words[0] == "check" else 0), (command, out, err)
        if words[0] == "check":
            assert "3 problems (" in out, out
            assert "3 offline)" in out
        done.add(words[0])
    assert done == QUICK
