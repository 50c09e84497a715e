"""The starting kit: submissions in the form that is asked for, made of nothing but ids."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nsd_bench import spec
from nsd_bench.package import Package
from nsd_bench.submission import SUBMISSION_SUFFIX, Submission

__all__ = ["write_examples"]


def write_examples(package: Package, tiers: Sequence[str], folder: Path) -> list[Path]:
    """Write mean_submission/ and random_submission/ of a package; return the files.

    Parameters
    ----------
    package
        Its ids of trials, images and units are used, no response and no image.
    tiers
        Which trials are predicted.
    folder
        Where both folders go.
    """
    rows = np.flatnonzero(np.isin(package.tiers, list(tiers)))
    trial_idx = package.array(spec.trials_file("trial_idx"))[rows]
    _, image = np.unique(package.array(spec.trials_file("frame_image_id"))[rows], return_inverse=True)
    seed = int.from_bytes(hashlib.sha256(package.name.encode()).digest()[:8])
    random = np.random.Generator(np.random.Philox(seed)).normal(size=image.max(initial=0) + 1)
    written = []
    for model, values in (("mean", np.zeros(len(rows))), ("random", random[image])):
        predictions = np.repeat(values[:, None].astype(np.float16), package.n_units, axis=1)
        card = {"package": package.name, "manifest_sha256": package.manifest_sha256, "model": model}
        path = folder / f"{model}_submission" / f"{package.name}{SUBMISSION_SUFFIX}"
        unit_ids = package.array(spec.neurons_file("unit_ids"))
        Submission(trial_idx, unit_ids, predictions, card).write(path)
        written.append(path)
    return written
