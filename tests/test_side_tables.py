"""Side tables are compared with the data that they explain: masks, regions, names, matched surfaces."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
from exports import BETAS, DATA, export, fails, nifti, replace

from exporters.nsd.rois import read_label_names
from exporters.nsd.surfaces import read_matching_vertices
from exporters.nsd.volumes import Grid
from exporters.packages.units import _read_mask
from nsd_bench.errors import RecipeError, SourceError

ROI = f"{DATA}/func1pt8mm/roi"
NAMES = "nsddata/freesurfer/subj01/label/prf-visualrois.mgz.ctab"
TRANSFORM = f"{DATA}/transforms/{{}}.white-to-fsaverage.mgz"
ON_FSAVERAGE = {
    "responses": {"space": "fsaverage", "format": "mgh"},
    "units": {"labels": ("prf-visualrois",), "area": "prf-visualrois"},
}


def mirrored(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    """Store the same voxels at the same mm, from right to left."""
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = values.shape[0] - 1
    nib.Nifti1Image(values[::-1], affine @ turn).to_filename(path)
    return path


# Masks of one's own


def own(mask: Path) -> dict:
    return {"units": {"mask": str(mask), "labels": (), "area": ""}}


def test_a_mirrored_mask_is_refused_and_comes_right(nsd_root, tmp_path):
    image = nib.load(nsd_root / ROI / "lh.nsdgeneral.nii.gz")
    inside = (np.asanyarray(image.dataobj) == 1).astype(np.uint8)
    path = mirrored(tmp_path / "mask.nii.gz", inside, image.affine)
    text = fails(nsd_root, tmp_path / "out", SourceError, **own(path))
    assert text.startswith(f"{path}: lies elsewhere: its first voxel is at [9.0, ")
    assert "its axes run to LAS; the grid's is at [-9.0, " in text
    assert "What to do: use a volume of that grid; nibabel.as_closest_canonical turns back" in text
    nib.as_closest_canonical(nib.load(path)).to_filename(tmp_path / "right.nii.gz")
    package = export(nsd_root, tmp_path / "out", **own(tmp_path / "right.nii.gz"))
    assert set(package.units["unit_ids"]) <= set(np.flatnonzero(inside))
    assert package.n_units > 10


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda mask: mask.transpose(2, 1, 0),
            "has shape (9, 13, 11), the order of axes of NSD's .hdf5 files",
        ),
        (np.ravel, "has shape (1287,)"),
        (lambda mask: mask[:, :, :, None], "has shape (11, 13, 9, 1)"),
        (lambda mask: np.zeros_like(mask), "is nowhere above 0"),
        (lambda mask: mask.astype(str), "holds <U"),
    ],
)
def test_arrays_in_another_order_are_refused(nsd_root, tmp_path, change, text):
    path = tmp_path / "mask.npy"
    np.save(path, change(nifti(nsd_root / ROI / "nsdgeneral.nii.gz")))
    said = fails(nsd_root, tmp_path / "out", RecipeError, **own(path))
    assert said.startswith(f"mask {path}: {text}")
    assert (
        "  Expected: a .nii.gz of the grid, or a .npy of shape (11, 13, 9): x from the left, y from" in said
    )


def test_an_array_whose_order_nothing_shows_is_refused(tmp_path):
    np.save(tmp_path / "mask.npy", np.ones((4, 5, 4)))
    with pytest.raises(RecipeError, match="cannot show the order of its axes, two of which are equally long"):
        _read_mask(tmp_path / "mask.npy", Grid((4, 5, 4), np.eye(4), Path("betas.nii.gz")))


# Volumes


@pytest.mark.parametrize(
    "file", [f"{ROI}/nsdgeneral.nii.gz", f"{ROI}/streams.nii.gz", f"{BETAS}/ncsnr.nii.gz"]
)
def test_mirrored_side_volumes_are_refused(nsd_copy, tmp_path, file):
    image = nib.load(nsd_copy / file)
    values = np.asanyarray(image.dataobj)
    (nsd_copy / file).unlink()
    mirrored(nsd_copy / file, values, image.affine)
    assert fails(nsd_copy, tmp_path / "out", SourceError).startswith(f"NSD/{file}: lies elsewhere: ")


def test_mirrored_betas_are_refused(nsd_copy, tmp_path):
    path = nsd_copy / BETAS / "betas_session02.nii.gz"
    image = nib.load(path)
    values = np.asanyarray(image.dataobj)
    path.unlink()
    mirrored(path, values, image.affine)
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert text.startswith(f"NSD/{BETAS}/betas_session02.nii.gz: lies elsewhere: ")
    assert f"Expected: the grid of NSD/{DATA}/func1pt8mm/brainmask.nii.gz, not moved" in text


def test_regions_that_begin_inside_their_header_are_refused(nsd_copy, tmp_path):
    path = nsd_copy / ROI / "streams.nii.gz"
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[108:112] = np.float32(0).tobytes()
    replace(path, gzip.compress(data))
    assert fails(nsd_copy, tmp_path / "out", SourceError).startswith(
        f"NSD/{ROI}/streams.nii.gz: has vox_offset 0"
    )


def rewritten(path: Path, change) -> None:
    image = nib.load(path)
    values = change(np.asanyarray(image.dataobj))
    path.unlink()
    nib.Nifti1Image(values, image.affine).to_filename(path)


def test_labels_that_were_interpolated_are_refused(nsd_copy, tmp_path):
    rewritten(nsd_copy / ROI / "streams.nii.gz", lambda labels: np.where(labels == 5, 4.5, labels))
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert text.startswith(f"NSD/{ROI}/streams.nii.gz: holds 4.5 (")
    assert text.endswith("What to do: use NSD's own file, or resample labels by nearest neighbour.")


def test_a_ratio_below_0_is_refused(nsd_copy, tmp_path):
    rewritten(nsd_copy / BETAS / "ncsnr.nii.gz", lambda ncsnr: np.where(ncsnr > 0, -ncsnr, ncsnr))
    assert fails(nsd_copy, tmp_path / "out", SourceError).startswith(f"NSD/{BETAS}/ncsnr.nii.gz: holds -")


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (("lh", "rh"), "lh.nsdgeneral.nii.gz: lies to the right of the other hemisphere's file"),
        (("lh", "lh"), "rh.nsdgeneral.nii.gz: shares "),
    ],
)
def test_hemispheres_are_told_apart(nsd_copy, tmp_path, files, text):
    data = {half: (nsd_copy / ROI / f"{half}.nsdgeneral.nii.gz").read_bytes() for half in ("lh", "rh")}
    for half, other in zip(("rh", "lh") if files[1] == "rh" else ("rh", "rh"), files, strict=True):
        replace(nsd_copy / ROI / f"{half}.nsdgeneral.nii.gz", data[other])
    assert fails(nsd_copy, tmp_path / "out", SourceError).startswith(f"NSD/{ROI}/{text}")


# Names of labels


def test_names_with_blanks_are_read_whole(tmp_path):
    path = tmp_path / "toy.ctab"
    path.write_text("0 Unknown\n1 V1 ventral\n2 V1 dorsal \t \n3 V2v\n")
    assert read_label_names(path) == {1: "V1 ventral", 2: "V1 dorsal", 3: "V2v"}
    path.write_text("0  Unknown  0 0 0 0\n1  V1 ventral  120 18 134 0\n2  ecc4+  120 18 135 0\n")
    assert read_label_names(path) == {1: "V1 ventral", 2: "ecc4+"}  # FreeSurfer's own tables have colours


@pytest.mark.parametrize(
    ("lines", "line", "problem"),
    [
        ("0 Unknown\n1 V1\n1 V2\n", 3, "the label 1 stands there a second time"),
        ("0 Unknown\n1 V1\n2 V1\n", 3, "the name 'V1' stands there a second time"),
        ("0 Unknown\n\n-1 V1\n", 3, "'-1 V1' is not a label"),
        ("0 Unknown\n\u00b2 V1\n", 2, "'\u00b2 V1' is not a label"),
        ("1.5 V1\n", 1, "'1.5 V1' is not a label"),
    ],
)
def test_labels_and_names_stand_once(tmp_path, lines, line, problem):
    path = tmp_path / "toy.ctab"
    path.write_text(lines, encoding="utf-8")
    with pytest.raises(SourceError) as caught:
        read_label_names(path)
    assert str(caught.value) == (
        f"{path}, line {line}: {problem}.\n"
        "  Expected: a number and a name, each of them once.\n"
        "  What to do: fetch the file again."
    )


def test_labels_without_a_name_are_refused(nsd_copy, tmp_path):
    replace(nsd_copy / NAMES, b"0 Unknown\n1 V1v\n2 V1d\n4 V2d\n5 V3v\n6 V3d\n")
    assert fails(nsd_copy, tmp_path / "out", SourceError) == (
        f"NSD/{NAMES}: has no name for label 3, 7.\n"
        "  Expected: a name for every label of subj01, func1pt8mm, atlas 'prf-visualrois'.\n"
        "  What to do: fetch the table and the labels again; do not mix atlases or releases."
    )


def test_names_with_blanks_come_into_the_package(nsd_copy, tmp_path):
    text = (nsd_copy / NAMES).read_text().replace("V1v", "V1 ventral").replace("V1d", "V1 dorsal")
    replace(nsd_copy / NAMES, text.encode())
    units = {"atlas": "prf-visualrois", "rois": ("V1 dorsal",), "labels": ("prf-visualrois",)}
    package = export(nsd_copy, tmp_path / "out", units=units)
    labels = nifti(nsd_copy / ROI / "prf-visualrois.nii.gz").ravel()
    assert (labels[package.units["unit_ids"]] == 2).all()
    assert set(package.units["area"]) == {"V1 dorsal"}


# Matched surfaces


def mgh(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj).ravel()


def write_mgh(path: Path, values: np.ndarray) -> None:
    path.unlink(missing_ok=True)
    nib.MGHImage(values[:, None, None].astype(np.float32), np.eye(4)).to_filename(path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda index, n: index - 1, "entry {first} is index 0 of {n} vertices ("),
        (
            lambda index, n: np.where(np.arange(len(index)) == 3, n + 1, index),
            "entry 3 is index {over} of {n} ",
        ),
        (
            lambda index, n: np.where(np.arange(len(index)) == 3, np.nan, index),
            "entry 3 is index nan of {n} ",
        ),
        (lambda index, n: np.where(np.arange(len(index)) == 3, 1.5, index), "entry 3 is index 1.5 of {n} "),
        (lambda index, n: np.maximum(index - 1, 1), "contradicts lh.fsaverage-to-white.mgz: "),
        (lambda index, n: index[::-1], "contradicts lh.fsaverage-to-white.mgz: "),
    ],
)
def test_vertices_are_checked(nsd_copy, tmp_path, change, problem):
    path = nsd_copy / TRANSFORM.format("lh")
    index, n = mgh(path), len(mgh(nsd_copy / "nsddata/freesurfer/subj01/label/lh.prf-visualrois.mgz"))
    index[5] = 1  # a vertex that is 0 where indices count from 0
    write_mgh(path, index)
    assert len(read_matching_vertices(path, n, "it")) == len(index)
    write_mgh(path, change(index, n))
    text = fails(nsd_copy, tmp_path / "out", SourceError, **ON_FSAVERAGE)
    first = int(np.flatnonzero(index == 1)[0])
    assert text.startswith(f"NSD/{TRANSFORM.format('lh')}: " + problem.format(n=n, over=n + 1, first=first))


def test_swapped_hemispheres_are_refused(nsd_copy, tmp_path):
    paths = [nsd_copy / TRANSFORM.format(half) for half in ("lh", "rh")]
    data = [path.read_bytes() for path in paths]
    for path, other in zip(paths, data[::-1], strict=True):
        replace(path, other)
    text = fails(nsd_copy, tmp_path / "out", SourceError, **ON_FSAVERAGE)
    assert "h.white-to-fsaverage.mgz: " in text.splitlines()[0]
    assert text.endswith("check that all files are of one subject and hemisphere, and fetch them again.")


def test_another_subjects_vertices_are_refused(nsd_copy, tmp_path):
    for half in ("lh", "rh"):
        path = nsd_copy / TRANSFORM.format(half)
        replace(path, Path(str(path).replace("subj01", "subj03")).read_bytes())
    text = fails(nsd_copy, tmp_path / "out", SourceError, **ON_FSAVERAGE)
    assert "h.white-to-fsaverage.mgz: " in text.splitlines()[0]


# The design, and what was shown


DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
STIMULI = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
TABLE = f"{DATA}/behav/responses.tsv"


def put(name: str, place: tuple[int, int], value: float) -> Callable:
    def change(design: dict) -> None:
        design[name][place] = value

    return change


def swap_subjects(design: dict) -> None:
    design["subjectim"][0, 1000:] = design["subjectim"][1, 1000:]


def shown_four_times(design: dict) -> None:
    design["masterordering"][0, 7] = design["masterordering"][0, 8]


def shuffle_shared(design: dict) -> None:
    design["subjectim"][4, :1000] = design["subjectim"][4, :1000][::-1]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            put("masterordering", (0, 3), 17.5),
            r"'masterordering' holds 17.5 at \(0, 3\); whole numbers from 1 to",
        ),
        (put("masterordering", (0, 3), np.nan), r"'masterordering' holds nan at \(0, 3\)"),
        (
            put("subjectim", (2, 5), 73_001),
            r"'subjectim' holds 73001 at \(2, 5\); whole numbers from 1 to 73000",
        ),
        (put("sharedix", (0, 0), 0), r"'sharedix' holds 0 at \(0, 0\)"),
        (shown_four_times, r"'masterordering' shows image \d+ of a subject [24] times"),
        (shuffle_shared, "'subjectim' does not begin with 'sharedix' for subj05"),
        (swap_subjects, "'subjectim' gives two subjects the same image, which is not in 'sharedix'"),
        (lambda design: design.update(sharedix=design["sharedix"][:, :999]), "'sharedix' holds 999 images"),
    ],
)
def test_designs_that_cannot_be_are_refused(nsd_copy, tmp_path, change, problem):
    path = nsd_copy / DESIGN
    design = {
        name: values.astype(np.float64)
        for name, values in scipy.io.loadmat(path).items()
        if not name.startswith("__")
    }
    change(design)
    path.unlink()
    scipy.io.savemat(path, design)
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert re.match(f"NSD/{DESIGN}: {problem}", text)
    assert (
        "Expected: masterordering (1, 30000), subjectim (8, 10000) and sharedix (1, 1000), all from 1."
        in text
    )


@pytest.mark.parametrize(
    ("change", "place", "problem"),
    [
        (lambda t: t.loc[np.repeat(t.index, 2)], ", line 3", "TRIAL is 1 ("),
        (lambda t: pd.concat([t, t]), ", line 1502", "SESSION is 1 (1500 rows differ)"),
        (lambda t: pd.concat([t[750:], t[:750]]), ", line 2", "SESSION is 2 (1500 rows differ)"),
        (lambda t: t.iloc[[1, 0, *range(2, 1500)]], ", line 2", "TRIAL is 2 (2 rows differ)"),
        (lambda t: t.assign(SUBJECT=3), ", line 2", "SUBJECT is 3 (1500 rows differ)"),
        (lambda t: t.assign(ISOLD=1 - t["ISOLD"]), ", line 2", "ISOLD is 1 (1500 rows differ)"),
        (lambda t: t.assign(**{"10KID": t["10KID"] + 1}), ", line 2", "10KID is "),
        (lambda t: t.assign(**{"73KID": t["73KID"] + 0.5}), ", line 2", "73KID is "),
        (lambda t: t.assign(MEMORYRECENT=t["MEMORYRECENT"] + 1), ", line ", "MEMORYRECENT is "),
        (lambda t: t.assign(RT="fast"), ", line 2", "RT is 'fast'"),
        (lambda t: pd.concat([t] * 21), "", "has 31500 rows"),
    ],
)
def test_tables_of_responses_that_cannot_be_are_refused(nsd_copy, tmp_path, change, place, problem):
    path = nsd_copy / TABLE
    table = change(pd.read_csv(path, sep="\t"))
    replace(path, table.to_csv(sep="\t", index=False, na_rep="NaN").encode())
    text = fails(nsd_copy, tmp_path / "out", SourceError)
    assert text.startswith(f"NSD/{TABLE}{place}")
    assert f": {problem}" in text.splitlines()[0]


def test_another_subjects_table_is_refused(nsd_copy, tmp_path):
    table = pd.read_csv(nsd_copy / TABLE.replace("subj01", "subj03"), sep="\t").assign(SUBJECT=1)
    replace(nsd_copy / TABLE, table.to_csv(sep="\t", index=False).encode())
    assert ": 73KID is " in fails(nsd_copy, tmp_path / "out", SourceError)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda t: t.assign(shared1000=np.roll(t["shared1000"], 1)),
            "calls 1000 images shared1000, not those of",
        ),
        (lambda t: t.assign(flagged="yes"), "a cell of 'flagged' is empty, or no True or False"),
        (
            lambda t: t.assign(cocoId=t["cocoId"].where(t.index != 9)),
            "a cell of 'coco_id' is empty, or no whole",
        ),
        (lambda t: t.assign(cocoSplit="test2017"), "image 0 is of the split 'test2017'"),
    ],
)
def test_tables_of_images_that_cannot_be_are_refused(nsd_copy, tmp_path, change, problem):
    path = nsd_copy / STIMULI
    replace(path, change(pd.read_csv(path, index_col=0)).to_csv().encode())
    assert fails(nsd_copy, tmp_path / "out", SourceError).startswith(f"NSD/{STIMULI}: {problem}")
