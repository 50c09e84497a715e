"""Score every baseline on a simulated NSD whose ceiling is known, and write docs/baselines.md and its figure.

Simulates one subject, exports a package that withholds its test tiers, fits every entry of BASELINES in a
process of its own, and scores it; then fits some of them to fewer images. Needs all extras, 4 GB of disk
and about 20 minutes on two cores.

    python benchmarks/baselines.py [--sessions 24] [--out docs]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nsd_bench.models.guard import FewerImages
from nsd_bench.models.zoo import BASELINES
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import load_truth
from nsd_bench.scoring import ScoreOptions, score_subject
from nsd_bench.scoring.compare import compare_scores
from nsd_bench.scoring.metrics import METRICS
from nsd_bench.scoring.scores import SubjectScores

TIER = "test"
N_IMAGES = (250, 1000, 4000)
CURVE = ("linear-gabor", "gabor-ridge", "fwrf", "cnn")
CONTRASTS = (
    ("cnn", "linear-pixels"),
    ("cnn", "linear-gabor"),
    ("cnn", "linear-cnn"),
    ("gabor-ridge", "linear-gabor"),
    ("cnn", "gabor-ridge"),
)
ORACLE = "repeat-oracle"
NOTHING = {"value": None}
REGIONS = ("V1", "V2", "V3", "hV4")
TITLES = {
    "signed_ratio": "ratio to ceiling",
    "correlation_to_average": "r, image means",
    "single_trial_correlation": "r, single trials",
    "signed_r2": "signed r²",
    "feve": "FEVE",
}


@dataclass(frozen=True)
class Fitted:
    """What a process that fitted one baseline reports."""

    submission: Path
    seconds: float
    peak_gb: float
    card: dict[str, Any]


def fit(name: str, package: Path, truth: Path, folder: Path, n_images: int | None) -> Fitted:
    whole = Package(package)
    fitted_on = whole if n_images is None else FewerImages(whole, n_images)
    # The default features are one band, between which there are no proportions to search.
    options: dict[str, dict[str, Any]] = {ORACLE: {"truth": truth}, "banded-ridge": {"n_iter": 1}}
    start = time.perf_counter()
    model = BASELINES[name].fit(fitted_on, **options.get(name, {}))
    seconds = time.perf_counter() - start
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    path = folder / f"{name}.{n_images or 'all'}.submission.npz"
    model.submission(whole, [TIER]).write(path)
    return Fitted(path, seconds, peak_gb, model.card)


def fit_alone(*job: Any) -> Fitted:
    """Fit in a fresh process, so that its peak memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        fitted = pool.submit(fit, *job).result()
    print(f"{fitted.submission.name}: {fitted.seconds:.1f} s, {fitted.peak_gb:.2f} GB", flush=True)
    return fitted


def make_package(folder: Path, n_sessions: int) -> tuple[Path, Path]:
    command = [sys.executable, "-c", "from nsd_bench.cli import main; main()"]
    nsd, packages = folder / "nsd", folder / "packages"
    size = ("--subjects", "1", "--sessions", str(n_sessions), "--shape", "12,14,10")
    subprocess.run([*command, "simulate", nsd, *size, "--quiet"], check=True)
    export = ("export", "demo", "--nsd-root", nsd, "--out", packages, "--subjects", "1")
    subprocess.run([*command, *export, "--form", "folder", "--quiet"], check=True)
    shutil.rmtree(nsd)
    return packages / "demo-subj01", packages / f"demo-subj01{spec.TRUTH_SUFFIX}"


def number(found: dict[str, Any]) -> str:
    if found["value"] is None:
        return "-"
    if found["interval"] is None:
        return f"{found['value']:.3f}"
    low, high = found["interval"]
    return f"{found['value']:.3f} [{low:.3f}, {high:.3f}]"


def rows_of(scores: SubjectScores) -> dict[str, dict[str, Any]]:
    rows = scores.to_json()["tiers"][TIER]["rois"]
    return {row["roi"]: row for row in rows if row["atlas"] in ("all", "prf-visualrois")}


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def main_table(fits: dict[str, Fitted], scores: dict[str, SubjectScores]) -> list[str]:
    rows = []
    for name, fitted in fits.items():
        row = rows_of(scores[name])["all"]
        found = row["scores"]
        if name == ORACLE:
            found = {metric: NOTHING for metric in found} | {
                "signed_ratio": row["anchors"]["oracle"],
                "single_trial_correlation": found["single_trial_correlation"],
            }
        compute = [f"{fitted.seconds:.0f}", f"{fitted.peak_gb:.1f}", f"{fitted.card.get('parameters', 0):,}"]
        rows.append([f"`{name}`", *(number(found[metric]) for metric in TITLES), *compute])
    return table(["baseline", *TITLES.values(), "s", "GB", "parameters"], rows)


