"""A tiny package made by hand: 12 trials, 5 units, 3 x 4 x 6 images."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from nsd_bench.package import spec
from nsd_bench.package.statistics import column_statistics, pixel_statistics
from nsd_bench.package.write import PackageWriter, new_package

TIERS = np.array(["train"] * 6 + ["validation"] * 2 + ["test"] * 4)
IMAGE_OF_TRIAL = np.array([10, 10, 11, 12, 13, 14, 20, 20, 30, 31, 30, 31])
N_TRIALS, N_UNITS = 12, 5
RNG = np.random.default_rng(1)
IMAGES = RNG.integers(0, 256, (32, 3, 4, 6), dtype=np.uint8)[IMAGE_OF_TRIAL]
RESPONSES = RNG.normal(1.0, [1.0, 2.0, 0.5, 3.0, 1.0], (N_TRIALS, N_UNITS)).astype(np.float32)
BEHAVIOR = RNG.normal(600, 90, (N_TRIALS, 2)).astype(np.float32)
UNIT_IDS = np.array([3, 8, 9, 40, 77])
TRAIN = np.flatnonzero(TIERS == "train")


def make_package(parent: Path, kind: str = "open", name: str = "tiny-subj02") -> Path:
    """Write the package as a folder and a zip; return the folder."""
    withheld = (TIERS == "test") & (kind != "open")
    with new_package(parent, name) as writer:
        for row in range(N_TRIALS):
            writer.add_array(spec.data_file("images", row), IMAGES[row])
            writer.add_array(spec.data_file("responses", row), np.where(withheld[row], 0, RESPONSES[row]))
            writer.add_array(spec.data_file("behavior", row), BEHAVIOR[row] * np.float32(kind != "track1"))
        _add_tables(writer, kind)
        writer.finish(
            {
                "format": "nsd_bench.package/1",
                "name": name,
                "title": "Tiny",
                "subject": 2,
                "kind": kind,
                "n_trials": {"train": 6, "validation": 2, "test": 4},
                "n_units": N_UNITS,
                "units_dropped": {"no data in at least one session": [4, 50]},
                "withheld_tiers": ["test"] * (kind != "open"),
                "commitments": {"test": "0" * 64} if kind != "open" else {},
                "sessions": [1, 2],
                "recipe": {"values": {"responses": {"version": "b", "space": "s", "scale": "percent"}}},
                "tiers": {"title": "By hand", "name": "hand"},
                "exporter": {"version": "0", "source_sha256": "0" * 64},
                "citation": "Allen et al. 2022",
                **({} if kind == "open" else {"sealing": {"file_order": "key"}}),
            }
        )
    return parent / name


def _add_tables(writer: PackageWriter, kind: str) -> None:
    trial_idx = np.arange(N_TRIALS) * 10
    if kind != "open":
        trial_idx = np.array([hashlib.sha256(b"key %d" % number).hexdigest()[:32] for number in trial_idx])
    trials = {
        "tiers": TIERS,
        "trial_idx": trial_idx,
        "frame_image_id": IMAGE_OF_TRIAL
        if kind == "open"
        else np.unique(IMAGE_OF_TRIAL, return_inverse=True)[1],
        "frame_image_class": np.full(N_TRIALS, "none"),
    }
    if kind == "open":
        trials |= {"nsd_id": IMAGE_OF_TRIAL, "session": np.repeat([1, 2], 6)}
    zeros = np.zeros(N_UNITS, dtype=np.int64)
    units = {
        "unit_ids": UNIT_IDS,
        "animal_ids": zeros + 2,
        "sessions": zeros + 1,
        "scan_idx": zeros,
        "area": np.array(["V1", "V1", "V2", "none", "none"]),
        "layer": np.array(["lh", "lh", "rh", "rh", "rh"]),
        "cell_motor_coordinates": np.arange(15, dtype=np.float32).reshape(5, 3),
        "ncsnr": np.array([0.1, 0.5, 1.0, np.nan, 0.0], dtype=np.float32),
        "roi_visual": np.array([1, 1, 2, 0, -1], dtype=np.int16),
    }
    for column, values in trials.items():
        writer.add_array(spec.trials_file(column), values)
    for column, values in units.items():
        writer.add_array(spec.neurons_file(column), values)
    behavior = BEHAVIOR * np.float32(kind != "track1")
    statistics = {
        "images": pixel_statistics(np.bincount(IMAGES[TRAIN].ravel(), minlength=256)),
        "responses": column_statistics(RESPONSES, TRAIN),
        "behavior": column_statistics(behavior, TRAIN),
    }
    for key, by_name in statistics.items():
        for group in spec.STATISTICS_GROUPS:
            for statistic, values in by_name.items():
                writer.add_array(spec.statistics_file(key, group, statistic), values)
    writer.add_json(spec.ROI_NAMES, {"visual": {1: "V1", 2: "V2"}})
    writer.add_json(spec.BEHAVIOR_NAMES, ["RT", "ISCORRECT"])
    writer.add_json(spec.FIT_ON, {"tier": "train", "trial_idx": trial_idx[TRAIN].tolist()})
