"""`nsd-bench transfer`: other regimes than the tiers of a package."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from nsd_bench.cli import Group
from nsd_bench.cli.options import check_exporters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nsd_bench.transfer import Evaluation, TransferOptions
    from nsd_bench.transfer.adapters import Fit
    from nsd_bench.transfer.session import ZScore

__all__ = ["transfer_command"]

_PATH = click.Path(path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_force = click.option("--force", is_flag=True, help="Replace what is there.")
_draws = click.option(
    "--draws", default=1000, show_default=True, type=click.IntRange(min=2), help="Of trials, for intervals."
)
_seed = click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
_out = click.option("--out", type=_FILE, required=True, help="JSON to write.")


@click.group("transfer", cls=Group)
def transfer_command() -> None:
    """Score imagery, images out of distribution, and all regimes side by side."""


@transfer_command.command("export")
@click.argument("packages", nargs=-1, required=True, type=_PATH)
@click.option("--nsd-root", type=_PATH, required=True, help="NSD's root.")
@click.option("--out", type=_PATH, required=True, help="Folder for the companions.")
@click.option(
    "--session", type=click.Choice(("imagery", "synthetic")), multiple=True, help="Both by default."
)
def export(packages: tuple[Path, ...], nsd_root: Path, out: Path, session: tuple[str, ...]) -> None:
    """Write companions of PACKAGES: tiers vision and imagery, and tier ood."""
    check_exporters()
    from exporters.packages.companions import export_imagery, export_synthetic
    from nsd_bench.cli.options import packages_below
    from nsd_bench.package.read import Package

    makers = {"imagery": export_imagery, "synthetic": export_synthetic}
    for core in map(Package, packages_below(packages)):
        for name in session or makers:
            made = Package(makers[name](core, nsd_root, out))
            click.echo(f"{made.path}: {made.n_trials} trials x {made.n_units} units")


@transfer_command.command("predict")
@click.argument("model", type=_FILE)
@click.option("--package", type=_PATH, required=True, help="Companion of the package it was trained on.")
@click.option("--out", type=_FILE, required=True, help="Submission to write.")
@_force
def predict(model: Path, package: Path, out: Path, force: bool) -> None:
    """Let MODEL, a file of 'nsd-bench train', predict all trials of a companion."""
    from nsd_bench.models.zoo import load_model
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package.read import Package
    from nsd_bench.transfer.companions import predict_companion

    refuse_existing(out, force=force)
    submission = predict_companion(load_model(model), Package(package))
    submission.write(out)
    click.echo(f"{out}: {submission.predictions.shape[0]} trials x {submission.predictions.shape[1]} units")


@transfer_command.command("encode")
@click.argument("submission", type=_FILE)
@click.option("--package", type=_PATH, required=True, help="Companion with tiers vision and imagery.")
@click.option("--output-dir", type=_PATH, required=True, help="Folder to write.")
@_draws
@_seed
def encode(submission: Path, package: Path, output_dir: Path, draws: int, seed: int) -> None:
    """Evaluate an encoder's SUBMISSION for the imagery session: predicted from seen and from cued images."""
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package.read import Package
    from nsd_bench.package.submission import Submission
    from nsd_bench.transfer import TransferOptions, write_evaluation
    from nsd_bench.transfer.companions import evaluate_companion

    refuse_existing(output_dir)
    options = TransferOptions(n_draws=draws, seed=seed)
    found = evaluate_companion(Submission.read(submission), Package(package), options)
    write_evaluation(output_dir, found)
    _report(found.metrics, output_dir)


@transfer_command.command("train")
@click.argument("core", type=_PATH)
@click.option(
    "--model-type", type=click.Choice(("ridge", "mlp", "two_stage")), default="ridge", show_default=True
)
@click.option(
    "--features",
    default="gabor",
    show_default=True,
    help="What to decode: 'gabor', 'pixels', a folder of 'nsd-bench features', or features by nsd_id.",
)
@click.option("--layers", help="Of a folder of 'nsd-bench features': names with commas; all by default.")
@click.option(
    "--out", type=_FILE, required=True, help="Checkpoint to write: NAME.safetensors, with NAME.json."
)
@click.option("--device", help="auto, cpu, cuda or cuda:1, where mlp is trained; auto by default.")
@_seed
@_force
def train(
    core: Path,
    model_type: str,
    features: str,
    layers: str | None,
    out: Path,
    device: str | None,
    seed: int,
    force: bool,
) -> None:
    """Fit a decoder to CORE, a package: from single trials that were seen to features of the image."""
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.package.read import Package
    from nsd_bench.transfer.decoder_files import save_decoder, train_decoder

    if device is not None and model_type != "mlp":
        raise click.UsageError("--device belongs to --model-type mlp: the others are computed on the CPU")
    refuse_existing(out, force=force)
    decoder = train_decoder(Package(core), model_type, features, layers, seed=seed, device=device)
    save_decoder(decoder, out)
    click.echo(f"{out}: {model_type}, cosine {decoder.card['validation_cosine']:.3f} on the validation tier")