def region_table(scores: dict[str, SubjectScores]) -> list[str]:
    rows = []
    for name, scored in scores.items():
        if name == ORACLE:
            continue
        found = rows_of(scored)
        rows.append([f"`{name}`", *(number(found[roi]["scores"]["signed_ratio"]) for roi in REGIONS)])
    anchors = next(iter(scores.values()))
    for anchor in ("null", "oracle"):
        found = rows_of(anchors)
        rows.append([f"anchor *{anchor}*", *(number(found[roi]["anchors"][anchor]) for roi in REGIONS)])
    return table(["ratio to ceiling", *REGIONS], rows)


def contrast_table(scores: dict[str, SubjectScores], options: ScoreOptions) -> list[str]:
    rows = []
    for first, second in CONTRASTS:
        compared = compare_scores([scores[first]], [scores[second]], options).to_json()["subjects"][0][
            "tiers"
        ][TIER]
        found = next(row for row in compared if row["atlas"] == "all")["differences"]["signed_ratio"]
        rows.append(
            [
                f"`{first}` - `{second}`",
                number(found),
                "< 0.001" if found["p"] < 0.001 else f"{found['p']:.3f}",
            ]
        )
    return table(["difference of ratios to the ceiling", "value", "p"], rows)


def curve_table(curve: dict[str, dict[int, SubjectScores]]) -> list[str]:
    sizes = list(next(iter(curve.values())))
    rows = [
        [f"`{name}`", *(number(rows_of(points[n])["all"]["scores"]["signed_ratio"]) for n in sizes)]
        for name, points in curve.items()
    ]
    return table(["ratio to ceiling", *(f"{n:,} images" for n in sizes)], rows)


def draw(curve: dict[str, dict[int, SubjectScores]], path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "nsd-bench"
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for name, points in curve.items():
        found = [rows_of(scored)["all"]["scores"]["signed_ratio"] for scored in points.values()]
        values = np.array([one["value"] for one in found])
        ends = np.array([one["interval"] for one in found]).T
        axes.errorbar(list(points), values, np.abs(ends - values), label=name, marker="o", capsize=2)
    axes.set(xscale="log", xlabel="training images", ylabel="ratio to the noise ceiling", ylim=(0, 1.02))
    axes.set_xticks(list(points), [f"{n:,}" for n in points])
    axes.minorticks_off()
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def page(package: Package, parts: dict[str, list[str]]) -> str:
    images = {
        tier: len(np.unique(package.array(spec.trials_file("frame_image_id"))[package.rows(tier)]))
        for tier in ("train", "validation", TIER)
    }
    lines = [
        "# Baselines",
        "",
        "One command makes this page: "
        f"`python benchmarks/baselines.py --sessions {len(package.manifest['sessions'])}`. It simulates one "
        f"subject of NSD, exports the recipe `demo`, fits every baseline, and scores it on tier `{TIER}`: "
        f"{images['train']:,} images to train on, {images['validation']} to choose on, {images[TIER]} to "
        f"score, up to three repeats each, {package.n_units} units, "
        f"{' x '.join(map(str, package.image_shape))} pixels. "
        "Brackets are 95 % intervals over new images like these. "
        f"Seconds and peak memory are of fitting alone; threads: {torch.get_num_threads()}.",
        "",
        "The simulated brain computes Gabor energies in receptive fields, and categories further up. So "
        "`gabor-ridge` has the right features, and `linear-*`, which have no nonlinearity, cannot go far. "
        "On NSD itself the order may be another one.",
        "",
        "## All units",
        "",
        *parts["main"],
        "",
        "`repeat-oracle` predicts a trial by the other trials of its image. Its ratio is the anchor "
        "*oracle*, which divides by what is to be expected of that; metrics of image means do not apply.",
        "`features-ridge` and `banded-ridge` are shown with their default features, those of `gabor-ridge`.",
        "",
        "## Early areas",
        "",
        *parts["regions"],
        "",
        "## Differences",
        "",
        "Paired image by image, so that what makes an image hard for both cancels.",
        "",
        *parts["contrasts"],
        "",
        "## Data efficiency",
        "",
        "Each draw of few images is a part of the draw of many; repeats stay together.",
        "",
        *parts["curve"],
        "",
        "![Ratio to the noise ceiling against the number of training images](baselines.svg)",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=24)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs")
    given = parser.parse_args()
    options = ScoreOptions()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, truth_path = make_package(folder, given.sessions)
        package, truth = Package(path), load_truth(truth_path)
        fits = {name: fit_alone(name, path, truth_path, folder, None) for name in BASELINES}

        def scored(fitted: Fitted) -> SubjectScores:
            return score_subject(Submission.read(fitted.submission), truth, options)

        scores = {name: scored(fitted) for name, fitted in fits.items()}
        n_train = fits["mean"].card["training_images"]
        curve = {
            name: {
                **{n: scored(fit_alone(name, path, truth_path, folder, n)) for n in N_IMAGES if n < n_train},
                n_train: scores[name],
            }
            for name in CURVE
        }
        parts = {
            "main": main_table(fits, scores),
            "regions": region_table(scores),
            "contrasts": contrast_table(scores, options),
            "curve": curve_table(curve),
        }
        draw(curve, given.out / "baselines.svg")
        (given.out / "baselines.md").write_text(page(package, parts))
    assert set(TITLES) <= set(METRICS)


if __name__ == "__main__":
    main()
