"""The command line: what each command takes, and where its work is done. No work of its own.

Everything heavy is imported by the command that needs it, so that `gated version` answers at once. Results go
to standard output, logs and errors to standard error. Exit codes:

0 done; 1 a problem was found (`gated check`) or the work could not be done; 2 wrong usage; 3 the
configuration cannot be used; 4 the database cannot be used; 130 interrupted.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gated.cli import output
from gated.domain import CredentialKind, Role

DEFAULT_CONFIG = Path("/etc/gated/gated.yaml")

app = typer.Typer(
    name="gated",
    help="Checks passages at a village's barrier gates, opens them, keeps the record. 村口道闸通行核验。",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
tokens = typer.Typer(no_args_is_help=True, help="Make, list and revoke tokens for the API. 接口令牌。")
app.add_typer(tokens, name="token", short_help="令牌 Make, list and revoke tokens for the API.")

policy = typer.Typer(
    no_args_is_help=True,
    help="The policy: check, test, explain, replay, put in force, take back. 政策（村规）。",
)
app.add_typer(policy, name="rules", short_help="政策 Check, test, replay and activate the policy.")

devices = typer.Typer(
    no_args_is_help=True, help="Set devices up: what is at an address, does it work? 设备。"
)
app.add_typer(devices, name="devices", short_help="设备 Find out what a device is, and try it out.")

Config = Annotated[
    Path, typer.Option("--config", "-c", envvar="GATED_CONFIG", help="The configuration. 配置文件。")
]
Speed = Annotated[float, typer.Option(min=0.1, max=1000, help="Times faster than a real day.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same day.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
PolicyFile = Annotated[Path, typer.Argument(help="The policy file. 政策文件。")]


class Against(StrEnum):
    """What a replay is compared with."""

    RECORDED = "recorded"
    LIVE = "live"


class Form(StrEnum):
    """How differences are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


@app.command(short_help="运行 Run the daemon.")
def run(config: Config = DEFAULT_CONFIG) -> None:
    """Run the daemon until it is told to stop. SIGHUP reads the configuration anew. 运行。"""
    from gated.cli import daemon

    daemon.run(config)


@app.command(short_help="检查 Test configuration, store, broker and every device.")
def check(
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=120, help="Seconds for the broker and for each device.")
    ] = 10.0,
    devices: Annotated[bool, typer.Option(help="Also ask every device.")] = True,
) -> None:
    """Test configuration, clock, store, broker and every device; exit 1 if there is a problem. 检查。"""
    from gated.cli import report

    raise typer.Exit(report.run(config, as_json=json, timeout_s=timeout, with_devices=devices))


