"""Small NSD-Imagery trees: the release with betas that encode their row, and one folder per subject."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from exporters.simulate.formats import write_nifti, write_text
from exporters.simulate.imagery import write_imagery_design

SHAPE = (5, 6, 4)
BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/nsdimagerybetas_fithrf_GLMdenoise_RR/betas_nsdimagery.nii.gz"
BEHAVIOUR = "nsddata/bdata/nsdimagery/nsdimagery_subj01_{}.tsv"
DESIGN = "nsddata/experiments/nsdimagery/designmatrixGLMsingle.mat"
STIM_INFO = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
CUES = "HRVLPEWKBCDTSZMYNF"


def codes(runs: dict[str, pd.DataFrame]) -> np.ndarray:
    """Return what each of the 720 betas says of itself: 100 * task (1 seen, 2 imagined, 3, 4) + stimulus."""
    values = []
    for run, table in runs.items():
        stimulus = 6 * "ABC".index(run[3]) + table["number"].to_numpy()
        tasks = {"vis": [1], "img": [2], "att": [3, 4]}[run[:3]]
        values.append((100 * np.array(tasks) + stimulus[:, None]).ravel())
    return np.concatenate(values)


def make_release(root: Path) -> dict[str, pd.DataFrame]:
    """Write the release's files of subject 1; voxel v of beta k holds 300 * (its code + v / 100)."""
    _, runs = write_imagery_design(root, [1], 0)
    voxels = np.arange(np.prod(SHAPE))
    betas = 30 * codes(runs) + (voxels[:, None] % 7)
    write_nifti(root / BETAS, betas.astype(np.int16), SHAPE, tr_s=1)
    write_stim_info(root / STIM_INFO)
    return runs


def write_stim_info(path: Path) -> None:
    """Write 73,000 images; the coco_id of image i is i + 7."""
    number = np.arange(73_000)
    flags = {name: np.zeros(73_000, dtype=bool) for name in ("shared1000", "flagged", "BOLD5000")}
    table = pd.DataFrame({"cocoId": number + 7, "cocoSplit": "train2017", "nsdId": number, **flags})
    write_text(path, table.to_csv())


def make_folders(root: Path) -> None:
    """Write 20 trials of subject 2: a metadata.json, and one file per trial below run folders."""
    trials = []
    for number in range(20):
        kind = ("perception", "imagery")[number % 2]
        name = f"t{number:03}"
        folder = root / "subj02" / kind / f"run_{1 + number // 10:02}"
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", np.arange(24.0).reshape(2, 3, 4) + number)
        trials.append({"trial_id": name, "nsd_id": 40 + number // 4, "caption": f"a picture of {number}"})
    (root / "subj02/metadata.json").write_text(json.dumps({"trials": trials}))
