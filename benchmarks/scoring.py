"""How long one subject's score takes: ours, plain numpy one draw at a time, and one pass over the data.

Run by hand or by `make bench`. The plain loop is timed on a few draws of the headline alone and scaled up.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np

from nsd_bench.scoring import Options, score
from nsd_bench.submission import Submission
from nsd_bench.truth import Truth

N_REPEATS = 3
NAIVE_DRAWS = 3


def subject(n_images: int, n_units: int) -> tuple[Submission, Truth]:
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
    return Submission(truth.trial_idx, truth.unit_ids, predictions, {"package": truth.package}), truth


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def naive_draws(submission: Submission, truth: Truth) -> None:
    """Resample the image means and correlate them again, as one would write it first."""
    rng = np.random.default_rng(0)
    y, p = (
        values.reshape(-1, N_REPEATS, values.shape[1]).mean(axis=1, dtype=np.float64)
        for values in (truth.responses, submission.predictions)
    )
    for _ in range(NAIVE_DRAWS):
        drawn = rng.integers(0, len(y), len(y))
        zy, zp = ((v[drawn] - v[drawn].mean(axis=0)) / v[drawn].std(axis=0) for v in (y, p))
        (zy * zp).mean(axis=0).sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--units", type=int, default=15_724)
    parser.add_argument("--draws", type=int, default=1000)
    given = parser.parse_args()
    submission, truth = subject(given.images, given.units)
    once = seconds(lambda: (truth.responses.sum(), submission.predictions.sum()))
    ours = seconds(lambda: score(submission, truth, Options(n_draws=given.draws)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    naive = seconds(lambda: naive_draws(submission, truth)) / NAIVE_DRAWS * given.draws
    print(
        f"{given.images} images x {N_REPEATS} repeats x {given.units} units, {given.draws} draws, 50 regions"
    )
    print(f"  ours: 5 metrics, draws, null, oracle   {ours:9.1f} s, peak {peak:.2f} GiB with the inputs")
    print(f"  numpy loop, headline draws only        {naive:9.1f} s (scaled), {naive / ours:.1f} x ours")
    print(f"  one pass over the data                 {once:9.2f} s, ours is {ours / once:.0f} x")


if __name__ == "__main__":
    main()
