"""`nsd-bench imagery`: the index of NSD-Imagery's trials."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nsd_bench.cli import Group
from nsd_bench.cli.options import check_exporters

__all__ = ["imagery_command"]

_PATH = click.Path(path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_cache = click.option("--cache-root", type=_PATH, help="$NSD_CACHE_ROOT, or else cache, by default.")


@click.group("imagery", cls=Group)
def imagery_command() -> None:
    """Index NSD-Imagery, and check it."""


@imagery_command.command("init-layout")
@_cache
def init_layout(cache_root: Path | None) -> None:
    """Make the folders of the cache layout."""
    check_exporters()
    from exporters.imagery.layout import init_layout as make
    from nsd_bench.imagery.index import cache_root as find

    root = find(cache_root)
    made = make(root)
    click.echo(f"{root}: {_counted(len(made), 'folder')} made")
    click.echo("Next: put betas, manifests and stimuli there, then nsd-bench imagery index")


@imagery_command.command("index")
@click.option("--subject", "subjects", multiple=True, help="As in subj01 or 1; all by default.")
@_cache
@click.option("--output", type=_PATH, help="One file, instead of one a subject and full_index.parquet.")
@click.option("--data-root", type=_PATH, help="NSD's root, or a folder of subjects.")
@click.option("--stimulus-root", type=_PATH, help="Folder of imagery_stimuli_info.csv.")
@click.option("--metadata-root", type=_PATH, help="Folder of trial manifests.")
@click.option("--beta-root", type=_PATH, help="Folder of subjects' session files.")
@click.option("--beta-path", type=_PATH, help="One subject's file of betas, in the release.")
@click.option("--layout", type=click.Choice(("auto", "release", "folders", "cache")), default="auto")
@click.option("--report-path", type=_PATH, help="JSON of what was built.")
@click.option("--snr", is_flag=True, help="Estimate the signal-to-noise ratio of every condition, too.")
@click.option("--dry-run", is_flag=True, help="Write nothing.")
@click.option("--validate-only", is_flag=True, help="Write nothing, and check the indices that are there.")
@click.option("--force", is_flag=True, help="Replace what is there.")
@click.option("--verbose", is_flag=True, help="Say what each file holds.")
def index(
    subjects: tuple[str, ...],
    cache_root: Path | None,
    output: Path | None,
    data_root: Path | None,
    stimulus_root: Path | None,
    metadata_root: Path | None,
    beta_root: Path | None,
    beta_path: Path | None,
    layout: str,
    report_path: Path | None,
    snr: bool,
    dry_run: bool,
    validate_only: bool,
    force: bool,
    verbose: bool,
) -> None:
    """List every trial with its beta in Parquet files, from whichever layout the data lie in."""
    check_exporters()
    from exporters.imagery.build import Roots, build_index, summary
    from nsd_bench.imagery.index import cache_root as find

    root = find(cache_root)
    if validate_only:
        _verify(root, None, None, report_path)
        return
    built = build_index(
        Roots(root, data_root, stimulus_root, metadata_root, beta_root, beta_path),
        [_subject(name) for name in subjects] or "all",
        layout=layout,
        output=output,
        report_path=report_path,
        snr=snr,
        force=force,
        dry_run=dry_run,
    )
    for line in summary(built):
        click.echo(line)
    if verbose:
        counts = built.table.groupby(["beta_path", "condition"]).size()
        click.echo(counts.to_string())
    for path in built.paths:
        click.echo(f"{path}")


def _subject(name: str) -> int:
    digits = name.removeprefix("subj")
    if digits not in {f"{form}{number}" for number in range(1, 9) for form in ("", "0")}:
        raise click.BadParameter(f"{name!r} is none of subj01 to subj08", param_hint="--subject")
    return int(digits)


@imagery_command.command("verify")
@_cache
@click.option("--stim-info", type=_FILE, help="nsd_stim_info_merged.csv.")
@click.option("--nsd-stimuli", type=_FILE, help="nsd_stimuli.hdf5.")
@click.option("--report-path", type=_PATH, help="JSON of what was found.")
@click.option("--write-checksums", is_flag=True, help="Write digests of indices and betas, if all is well.")
def verify(
    cache_root: Path | None,
    stim_info: Path | None,
    nsd_stimuli: Path | None,
    report_path: Path | None,
    write_checksums: bool,
) -> None:
    """List every fault of a cache by name; exit 1 if there is one."""
    check_exporters()
    from nsd_bench.imagery.index import cache_root as find

    root = find(cache_root)
    _verify(root, stim_info, nsd_stimuli, report_path)
    if write_checksums:
        from exporters.imagery.layout import write_checksums as write

        click.echo(f"checksums of {_counted(write(root), 'file')}")


def _verify(root: Path, stim_info: Path | None, nsd_stimuli: Path | None, report: Path | None) -> None:
    from exporters.imagery.verify import report_json, verify_cache
    from nsd_bench.outputs import write_json

    if report is not None:
        _refuse_other_than_report(report)
    faults = verify_cache(root, stim_info=stim_info, nsd_stimuli=nsd_stimuli)
    if report is not None:
        write_json(report, report_json(root, faults))
    click.echo(f"{root}: {_counted(len(faults), 'fault') if faults else 'ok'}")
    for fault in faults:
        click.echo(f"  {fault}")
    if faults:
        sys.exit(1)


def _refuse_other_than_report(path: Path) -> None:
    from exporters.imagery.verify import FORMAT
    from nsd_bench.errors import OutputError
    from nsd_bench.package.storage import read_json

    if not path.exists():
        return
    try:
        read_json(path, FORMAT)
    except (OSError, ValueError) as error:
        raise OutputError(
            "exists already and is no report; nothing was written",
            place=str(path),
            expected="a path where nothing lies yet, or an earlier report",
            fix="give another --report-path",
        ) from error


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


@imagery_command.command("info")
@click.argument("index", type=_PATH)
def info(index: Path) -> None:
    """Say what is in INDEX: trials, stimuli and repeats by subject and condition."""
    from nsd_bench.imagery.index import read_index
    from nsd_bench.imagery.reliability import mean_repeats

    table = read_index(index)
    click.echo(f"{index}: {len(table)} trials")
    stimulus = "stimulus" if "stimulus" in table else "nsd_id"
    for (subject, condition), part in table.groupby(["subject", "condition"], sort=True):
        keys = [stimulus, *(["epoch"] if "epoch" in part else [])]
        repeats = mean_repeats(part.dropna(subset=[stimulus]), keys)
        types = sorted(part["stimulus_type"].dropna().unique()) if "stimulus_type" in part else []
        click.echo(
            f"  {subject} {condition}: {len(part)} trials, {part[stimulus].nunique()} stimuli, "
            f"{repeats:.1f} repeats, {part['nsd_id'].nunique()} NSD images"
            + (f", {', '.join(types)}" if types else "")
        )
