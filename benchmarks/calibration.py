"""What every score says of models whose quality is known: tables of docs/calibration.md.

    python benchmarks/calibration.py

Six minutes on one core; `--simulations 2` takes half a minute.
The text above the tables is calibration.md's, with the figures filled in.
"""

from __future__ import annotations

import argparse
import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth
from nsd_bench.scoring import ScoreOptions, score_subject
from nsd_bench.scoring.legacy import LEGACY
from nsd_bench.scoring.legacy_formulas import Trials
from nsd_bench.scoring.metrics import MEDIANS, PATTERN_METRICS

N_REPEATS = 3
N_SUBJECTS = 2
N_FEATURES = 50
CEILINGS = {"low": (0.02, 0.1), "medium": (0.1, 0.5), "high": (0.5, 0.8)}
SIZES = (159, 515, 1000)
MODELS = {"random": 0.0, "0.6": 0.6, "oracle": 1.0, "sign-flipped": -1.0}
OURS = ("signed_ratio", "signed_r2", *MEDIANS, *PATTERN_METRICS)
TEMPLATE = Path(__file__).with_suffix(".md")
PERCENT = ("algonauts2023", "nsd_synthetic", "berg")

Values = dict[tuple[str, int, str, str], list[float]]


def simulate(
    rng: np.random.Generator, n_images: int, ceiling: tuple[float, float], n_units: int
) -> dict[str, list[Trials]]:
    """Draw one data set: of every model each subject's trials."""
    image = np.repeat(np.arange(n_images), N_REPEATS)
    latent, other = rng.normal(size=(2, n_images, N_FEATURES))
    trials: dict[str, list[Trials]] = {name: [] for name in MODELS}
    for _ in range(N_SUBJECTS):
        explainable = rng.uniform(*ceiling, n_units)
        ncsnr = np.sqrt(explainable / (1 - explainable) / N_REPEATS)
        weights = rng.normal(size=(2, N_FEATURES, n_units))
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)  # mixtures of variance 1
        signal, unrelated = latent @ weights[0] * ncsnr, other @ weights[1] * ncsnr
        responses = signal[image] + rng.normal(size=(len(image), n_units))
        for name, alpha in MODELS.items():
            predicted = alpha * signal + np.sqrt(1 - alpha**2) * unrelated
            trials[name].append(Trials(predicted[image], responses, image, ncsnr))
    return trials


def evaluate(subjects: Sequence[Trials]) -> dict[str, float]:
    """Return every score of one model in per cent, ours with equal weight over subjects."""
    ours = [our_scores(trials, number) for number, trials in enumerate(subjects, 1)]
    found = {name: 100 * float(np.mean([one[name] for one in ours])) for name in OURS}
    for name, legacy in LEGACY.items():
        found[name] = legacy.function(subjects) * (1 if name in PERCENT else 100)
    return found


def our_scores(trials: Trials, number: int) -> dict[str, float]:
    result = score_subject(*as_files(trials, number), ScoreOptions(n_draws=0, patterns=True))
    region: dict[str, Any] = result.to_json()["tiers"]["test"]["rois"][0]["scores"]
    return {name: region[name]["value"] for name in OURS}


def as_files(trials: Trials, number: int) -> tuple[Submission, Truth]:
    n_trials, n_units = trials.responses.shape
    truth = Truth(
        package="simulated",
        subject=number,
        manifest_sha256="",
        trial_idx=np.arange(n_trials),
        frame_image_id=trials.image,
        tier=np.full(n_trials, "test"),
        responses=trials.responses.astype(np.float32),
        unit_ids=np.arange(n_units),
        ncsnr=trials.ncsnr.astype(np.float32),
        response_mean=np.zeros(n_units, dtype=np.float32),
        response_std=np.ones(n_units, dtype=np.float32),
        rois={},
        roi_names={},
    )
    predictions = trials.predictions.astype(np.float32)
    return Submission(truth.trial_idx, truth.unit_ids, predictions, {"package": "simulated"}), truth


