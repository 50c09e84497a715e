"""The simulated tree says the same in every file, holds NSD's conventions, and its answer is true."""

from __future__ import annotations

import ast
import gzip
import json
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.io
from threadpoolctl import threadpool_limits

from exporters.simulate import read_answer, simulate
from exporters.simulate.anatomy import make_anatomy
from exporters.simulate.betas import signals
from exporters.simulate.photographs import GROUPS
from exporters.simulate.regions import LABELS, SUBCORTICAL
from nsd_bench.errors import OutputError, RecipeError, SourceError
from nsd_bench.package.storage import sha256_file

SUBJECTS = {1: 2, 3: 1}  # sessions of each; see conftest
BETAS = "nsddata_betas/ppdata/subj{:02}/func1pt8mm/betas_fithrf_GLMdenoise_RR"


def nifti(path: Path) -> np.ndarray:
    return np.asanyarray(nib.load(path).dataobj)


def mgh(path: Path) -> np.ndarray:
    data = path.read_bytes()  # nibabel itself would leave the file open
    return np.asanyarray(
        nib.MGHImage.from_bytes(gzip.decompress(data) if path.suffix == ".mgz" else data).dataobj
    )


@pytest.fixture(scope="module")
def design(nsd_root):
    path = nsd_root / "nsddata/experiments/nsd/nsd_expdesign.mat"
    return {
        name: values.astype(np.int64)
        for name, values in scipy.io.loadmat(path).items()
        if not name.startswith("__")
    }


