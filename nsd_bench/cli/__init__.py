"""The `nsd-bench` command: one module per subcommand, imported when it is called."""

from __future__ import annotations

import importlib
import sys

import click

from nsd_bench.errors import NsdBenchError

__all__ = ["main"]

COMMANDS = {
    "simulate": "Write a miniature NSD with a known answer.",
    "plan": "List what an export reads, and how to fetch it.",
    "export": "Turn NSD's files into packages.",
    "validate": "List everything that is wrong with a package.",
    "verify": "Compare a package with a lock file or with NSD.",
    "info": "Say what is in a package.",
    "pack": "Put a package into a few large files.",
    "tiers": "Say which image is in which tier; apply and audit that.",
    "train": "Train a baseline on a package.",
    "submit": "Predict the test tiers and write a submission.",
    "score": "Score a submission against the truth.",
    "compare": "Say by how much one submission is better than another.",
    "report": "Draw a page from a score.",
}


class _LazyGroup(click.Group):
    """Imports a command's module only when that command runs, so that --help stays instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"nsd_bench.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message} Known: {', '.join(COMMANDS)}.", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nsd-bench")
def cli() -> None:
    """Use the Natural Scenes Dataset as a fixed benchmark."""


def main() -> None:
    """Run the command line; exit 0 fine, 1 the data is wrong, 2 the command line is wrong."""
    try:
        cli(standalone_mode=True)
    except NsdBenchError as error:
        click.echo(f"Error: {type(error).__name__}: {error}", err=True)
        sys.exit(1)