def run(n_simulations: int, n_units: int, seed: int) -> Values:
    """Return (ceiling, n_images, model, score) to the values over simulations."""
    values: Values = {}
    for (label, ceiling), n_images in itertools.product(CEILINGS.items(), SIZES):
        for simulation in range(n_simulations):
            rng = np.random.default_rng([seed, n_images, simulation, round(1000 * ceiling[0])])
            for model, subjects in simulate(rng, n_images, ceiling, n_units).items():
                for name, value in evaluate(subjects).items():
                    values.setdefault((label, n_images, model, name), []).append(value)
        print(f"{label} ceilings, {n_images} images", flush=True)
    return values


def known(values: list[float]) -> npt.NDArray[np.float64]:
    return np.array(values)[np.isfinite(values)]


def cell(values: list[float]) -> str:
    """Write mean and standard deviation over the simulations that gave a number."""
    found = known(values)
    if not found.size:
        return "none"
    spread = f" ± {found.std(ddof=1):.1f}" if found.size > 1 else ""
    few = f" ({found.size} of {len(values)})" if found.size < len(values) else ""
    return f"{round(found.mean(), 1) + 0.0:.1f}{spread}{few}"  # + 0.0: no "-0.0"


def tables(values: Values) -> Iterator[str]:
    for label, (low, high) in CEILINGS.items():
        yield f"\n### {label.capitalize()} ceilings: {low:g} to {high:g}\n"
        heads = [f"{model}, {n_images}" for model in MODELS for n_images in SIZES]
        yield "| score | " + " | ".join(heads) + " |"
        yield "|---|" + "---:|" * len(heads)
        for name in (*OURS, *LEGACY):
            title = f"**`{name}`**" if name == "signed_ratio" else f"`{name}`"
            cells = [cell(values[label, n, model, name]) for model in MODELS for n in SIZES]
            yield f"| {title} | " + " | ".join(cells) + " |"


def introduction(values: Values, n_simulations: int, n_units: int) -> str:
    """Fill the figures into the text: "[score model ceilings images]" is the mean of a cell."""
    off, bias = headline_errors(values)
    text = TEMPLATE.read_text().format(
        n_simulations=n_simulations,
        n_units=n_units,
        n_cells=len(off),
        n_within=sum(one <= 2 for one in off),
        bias=f"{max(bias):.1f}",
        n_subjects=N_SUBJECTS,
        n_repeats=N_REPEATS,
        n_features=N_FEATURES,
    )

    def mean(match: re.Match[str]) -> str:
        name, model, label, n_images = match.groups()
        return cell(values[label, int(n_images), model, name]).split(" ")[0]

    filled = re.sub(r"\[(\w+) (\S+) (\w+) (\d+)\]", mean, text)
    return "\n".join(wrapped(paragraph) for paragraph in filled.split("\n"))


def wrapped(paragraph: str) -> str:
    indent = "  " if paragraph.startswith("- ") else ""
    return textwrap.fill(paragraph, 115, subsequent_indent=indent, break_on_hyphens=False)


def headline_errors(values: Values) -> tuple[list[float], list[float]]:
    """Return by how many standard errors, and by how much, the headline is off in every cell."""
    off, bias = [], []
    for label, n_images, (model, alpha) in itertools.product(CEILINGS, SIZES, MODELS.items()):
        if alpha < 0:
            continue  # the oracle's mirror image
        found = known(values[label, n_images, model, "signed_ratio"])
        bias.append(abs(float(found.mean()) - 100 * alpha))
        off.append(bias[-1] / float(found.std(ddof=1) / np.sqrt(found.size)))
    return off, bias


def write_section(page: Path, name: str, lines: Sequence[str]) -> None:
    """Put lines in the place of those between the two comments of that name in a page."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = page.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{page} lacks {begin} or, after it, {end}")
    page.write_text("\n".join([before + begin, *lines, end + after]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=20)
    parser.add_argument("--units", type=int, default=300, help="of each subject")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/calibration.md"))
    given = parser.parse_args()
    values = run(given.simulations, given.units, given.seed)
    page = [introduction(values, given.simulations, given.units), *tables(values)]
    write_section(given.out, "scores", page)


if __name__ == "__main__":
    main()
