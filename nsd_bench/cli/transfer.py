"""`nsd-bench transfer`: other regimes than the tiers of a package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nsd_bench.cli.options import check_exporters

if TYPE_CHECKING:
    from nsd_bench.transfer.adapters import Fit

__all__ = ["command"]

_PATH = click.Path(path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_force = click.option("--force", is_flag=True, help="Replace what is there.")
_draws = click.option("--draws", default=1000, show_default=True, type=click.IntRange(min=2))
_seed = click.option("--seed", default=0, show_default=True)
_out = click.option("--out", type=_FILE, required=True, help="JSON to write.")


@click.group("transfer")
def command() -> None:
    """Score imagery, images out of distribution, and all regimes side by side."""


@command.command("export")
@click.argument("packages", nargs=-1, required=True, type=_PATH)
@click.option("--nsd-root", type=_PATH, required=True, help="NSD's root.")
@click.option("--out", type=_PATH, required=True, help="Folder for the companions.")
@click.option(
    "--session", type=click.Choice(("imagery", "synthetic")), multiple=True, help="Both by default."
)
def export(packages: tuple[Path, ...], nsd_root: Path, out: Path, session: tuple[str, ...]) -> None:
    """Write companions of PACKAGES: tiers vision and imagery, and tier ood."""
    check_exporters()
    from exporters.imagery.package import export_imagery
    from exporters.synthetic import export_synthetic
    from nsd_bench.cli.options import packages_below
    from nsd_bench.package import Package

    makers = {"imagery": export_imagery, "synthetic": export_synthetic}
    for core in map(Package, packages_below(packages)):
        for name in session or makers:
            made = Package(makers[name](core, nsd_root, out))
            click.echo(f"{made.path}: {made.n_trials} trials x {made.n_units} units")


@command.command("predict")
@click.argument("model", type=_FILE)
@click.option("--package", type=_PATH, required=True, help="Companion of the package it was trained on.")
@click.option("--out", type=_FILE, required=True, help="Submission to write.")
@_force
def predict(model: Path, package: Path, out: Path, force: bool) -> None:
    """Let MODEL, a file of 'nsd-bench train', predict all trials of a companion."""
    from nsd_bench.baselines.zoo import load_model
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package import Package
    from nsd_bench.transfer.companions import predict_companion

    refuse_existing(out, force=force)
    submission = predict_companion(load_model(model), Package(package))
    submission.write(out)
    click.echo(f"{out}: {submission.predictions.shape[0]} trials x {submission.predictions.shape[1]} units")


@command.command("encode")
@click.argument("submission", type=_FILE)
@click.option("--package", type=_PATH, required=True, help="Companion with tiers vision and imagery.")
@click.option("--output-dir", type=_PATH, required=True, help="Folder to write.")
@_draws
@_seed
def encode(submission: Path, package: Path, output_dir: Path, draws: int, seed: int) -> None:
    """Evaluate an encoder's SUBMISSION for the imagery session: predicted from seen and from cued images."""
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package import Package
    from nsd_bench.submission import Submission
    from nsd_bench.transfer import TransferOptions, write_evaluation
    from nsd_bench.transfer.companions import evaluate_companion

    refuse_existing(output_dir)
    options = TransferOptions(n_draws=draws, seed=seed)
    found = evaluate_companion(Package(package), Submission.read(submission), options)
    write_evaluation(output_dir, found)
    _report(found.metrics, output_dir)


@command.command("decode")
@click.option("--index", type=_FILE, required=True, help="Parquet index of the trials.")
@click.option("--predictions", type=_FILE, required=True, help=".npz with trial_id and predictions.")
@click.option("--targets", type=_FILE, required=True, help=".npz with nsd_id or stimulus, and features.")
@click.option("--mode", type=click.Choice(("imagery", "perception", "both")), default="both")
@click.option("--test-sets", help="The same as --mode: perception,imagery.")
@click.option("--split", type=click.Choice(("train", "val", "test", "all")), default="all")
@click.option("--retrieval-k", multiple=True, type=click.IntRange(min=1), help="1, 5 and 10 by default.")
@click.option("--output-dir", type=_PATH, required=True, help="Folder to write.")
@click.option("--model", default="decoder", help="What the model is called.")
@click.option("--adapter", type=click.Choice(("none", "linear", "residual")), default="none")
@click.option("--dry-run", is_flag=True, help="Evaluate, and write nothing.")
@_draws
@_seed
def decode(
    index: Path,
    predictions: Path,
    targets: Path,
    mode: str,
    test_sets: str | None,
    split: str,
    retrieval_k: tuple[int, ...],
    output_dir: Path,
    model: str,
    adapter: str,
    dry_run: bool,
    draws: int,
    seed: int,
) -> None:
    """Evaluate features that were decoded from single trials of the imagery session."""
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.transfer import TransferOptions, write_evaluation
    from nsd_bench.transfer.files import evaluate_files

    if not dry_run:
        refuse_existing(output_dir)
    wanted = test_sets or ("perception,imagery" if mode == "both" else mode)
    conditions = [name.strip() for name in wanted.split(",")]
    options = TransferOptions(draws, seed, retrieval_k=retrieval_k or (1, 5, 10))
    found = evaluate_files(
        index, predictions, targets, conditions, split, options, model=model, adapter=_fit(adapter)
    )
    if not dry_run:
        write_evaluation(output_dir, found)
    _report(found.metrics, None if dry_run else output_dir)