@app.command("discover", short_help="查找 Find ONVIF devices on the network.")
def find_devices(
    interface: Annotated[
        str | None,
        typer.Option(help="Name or IPv4 address of the network interface; all unless given. 网口。"),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds to wait for answers.")] = 3.0,
    json: Json = False,
) -> None:
    """Find ONVIF devices, and print sections for gated.yaml; exit 1 if none answers. 查找摄像机。"""
    from gated.cli import discover

    raise typer.Exit(discover.run(interface, timeout_s=timeout, as_json=json))


@app.command(short_help="演示 A whole simulated village; nothing is left behind.")
def demo(
    duration: Annotated[
        float | None, typer.Option(min=1, help="Seconds until it ends by itself; else Ctrl-C.")
    ] = None,
    speed: Speed = 20.0,
    seed: Seed = 1,
    json: Json = False,
) -> None:
    """A whole simulated village, with embedded store and broker; nothing is left behind. 演示。"""
    from gated.demo.run import main as village

    raise typer.Exit(village(duration=duration, speed=speed, seed=seed, as_json=json))


@app.command(short_help="模拟 Run simulated devices for a configuration, on loopback.")
def simulate(
    config: Config = DEFAULT_CONFIG,
    speed: Speed = 1.0,
    seed: Seed = 1,
    passes: Annotated[
        bool, typer.Option("--passes", help="First issue passes to the simulated people, if there are none.")
    ] = False,
    troubles: Annotated[bool, typer.Option(help="Let things go wrong now and then.")] = True,
) -> None:
    """Run simulated devices at the addresses of a configuration, on loopback only. 模拟设备。"""
    from gated.cli import simulator

    simulator.run(config, speed=speed, seed=seed, issue=passes, troubles=troubles)


@tokens.command("create")
def token_create(
    role: Annotated[Role, typer.Option(help="What the bearer may do.")],
    name: Annotated[str, typer.Option(help="Who bears it; shown in records of what was done with it.")],
    expires: Annotated[
        str | None, typer.Option(help="When it ends: days (90d), or a time (2027-01-31T00:00:00+08:00).")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Make a token and print it, once: only its hash is kept."""
    from gated.cli import access

    access.create(config, role=role.value, name=name, expires=expires, as_json=json)


@tokens.command("list")
def token_list(config: Config = DEFAULT_CONFIG, json: Json = False) -> None:
    """Show all tokens, not the secrets."""
    from gated.cli import access

    access.show(config, as_json=json)


@tokens.command("revoke")
def token_revoke(
    token: Annotated[str, typer.Argument(help="The id that `gated token list` shows.")],
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """End a token now; it cannot be made valid again."""
    from gated.cli import access

    access.revoke(config, token, as_json=json)


@policy.command("check", short_help="检查 Say whether a policy file can be used.")
def rules_check(
    file: PolicyFile,
    config: Config = DEFAULT_CONFIG,
    site: Annotated[bool, typer.Option(help="Look at the site's entrances, lanes and grids.")] = True,
    json: Json = False,
) -> None:
    """Say whether a policy file can be used, with every problem and its place. 检查政策文件。"""
    from gated.cli import rules

    rules.check(file, config if site and config.exists() else None, as_json=json)


@policy.command("test", short_help="测试 Run the cases of a policy.")
def rules_test(
    file: Annotated[
        Path | None, typer.Argument(help="The policy; without it the one that gated ships with.")
    ] = None,
    cases: Annotated[
        list[Path] | None, typer.Argument(help="Tables of cases; without them NAME.cases.yaml beside it.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Test for this site, with its lanes and entrances.")
    ] = None,
    min_coverage: Annotated[
        float, typer.Option(min=0, max=100, help="Fail if the cases reach fewer rules, in percent.")
    ] = 0.0,
    json: Json = False,
) -> None:
    """Run the cases of a policy, and say which rules none of them reaches; exit 1 if one fails. 运行用例。"""
    from gated.cli import rules

    raise typer.Exit(rules.test(file, cases or [], config, min_coverage=min_coverage, as_json=json))


@policy.command("explain", short_help="解释 Say why a passage was decided so.")
def rules_explain(
    passage: Annotated[str | None, typer.Option(help="The id of a recorded passage.")] = None,
    lane: Annotated[str | None, typer.Option(help="Or: what would be decided at this lane,")] = None,
    plate: Annotated[str | None, typer.Option(help="of this plate,")] = None,
    card: Annotated[str | None, typer.Option(help="or this card,")] = None,
    code: Annotated[str | None, typer.Option(help="or this code,")] = None,
    confidence: Annotated[float | None, typer.Option(min=0, max=1, help="read with this confidence,")] = None,
    at: Annotated[str | None, typer.Option(help="at this time of the site (2026-11-22T23:00),")] = None,
    vehicle: Annotated[str | None, typer.Option(help="of this class (car, van, truck, bus),")] = None,
    policy: Annotated[Path | None, typer.Option(help="by this policy instead of the one in force.")] = None,
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Say why a passage was decided so, and decide it again from its receipt; or what would be decided.
    解释。"""
    from gated.cli import explain

    if passage is not None:
        raise typer.Exit(explain.passage(config, passage, as_json=json))
    shown = {CredentialKind.PLATE: plate, CredentialKind.CARD: card, CredentialKind.CODE: code}
    given = [(kind, value) for kind, value in shown.items() if value is not None]
    if lane is None or len(given) != 1:
        output.fail("say --passage ID, or --lane ID with --plate, --card or --code", "", 2)
    [(kind, value)] = given
    explain.dry_run(
        config,
        lane,
        value,
        kind=kind,
        confidence=confidence,
        at=at,
        vehicle=vehicle,
        file=policy,
        as_json=json,
    )


@policy.command("replay", short_help="回放 Run a policy over what was recorded.")
def rules_replay(
    policy: Annotated[Path, typer.Option(help="The policy to try.")],
    since: Annotated[str, typer.Option(help="From when: 30d, 12h, or a time with its zone.")] = "30d",
    until: Annotated[str | None, typer.Option(help="Up to when; now unless given.")] = None,
    lane: Annotated[str | None, typer.Option(help="Only this lane.")] = None,
    against: Annotated[
        Against, typer.Option(help="Compare with what was recorded, or with the policy in force.")
    ] = Against.RECORDED,
    format: Annotated[Form, typer.Option(help="How differences are printed.")] = Form.TABLE,  # noqa: A002
    limit: Annotated[int, typer.Option(min=0, help="Rows of the table.")] = 50,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Run a policy over recorded passages: who would have been treated otherwise, and why. 回放。"""
    from gated.cli import replay

    replay.replay(
        config,
        policy,
        since=since,
        until=until,
        lane=lane,
        against_live=against is Against.LIVE,
        form=format.value,
        limit=limit,
    )


@policy.command("activate", short_help="启用 Put a policy in force.")
def rules_activate(
    file: PolicyFile,
    note: Annotated[str, typer.Option(help="What it is for; kept with who and when.")] = "",
    cases: Annotated[bool, typer.Option(" /--without-cases", help="Do not run its cases first.")] = True,
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Put a policy in force, whole or not at all, after its check and its cases. 启用政策。"""
    from gated.cli import rules

    rules.activate(config, file, note=note, with_cases=cases, as_json=json)


@policy.command("take-back", short_help="撤回 Put in force again what was before.")
def rules_take_back(
    note: Annotated[str, typer.Option(help="Why; kept with who and when.")] = "",
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Put in force again the policy that was before the present one. 撤回。"""
    from gated.cli import rules

    rules.take_back(config, note=note, as_json=json)


@policy.command("history", short_help="历史 What was put in force, by whom and when.")
def rules_history(config: Config = DEFAULT_CONFIG, json: Json = False) -> None:
    """List what was put in force, by whom and when. 启用历史。"""
    from gated.cli import rules

    rules.history(config, as_json=json)


@policy.command("show", short_help="查看 Print the policy in force.")
def rules_show(
    version: Annotated[str | None, typer.Argument(help="The (beginning of the) hash of another one.")] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="The one in the shadow.")] = False,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Print the text of the policy in force, to be edited. 查看政策。"""
    from gated.cli import rules

    rules.show(config, version, shadow=shadow)


@policy.command("shadow", short_help="影子 Let a policy run beside the one in force.")
def rules_shadow(
    file: Annotated[Path | None, typer.Argument(help="The policy.")] = None,
    off: Annotated[bool, typer.Option("--off", help="End it.")] = False,
    report: Annotated[bool, typer.Option("--report", help="What it said otherwise.")] = False,
    since: Annotated[str, typer.Option(help="From when the report is.")] = "7d",
    limit: Annotated[int, typer.Option(min=0, help="Rows of the report.")] = 50,
    note: Annotated[str, typer.Option(help="What it is for.")] = "",
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Let a policy run beside the one in force: it decides nothing, and notes where it differs. 影子运行。"""
    if sum((file is not None, off, report)) != 1:
        output.fail("say a FILE, --off or --report", "", 2)
    if report:
        from gated.cli import replay

        replay.shadow_report(config, since=since, as_json=json, limit=limit)
        return
    from gated.cli import rules

    rules.shadow(config, file, note=note, as_json=json)


@policy.command("facts", short_help="事实 What a rule may ask.")
def rules_facts(json: Json = False) -> None:
    """List what a rule may ask, with types and meanings. 规则可用的事实。"""
    from gated.cli import rules

    rules.facts(as_json=json)


@devices.command("probe", short_help="探测 What is at an address; a section for gated.yaml.")
def devices_probe(
    address: Annotated[str, typer.Argument(help="Host or host:port. 地址。")],
    username: Annotated[str | None, typer.Option(help="Its user. 用户名。")] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="A file with its password, tried once. 密码文件。")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds for each answer.")] = 3.0,
    json: Json = False,
) -> None:
    """Find out what is at an address, what it can do, and its section for gated.yaml. 探测。"""
    from gated.cli import set_up as work

    work.probe(address, username=username, password_file=password_file, timeout=timeout, json=json)


@devices.command("certificate", short_help="证书 Save the certificate that a device presents.")
def devices_certificate(
    address: Annotated[str, typer.Argument(help="Host or host:port (443). 地址。")],
    file: Annotated[Path, typer.Argument(help="Where to put it. 证书文件。")],
    timeout: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds for its answer.")] = 5.0,
) -> None:
    """Save the certificate that a device presents, so that it can be pinned. 证书。"""
    from gated.cli import set_up as work

    work.certificate(address, file, timeout=timeout)


@devices.command("test", short_help="试用 Connect a configured device and show what it reports.")
def devices_test(
    device: Annotated[str, typer.Argument(help="Its id in the configuration. 设备编号。")],
    config: Config = DEFAULT_CONFIG,
    seconds: Annotated[float, typer.Option(min=0, max=3600, help="How long to show what it reports.")] = 15.0,
    picture: Annotated[Path | None, typer.Option(help="Where to put a picture. 抓图文件。")] = None,
    pulse: Annotated[bool, typer.Option("--pulse", help="Open its barrier; asks twice. 开闸。")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, max=120, help="Seconds to connect.")] = 10.0,
) -> None:
    """Connect a configured device, show what it is and reports; with --pulse open its barrier. 试用。"""
    from gated.cli import set_up as work

    work.try_out(config, device, seconds=seconds, picture=picture, pulse=pulse, timeout=timeout)


@app.command(short_help="备份 Copy the database while the daemon runs.")
def backup(
    file: Annotated[Path, typer.Argument(help="The backup to write; must not exist yet.")],
    config: Config = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Copy the database while the daemon runs. 备份。"""
    from gated.cli import data

    data.backup(config, file, as_json=json)


@app.command(short_help="恢复 Put a backup in the database's place.")
def restore(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A backup made by `gated backup`.")
    ],
    config: Config = DEFAULT_CONFIG,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Put a backup in the database's place; the daemon must be stopped. 恢复。"""
    from gated.cli import data

    data.restore(config, file, yes=yes, as_json=json)


@app.command(short_help="版本 Print the version.")
def version(json: Json = False) -> None:
    """Print the version. 版本。"""
    import platform

    from gated import __version__

    facts = {"version": __version__, "python": platform.python_version(), "machine": platform.machine()}
    output.data(facts, f"gated {__version__} (Python {facts['python']}, {facts['machine']})", as_json=json)


def main() -> None:
    """The program `gated`."""
    try:
        app(prog_name="gated")
    except output.Failed as failed:
        output.error(str(failed), failed.hint)
        sys.exit(failed.code)
    except KeyboardInterrupt:
        sys.exit(130)