@transfer_command.command("decode")
@click.option("--index", type=_FILE, help="Parquet index of the trials; or --package.")
@click.option("--package", type=_PATH, help="Companion with tiers vision and imagery.")
@click.option("--checkpoint", type=_FILE, help="Decoder of 'transfer train'; or --predictions.")
@click.option(
    "--model-type",
    type=click.Choice(("ridge", "mlp", "two_stage", "auto")),
    default="auto",
    show_default=True,
    help="What the checkpoint must be; auto takes what its card says.",
)
@click.option("--predictions", type=_FILE, help="Of any model: .npz with trial_id and predictions.")
@click.option("--targets", type=_PATH, help=".npz with nsd_id or stimulus, and features; or a feature cache.")
@click.option("--cache-root", type=_PATH, help="What the index' paths are relative to.")
@click.option(
    "--zscore",
    type=click.Choice(("package", "run", "condition")),
    default="package",
    show_default=True,
    help="How a checkpoint's responses are scaled.",
)
@click.option(
    "--mode", type=click.Choice(("imagery", "perception", "both")), default="both", show_default=True
)
@click.option("--test-sets", help="The same as --mode: perception,imagery.")
@click.option("--split", type=click.Choice(("train", "val", "test", "all")), default="all")
@click.option(
    "--split-by", type=click.Choice(("run", "stimulus")), default="run", help="What a split keeps together."
)
@click.option("--retrieval-k", multiple=True, type=click.IntRange(min=1), help="1, 5 and 10 by default.")
@click.option("--output-dir", type=_PATH, required=True, help="Folder to write.")
@click.option("--model", help="What the model is called.")
@click.option("--adapter", type=click.Choice(("none", "linear", "residual")), default="none")
@click.option("--adapter-embedding", type=click.Choice(("add", "film")), default="film", show_default=True)
@click.option("--adapter-penalty", default=1.0, show_default=True, help="Of the linear one, on its changes.")
@click.option("--dry-run", is_flag=True, help="Evaluate, and write nothing.")
@_seed
def decode(
    mode: str,
    test_sets: str | None,
    retrieval_k: tuple[int, ...],
    output_dir: Path,
    adapter: str,
    adapter_embedding: Literal["add", "film"],
    adapter_penalty: float,
    dry_run: bool,
    seed: int,
    **given: Any,
) -> None:
    """Evaluate features decoded from single trials of the imagery session, by a checkpoint or any model."""
    from nsd_bench.outputs import refuse_existing
    from nsd_bench.transfer import TransferOptions, write_evaluation

    _check_decode(**given)
    if not dry_run:
        refuse_existing(output_dir)
    wanted = test_sets or ("perception,imagery" if mode == "both" else mode)
    conditions = [name.strip() for name in wanted.split(",")]
    options = TransferOptions(seed=seed, retrieval_k=retrieval_k or (1, 5, 10))
    found = _evaluated(conditions, options, _fit(adapter, adapter_embedding, adapter_penalty), **given)
    if not dry_run:
        write_evaluation(output_dir, found)
    _report(found.metrics, None if dry_run else output_dir)


def _check_decode(
    index: Path | None,
    package: Path | None,
    checkpoint: Path | None,
    predictions: Path | None,
    targets: Path | None,
    split: str,
    **_: Any,
) -> None:
    if (index is None) == (package is None):
        raise click.UsageError("give either --index or --package")
    if (checkpoint is None) == (predictions is None):
        raise click.UsageError("give either --checkpoint or --predictions")
    if package is not None and (predictions is not None or split != "all"):
        raise click.UsageError("--predictions and --split belong to --index")
    if index is not None and targets is None:
        raise click.UsageError("--index needs --targets: it holds no images to compute them from")


