"""Coverage, false alarms and power of the scorer's intervals and paired tests: tables of docs/calibration.md.

    python benchmarks/intervals.py                              # every part
    python benchmarks/intervals.py --part one --part pooled     # some
    python benchmarks/intervals.py --scale 0.1                  # a tenth of the data sets

Every part takes the place of its own tables in the page, between two comments, so that each may be run apart.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from calibration import write_section
from simulated import ATLAS, LOW, Array, DataSets, Design, data_sets, true_score

from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth
from nsd_bench.scoring import ScoreOptions, score_subject
from nsd_bench.scoring.align import align_tier
from nsd_bench.scoring.compare import compare_scores
from nsd_bench.scoring.difficulty import LEVELS, Distances
from nsd_bench.scoring.jackknife import MIN_IMAGES, Jackknife, Uncertainty, difference, fixed, population
from nsd_bench.scoring.metrics import METRICS, PATTERN_METRICS, RATIOS
from nsd_bench.scoring.regions import rois_of
from nsd_bench.scoring.tier import TierSums

PAGE = Path(__file__).parents[1] / "docs" / "calibration.md"
LADDER = (*LEVELS, "slope")
PAIRS = {"equal": ("A", "B"), "alike": ("A", "near A"), "better": ("better", "A")}
COVERAGE, FALSE_ALARMS = (93.0, 97.0), (3.5, 6.0)
NONE = Jackknife(np.nan, np.empty(0))
MANY, FEW = 1500, 500
_NUMBERS_AT_ONCE = 6_000_000
_PILOT = 200

Scores = dict[str, list[list[Jackknife]]]
"""Metric to every data set's scores, one a subject."""


@dataclass
class Outcome:
    """What the scorer said of data sets for one metric: arrays of one entry a data set, NaN where nothing.

    Parameters
    ----------
    value, centre, low, high
        Of model A and its interval.
    true
        True score of A.
    p
        Pair of models to p of their difference.
    """

    value: Array
    centre: Array
    low: Array
    high: Array
    true: Array
    p: dict[str, Array] = field(default_factory=dict)

    def covers(self) -> Array:
        """Return in per cent whether each interval holds the true score; only data sets that have one."""
        true = np.where(np.isnan(self.true), np.nanmean(self.value), self.true)
        return 100.0 * ((self.low <= true) & (true <= self.high))[np.isfinite(self.low)]

    def rejects(self, pair: str) -> Array:
        """Return in per cent whether each p is 0.05 or less; only data sets that have one."""
        return 100.0 * (self.p[pair] <= 0.05)[np.isfinite(self.p[pair])]


def outcomes(
    design: Design,
    n_data_sets: int,
    *,
    pairs: Sequence[str] = tuple(PAIRS),
    metrics: Sequence[str] = ("signed_ratio",),
    new_subjects: bool = False,
    refused: bool = False,
    seed: int = 0,
) -> dict[str, Outcome]:
    """Draw and score data sets; return metric to what the scorer said.

    Parameters
    ----------
    pairs
        Which models to compare; see `PAIRS`.
    metrics
        Any metrics, levels of difficulty, "slope".
    new_subjects
        Whether to judge what is said of new subjects, not of these.
    refused
        Whether to make intervals where the scorer gives none, too.
    """
    if "better" in pairs:
        design = replace(design, gain=2 * _spread_of_difference(design, metrics[0]))
    say = population if new_subjects else fixed
    models = dict.fromkeys(("A", *(model for pair in pairs for model in PAIRS[pair])))
    found: dict[str, list[Outcome]] = {metric: [] for metric in metrics}
    for sets in batches(design, n_data_sets, list(models), seed):
        scores = {model: scores_of(sets, model, metrics, refused=refused) for model in models}
        for metric, of_sets in scores["A"].items():
            said = [say(subjects) for subjects in of_sets]
            of_subjects = sets.true["A"] if not new_subjects else np.full((len(said), 1), design.true)
            outcome = Outcome(
                value=np.array([one.value for one in said]),
                centre=np.array([one.centre for one in said]),
                low=np.array([np.nan if one.interval is None else one.interval[0] for one in said]),
                high=np.array([np.nan if one.interval is None else one.interval[1] for one in said]),
                true=true_score(metric, design, of_subjects).mean(axis=1),
            )
            for pair in pairs:
                first, second = (scores[model][metric] for model in PAIRS[pair])
                outcome.p[pair] = np.array(
                    [_p(say(list(map(difference, *both)))) for both in zip(first, second, strict=True)]
                )
            found[metric].append(outcome)
    return {metric: _joined(parts) for metric, parts in found.items()}


