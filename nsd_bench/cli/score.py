"""`nsd-bench score`: submissions against the truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nsd_bench.spec import TIERS

if TYPE_CHECKING:
    from nsd_bench.truth import Truth

__all__ = ["command"]


@click.command("score")
@click.argument("submission", type=click.Path(path_type=Path))
@click.argument("truth", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="scores.json to write.")
@click.option("--tier", "tiers", type=click.Choice(TIERS), multiple=True, help="Only this tier.")
@click.option("--draws", default=1000, show_default=True, type=click.IntRange(min=2))
@click.option("--seed", default=0, show_default=True)
@click.option("--force", is_flag=True, help="Replace --out.")
def command(
    submission: Path, truth: Path, out: Path, tiers: tuple[str, ...], draws: int, seed: int, force: bool
) -> None:
    """Score SUBMISSION against TRUTH: files, or folders of them, matched by the package's name.

    TRUTH is a truth file, or an open package, which needs none.
    """
    from nsd_bench.errors import SubmissionError
    from nsd_bench.scoring.score import Options, score, scores_json
    from nsd_bench.scoring.table import table
    from nsd_bench.storage import new_file, refuse_existing, sha256_file, write_npz
    from nsd_bench.submission import SUBMISSION_SUFFIX, Submission

    units_path = out.with_name(f"{out.stem}.units.npz")
    for path in (out, units_path):
        refuse_existing(path, force=force)
    submissions = sorted(submission.glob(f"*{SUBMISSION_SUFFIX}")) if submission.is_dir() else [submission]
    if not submissions:
        raise SubmissionError(
            "there is no submission",
            place=str(submission),
            expected=f"files called *{SUBMISSION_SUFFIX}",
            fix="make one with 'nsd-bench submit'",
        )
    truths = _Truths(truth)
    options = Options(n_draws=draws, seed=seed)
    subjects = []
    for path in submissions:
        given = Submission.read(path)
        match = truths.of(given.card.get("package"), path)
        subjects.append(
            score(given, match, options, tiers=tiers or None, submission_sha256=sha256_file(path))
        )
    subjects.sort(key=lambda one: (one.summary["subject"], one.summary["package"]))
    scores = scores_json(subjects, options)
    units = {
        f"subj{one.summary['subject']:02}/{name}": values
        for one in subjects
        for name, values in one.units.items()
    }
    write_npz(units_path, units)
    with new_file(out) as file:
        file.write(json.dumps(scores, indent=1, allow_nan=False).encode() + b"\n")
    click.echo(table(scores))
    for one in subjects:
        for warning in one.summary["warnings"]:
            click.echo(warning, err=True)
    click.echo(f"{out}")


class _Truths:
    """Truth files and open packages below a path, by the name of their package."""

    def __init__(self, path: Path) -> None:
        from nsd_bench.spec import TRUTH_SUFFIX

        self._path = path
        if path.is_dir() and not (path / "meta").is_dir():
            files = {file.name.removesuffix(TRUTH_SUFFIX): file for file in path.glob(f"*{TRUTH_SUFFIX}")}
            # Truth files are enough: they may be kept where no package is.
            packages = [] if files else packages_below([path])
            self._files = files or {package.name.removesuffix(".zip"): package for package in packages}
        else:
            self._files = {}

    def of(self, package: str | None, submission: Path) -> Truth:
        """Return the truth of a package."""
        from nsd_bench.errors import SubmissionError, choices
        from nsd_bench.truth import load_truth

        if not self._files:
            return load_truth(self._path)
        if package not in self._files:
            raise SubmissionError(
                f"is for package {package!r}, whose truth is not in {self._path}",
                place=str(submission),
                expected=choices(package, sorted(self._files)),
                fix="give the folder or file with that package's truth",
            )
        return load_truth(self._files[package])
