"""NSD-Imagery in the cache layout of a project of its own (not NSD's), with a stated gain of imagery."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from exporters.simulate.files import write_nifti, write_text
from nsd_bench.outputs import new_outputs, write_npz

__all__ = ["simulate_imagery_cache"]

_REPEATS: Final = {"perception": 2, "imagery": 4}


def simulate_imagery_cache(
    out: Path,
    *,
    subjects: Sequence[int] = (1, 2),
    n_sessions: int = 2,
    n_images: int = 6,
    shape: tuple[int, int, int] = (5, 6, 4),
    gain: float = 0.5,
    noise: float = 0.3,
    seed: int = 0,
) -> None:
    """Write a cache that `nsd-bench imagery index` reads, and the answer to `<out>.answer`.

    Every image is seen twice and imagined four times a session; a beta is the image's signal (times `gain`
    where it is imagined) plus noise.

    Parameters
    ----------
    out
        A folder that does not exist yet; appears whole or not at all.
    n_images
        Images, the same for every subject; their nsd_ids are drawn.
    shape
        X, Y, Z.
    gain
        Size of the imagined signal, the seen one being 1.
    noise
        Standard deviation over that of the seen signal.

    Raises
    ------
    OutputError
        If `out` exists, or the disk is full.
    """
    answer = f"{out.name}.answer"
    with new_outputs(out.parent, [answer, out.name]) as staging:
        root, rng = staging / out.name, np.random.default_rng([seed, 106])
        nsd_ids = np.sort(rng.choice(73_000, n_images, replace=False))
        coco_ids = np.sort(rng.choice(581_929, n_images, replace=False)) + 1
        _write_stimuli(root / "nsd_imagery/stimuli", nsd_ids.tolist(), coco_ids.tolist())
        names = [f"subj{subject:02}" for subject in subjects]
        sessions = json.dumps({name: list(range(1, n_sessions + 1)) for name in names}, indent=1)
        write_text(root / "nsd_imagery/metadata/subject_sessions.json", sessions)
        for name in names:
            signal = rng.standard_normal((n_images, int(np.prod(shape))))
            manifests = []
            for session in range(1, n_sessions + 1):
                trials = _session(nsd_ids.tolist(), session, rng)
                size = np.where(trials["condition"] == "imagery", gain, 1.0)[:, None]
                betas = size * signal[np.searchsorted(nsd_ids, trials["nsd_id"])]
                betas += noise * rng.standard_normal(betas.shape)
                file = f"nsd_imagery/betas/{name}/imagery_betas_session{session:02}.nii.gz"
                write_nifti(root / file, betas.T.astype(np.float32), shape, tr_s=1)
                manifests.append(trials)
            _write_manifest(root / f"nsd_imagery/metadata/trial_manifest_{name}.csv", manifests)
            truth = {"nsd_ids": nsd_ids, "signals": signal, "gain": np.array(gain)}
            write_npz(staging / answer / f"{name}.imagery.npz", truth)


def _write_manifest(path: Path, sessions: Sequence[pd.DataFrame]) -> None:
    table = pd.concat(sessions, ignore_index=True)
    table.insert(0, "trial_id", np.arange(len(table)))
    write_text(path, table.to_csv(index=False))


def _session(nsd_ids: Sequence[int], session: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw a session's trials: a run of perception, then a run of imagery."""
    runs = []
    for run, (condition, repeats) in enumerate(_REPEATS.items(), start=1):
        shown = rng.permutation(np.repeat(nsd_ids, repeats))
        runs.append(pd.DataFrame({"condition": condition, "run_number": run, "nsd_id": shown}))
    table = pd.concat(runs, ignore_index=True)
    table.insert(0, "trial_in_session", np.arange(len(table)))
    table.insert(0, "session", session)
    return table


def _write_stimuli(folder: Path, nsd_ids: Sequence[int], coco_ids: Sequence[int]) -> None:
    table = pd.DataFrame({"nsd_id": nsd_ids, "coco_id": coco_ids, "stimulus_type": "complex"})
    write_text(folder / "imagery_stimuli_info.csv", table.to_csv(index=False))
    write_text(folder / "presented_image_ids.txt", "".join(f"{number}\n" for number in nsd_ids))
