"""A tiny package made by hand: 12 trials, 5 units, 3 x 4 x 6 images."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from nsd_bench.package.write import Contents, new_package, write_contents

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
    images, image = np.unique(IMAGES, axis=0, return_inverse=True)
    contents = Contents(
        trials=_trial_table(kind),
        units=_unit_table(),
        roi_names={"visual": {1: "V1", 2: "V2"}},
        responses=RESPONSES,
        rows=np.arange(N_TRIALS),
        withheld=(TIERS == "test") & (kind != "open"),
        images=images,
        image=image,
        behavior=BEHAVIOR * np.float32(kind != "track1"),
        behavior_names=["RT", "ISCORRECT"],
    )
    with new_package(parent, name) as writer:
        write_contents(writer, contents)
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


def _trial_table(kind: str) -> dict[str, np.ndarray]:
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
    return trials


def _unit_table() -> dict[str, np.ndarray]:
    zeros = np.zeros(N_UNITS, dtype=np.int64)
    return {
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