@command.command("ridge")
@click.argument("core", type=_PATH)
@click.option("--package", type=_PATH, required=True, help="Companion with tiers vision and imagery.")
@click.option("--features", default="gabor", show_default=True, help="Which features of images to decode.")
@click.option("--output-dir", type=_PATH, required=True, help="Folder to write.")
@_draws
@_seed
def ridge(core: Path, package: Path, features: str, output_dir: Path, draws: int, seed: int) -> None:
    """Fit a linear decoder to CORE, a package, and evaluate it on the imagery session."""
    from nsd_bench.baselines.features import FEATURES
    from nsd_bench.errors import choices
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package import Package
    from nsd_bench.transfer import TransferOptions, write_evaluation
    from nsd_bench.transfer.ridge import evaluate_ridge_decoder, fit_ridge_decoder

    refuse_existing(output_dir)
    if features not in FEATURES:
        raise click.BadParameter(f"expected {choices(features, FEATURES)}", param_hint="--features")
    made = FEATURES[features]
    options = TransferOptions(n_draws=draws, seed=seed)
    decoder = fit_ridge_decoder(Package(core), made)
    found = evaluate_ridge_decoder(decoder, Package(package), made, options, model=f"{features}-ridge")
    write_evaluation(output_dir, found)
    _report(found.metrics, output_dir)


def _fit(adapter: str) -> Fit | None:
    if adapter == "linear":
        from nsd_bench.transfer.adapters import fit_linear

        return fit_linear
    if adapter == "residual":
        from nsd_bench.transfer.residual import fit_residual

        return fit_residual
    return None


def _report(metrics: dict[str, Any], folder: Path | None) -> None:
    for name, found in metrics["conditions"].items():
        if found["available"]:
            score, null = found[metrics["headline"]], found["null"]
            click.echo(f"{name}: {metrics['headline']} {score['value']:.3f}, p = {null['p_value']:.4f}")
        else:
            click.echo(f"{name}: missing, {found['reason']}")
    transfer = metrics["transfer"]
    for name in ("gap", "ratio") if transfer["available"] else ():
        low, high = transfer[name]["interval"]
        click.echo(f"{name}: {transfer[name]['value']:.3f} [{low:.3f}, {high:.3f}]")
    if folder is not None:
        click.echo(f"{folder}")


@command.command("ood")
@click.argument("submission", type=_FILE)
@click.option("--package", type=_PATH, required=True, help="Companion with tier ood.")
@click.option("--id-submission", type=_FILE, help="Of the same model, for the package itself.")
@click.option("--id-truth", type=_PATH, help="Its truth file, or the open package.")
@_out
@_draws
@_seed
@_force
def ood(
    submission: Path,
    package: Path,
    id_submission: Path | None,
    id_truth: Path | None,
    out: Path,
    draws: int,
    seed: int,
    force: bool,
) -> None:
    """Score SUBMISSION on artificial images by class, and the drop from photographs."""
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package import Package
    from nsd_bench.scoring.score import Options, score
    from nsd_bench.submission import Submission
    from nsd_bench.transfer.ood import evaluate_ood
    from nsd_bench.truth import load_truth

    refuse_existing(out, force=force)
    if (id_submission is None) != (id_truth is None):
        raise click.UsageError("--id-submission and --id-truth belong together")
    options, known = Options(n_draws=draws, seed=seed), None
    if id_submission is not None and id_truth is not None:
        known = score(Submission.read(id_submission), load_truth(id_truth), options, tiers=("test",))
    found = evaluate_ood(Submission.read(submission), Package(package), known, options)
    _write_json(out, found)
    for name, one in [("ood", found["ood"]), ("drop", found["drop"]), *found["classes"].items()]:
        click.echo(f"{name}: {'missing' if one['value'] is None else format(one['value'], '.3f')}")
    click.echo(f"{out}")


@command.command("regimes")
@click.option("--in-distribution", multiple=True, type=_FILE, help="scores.json of 'nsd-bench score'.")
@click.option("--ood", multiple=True, type=_FILE, help="JSON of 'nsd-bench transfer ood'.")
@click.option("--imagery", multiple=True, type=_FILE, help="metrics.json of 'nsd-bench transfer encode'.")
@click.option("--held-out-subject", multiple=True, type=_FILE, help="scores.json of a held-out subject.")
@click.option("--model", default="", help="What the model is called.")
@click.option("--region", default="all/all", show_default=True, help="Atlas/ROI of scores.json.")
@click.option(
    "--scores", type=_FILE, help="scores.json: --out is this with the regimes, for report and leaderboard."
)
@_out
@_force
def regimes(
    model: str, region: str, scores: Path | None, out: Path, force: bool, **files: tuple[Path, ...]
) -> None:
    """Put the scores of all regimes into one JSON; what was not scored is missing, and not 0."""
    from nsd_bench.outputs import new_file, refuse_existing
    from nsd_bench.transfer.regimes import gather_regimes, read_scores, regime_table, with_regimes

    units = None if scores is None else scores.with_name(f"{scores.stem}.units.npz")
    for path in (out, out.with_name(f"{out.stem}.units.npz")) if units else (out,):
        refuse_existing(path, force=force)
    if scores is not None:
        files["in_distribution"] = (*files["in_distribution"], scores)
    atlas, _, roi = region.partition("/")
    found = {name: [read_scores(path) for path in paths] for name, paths in files.items()}
    gathered = gather_regimes(found, model=model, atlas=atlas, roi=roi)
    _write_json(out, with_regimes(read_scores(scores), gathered) if scores else gathered)
    if units is not None and units.exists():  # the report needs both
        with new_file(out.with_name(f"{out.stem}.units.npz")) as file:
            file.write(units.read_bytes())
    for line in regime_table(gathered):
        click.echo(line)
    click.echo(f"{out}")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    from nsd_bench.outputs import new_file

    with new_file(path) as file:
        file.write(json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")