def _evaluated(
    conditions: Sequence[str],
    options: TransferOptions,
    adapter: Fit | None,
    *,
    index: Path | None,
    package: Path | None,
    checkpoint: Path | None,
    model_type: str,
    predictions: Path | None,
    targets: Path | None,
    cache_root: Path | None,
    split: str,
    split_by: str,
    zscore: ZScore,
    model: str | None,
) -> Evaluation:
    from nsd_bench.package.read import Package
    from nsd_bench.transfer.decoder_files import load_decoder
    from nsd_bench.transfer.session import (
        TrialSelection,
        evaluate_checkpoint,
        evaluate_files,
        evaluate_on_companion,
    )
    from nsd_bench.transfer.targets import read_features, source_of

    common: Any = {"model": model, "adapter": adapter}
    selection = TrialSelection(conditions, split, split_by)
    if index and targets and predictions:
        return evaluate_files(predictions, index, targets, selection, options, **common)
    checkpoint = Path(str(checkpoint))
    decoder, common = load_decoder(checkpoint, model_type), common | {"zscore": zscore}
    if index and targets:
        known = read_features(targets)
        common["cache_root"] = cache_root
        return evaluate_checkpoint(decoder, index, known, selection, options, **common)
    source = read_features(targets) if targets else source_of(decoder.card, str(checkpoint))
    return evaluate_on_companion(decoder, Package(str(package)), source, conditions, options, **common)


def _fit(adapter: str, embedding: Literal["add", "film"], penalty: float) -> Fit | None:
    if adapter == "linear":
        from nsd_bench.transfer.adapters import fit_linear

        return partial(fit_linear, penalty=penalty)
    if adapter == "residual":
        from nsd_bench.transfer.adapters import ResidualOptions, fit_residual

        return partial(fit_residual, options=ResidualOptions(embedding=embedding))
    return None


def _report(metrics: dict[str, Any], folder: Path | None) -> None:
    from nsd_bench.transfer.results import text_of

    for name, found in metrics["conditions"].items():
        if found["available"]:
            score, null = found[metrics["headline"]], found["null"]
            click.echo(f"{name}: {metrics['headline']} {text_of(score)}, p = {null['p_value']:.4f}")
        else:
            click.echo(f"{name}: missing, {found['reason']}")
    transfer = metrics["transfer"]
    for name in ("gap", "ratio", "normalised_ratio"):
        if name in transfer:
            click.echo(f"{name}: {text_of(transfer[name])}")
    if folder is not None:
        click.echo(f"{folder}")


@transfer_command.command("ood")
@click.argument("submission", type=_FILE)
@click.option("--package", type=_PATH, required=True, help="Companion with tier ood.")
@click.option("--id-submission", type=_FILE, help="Of the same model, for the package itself.")
@click.option("--id-truth", type=_PATH, help="Its truth file, or the open package.")
@_out
@_force
def ood(
    submission: Path,
    package: Path,
    id_submission: Path | None,
    id_truth: Path | None,
    out: Path,
    force: bool,
) -> None:
    """Score SUBMISSION on artificial images by class, and the drop from photographs."""
    from nsd_bench.outputs import refuse_existing, write_json
    from nsd_bench.package.read import Package
    from nsd_bench.package.submission import Submission
    from nsd_bench.package.truth import load_truth
    from nsd_bench.scoring.score import ScoreOptions, score_subject
    from nsd_bench.transfer.ood import evaluate_ood
    from nsd_bench.transfer.results import text_of

    refuse_existing(out, force=force)
    if (id_submission is None) != (id_truth is None):
        raise click.UsageError("--id-submission and --id-truth belong together")
    options, known = ScoreOptions(n_draws=0), None
    if id_submission is not None and id_truth is not None:
        known = score_subject(Submission.read(id_submission), load_truth(id_truth), options, tiers=("test",))
    found = evaluate_ood(Submission.read(submission), Package(package), known, options)
    write_json(out, found)
    for name, one in [("ood", found["ood"]), ("drop", found["drop"]), *found["classes"].items()]:
        click.echo(f"{name}: {text_of(one)}")
    for name in ("two_way", "top1", "balanced") if found["identification"]["available"] else ():
        one = found["identification"][name]
        click.echo(f"identification, {name}: {text_of(one)}, chance {one['chance']:.4f}")
    click.echo(f"{out}")


@transfer_command.command("regimes")
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
    from nsd_bench.outputs import refuse_existing, write_json
    from nsd_bench.scoring.scores import Scores, units_path
    from nsd_bench.transfer.regimes import gather_regimes, read_result, regime_table, with_regimes

    if scores is None and not any(files.values()):
        raise click.UsageError("give a result of one regime at least, as --in-distribution scores.json")
    for path in (out, units_path(out)) if scores else (out,):
        refuse_existing(path, force=force)
    if scores is not None:
        files["in_distribution"] = (*files["in_distribution"], scores)
    atlas, _, roi = region.partition("/")
    found = {name: [read_result(path) for path in paths] for name, paths in files.items()}
    gathered = gather_regimes(found, model=model, atlas=atlas, roi=roi)
    if scores is None:
        write_json(out, gathered)
    else:
        with_regimes(Scores.load(scores), gathered).save(out, force=force)
    for line in regime_table(gathered):
        click.echo(line)
    click.echo(f"{out}")
