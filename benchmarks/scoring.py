"""Measure the scorer on one subject: 1,000 images x 3 repeats x 15,724 units.

    python benchmarks/scoring.py [--images 1000] [--units 15724] [--draws 1000] [--peer-units 500]

Each line is measured in a process of its own, three times; medians. "evaluate" reads Sensorium's tables as
its kit does, with ast.literal_eval, and takes the metric functions from neuralpredictors; it is measured on
few units and scaled up with their number.
"""

from __future__ import annotations

import argparse
import ast
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from nsd_bench.loaders.compatibility import neuralpredictors_module
from nsd_bench.package.submission import Submission, write_csv
from nsd_bench.package.truth import Truth
from nsd_bench.scoring import ScoreOptions, score_subject

N_REPEATS = 3
NAIVE_DRAWS = 3


def make(folder: Path, n_images: int, n_units: int, peer_units: int) -> None:
    """Write a submission and a truth, and the first units of both as Sensorium's tables."""
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(n_images), N_REPEATS)
    names = {atlas: {label: f"area{label}" for label in range(1, 8)} for atlas in "abcdefg"}
    truth = Truth(
        package="simulated-subj01",
        subject=1,
        manifest_sha256="",
        trial_idx=np.arange(len(image)),
        frame_image_id=image,
        tier=np.full(len(image), "test"),
        responses=rng.standard_normal((len(image), n_units), dtype=np.float32),
        unit_ids=np.arange(n_units),
        ncsnr=rng.uniform(0.1, 1, n_units).astype(np.float32),
        response_mean=np.zeros(n_units, dtype=np.float32),
        response_std=np.ones(n_units, dtype=np.float32),
        rois={atlas: rng.integers(0, 8, n_units).astype(np.int16) for atlas in names},
        roi_names=names,
    )
    predictions = rng.standard_normal((n_images, n_units), dtype=np.float32)[image]
    submission = Submission(truth.trial_idx, truth.unit_ids, predictions, {"package": truth.package})
    submission.write(folder / "one.submission.npz")
    truth.write(folder / "one.truth.npz")
    few = slice(0, peer_units)
    for name, values in (("submission", predictions), ("truth", truth.responses)):
        table = replace(submission, unit_ids=truth.unit_ids[few], predictions=values[:, few])
        write_csv(table, folder / f"{name}.csv", image)


def files(folder: Path) -> tuple[Submission, Truth]:
    return Submission.read(folder / "one.submission.npz"), Truth.read(folder / "one.truth.npz")


def arrays(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    submission, truth = files(folder)
    return truth.responses, submission.predictions, truth.frame_image_id


def sensoriums_metrics(responses: np.ndarray, predictions: np.ndarray, image: np.ndarray) -> None:
    """Its three scores, as sensorium/utility/metrics.py calls them."""
    theirs = neuralpredictors_module("measures.np_functions")
    groups = [np.flatnonzero(image == one) for one in np.unique(image)]
    theirs.corr(responses, predictions, axis=0)
    means = [np.stack([values[rows].mean(axis=0) for rows in groups]) for values in (responses, predictions)]
    theirs.corr(*means, axis=0)
    theirs.fev(
        [responses[rows] for rows in groups], [predictions[rows] for rows in groups], return_exp_var=True
    )


def evaluate(folder: Path) -> None:
    """As sensorium/utility/eval.py reads."""
    lists = {"prediction": ast.literal_eval, "neuron_ids": ast.literal_eval}
    tables = [pd.read_csv(folder / f"{name}.csv", converters=lists) for name in ("truth", "submission")]
    responses, predictions = (np.array(table["prediction"].to_list()) for table in tables)
    sensoriums_metrics(responses, predictions, tables[0]["image_ids"].to_numpy())


def naive_draws(responses: np.ndarray, predictions: np.ndarray, image: np.ndarray) -> None:
    """Resample the image means and correlate them again, as one would write it first."""
    rng = np.random.default_rng(0)
    y, p = (
        values.reshape(-1, N_REPEATS, values.shape[1]).mean(axis=1, dtype=np.float64)
        for values in (responses, predictions)
    )
    for _ in range(NAIVE_DRAWS):
        drawn = rng.integers(0, len(y), len(y))
        zy, zp = ((v[drawn] - v[drawn].mean(axis=0)) / v[drawn].std(axis=0) for v in (y, p))
        (zy * zp).mean(axis=0).sum()


def measure(folder: Path, way: str, n_draws: int) -> None:
    """Print the seconds of one way, its CPU seconds, and the peak of its process, as JSON."""
    work: Callable[[], object]
    if way in {"metrics64", "metrics32", "loop"}:
        held = arrays(folder)
        if way == "metrics64":
            held = (held[0].astype(np.float64), held[1].astype(np.float64), held[2])
        work = (lambda: naive_draws(*held)) if way == "loop" else (lambda: sensoriums_metrics(*held))
    elif way == "memory":
        read = files(folder)
        work = lambda: score_subject(*read, ScoreOptions(0))  # noqa: E731  # as the others
    else:
        work = {
            "ours": lambda: score_subject(*files(folder), ScoreOptions(0)),
            "draws": lambda: score_subject(*files(folder), ScoreOptions(n_draws)),
            "evaluate": lambda: evaluate(folder),
            "limit": lambda: [part.sum() for part in arrays(folder)[:2]],
        }[way]
    start = time.perf_counter(), time.process_time()
    work()
    took = time.perf_counter() - start[0], time.process_time() - start[1]
    print(json.dumps([*took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))


def main() -> None:
    """Measure every way and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--units", type=int, default=15_724)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--peer-units", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(Path(given.measure[0]), given.measure[1], given.draws)
        return
    scale = {"evaluate": given.units / given.peer_units, "loop": given.draws / NAIVE_DRAWS}
    titles = {
        "ours": "ours: files to every metric and interval",
        "memory": "ours: the same, from arrays in memory",
        "draws": f"ours: the same and the null of {given.draws} permutations",
        "limit": "limit: read both files, one pass over each",
        "evaluate": "Sensorium's evaluate of tables (scaled)",
        "metrics64": "Sensorium's metrics, float64 arrays in memory",
        "metrics32": "Sensorium's metrics, float32 arrays in memory",
        "loop": "numpy loop over draws, headline alone (scaled)",
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make(folder, given.images, given.units, given.peer_units)
        found = {}
        for way in titles:
            command = [sys.executable, __file__, "--measure", str(folder), way, "--draws", str(given.draws)]
            runs = [
                json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                for _ in range(given.repeats)
            ]
            seconds, cpu, peak = (statistics.median(run[i] for run in runs) for i in range(3))
            seconds, found[way] = seconds * scale.get(way, 1), cpu * scale.get(way, 1)
            shown = "" if way in scale else f"{peak:8.2f} GiB"
            shown = f"{seconds:9.2f} s {found[way]:9.2f} CPU s {found[way] / found['ours']:8.1f} x{shown}"
            print(f"{titles[way]:52}{shown}", flush=True)


if __name__ == "__main__":
    main()
