"""Time `tiers apply` and `tiers audit` on a package with as many trials and images as NSD's largest.

    python benchmarks/measure_tiers.py [--out FOLDER] [--units 200] [--side 224]

Writes about 1.6 GB below FOLDER and removes it again.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from near_duplicates import dead_leaves

from nsd_bench.package import spec
from nsd_bench.package.keys import file_order
from nsd_bench.package.statistics import column_statistics
from nsd_bench.package.write import PackageWriter, new_package
from tiers import load_tier_file, parse_tier_file
from tiers.audit.audit import audit
from tiers.rewrite import rebuild as rebuilding
from tiers.rewrite.apply import apply_tiers
from tiers.rewrite.held import Held

N_IMAGES, N_SHARED, N_SESSIONS = 10_000, 1_000, 40
STOPWATCH = {"statistics": 0.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="Where to work; by default where temporary files go.")
    parser.add_argument("--units", type=int, default=200)
    parser.add_argument("--side", type=int, default=224)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(dir=options.out))
    try:
        path = make_package(work, options.units, options.side)
        measure_apply(path)
        measure_audit(path)
    finally:
        shutil.rmtree(work)


def make_package(parent: Path, n_units: int, side: int) -> Path:
    rng = np.random.default_rng(0)
    trial = np.arange(750 * N_SESSIONS)
    image = rng.permutation(np.repeat(np.arange(N_IMAGES), 3))
    order = file_order(trial, 1, 0)
    image, shared = image[order], image[order] < N_SHARED
    tiers = np.where(shared, "test", "train")
    columns = {
        "tiers": tiers,
        "trial_idx": trial[order],
        "frame_image_id": image,
        "frame_image_class": np.full(len(trial), "none"),
        "session": trial[order] // 750 + 1,
        "nsd_id": image,
        "shared1000": shared,
    }
    with new_package(parent, "large-subj01", ("folder",)) as writer:
        write_images(writer, image, side, rng)
        responses = rng.normal(size=(len(trial), n_units)).astype(np.float32)
        for row, response in enumerate(responses):
            writer.add_array(spec.data_file("responses", row), response)
            writer.add_array(spec.data_file("behavior", row), response[:3])
        for column, values in columns.items():
            writer.add_array(spec.trials_file(column), values)
        for column in ("unit_ids", "animal_ids", "sessions", "scan_idx"):
            writer.add_array(spec.neurons_file(column), np.ones(n_units, dtype=np.int64))
        train = np.flatnonzero(tiers == "train")
        for key, n_columns in (("responses", n_units), ("behavior", 3)):
            for statistic, values in column_statistics(responses[:, :n_columns], train).items():
                writer.add_array(spec.statistics_file(key, "all", statistic), values)
        writer.add_json(spec.FIT_ON, {"tier": "train", "trial_idx": trial[order][train].tolist()})
        recipe = {"seed": 0, "responses": {"scale": "percent"}, "units": {}}
        manifest = {"name": "large-subj01", "kind": "open", "tiers": {}, "recipe": {"values": recipe}}
        writer.finish(manifest)
    return parent / "large-subj01"


def write_images(writer: PackageWriter, image: np.ndarray, side: int, rng: np.random.Generator) -> None:
    known: dict[int, np.ndarray] = {}
    for row, number in enumerate(image.tolist()):
        if number not in known:
            known[number] = np.asarray(dead_leaves(rng, side)).transpose(2, 0, 1)
        writer.add_image(row, number, known[number])


def measure_apply(path: Path) -> None:
    rebuilding._Rebuilt._write_fitted = timed(rebuilding._Rebuilt._write_fitted)
    Held.fill_responses = timed(Held.fill_responses)
    sensorium = load_tier_file("sensorium")
    mirrored = sensorium.text.replace('"final_test"', '"x"').replace('"test"', '"final_test"')
    for what, tier_file in (
        ("other training trials, sensorium", sensorium),
        ("same training trials", parse_tier_file(mirrored.replace('"x"', '"test"'), "mirrored")),
        ("training trials as before, shared1000", load_tier_file("shared1000")),
    ):
        STOPWATCH["statistics"] = 0.0
        start, start_cpu = time.perf_counter(), time.process_time()
        apply_tiers(path, tier_file)
        total, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        rest = total - STOPWATCH["statistics"]
        print(f"apply, {what}: {total:.2f} s ({cpu:.2f} s CPU), {rest:.2f} s without statistics")


def timed(function):
    def wrapper(*args):
        start = time.perf_counter()
        try:
            return function(*args)
        finally:
            STOPWATCH["statistics"] += time.perf_counter() - start

    return wrapper


def measure_audit(path: Path) -> None:
    start, start_cpu = time.perf_counter(), time.process_time()
    found = audit(path)
    total, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"audit, {N_IMAGES - N_SHARED} x {N_SHARED} images: {total:.1f} s ({cpu:.1f} s CPU), {peak:.2f} GB")
    print(f"{len(found.issues)} issues; distances {found.checks['distances']['quantiles']}")


if __name__ == "__main__":
    main()
