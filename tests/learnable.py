"""A package whose first unit follows the contrast of horizontal stripes, and the others nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import packages as tiny

from nsd_bench.package import spec

N_TRAIN, N_VALIDATION, N_TEST = 40, 10, 10
"""Images of each tier; every one was shown twice."""
_N_IMAGES, _K, _PIXELS = N_TRAIN + N_VALIDATION + N_TEST, 2, 16


def learnable_package(parent: Path, kind: str = "open", where: slice = slice(None), subject: int = 2) -> Path:
    """Write it below `parent`/`kind`: 16 x 16 grey pixels; columns other than `where` have other stripes."""
    folder = tiny.make_package(parent / kind, kind, f"tiny-subj{subject:02}")
    rng = np.random.default_rng(subject - 2)
    strength = rng.uniform(0, 1, _N_IMAGES)
    tiers = np.repeat(["train"] * N_TRAIN + ["validation"] * N_VALIDATION + ["test"] * N_TEST, _K)
    rows = np.arange(_N_IMAGES * _K)
    stripes = np.sign(np.sin(np.arange(_PIXELS) * np.pi / 4 + 0.4))[:, None] * np.ones(_PIXELS)
    other = np.random.default_rng(99).uniform(0, 1, _N_IMAGES)
    for row in rows:
        contrast = np.full(_PIXELS, other[row // _K])
        contrast[where] = strength[row // _K]
        image = 127 + 100 * contrast * stripes + rng.normal(0, 8, stripes.shape)
        file = folder / spec.data_file("images", row)
        file.unlink(missing_ok=True)  # repeats of an image are links to one file
        np.save(file, image.clip(0, 255)[None].astype(np.uint8))
        response = rng.normal(0, [0.1, 1, 1, 1, 1]) + strength[row // _K] * np.array([2, 0, 0, 0, 0])
        hidden = kind != "open" and tiers[row] == "test"
        np.save(folder / spec.data_file("responses", row), (response * (not hidden)).astype(np.float32))
    trial_idx = rows if kind == "open" else np.array([f"{row:032x}" for row in rows])
    for name, values in {
        "tiers": tiers,
        "trial_idx": trial_idx,
        "frame_image_id": rows // _K,
        "frame_image_class": np.full(len(rows), "none"),
        **({"nsd_id": rows // _K, "session": rows // 60} if kind == "open" else {}),
    }.items():
        np.save(folder / spec.trials_file(name), values)
    np.save(folder / spec.neurons_file("animal_ids"), np.full(5, subject))
    return folder