@pytest.fixture(scope="module")
def stimuli(nsd_root):
    return pd.read_csv(nsd_root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv", index_col=0)


def responses(root: Path, subject: int) -> pd.DataFrame:
    return pd.read_csv(root / f"nsddata/ppdata/subj{subject:02}/behav/responses.tsv", sep="\t")


# -- the design -----------------------------------------------------------------------------------


def test_design_has_nsds_structure(design):
    order, images, shared = design["masterordering"], design["subjectim"], design["sharedix"]
    assert (order.shape, images.shape, shared.shape) == ((1, 30_000), (8, 10_000), (1, 1000))
    assert (np.bincount(order.ravel())[1:] == 3).all()
    assert (np.diff(shared) > 0).all()
    np.testing.assert_array_equal(images[:, :1000], np.tile(shared, (8, 1)))
    np.testing.assert_array_equal(np.sort(np.r_[shared[0], images[:, 1000:].ravel()]), np.arange(1, 73_001))
    pattern = design["stimpattern"]
    np.testing.assert_array_equal(pattern.sum(axis=2), np.tile([63, 62] * 6, (40, 1)))
    assert not pattern[..., :3].any()
    assert not pattern[..., -4:].any()
    for session in (0, 39):
        counts = np.unique(order[0, session * 750 :][:750], return_counts=True)[1]
        np.testing.assert_array_equal(
            design["basiccnt"][:, session], [(counts == repeats).sum() for repeats in (1, 2, 3)]
        )


def test_table_design_and_responses_agree_on_every_trial(nsd_root, design, stimuli):
    for subject, n_sessions in SUBJECTS.items():
        table = responses(nsd_root, subject)
        n = 750 * n_sessions
        assert len(table) == n
        order = design["masterordering"][0, :n]
        np.testing.assert_array_equal(table["10KID"], order)
        np.testing.assert_array_equal(table["73KID"], design["subjectim"][subject - 1, order - 1])
        shown = table.groupby("73KID").indices
        for id_1based, trials in list(shown.items())[::25]:
            row = stimuli.loc[id_1based - 1]
            planned = sorted(row[f"subject{subject}_rep{repeat}"] for repeat in range(3))
            assert [trial for trial in planned if trial <= n] == (trials + 1).tolist()


def test_stimulus_table_has_nsds_columns(stimuli, design):
    assert stimuli.shape == (73_000, 40)
    assert list(stimuli.columns[:8]) == [
        "cocoId",
        "cocoSplit",
        "cropBox",
        "loss",
        "nsdId",
        "flagged",
        "BOLD5000",
        "shared1000",
    ]
    assert list(stimuli.columns[[8, 16, 17, 39]]) == [
        "subject1",
        "subject1_rep0",
        "subject1_rep1",
        "subject8_rep2",
    ]
    np.testing.assert_array_equal(stimuli["nsdId"], np.arange(73_000))
    assert stimuli["cocoId"].is_unique
    np.testing.assert_array_equal(np.flatnonzero(stimuli["shared1000"]), design["sharedix"][0] - 1)
    for box in stimuli["cropBox"][::9000]:
        assert sorted(np.array(ast.literal_eval(box)) == 0)[-2:] == [True, True]


def test_images_complete_their_repeats_early(design):
    ids, counts = np.unique(design["masterordering"][0, :1500], return_counts=True)
    complete = ids[counts == 3]
    assert len(complete) >= 300
    assert (complete <= 1000).sum() >= 120
    assert (counts < 3).sum() >= 20


# -- behaviour ------------------------------------------------------------------------------------


def test_behaviour_follows_nsds_rules(nsd_root):
    table = responses(nsd_root, 1)
    assert list(table.columns[[0, 4, 5, 9, 18]]) == ["SUBJECT", "73KID", "10KID", "RT", "MISSINGDATA"]
    before = table.groupby("73KID").cumcount()
    np.testing.assert_array_equal(table["ISOLD"], before > 0)
    np.testing.assert_array_equal(table["MEMORYRECENT"].isna(), before == 0)
    np.testing.assert_array_equal(table["MEMORYFIRST"].isna(), before < 2)
    for _, trials in list(table.groupby("73KID").indices.items())[:30]:
        np.testing.assert_array_equal(table["MEMORYRECENT"].iloc[trials[1:]], np.diff(trials) - 1)
    np.testing.assert_array_equal(table["ISOLDCURRENT"], table.duplicated(["73KID", "SESSION"]))
    silent = table["BUTTON"].isna()
    assert silent.any()
    for column in ("ISCORRECT", "RT", "CHANGEMIND", "ISCORRECTCURRENT"):
        np.testing.assert_array_equal(table[column].isna(), silent)
    lost = table["MISSINGDATA"] == 1
    assert table.loc[lost, ["SESSION", "RUN"]].drop_duplicates().to_numpy().tolist() == [[2, 3]]
    np.testing.assert_array_equal(table["TOTAL1"].isna(), lost)
    assert table["TRIAL"].iloc[[0, 62, 63, 124, 125]].tolist() == [1, 63, 1, 62, 1]
    assert not (responses(nsd_root, 3)["MISSINGDATA"]).any()


# -- betas ----------------------------------------------------------------------------------------


def test_both_formats_hold_the_same_numbers(nsd_root):
    folder = nsd_root / BETAS.format(1)
    image = nib.load(folder / "betas_session01.nii.gz")
    with h5py.File(folder / "betas_session01.hdf5") as file:
        betas = file["betas"]
        assert (betas.dtype, betas.chunks, betas.compression) == (np.dtype("<i2"), (750, 1, 1, 1), None)
        np.testing.assert_array_equal(betas[:].T, np.asanyarray(image.dataobj))
    assert image.shape[3] == 750
    assert len(set(image.shape)) == 4


def test_headers_are_nsds(nsd_root):
    image = nib.load(nsd_root / BETAS.format(1) / "betas_session01.nii.gz")
    with gzip.open(image.get_filename()) as file:  # nibabel mends what it reads: look at the bytes
        header = np.frombuffer(file.read(348), nib.Nifti1Header.template_dtype)[0]
    np.testing.assert_allclose(header["pixdim"][:5], [0, 1.8, 1.8, 1.8, 4 / 3], rtol=1e-6)
    assert (header["scl_slope"], header["scl_inter"], header["xyzt_units"]) == (0, 0, 0)
    assert (header["sform_code"], header["qform_code"], header["vox_offset"]) == (1, 0, 352)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    np.testing.assert_allclose(image.affine[:3, 3], [-(n - 1) / 2 * 1.8 for n in image.shape[:3]])
    roi = nib.load(nsd_root / "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz")
    assert float(roi.header["pixdim"][4]) == 1
    assert roi.get_data_dtype() == np.float64


def test_outside_the_brain_is_zero_and_one_visual_voxel_lacks_a_session(nsd_root):
    func = nsd_root / "nsddata/ppdata/subj01/func1pt8mm"
    brain, general = nifti(func / "brainmask.nii.gz"), nifti(func / "roi/nsdgeneral.nii.gz")
    for session in (1, 2):
        any_data = nifti(nsd_root / BETAS.format(1) / f"betas_session{session:02}.nii.gz").any(axis=3)
        np.testing.assert_array_equal(any_data, nifti(func / f"valid_session{session:02}.nii.gz"))
        assert not any_data[brain == 0].any()
        assert (general[(brain == 1) & ~any_data] == 1).sum() == (session == 2)
    assert set(np.unique(nifti(func / "valid.nii.gz"))) == {0, 0.5, 1}


def test_fsaverage_is_percent_with_nan_for_a_whole_session(nsd_root):
    folder = nsd_root / "nsddata_betas/ppdata/subj03/fsaverage/betas_fithrf_GLMdenoise_RR"
    betas = mgh(folder / "lh.betas_session01.mgh")
    assert (betas.shape, betas.dtype) == ((642, 1, 1, 750), np.dtype(">f4"))
    missing = np.isnan(betas[:, 0, 0])
    np.testing.assert_array_equal(missing.any(axis=1), missing.all(axis=1))
    assert missing[5:9].all()
    assert missing.all(axis=1).sum() < 642 // 20
    assert np.nanstd(betas) < 5
    ncsnr = mgh(folder / "lh.ncsnr.mgh")
    np.testing.assert_array_equal(np.isnan(ncsnr[:, 0, 0]), missing.all(axis=1))


def test_mean_betas_are_of_the_integers_on_disk(nsd_root):
    folder = nsd_root / BETAS.format(1)
    means = [nifti(folder / f"betas_session{s:02}.nii.gz").mean(axis=3, dtype=np.float64) for s in (1, 2)]
    for session, mean in enumerate(means, start=1):
        np.testing.assert_allclose(nifti(folder / f"meanbeta_session{session:02}.nii.gz"), mean, rtol=1e-6)
    np.testing.assert_allclose(
        nifti(folder / "meanbeta.nii.gz"), np.mean(means, axis=0), rtol=1e-5, atol=1e-4
    )


def plain_ncsnr(sessions: list[np.ndarray], order: np.ndarray, start: int = 0, step: int = 1) -> float:
    """Apply the recipe of NSD's manual to one voxel's sessions, written as plain loops."""
    z_scores = []
    for values in sessions:
        known = values.any() and not np.isnan(values).any()
        z_scores += ((values - values.mean()) / values.std(ddof=1)).tolist() if known else [np.nan] * 750
    ids, counts = np.unique(order, return_counts=True)
    within = [np.var(np.array(z_scores)[order == one], ddof=1) for one in ids[counts == 3][start::step]]
    noise = np.nanmean(within)
    return np.sqrt(max(0, 1 - noise)) / np.sqrt(noise)


def test_ncsnr_is_that_of_the_written_betas(nsd_root, design):
    folder = nsd_root / BETAS.format(1)
    sessions = [nifti(folder / f"betas_session{s:02}.nii.gz").astype(np.float64) for s in (1, 2)]
    ncsnr, split1, split2 = (nifti(folder / f"ncsnr{end}.nii.gz") for end in ("", "_split1", "_split2"))
    order = design["masterordering"][0, :1500]
    voxels = np.argwhere(nifti(nsd_root / "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz") == 1)
    for x, y, z in voxels[::40]:
        values = [session[x, y, z] for session in sessions]
        assert ncsnr[x, y, z] == pytest.approx(plain_ncsnr(values, order), rel=1e-4)
        assert split1[x, y, z] == pytest.approx(plain_ncsnr(values, order, 0, 2), rel=1e-4)
        assert split2[x, y, z] == pytest.approx(plain_ncsnr(values, order, 1, 2), rel=1e-4)
    assert np.isnan(ncsnr[0, 0, 0])


def test_ncsnr_of_vertices_without_a_session(tmp_path):
    simulate(tmp_path / "nsd", subjects=(3,), sessions=2, shape=(10, 11, 9), progress=False)
    path = tmp_path / "nsd/nsddata/experiments/nsd/nsd_expdesign.mat"
    order = scipy.io.loadmat(path)["masterordering"][0, :1500].astype(np.int64)
    folder = tmp_path / "nsd/nsddata_betas/ppdata/subj03/fsaverage/betas_fithrf_GLMdenoise_RR"
    sessions = [mgh(folder / f"rh.betas_session{s:02}.mgh")[:, 0, 0].astype(np.float64) for s in (1, 2)]
    ncsnr = mgh(folder / "rh.ncsnr.mgh")[:, 0, 0]
    for vertex in (4, 5, 8, 9, 400):
        values = [session[vertex] for session in sessions]
        assert np.isnan(values[0]).all() == (5 <= vertex < 9)
        assert ncsnr[vertex] == pytest.approx(plain_ncsnr(values, order), rel=1e-4)


def test_recovered_ncsnr_is_close_to_the_truth(nsd_root):
    answer = read_answer(nsd_root, 1)
    found = nifti(nsd_root / BETAS.format(1) / "ncsnr.nii.gz").ravel()[answer.unit_ids]
    known = np.isfinite(found)
    assert np.corrcoef(found[known], answer.ncsnr[known])[0, 1] > 0.95
    assert abs((found - answer.ncsnr)[known].mean()) < 0.05
    assert (answer.ncsnr == 0).any()


def test_the_planted_signal_is_in_the_betas(nsd_root):
    answer = read_answer(nsd_root, 3)
    table = responses(nsd_root, 3)
    betas = nifti(nsd_root / BETAS.format(3) / "betas_session01.nii.gz").reshape(-1, 750)
    row = np.searchsorted(answer.nsd_ids, table["73KID"] - 1)
    np.testing.assert_array_equal(answer.nsd_ids[row], table["73KID"] - 1)
    for unit in np.flatnonzero(answer.ncsnr > 1)[:20]:
        r = np.corrcoef(betas[answer.unit_ids[unit]], answer.signals[row, unit])[0, 1]
        snr = answer.ncsnr[unit]
        assert r == pytest.approx(snr / np.sqrt(1 + snr**2), abs=0.12)


# -- regions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("atlas", LABELS)
def test_regions_follow_nsds_conventions(nsd_root, atlas):
    roi = nsd_root / "nsddata/ppdata/subj01/func1pt8mm/roi"
    both, left, right = (nifti(roi / f"{head}{atlas}.nii.gz") for head in ("", "lh.", "rh."))
    np.testing.assert_array_equal(both, np.where(left != -1, left, right))
    assert not ((left != -1) & (right != -1)).any()
    assert set(np.unique(both)) <= set(range(-1, len(LABELS[atlas]) + 1))
    lines = (nsd_root / f"nsddata/freesurfer/subj01/label/{atlas}.mgz.ctab").read_text().splitlines()
    assert lines[0].split() == ["0", "Unknown"]
    assert [line.split()[1] for line in lines[1:]] == list(LABELS[atlas])
    assert all(line.endswith("\t   ") == (atlas == "Kastner2015") for line in lines[1:])


@pytest.mark.parametrize("atlas", SUBCORTICAL)
def test_subcortical_regions_have_no_minus_one(nsd_root, atlas):
    roi = nsd_root / "nsddata/ppdata/subj01/func1pt8mm/roi"
    both, left, right = (nifti(roi / f"{head}{atlas}.nii.gz") for head in ("", "lh.", "rh."))
    assert both.dtype == np.int16
    np.testing.assert_array_equal(both, left + right)
    assert not ((left > 0) & (right > 0)).any()
    lines = (nsd_root / f"nsddata/templates/{atlas}.ctab").read_text().splitlines()
    assert sorted(set(both.ravel().tolist())) == [int(line.split()[0]) for line in lines]


def test_some_face_areas_are_absent(nsd_root):
    def found(subject, head):
        roi = nsd_root / f"nsddata/ppdata/subj{subject:02}/func1pt8mm/roi"
        labels = np.unique(nifti(roi / f"{head}.floc-faces.nii.gz")).astype(int)
        return [LABELS["floc-faces"][label - 1] for label in labels if label > 0]

    assert found(1, "lh") == ["OFA", "FFA-1", "aTL-faces"]  # FFA-2 only on the right
    assert found(1, "rh") == found(3, "lh") == ["OFA", "FFA-1", "FFA-2", "aTL-faces"]


@pytest.mark.parametrize("atlas", ["HCP_MMP1", "Kastner2015", "floc-words", "prf-visualrois"])
def test_areas_are_in_both_hemispheres(nsd_root, atlas):
    for head in ("lh", "rh"):
        labels = nifti(nsd_root / f"nsddata/ppdata/subj03/func1pt8mm/roi/{head}.{atlas}.nii.gz")
        assert set(range(1, len(LABELS[atlas]) + 1)) <= set(np.unique(labels))


def test_glassers_areas_have_their_numbers():
    names = LABELS["HCP_MMP1"]
    assert len(set(names)) == 180
    known = {"FFC": 18, "PHA1": 126, "PHA3": 127, "TE1p": 133, "TE2p": 136, "VMV3": 154, "PHA2": 155}
    for name, number in (known | {"VMV2": 160, "VVC": 163}).items():
        assert names[number - 1] == name


def test_full_size_brain_has_as_many_voxels_as_subj01():
    anatomy = make_anatomy((81, 104, 83), 1, np.random.default_rng(0), full_size=True)
    assert anatomy.brain.sum() == pytest.approx(370_503, rel=0.1)
    assert anatomy.cortex.sum() == pytest.approx(107_104, rel=0.1)
    assert len(anatomy.units) == pytest.approx(15_724, rel=0.1)


def test_surfaces_have_no_minus_one_where_cortex_is(nsd_root):
    label = nsd_root / "nsddata/freesurfer/subj01/label"
    sizes = set()
    for hemisphere in ("lh", "rh"):
        native = mgh(label / f"{hemisphere}.nsdgeneral.mgz")[:, 0, 0]
        assert native.min() >= 0
        sizes.add(len(native))
        transform = f"nsddata/ppdata/subj01/transforms/{hemisphere}.white-to-fsaverage.mgz"
        index_1based = mgh(nsd_root / transform)[:, 0, 0].astype(int)
        on_fsaverage = mgh(nsd_root / f"nsddata/freesurfer/fsaverage/label/{hemisphere}.nsdgeneral.mgz")
        assert (index_1based.min(), index_1based.shape) == (1, (642,))
        assert (native[index_1based - 1] == on_fsaverage[:, 0, 0]).mean() > 0.95
    assert len(sizes) == 2


def test_receptive_fields_are_on_the_other_side(nsd_root):
    answer = read_answer(nsd_root, 1)
    func = nsd_root / "nsddata/ppdata/subj01/func1pt8mm"
    angle = nifti(func / "prf_angle.nii.gz").ravel()[answer.unit_ids]
    central = nifti(func / "prf_eccentricity.nii.gz").ravel()[answer.unit_ids] == 0
    assert central.sum() == 1
    np.testing.assert_array_equal(np.isnan(angle), central)
    np.testing.assert_allclose(angle[~central], answer.angle_deg[~central], rtol=1e-5)
    left = nifti(func / "roi/lh.nsdgeneral.nii.gz").ravel()[answer.unit_ids] == 1
    np.testing.assert_array_equal((np.cos(np.deg2rad(angle)) > 0)[~central], left[~central])
    assert np.isnan(nifti(func / "prf_size.nii.gz")[0, 0, 0])


# -- images and COCO ------------------------------------------------------------------------------


def test_every_shown_image_is_there_and_different(nsd_root):
    shown = np.unique(np.concatenate([responses(nsd_root, s)["73KID"] for s in SUBJECTS])) - 1
    path = nsd_root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    with h5py.File(path) as file:
        brick = file["imgBrick"]
        assert (brick.shape, brick.dtype) == ((73_000, 425, 425, 3), np.uint8)
        assert brick.id.get_num_chunks() == len(shown)
        small = {brick[nsd_id, ::60, ::60].tobytes() for nsd_id in shown}
        assert len(small) == len(shown)
        assert not brick[np.setdiff1d(np.arange(73_000), shown)[0]].any()


def test_coco_is_about_the_shown_images(nsd_root, stimuli):
    folder = nsd_root / "nsddata_stimuli/stimuli/nsd/annotations"
    crowds = []
    for split in ("train2017", "val2017"):
        instances = json.loads((folder / f"instances_{split}.json").read_text())
        captions = json.loads((folder / f"captions_{split}.json").read_text())
        assert len(instances["categories"]) == 80
        by_coco_id = stimuli.set_index("cocoId")
        for image in instances["images"]:
            row = by_coco_id.loc[image["id"]]
            assert row["cocoSplit"] == split
            top, bottom, left, right = ast.literal_eval(row["cropBox"])
            height, width = image["height"] * (1 - top - bottom), image["width"] * (1 - left - right)
            assert height == pytest.approx(width, abs=1e-6)
        ids = {image["id"] for image in instances["images"]}
        assert {one["image_id"] for one in instances["annotations"]} <= ids
        assert len(captions["annotations"]) == 5 * len(ids)
        licences = {licence["id"] for licence in instances["licenses"]}
        assert {image["license"] for image in instances["images"]} == licences
        crowds += [one for one in instances["annotations"] if one["iscrowd"]]
    assert crowds
    assert all(sum(c["segmentation"]["counts"]) == np.prod(c["segmentation"]["size"]) for c in crowds)


# -- the same seed, the same bytes ----------------------------------------------------------------


def tree_digest(root: Path) -> dict[str, str]:
    files = [path for path in root.parent.rglob("*") if path.is_file()]
    return {path.relative_to(root.parent).as_posix(): sha256_file(path) for path in files}


def test_same_seed_same_bytes(tmp_path):
    arguments = {"subjects": (2,), "sessions": 1, "shape": (10, 11, 9), "progress": False}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate(tmp_path / name / "nsd", seed=seed, **arguments)
    first, second, other = (tree_digest(tmp_path / name / "nsd") for name in "abc")
    assert first == second
    assert first.keys() == other.keys()
    same = {name for name in first if first[name] == other[name]}
    assert not any("betas" in name or name.endswith((".mat", ".tsv", "stimuli.hdf5")) for name in same)


def test_signals_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(5)
    anatomy = make_anatomy((17, 20, 14), 1, rng)
    energies = (rng.integers(0, 4096, (300, 18, 256)) / 4096).astype(np.float32)
    groups = [GROUPS[number % 5] for number in range(300)]
    made = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            made.append(signals(energies, groups, anatomy, np.random.default_rng(6)).tobytes())
    reversed_sums = signals(energies[::-1], groups[::-1], anatomy, np.random.default_rng(6))
    assert made[0] == made[1]
    np.testing.assert_allclose(reversed_sums[::-1].ravel(), np.frombuffer(made[0], np.float32), atol=1e-5)


# -- wrong arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"subjects": (1, 9)},
            "simulate: subjects = [1, 9] is not possible.\n"
            "  Expected: some of 1 to 8, each once.\n"
            "  What to do: give for example --subjects 1,2.",
        ),
        (
            {"subjects": (2, 2)},
            "simulate: subjects = [2, 2] is not possible.\n"
            "  Expected: some of 1 to 8, each once.\n"
            "  What to do: give for example --subjects 1,2.",
        ),
        (
            {"subjects": ()},
            "simulate: subjects = [] is not possible.\n"
            "  Expected: some of 1 to 8, each once.\n"
            "  What to do: give for example --subjects 1,2.",
        ),
        (
            {"sessions": (1, 0)},
            "simulate: sessions = 0 is not possible.\n"
            "  Expected: 1 to 40, which subj02 has in NSD.\n"
            "  What to do: give for example --sessions 2.",
        ),
        (
            {"seed": -1},
            "simulate: seed = -1 is not possible.\n"
            "  Expected: 0 to 2**32 - 1.\n"
            "  What to do: give for example --seed 0.",
        ),
        (
            {"shape": (17, 20, 14), "full_size": True},
            "simulate: shape = (17, 20, 14) is not possible.\n"
            "  Expected: no shape together with --full-size, which has NSD's own.\n"
            "  What to do: give for example --full-size alone.",
        ),
        (
            {"shape": (8, 20, 14)},
            "simulate: shape = (8, 20, 14) is not possible.\n"
            "  Expected: three different numbers of 9 or more, so that mixed-up axes show.\n"
            "  What to do: give for example --shape 17,20,14.",
        ),
        (
            {"subjects": (4,), "sessions": 31},
            "simulate: sessions = 31 is not possible.\n"
            "  Expected: 1 to 30, which subj04 has in NSD.\n"
            "  What to do: give for example --sessions 2.",
        ),
        (
            {"sessions": (1, 1, 1)},
            "simulate: sessions = [1, 1, 1] is not possible.\n"
            "  Expected: one number, or one for each of the 2 subjects.\n"
            "  What to do: give for example --sessions 2.",
        ),
        (
            {"shape": (20, 20, 14)},
            "simulate: shape = (20, 20, 14) is not possible.\n"
            "  Expected: three different numbers of 9 or more, so that mixed-up axes show.\n"
            "  What to do: give for example --shape 17,20,14.",
        ),
    ],
)
def test_impossible_arguments(tmp_path, arguments, text):
    with pytest.raises(RecipeError) as caught:
        simulate(tmp_path / "nsd", progress=False, **arguments)
    assert str(caught.value) == text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["nsd", "nsd.answer"])
def test_what_is_there_is_kept(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        simulate(tmp_path / "nsd", progress=False)
    assert (tmp_path / name).read_text() == "mine"


def test_no_answer(tmp_path):
    with pytest.raises(SourceError, match="there is no answer for subject 2"):
        read_answer(tmp_path / "nsd", 2)