def _p(said: Uncertainty) -> float:
    return np.nan if said.p is None else said.p


def _joined(parts: Sequence[Outcome]) -> Outcome:
    def join(name: str) -> Array:
        return np.concatenate([getattr(part, name) for part in parts])

    p = {pair: np.concatenate([part.p[pair] for part in parts]) for pair in parts[0].p}
    return Outcome(join("value"), join("centre"), join("low"), join("high"), join("true"), p)


def _spread_of_difference(design: Design, metric: str) -> float:
    """Return the standard deviation over data sets of the difference of two equally good models."""
    gaps = []
    for sets in batches(design, _PILOT, ["A", "B"], 1):
        first, second = (scores_of(sets, model, [metric])[metric] for model in ("A", "B"))
        for mine, theirs in zip(first, second, strict=True):
            gaps.append(fixed(list(map(difference, mine, theirs))).centre)
    return float(np.std(gaps))


def batches(design: Design, n_data_sets: int, models: Sequence[str], seed: int) -> Iterator[DataSets]:
    """Draw data sets, some at once."""
    one = max(map(len, design.images)) * max(design.repeats) * design.n_units
    together = int(np.clip(_NUMBERS_AT_ONCE // one, 1, min(n_data_sets, 1000)))
    for start in range(0, n_data_sets, together):
        yield data_sets(design, min(together, n_data_sets - start), [seed, start], models)


def scores_of(sets: DataSets, model: str, metrics: Iterable[str], *, refused: bool = False) -> Scores:
    """Score one model's submissions of every data set and subject."""
    of_sums = set(metrics) <= {*RATIOS, *LADDER}
    distances = sets.distance if not set(metrics).isdisjoint(LADDER) else [None] * len(sets.truths)
    scored = [
        directly(*given) if of_sums else by_score(*given)
        for given in zip(sets.truths, sets.submissions[model], distances, strict=True)
    ]
    if refused:
        for found in scored:
            for key, one in found.items():
                found[key] = replace(one, no_interval=None, fewest=MIN_IMAGES)
    names = sets.truths[0].roi_names[ATLAS].values()
    return {
        metric: [[found.get((ATLAS, name, metric), NONE) for found in scored] for name in names]
        for metric in metrics
    }


def by_score(
    truth: Truth, submission: Submission, distance: Array | None
) -> dict[tuple[str, str, str], Jackknife]:
    """Score one subject's data sets by the scorer's front door."""
    distances = None
    if distance is not None:
        of_trial = distance[np.unique(truth.frame_image_id, return_inverse=True)[1]]
        known = dict(zip(truth.trial_idx.tolist(), of_trial.tolist(), strict=True))
        distances = Distances(truth.package, "simulated", known)
    found = score_subject(submission, truth, ScoreOptions(n_draws=0, patterns=True), distances=distances)
    return {key[1:]: one for key, one in (found.scores | found.difficulty).items()}


def directly(
    truth: Truth, submission: Submission, distance: Array | None
) -> dict[tuple[str, str, str], Jackknife]:
    """Score as `score` does, without what it writes of every region, which takes longest of thousands.

    That both say the same is tests/test_calibration.py's to show.
    """
    part = align_tier(submission, truth, "test")
    everything = np.ones(len(truth.unit_ids), dtype=bool)
    rois = [roi for roi in rois_of(truth, everything) if roi.atlas == ATLAS]
    sums = TierSums(part, rois, ScoreOptions(n_draws=0), distance)
    columns = slice(0, len(everything))
    sums.add(sums.block(part.moments(columns), columns))
    return sums.scores() | sums.difficulty()


def cell(outcome: Outcome) -> str:
    """Write coverage, false alarms of each pair of equal models, and power, in per cent; bold where amiss."""
    parts = [_judged(outcome.covers(), COVERAGE)]
    alarms = [outcome.rejects(pair) for pair in ("equal", "alike") if pair in outcome.p]
    if any(one.size for one in alarms):
        parts.append(", ".join(_judged(one, FALSE_ALARMS) for one in alarms))
    if "better" in outcome.p and outcome.rejects("better").size:
        parts.append(f"{outcome.rejects('better').mean():.0f}")
    return " / ".join(parts) if outcome.covers().size else "none"


def _judged(hits: Array, within: tuple[float, float]) -> str:
    """Write a rate, bold if it is outside by more than two of its Monte Carlo standard errors."""
    if not hits.size:
        return "none"
    rate, (low, high) = float(hits.mean()), within
    slack = 2 * 100 * np.sqrt(0.05 * 0.95 / hits.size)
    return f"{rate:.1f}" if low - slack <= rate <= high + slack else f"**{rate:.1f}**"


def standard_error(n_data_sets: int) -> str:
    """Write the Monte Carlo standard error of a rate of 5 %, in points."""
    return f"± {100 * np.sqrt(0.05 * 0.95 / n_data_sets):.1f}"


def of_headline(
    rows: Mapping[str, tuple[int, Design]],
    columns: Mapping[str, dict[str, object]],
    scale: float,
    **how: Any,
) -> Iterator[str]:
    """Tabulate the headline: rows of (data sets, design), columns of what is changed in it."""
    yield from _heads("", [*columns, "each"])
    for label, (n, design) in rows.items():
        n_data_sets = max(10, round(n * scale))
        cells = [
            cell(outcomes(replace(design, **changes), n_data_sets, **how)["signed_ratio"])
            for changes in columns.values()
        ]
        yield _row(label, [*cells, standard_error(n_data_sets)])
        print(label, flush=True)


def of_metrics(
    metrics: Sequence[str], columns: Mapping[str, tuple[int, Design]], scale: float, **how: Any
) -> Iterator[str]:
    """Tabulate several metrics: a row each, columns of (data sets, design)."""
    found, errors = [], []
    for label, (n, design) in columns.items():
        n_data_sets = max(10, round(n * scale))
        found.append(outcomes(design, n_data_sets, metrics=metrics, **how))
        errors.append(standard_error(n_data_sets))
        print(label, flush=True)
    yield from _heads("", list(columns))
    for metric in metrics:
        given = getattr(METRICS.get(metric), "no_interval", None) is None
        label = f"`{metric}`" if given else f"(`{metric}`)"
        yield _row(label, [cell(of_column[metric]) for of_column in found])
    yield _row("each", errors)


def _heads(first: str, heads: Sequence[str]) -> Iterator[str]:
    yield _row(first, heads)
    yield "|---|" + "---:|" * len(heads)


def _row(label: str, cells: Sequence[str]) -> str:
    return f"| {label} | " + " | ".join(cells) + " |"


def one(scale: float) -> Iterator[str]:
    rows = {f"{n} images": (MANY, Design(n_images=n, n_units=10)) for n in (10, 20, 30, 60, 159, 515, 1000)}
    columns: dict[str, dict[str, object]] = {
        "10 units": {},
        "3 units": {"n_units": 3},
        "low ceilings": {"ceiling": LOW},
        "heavy tails, 1 to 3 repeats": {"heavy_tails": True, "repeats": (1, 2, 3)},
        "5 features, correlated noise": {"rank": 5, "noise_correlation": 0.3},
        "chance": {"true": 0.0},
        "perfect": {"true": 1.0},
    }
    yield from of_headline(rows, columns, scale)


def units(scale: float) -> Iterator[str]:
    rows = {f"{n} images": (FEW, Design(n_images=n, n_units=400)) for n in (10, 20, 30, 60, 159)}
    columns: dict[str, dict[str, object]] = {
        "medium ceilings": {},
        "low ceilings": {"ceiling": LOW},
        "50 features": {"rank": 50},
        "perfect": {"true": 1.0},
    }
    yield from of_headline(rows, columns, scale)


def pooled(scale: float) -> Iterator[str]:
    rows = {
        f"{_subjects(subjects)}, {n} images": (MANY, Design(subjects, n_images=n, n_units=5))
        for subjects in (2, 4, 8)
        for n in (10, 20, 30, 60, 159)
    }
    columns: dict[str, dict[str, object]] = {
        "independent": {},
        "common, 5 features": {"rank": 5},
        "common, 50 features": {"rank": 50},
    }
    yield from of_headline(rows, columns, scale)


def sharing(scale: float) -> Iterator[str]:
    """Half of the images, none, and as many as NSD's subjects share."""
    rows = {
        f"{_subjects(subjects)}, {n} images": (FEW, Design(subjects, n_images=n, n_units=5))
        for subjects in (2, 8)
        for n in (30, 159, 515, 1000)
    }
    columns: dict[str, dict[str, object]] = {
        f"{which} shared, {rank} features": {"rank": rank, "shared": shared}
        for which, shared in (("half", "half"), ("none", "none"), ("as in NSD", "nsd"))
        for rank in (5, 50)
    }
    yield from of_headline(rows, columns, scale)


def new_subjects(scale: float) -> Iterator[str]:
    rows = {
        f"{_subjects(subjects)}, {n} images": (MANY, Design(subjects, n_images=n, n_units=5))
        for subjects in (4, 8)
        for n in (10, 30, 100)
    }
    columns: dict[str, dict[str, object]] = {
        f"{label}, sd {spread}": {"rank": rank, "spread": spread}
        for label, rank in (("independent", None), ("common, 5 features", 5))
        for spread in (0.0, 0.03, 0.1)
    }
    yield from of_headline(rows, columns, scale, new_subjects=True)


def metrics(scale: float) -> Iterator[str]:
    design = Design(n_units=30, rank=50)
    for label, changes, sizes in (
        ("ceilings of 0.1 to 0.5", {}, (20, 60, 159, 515)),
        ("ceilings of 0.02 to 0.1", {"ceiling": LOW}, (20, 60, 159, 515)),
        ("chance", {"true": 0.0}, (20, 60, 159, 515)),
        ("8 subjects, ceilings of 0.1 to 0.5", {"n_subjects": 8}, (20, 60, 159)),
    ):
        columns = {f"{n} images": (FEW, replace(design, n_images=n, **changes)) for n in sizes}
        yield f"\n{label}:\n"
        yield from of_metrics(tuple(RATIOS), columns, scale, refused=True)


def patterns(scale: float) -> Iterator[str]:
    for label, design, sizes in (
        ("5 features, 100 units", Design(n_units=100, rank=5), (60, 159)),
        ("50 features, 100 units", Design(n_units=100, rank=50), (60, 159)),
        ("chance, 50 features, 100 units", Design(n_units=100, rank=50, true=0.0), (60, 159)),
        ("chance, 3 units", Design(n_units=3, true=0.0), (60, 159)),
        (
            "true score 0.8, ceilings of 0.3 to 0.7, 50 features, 30 units",
            Design(n_units=30, rank=50, true=0.8, ceiling=(0.3, 0.7)),
            (60, 159),
        ),
        ("4 subjects, 50 features, 30 units", Design(n_subjects=4, n_units=30, rank=50), (60,)),
    ):
        columns = {f"{n} images": (FEW, replace(design, n_images=n)) for n in sizes}
        yield f"\n{label}:\n"
        yield from of_metrics(tuple(PATTERN_METRICS), columns, scale, refused=True)


def ladder(scale: float) -> Iterator[str]:
    for subjects in (1, 8):
        for slope in (0.0, 0.3):
            columns = {
                f"{n} images": (
                    FEW,
                    Design(n_subjects=subjects, n_images=n, n_units=10, rank=50, slope=slope),
                )
                for n in (30, 60, 159, 515)
            }
            yield f"\n{_subjects(subjects)}, slope {-slope if slope else 0:g}:\n"
            yield from of_metrics(LADDER, columns, scale, pairs=("equal", "alike"))


def _subjects(n: int) -> str:
    return f"{n} subject{'s' if n > 1 else ''}"


def oracle(scale: float) -> Iterator[str]:
    """How often the oracle's interval holds 1, and its mean value: one subject, from what goes to JSON."""
    sizes = (20, 60, 159, 515)
    yield from _heads("", [f"{n} images" for n in sizes])
    for label, design in {
        "10 units": Design(n_units=10),
        "100 units": Design(n_units=100),
        "100 units, low ceilings": Design(n_units=100, ceiling=LOW),
        "10 units, 1 to 3 repeats": Design(n_units=10, repeats=(1, 2, 3)),
    }.items():
        cells = []
        for n in sizes:
            given = [
                row["anchors"]["oracle"]
                for sets in batches(replace(design, n_images=n), round(FEW * scale), ["A"], 0)
                for row in score_subject(
                    sets.submissions["A"][0], sets.truths[0], ScoreOptions(n_draws=0)
                ).to_json()["tiers"]["test"]["rois"]
                if row["atlas"] == ATLAS
            ]
            holds = np.array(
                [low <= 1 <= high for low, high in (one["interval"] for one in given if one["interval"])]
            )
            mean = np.mean([one["value"] for one in given])
            cells.append(f"{_judged(100.0 * holds, COVERAGE)} ({mean:.3f})")
        yield _row(label, cells)
        print(label, flush=True)
    yield _row("each", [standard_error(round(FEW * scale))] * len(sizes))


def regions(scale: float) -> Iterator[str]:
    """Realised false discovery rate, and what is found, with and without control."""
    n_regions, n_data_sets = 20, max(10, round(FEW * scale))
    yield from _heads(
        "",
        [
            "false among found",
            "found of the better",
            "any false",
            "without control: false among found",
            "any false",
        ],
    )
    for label, design in {
        "independent": Design(n_images=100, n_units=10 * n_regions, gain=0.15),
        "50 features": Design(n_images=100, n_units=10 * n_regions, gain=0.15, rank=50),
        "5 features": Design(n_images=100, n_units=10 * n_regions, gain=0.15, rank=5),
        "8 subjects, 5 features": Design(8, n_images=100, n_units=10 * n_regions, gain=0.1, rank=5),
    }.items():
        for n_better in (0, n_regions // 2):
            found = [_discoveries(design, n_regions, n_better, number) for number in range(n_data_sets)]
            cells = []
            for column in range(2):
                false, true = np.array(found)[:, column].T
                cells += [_rate(false / np.maximum(false + true, 1))]
                if not column:
                    cells += [_rate(true / n_better) if n_better else ""]
                cells += [_rate(false > 0)]
            yield _row(f"{label}, {n_better} of {n_regions} regions better", cells)
        print(label, flush=True)


def _discoveries(design: Design, n_regions: int, n_better: int, seed: int) -> list[tuple[int, int]]:
    """Count regions falsely and rightly called different by the adjusted p, and by p."""
    sets = data_sets(design, 1, [seed], ["A", "B", "better"])
    labels = np.repeat(np.arange(1, n_regions + 1), design.n_units // n_regions).astype(np.int16)
    names = {number: str(number) for number in range(1, n_regions + 1)}
    truths = [replace(truth, rois={ATLAS: labels}, roi_names={ATLAS: names}) for truth in sets.truths]
    mixed = [
        replace(two, predictions=np.where(labels <= n_better, two.predictions, one.predictions))
        for one, two in zip(sets.submissions["B"], sets.submissions["better"], strict=True)
    ]
    options = ScoreOptions(n_draws=0)
    first, second = (
        [score_subject(*given, options) for given in zip(of, truths, strict=True)]
        for of in (mixed, sets.submissions["A"])
    )
    rows = [
        row
        for row in compare_scores(first, second, options).to_json()["pooled"]["test"]
        if row["atlas"] == ATLAS
    ]
    better = np.array([int(row["roi"]) <= n_better for row in rows])
    counts = []
    for name in ("p_adjusted", "p"):
        called = np.array([row["differences"]["signed_ratio"][name] <= 0.05 for row in rows])
        counts.append((int((called & ~better).sum()), int((called & better).sum())))
    return counts


def _rate(hits: Array) -> str:
    return f"{100 * hits.mean():.1f} ± {100 * hits.std() / np.sqrt(len(hits)):.1f}"


def bias(scale: float) -> Iterator[str]:
    yield from _heads("", ["0.5, raw", "0.5, corrected", "1, raw", "1, corrected", "data sets"])
    for n in (10, 20, 30, 60, 100, 159, 515, 1000):
        n_data_sets = max(10, round((MANY if n < 500 else FEW) * scale))
        cells = []
        for true in (0.5, 1.0):
            design = Design(n_images=n, n_units=100, true=true, ceiling=(0.02, 0.5))
            found = outcomes(design, n_data_sets, pairs=())["signed_ratio"]
            cells += [_mean(found.value), _mean(found.centre)]
        yield _row(f"{n} images", [*cells, f"{n_data_sets:,}"])
        print(n, flush=True)


def _mean(values: Array) -> str:
    return f"{values.mean():.4f} ± {values.std() / np.sqrt(len(values)):.4f}"


PARTS: dict[str, Callable[[float], Iterator[str]]] = {
    "one": one,
    "units": units,
    "pooled": pooled,
    "sharing": sharing,
    "new": new_subjects,
    "metrics": metrics,
    "patterns": patterns,
    "ladder": ladder,
    "oracle": oracle,
    "regions": regions,
    "bias": bias,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of data sets")
    parser.add_argument("--out", type=Path, default=PAGE)
    given = parser.parse_args()
    for name in given.part or PARTS:
        start = time.process_time()
        lines = list(PARTS[name](given.scale))
        minutes = (time.process_time() - start) / 60
        write_section(given.out, name, [*lines, "", f"({minutes:.1f} minutes of one core)"])
        print(f"{name}: {minutes:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
