"""`nsd-bench score`: submissions against the truth."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.options import Truths, submissions_below
from nsd_bench.package.spec import TIERS, WITHHELD_TIERS
from nsd_bench.scoring.scores import CORRECTED, THESE_SUBJECTS, is_small, new_subjects, no_interval, shown

if TYPE_CHECKING:
    from nsd_bench.scoring.score import SubjectScores

__all__ = ["compare_command", "conformance_command", "score_command"]


@click.command("score")
@click.argument("submission", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="scores.json to write."
)
@click.option("--tier", "tiers", type=click.Choice(TIERS), multiple=True, help="Only this tier.")
@click.option(
    "--draws",
    default=1000,
    show_default=True,
    type=click.IntRange(min=0),
    help="Permutations of the null anchor, which nothing else needs; 0 leaves it out.",
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of these permutations."
)
@click.option(
    "--audit",
    "audits",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="audit.json of a package, or a folder of them: also score its test images near to, and far from, "
    "training images. May be given again.",
)
@click.option("--patterns", is_flag=True, help="Also identification, retrieval and RSA.")
@click.option(
    "--legacy",
    multiple=True,
    help="Also this score of another benchmark, such as algonauts2023; 'all' for every one.",
)
@click.option(
    "--complete",
    is_flag=True,
    help="Refuse what leaves out a package of TRUTH, a unit or a withheld tier, as a season does.",
)
@click.option("--force", is_flag=True, help="Replace --out.")
def score_command(
    submission: Path,
    truth: Path,
    out: Path,
    tiers: tuple[str, ...],
    draws: int,
    seed: int,
    audits: tuple[Path, ...],
    patterns: bool,
    legacy: tuple[str, ...],
    complete: bool,
    force: bool,
) -> None:
    """Score SUBMISSION against TRUTH: files, or folders of them, matched by the package's name.

    TRUTH is a truth file, or an open package, which needs none; with --tier validation any package.
    SUBMISSION may be a .csv of Sensorium's kit, with the truth of its package.
    """
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package.storage import sha256_file
    from nsd_bench.scoring.align import refuse_incomplete, refuse_unscored
    from nsd_bench.scoring.difficulty import read_audits
    from nsd_bench.scoring.legacy import known_legacy, legacy_json
    from nsd_bench.scoring.score import Options, score, scores_json

    for path in (out, _units_path(out)):
        refuse_existing(path, force=force)
    names = known_legacy(legacy)
    options = Options(n_draws=draws, seed=seed, patterns=patterns)
    distances = read_audits(audits)
    truths, subjects, pairs = Truths(truth, tiers), [], []
    handed_in = submissions_below(submission)
    if complete and handed_in[0][0].suffix != ".csv":  # a table is of the one truth that is given
        refuse_incomplete([given for _, given in handed_in], truths.packages)
    for path, given in handed_in:
        match = truths.of(given, path)
        if path.suffix == ".csv":  # has no room for a card; that it fits is seen by its ids
            given = replace(given, card=given.card | {"package": match.package})
        withheld = [tier for tier in WITHHELD_TIERS if complete and tier in match.tier]
        scored = score(
            given,
            match,
            options,
            tiers=tiers or withheld or None,
            submission_sha256=sha256_file(path),
            distances=distances.get(match.package),
        )
        subjects.append(scored)
        if names:
            pairs.append((given, match))
    subjects.sort(key=lambda one: (one.summary["subject"], one.summary["package"]))
    scores = scores_json(subjects, options)
    if names:
        found = dict.fromkeys(tier for one in subjects for tier in one.summary["tiers"])
        scores["legacy"] = legacy_json(pairs, found, names)
    if complete:
        refuse_unscored(scores)
    _write(out, scores, subjects)
    _show(scores)
    without = [one.summary["package"] for one in subjects if one.summary["package"] not in distances]
    if audits and without:
        click.echo(f"no near, mid and far for {', '.join(without)}: no --audit is of it", err=True)
    click.echo(f"{out}")


def _units_path(out: Path) -> Path:
    return out.with_name(f"{out.stem}.units.npz")


def _write(out: Path, scores: dict[str, Any], subjects: Sequence[SubjectScores]) -> None:
    from nsd_bench.outputs import json_bytes, new_file, write_npz

    units = {
        f"subj{one.summary['subject']:02}/{name}": values
        for one in subjects
        for name, values in one.units.items()
    }
    with new_file(out) as file:
        file.write(json_bytes(scores))
        file.flush()
        write_npz(_units_path(out), units)  # inside: if the disk fills up at either, neither file is left


def _show(scores: dict[str, Any]) -> None:
    from nsd_bench.scoring.scores import table

    click.echo(table(scores))
    for tier, others in scores.get("legacy", {}).items():
        for name, one in others.items():
            value = "no number" if one["value"] is None else f"{one['value']:.4g} ({one['units']})"
            click.echo(f"{tier}, {name}: {value}")
    for subject in scores["subjects"]:
        for warning in subject["warnings"]:
            click.echo(warning, err=True)


_PATH = click.Path(path_type=Path)


@click.command("compare")
@click.argument("first", type=_PATH)
@click.argument("second", type=_PATH)
@click.argument("truth", type=_PATH)
@click.option("--out", type=_PATH, help="JSON to write, with every subject, region and metric.")
@click.option("--tier", "tiers", type=click.Choice(TIERS), multiple=True, help="Only this tier.")
@click.option("--regions", is_flag=True, help="Also every subject and every region, in the headline.")
@click.option("--force", is_flag=True, help="Replace --out.")
def compare_command(
    first: Path,
    second: Path,
    truth: Path,
    out: Path | None,
    tiers: tuple[str, ...],
    regions: bool,
    force: bool,
) -> None:
    """Say by how much FIRST is better than SECOND on TRUTH: files, or folders of them."""
    from nsd_bench.errors import SubmissionError
    from nsd_bench.outputs import refuse_existing, write_json
    from nsd_bench.package.storage import sha256_file
    from nsd_bench.scoring.compare import comparison
    from nsd_bench.scoring.score import Options, score

    if out is not None:
        refuse_existing(out, force=force)
    truths, options, chosen = Truths(truth, tiers), Options(n_draws=0), tiers or None

    def scored(side: Path) -> list[SubjectScores]:
        return [
            score(given, truths.of(given, path), options, tiers=chosen, submission_sha256=sha256_file(path))
            for path, given in submissions_below(side)
        ]

    found = comparison(scored(first), scored(second), options)
    if not found["subjects"]:
        raise SubmissionError(
            "the two submissions have no package in common",
            place=f"{first} and {second}",
            expected="predictions of the same package on both sides",
            fix="compare submissions for the same packages",
        )
    if out is not None:
        write_json(out, found)
    for tier in dict.fromkeys(tier for subject in found["subjects"] for tier in subject["tiers"]):
        rows = found["pooled"].get(tier, [])
        for line in _answer(found, tier, rows):
            click.echo(line)
        for line in _regions(found, tier, rows) if regions else ():
            click.echo(line)


def _answer(found: Mapping[str, Any], tier: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """Say what was found of all units, in five lines."""
    from nsd_bench.scoring.metrics import HEADLINE

    n = len(found["subjects"])
    over = f"subj{found['subjects'][0]['subject']:02}" if n == 1 else f"mean of {n} subjects"
    one = next((row["differences"].get(HEADLINE) for row in rows if row["atlas"] == "all"), None)
    start = f"{tier}, all units, {over}: signed ratio of the first less that of the second"
    if one is None:
        yield f"{start}: not scored on both sides for {'it' if n == 1 else 'all of them'}"
        return
    value = _value(found, tier, one)
    corrected = f", {CORRECTED}" if value != one["value"] else ""
    yield f"{start} is {value:+.3f}{corrected}"
    yield f"  {THESE_SUBJECTS}: {_known(found, one)}"
    yield f"  {new_subjects(n)}: {_known(found, one['new_subjects'])}"
    yield f"  first: {_model(found['first'])}; second: {_model(found['second'])}"
    n_regions = sum(row["atlas"] != "all" for row in rows)
    yield f"  {n_regions} regions are shown with --regions, every metric is written with --out"


def _regions(found: Mapping[str, Any], tier: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    from nsd_bench.scoring.metrics import HEADLINE

    several = len(found["subjects"]) > 1
    for subject in found["subjects"] if several else ():
        of_tier = subject["tiers"].get(tier, ())
        one = next((row["differences"].get(HEADLINE) for row in of_tier if row["atlas"] == "all"), None)
        if one is not None:
            yield _line(f"subj{subject['subject']:02}, all units", found, tier, one)
    tested = [row for row in rows if row["atlas"] != "all" and HEADLINE in row["differences"]]
    n_tests = max((row["differences"][HEADLINE].get("n_tests", 0) for row in tested), default=0)
    if tested:
        yield f"  regions, {n_tests} tests; q is p adjusted for their number (false discovery rate)"
    for row in tested:
        yield _line(f"{row['roi']} ({row['atlas']})", found, tier, row["differences"][HEADLINE])


def _line(name: str, found: Mapping[str, Any], tier: str, one: Mapping[str, Any]) -> str:
    q = f", q {_probability(one['p_adjusted'])}" if "p_adjusted" in one else ""
    return f"  {name:<28} {_value(found, tier, one):>+7.3f} {_known(found, one, short=True)}{q}"


def _value(found: Mapping[str, Any], tier: str, one: Mapping[str, Any]) -> float:
    value = shown(one, small=is_small([subject["n_images"].get(tier) for subject in found["subjects"]]))
    return float(value or 0.0)


def _known(found: Mapping[str, Any], one: Mapping[str, Any], *, short: bool = False) -> str:
    if one["interval"] is None:
        return "-" if short else no_interval(one)
    low, high = one["interval"]
    share = "" if short else f"{found['scorer']['confidence']:.0%} interval "
    return f"{share}[{low:+.3f}, {high:+.3f}], p {_probability(one['p'])}"


def _probability(p: float) -> str:
    return "< 0.0001" if p < 0.0001 else f"= {p:.4f}"


def _model(side: list[dict[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(str(one["card"].get("model", "not named")) for one in side))


@click.command("conformance")
@click.option("--list", "listed", is_flag=True, help="Name the checks and run none.")
@click.option(
    "--values",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check another implementation's values: a JSON file of the form of expected.json.",
)
@click.option(
    "--copy",
    "copy_to",
    type=click.Path(path_type=Path),
    help="Copy the set (packages, submissions, expected.json) to a new folder and run no check.",
)
def conformance_command(listed: bool, values: Path | None, copy_to: Path | None) -> None:
    """Score a small set of predictions and compare every formula with independently derived values.

    Prints a line a check; exits 1 if any value differs.
    """
    from nsd_bench.conformance import DATA, check_scorer, check_values, names
    from nsd_bench.outputs import new_folder

    if sum((listed, values is not None, copy_to is not None)) > 1:
        problem = "Give one of --list, --values and --copy."
        raise click.UsageError(problem)
    if listed:
        click.echo("\n".join(names()))
        return
    if copy_to is not None:
        with new_folder(copy_to) as folder:
            shutil.copytree(DATA, folder, dirs_exist_ok=True)
        click.echo(f"{copy_to}")
        return
    n_checks = n_wrong = 0
    for outcome in check_scorer() if values is None else check_values(values):
        click.echo(str(outcome))
        n_checks += 1
        n_wrong += not outcome.agrees
    click.echo(f"{n_checks - n_wrong} of {n_checks} checks agree")
    if n_wrong:
        raise SystemExit(1)
