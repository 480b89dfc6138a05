"""The command line: what each command takes, and where its work is done. No work of its own.

Everything heavy is imported by the command that needs it, so that `gated version` answers at once. Results go
to standard output, logs and errors to standard error. Exit codes:

0 done; 1 a problem was found (`gated check`) or the work could not be done; 2 wrong usage; 3 the
configuration cannot be used; 4 the database cannot be used; 130 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gated.cli import output
from gated.domain import Role

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

Config = Annotated[
    Path, typer.Option("--config", "-c", envvar="GATED_CONFIG", help="The configuration. 配置文件。")
]
Speed = Annotated[float, typer.Option(min=0.1, max=1000, help="Times faster than a real day.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same day.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


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
