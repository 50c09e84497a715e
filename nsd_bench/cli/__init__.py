"""The `nsd-bench` command: one module per subcommand, imported when it is called."""

from __future__ import annotations

import difflib
import importlib
import sys

import click

from nsd_bench import __version__
from nsd_bench.errors import NsdBenchError, legible

__all__ = ["COMMANDS", "Group", "cli", "load_command", "main"]

SECTIONS = {
    "Packages": {
        "simulate": "Write a miniature NSD with a known answer.",
        "check": "Say what of NSD is there, and what can be made from it.",
        "plan": "List what an export reads, and how to fetch it.",
        "export": "Turn NSD's files into packages.",
        "validate": "List everything that is wrong with a package.",
        "verify": "Compare a package with a lock file or with NSD.",
        "info": "Say what is in a package.",
        "pack": "Put a package into a few large files.",
        "tiers": "Say which image is in which tier; apply and audit that.",
    },
    "Models and scores": {
        "features": "Extract image features with a torch model.",
        "train": "Train a baseline on a package.",
        "submit": "Predict the test tiers and write a submission.",
        "predict": "Let one model predict one package.",
        "score": "Score a submission against the truth.",
        "compare": "Say by how much one submission is better than another.",
        "report": "Draw a page from a score.",
        "transfer": "Score what carries over to imagery and to other images.",
        "conformance": "Check this scorer against values derived elsewhere.",
    },
    "Benchmarks with entrants": {
        "leaderboard": "Make a site of many scores.",
        "ledger": "Keep book of submissions and their budget.",
        "codabench": "Write a bundle that Codabench can host.",
        "reveal": "Check that a truth is the one that a package committed to.",
    },
    "Pictures of cortex": {
        "flatmap": "Draw scores, betas or any numbers on the flattened brain.",
        "view": "Make a page with a surface to turn and to unfold.",
        "cortex": "Validate, import or build surfaces for pycortex.",
    },
    "Other data sets": {
        "coco": "Write COCO's captions and objects of NSD's images.",
        "export-flat": "Turn fsaverage betas into flat maps as pictures.",
        "view-flat": "Make a page to leaf through flat maps.",
        "restructure": "Put NSD's MNI files into one folder a subject.",
        "resample": "Bring MNI betas from 1 mm to 3 mm grey matter.",
        "curate": "Label trials and keep equally many of every subject.",
        "decode": "Tell what was seen from a curated set.",
        "imagery": "Index and verify NSD-Imagery.",
    },
}
COMMANDS = {name: text for commands in SECTIONS.values() for name, text in commands.items()}


_MODULES = {
    "packages": ("validate", "verify", "info", "pack", "reveal"),
    "export": ("simulate", "plan", "export"),
    "train": ("features", "train"),
    "submit": ("submit", "predict"),
    "score": ("score", "compare", "conformance"),
    "leaderboard": ("leaderboard", "ledger", "codabench"),
    "flatmap": ("flatmap", "view"),
    "flat": ("export-flat", "view-flat"),
    "curated": ("restructure", "resample", "curate", "decode"),
}
_OUR_FAULT = 70  # sysexits.h: an internal error
_MOST_CHARACTERS = 300
_MODULE_OF = {command: module for module, commands in _MODULES.items() for command in commands}


def load_command(name: str) -> click.Command:
    """Import a command of `COMMANDS`, and what it needs to show its help.

    Parameters
    ----------
    name
        One of `COMMANDS`.
    """
    module = importlib.import_module(f"nsd_bench.cli.{_MODULE_OF.get(name, name)}")
    command: click.Command = getattr(module, f"{name.replace('-', '_')}_command")
    return command


class Group(click.Group):
    """A group that names the nearest of its commands when one is misspelt."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first of the words names.

        Parameters
        ----------
        ctx, args
            As click gives them: of the group, and the words behind it.

        Raises
        ------
        click.UsageError
            If there is no such command; names the nearest.
        """
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise click.UsageError(
                f"{error.message} {hint}'{ctx.command_path} --help' lists all.", ctx
            ) from None


class _LazyGroup(Group):
    """Imports a command's module only when that command runs, so that --help stays instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return load_command(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nsd-bench")
def cli() -> None:
    """Use the Natural Scenes Dataset as a fixed benchmark. With --debug, errors show where they come from."""


def main() -> None:
    """Run the command line; exit 0 fine, 1 the data is wrong, 2 the command line is wrong, 70 we are.

    What nobody foresaw ends in three lines; `--debug`, anywhere among the words, shows the traceback instead.
    """
    words = sys.argv[1:]
    debug = "--debug" in words
    try:
        cli([word for word in words if word != "--debug"], prog_name="nsd-bench", standalone_mode=True)
    except NsdBenchError as error:
        click.echo(f"Error: {type(error).__name__}: {error}", err=True)
        sys.exit(1)
    except MemoryError:
        click.echo("Error: there is not enough memory for this.", err=True)
        sys.exit(1)
    except Exception as fault:
        if debug:
            raise
        if isinstance(fault, OSError) and fault.filename is not None:  # the disk's word, not a fault of ours
            click.echo(f"Error: {legible(str(fault.filename))}: {fault.strerror}.", err=True)
            sys.exit(1)
        said = legible(" ".join(f"{type(fault).__name__}: {fault}".split()))
        click.echo(
            f"Error: a fault of nsd-bench {__version__} itself, not of yours: {said[:_MOST_CHARACTERS]}\n"
            "  Nothing half-written was left under the name that you gave.\n"
            "  What to do: run it again with --debug, and report what that prints, with the command.",
            err=True,
        )
        sys.exit(_OUR_FAULT)
