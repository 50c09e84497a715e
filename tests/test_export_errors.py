"""Exports that cannot be: a clear error, and nothing left."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from exports import BETAS, DATA, export, fails, replace

from exporters.packages import responses
from nsd_bench.errors import OutputError, RecipeError, SourceError


def test_missing_session(nsd_copy, tmp_path):
    (nsd_copy / BETAS / "betas_session02.nii.gz").unlink()
    assert fails(nsd_copy, tmp_path / "out", SourceError) == (
        f"subj01, session 2: no file NSD/{BETAS}/betas_session02.nii.gz.\n"
        "  Expected: NSD's files below NSD, as in its public bucket.\n"
        "  What to do: fetch it: aws s3 cp --no-sign-request "
        f"s3://natural-scenes-dataset/{BETAS}/betas_session02.nii.gz NSD/{BETAS}/betas_session02.nii.gz."
    )


def test_no_nsd_at_all(tmp_path):
    text = fails(tmp_path / "nowhere", tmp_path / "out", SourceError)
    assert text.startswith("subj01: no file NSD/nsddata/experiments/nsd/nsd_expdesign.mat (6 of 6 files are")


def test_truncated_session(nsd_copy, tmp_path):
    path = nsd_copy / BETAS / "betas_session02.nii.gz"
    replace(path, path.read_bytes()[:-20_000])
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert text.startswith(f"NSD/{BETAS}/betas_session02.nii.gz: cannot be read whole (")
    assert text.endswith("  What to do: fetch it again and compare its size with the bucket's.")


def test_session_without_data(nsd_copy, tmp_path):
    path = nsd_copy / BETAS / "betas_session02.nii.gz"
    image = nib.load(path)
    path.unlink()
    nib.Nifti1Image(np.zeros(image.shape, np.int16), image.affine).to_filename(path)
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert text.startswith(f"session 2, NSD/{BETAS}/betas_session02.nii.gz: none of ")


@pytest.mark.parametrize("still", [7, -101])
def test_a_unit_that_never_varies_has_no_z_score(nsd_copy, tmp_path, opened, still):
    """Rounding would leave it a standard deviation of 1e-16, and z-scores of any size."""
    path = nsd_copy / BETAS / "betas_session02.nii.gz"
    image = nib.load(path)
    betas = np.asanyarray(image.dataobj).copy()
    betas[np.unravel_index(opened.units["unit_ids"][3], image.shape[:3])] = still
    path.unlink()
    nib.Nifti1Image(betas, image.affine).to_filename(path)
    assert fails(nsd_copy, tmp_path / "out", RecipeError, scale="session_zscore") == (
        "demo-subj01, session 2: 1 units do not vary over the training trials.\n"
        "  Expected: betas that vary, to fit the z-score on.\n"
        "  What to do: set scale = 'percent', leave the session out, or choose other tiers."
    )


def test_units_without_data_can_be_an_error(nsd_root, tmp_path):
    text = fails(nsd_root, tmp_path / "out", SourceError, responses={"missing_units": "error"})
    assert " units have no data, unit " in text
    assert text.endswith("  What to do: set missing_units = 'drop', or leave the session out.")


def test_misspelt_roi(nsd_root, tmp_path):
    units = {"atlas": "prf-visualrois", "rois": ("V1", "V5v")}
    assert fails(nsd_root, tmp_path / "out", RecipeError, units=units) == (
        "subj01, atlas 'prf-visualrois': there is no ROI 'V5v'.\n"
        "  Expected: one of 'V1v', 'V1d', 'V2v', 'V2d', 'V3v', 'V3d', 'hV4', 'V1', 'V2', 'V3' "
        "(did you mean 'V3v'?).\n"
        "  What to do: correct the name in 'rois' of the recipe's [units]."
    )


def test_misspelt_atlas(nsd_root, tmp_path):
    text = fails(nsd_root, tmp_path / "out", RecipeError, units={"atlas": "nsdgenral"})
    assert text.startswith(f"subj01, NSD/{DATA}/func1pt8mm/roi: there is no atlas 'nsdgenral'.\n")
    assert "'nsdgeneral'" in text


def test_responses_table_that_contradicts_the_design(nsd_copy, tmp_path):
    path = nsd_copy / DATA / "behav/responses.tsv"
    table = pd.read_csv(path, sep="\t")
    shown = table.loc[41, "73KID"]
    table.loc[[41, 50], "73KID"] += 1
    replace(path, table.to_csv(sep="\t", index=False).encode())
    assert fails(nsd_copy, tmp_path / "out", SourceError) == (
        f"NSD/{DATA}/behav/responses.tsv, line 43: 73KID is {shown + 1} (2 rows differ).\n"
        f"  Expected: {shown}, as nsd_expdesign.mat has it for trial 41.\n"
        "  What to do: fetch both files again; do not mix subjects or releases."
    )


def test_responses_table_of_too_few_sessions(nsd_root, tmp_path):
    text = fails(nsd_root, tmp_path / "out", SourceError, sessions=(1, 2, 3))
    assert text.startswith(
        f"NSD/{DATA}/behav/responses.tsv: holds 2 sessions, the recipe asks for session 3.\n"
    )


def test_broken_tables(nsd_copy, tmp_path):
    path = nsd_copy / DATA / "behav/responses.tsv"
    replace(path, b"SUBJECT\tSESSION\n1\t1\n")
    assert "responses.tsv: lacks the columns RUN, TRIAL, 73KID" in fails(
        nsd_copy, tmp_path / "out", SourceError
    )


@pytest.mark.parametrize("n_bytes", [0, 100, 1000])
def test_broken_design(nsd_copy, tmp_path, n_bytes):
    path = nsd_copy / "nsddata/experiments/nsd/nsd_expdesign.mat"
    replace(path, path.read_bytes()[:n_bytes])
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert text.startswith("NSD/nsddata/experiments/nsd/nsd_expdesign.mat: cannot be read (")


def test_subjects_of_two_grids(nsd_copy, tmp_path):
    path = nsd_copy / DATA / "func1pt8mm/roi/nsdgeneral.nii.gz"
    other = Path(str(path).replace("subj01", "subj03"))
    replace(path, other.read_bytes())
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert text.startswith(f"NSD/{DATA}/func1pt8mm/roi/nsdgeneral.nii.gz: has shape (")
    assert f"the grid of NSD/{DATA}/func1pt8mm/brainmask.nii.gz" in text


def test_images_that_were_not_fetched(nsd_copy, tmp_path):
    path = nsd_copy / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    path.unlink()
    with h5py.File(path, "w") as file:
        file.create_dataset("imgBrick", (73000, 425, 425, 3), "u1", chunks=(1, 425, 425, 3))
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert text.startswith("NSD/nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5: image ")
    assert " is empty.\n" in text


def test_existing_output_is_refused_and_kept(nsd_root, tmp_path):
    (tmp_path / "demo-subj01").mkdir()
    (tmp_path / "demo-subj01" / "mine").touch()
    with pytest.raises(OutputError, match="exists already; nothing was written"):
        export(nsd_root, tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["demo-subj01", "mine"]


def test_full_disk(nsd_root, tmp_path, monkeypatch):
    from nsd_bench.package.write import PackageWriter

    write, room = PackageWriter.add_bytes, [200]

    def until_full(self, name, data):
        room[0] -= 1
        if not room[0]:
            raise OSError(28, "No space left on device", str(self.folder / name))
        write(self, name, data)

    monkeypatch.setattr(PackageWriter, "add_bytes", until_full)
    text = fails(nsd_root, tmp_path / "out", OutputError)
    assert text.startswith(f"{tmp_path}/out/demo-subj01: cannot be written: No space left on device;")


def test_too_little_room_is_refused_before_anything_is_read(nsd_root, tmp_path, monkeypatch):
    monkeypatch.setattr(responses, "read_betas", lambda *_: pytest.fail("must not be read"))
    disk = os.statvfs(tmp_path)
    tight = {"f_bavail": 10, "f_frsize": 4096, "f_files": disk.f_files, "f_favail": disk.f_favail}
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**tight))
    text = fails(nsd_root, tmp_path / "out", OutputError)
    assert text.startswith(f"{tmp_path}/out: the disk has room for 0.0 MB only.\n  Expected: room for ")
    tight |= {"f_bavail": 1 << 40, "f_files": 100, "f_favail": 10}
    assert "the disk has room for 10 more files only" in fails(nsd_root, tmp_path / "out", OutputError)
