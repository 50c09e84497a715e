"""The flat-map data set: from betas to records, against the original's loop, and back to units."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from cortex_trees import bundled
from PIL import Image
from sklearn.preprocessing import scale

from exporters.flat import dataset
from exporters.flat.dataset import export_flat
from exporters.flat.options import RECT_MM, FlatOptions
from exporters.flat.pictures import Drawn, draw_session, encode_png, session_zscores
from exporters.flat.regions import mask_files, read_mask_file
from exporters.flat.source import REPETITIONS, stimulus_trials
from exporters.nsd.layout import SESSIONS, TRIALS_PER_SESSION
from exporters.nsd.surfaces import Surface
from exporters.packages.pool import Pool
from nsd_bench.cli.flat import export_flat_command as command
from nsd_bench.cortex import flat as flat_module
from nsd_bench.cortex.flat import COLUMNS, FlatMap, load, read_manifest, read_regions
from nsd_bench.cortex.geometry import join_hemispheres, mask_of, rim, signed_area
from nsd_bench.cortex.polygons import triangle_polygons
from nsd_bench.cortex.raster import PixelGrid, gaussian_raster
from nsd_bench.cortex.surfaces import coarsened, read_flat, read_mesh, write_mesh
from nsd_bench.errors import NsdBenchError, OptionError, OutputError, PackageError, SourceError, TierError
from tiers import assign_trials, load_tier_file

pytest.importorskip("nilearn")
pytest.importorskip("pycocotools")

BETAS = "nsddata_betas/ppdata/subj{:02}/fsaverage/betas_fithrf_GLMdenoise_RR/{}.betas_session{:02}.mgh"
STIMULI = "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
TABLE = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
TIERS = """
title = "toy"
source = "by hand"
by = "trial"
[[rules]]
tier = "test"
where = "run > 11"
[[rules]]
tier = "none"
where = "run > 1"
[[rules]]
tier = "train"
"""
N_TRAIN, N_TEST, N_VERTICES = 63, 62, 642


@pytest.fixture(scope="module")
def options(nsd_root, tmp_path_factory) -> FlatOptions:
    tiers = tmp_path_factory.mktemp("tiers") / "toy.toml"
    tiers.write_text(TIERS)
    return FlatOptions(
        subjects=(1, 3),
        surface="fsaverage5",
        tiers=str(tiers),
        pixel_mm=8.0,
        image_size=32,
        coco=nsd_root / "nsddata_stimuli/stimuli/nsd",
    )


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("pixel_mm", 0, "--pixel-mm"),
        ("fwhm", float("nan"), "--fwhm"),
        ("image_size", 0, "--image-size"),
        ("rect_mm", (5, 5, 0, 1), "--rect"),
        ("sessions", (), "--sessions"),
        ("sessions", (0, 1), "--sessions"),
        ("subjects", (9,), "--subjects"),
        ("subjects", (), "--subjects"),
    ],
)
def test_options_that_are_not_possible_are_refused(option, value, named):
    with pytest.raises(OptionError) as error:
        FlatOptions(**{"subjects": (1,), "surface": "fsaverage5", option: value})
    assert message(error).startswith(f"flat-map data set: {option} = {value!r} is not possible")
    assert message(error).endswith(f"correct {named}.")


@pytest.fixture(scope="module")
def made(options, nsd_root, tmp_path_factory) -> Path:
    pytest.importorskip("datasets")
    out = tmp_path_factory.mktemp("made")
    export_flat(options, nsd_root, out, progress=False)
    return out


@pytest.fixture(scope="module")
def small(options) -> FlatOptions:
    """One subject, one session, nothing of COCO."""
    return replace(options, subjects=(3,), coco=None)


def message(error) -> str:
    return str(error.value)


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pixels(record, name):
    return np.asarray(record[name])


def same(one, other) -> bool:
    assert list(one) == list(other)
    plain = [name for name in one if name not in ("image", "activity")]
    return all(one[name] == other[name] for name in plain) and all(
        np.array_equal(pixels(one, name), pixels(other, name)) for name in ("image", "activity")
    )


def original_loop(left, right, inside, surface_points, rect, pixel_mm):
    """What generate_dataset.py of NSD-Flat does with a session's betas, trial after trial."""
    z = np.concatenate(
        [
            scale(betas[:, half].astype(np.float64)).astype(np.float32)
            for betas, half in zip((left, right), inside, strict=True)
        ],
        axis=1,
    )
    raster = gaussian_raster(surface_points, PixelGrid.of_rect(rect, pixel_mm))
    weights = raster.weights.toarray()
    pictures = []
    for trial in z:
        picture = np.where(raster.mask, (weights @ trial[:, None]).reshape(raster.grid.shape), 0.0)
        levels = (255 * ((np.clip(picture, -2.5, 2.5) + 2.5) / 5)).astype(np.uint8)
        pictures.append(np.flipud(levels))
    return np.stack(pictures)


def read_mgh(path: Path) -> np.ndarray:
    """Betas of a hemisphere, (n_trials, n_vertices); nibabel would leave the file open."""
    betas = np.asarray(nib.MGHImage.from_bytes(path.read_bytes()).dataobj)
    return betas.reshape(len(betas), -1).T


# the flat map: what NSD-Flat's own code gave on fsaverage5


@pytest.fixture(scope="module")
def fsaverage5():
    return read_flat("fsaverage5")


@pytest.fixture(scope="module")
def probe() -> np.ndarray:
    """Vertices more than 60 mm behind the origin on the white surface, both hemispheres."""
    halves = [read_mesh(bundled(f"white_{side}"))[0] for side in ("left", "right")]
    return np.concatenate(halves)[:, 1] < -60


def test_vertices_and_triangles_of_the_probe(fsaverage5, probe):
    patch = fsaverage5.patch(probe)
    assert (probe.sum(), len(patch.points), len(patch.triangles)) == (3454, 3442, 6484)
    assert len(fsaverage5.patch(probe, cut_away=True).points) == 3454


@pytest.mark.parametrize(("pixel_mm", "n_pixels", "n_inside"), [(1.0, 43_000, 15_909), (4.0, 2700, 1720)])
def test_pixels_of_the_probe(fsaverage5, probe, pixel_mm, n_pixels, n_inside):
    raster = gaussian_raster(fsaverage5.patch(probe).points, PixelGrid.of_rect(RECT_MM, pixel_mm))
    assert (raster.grid.n_pixels, raster.mask.sum()) == (n_pixels, n_inside)
    points, sigma = fsaverage5.patch(probe).points, pixel_mm / 2.35482004503
    distance = [np.hypot(*(points - centre).T).min() for centre in raster.grid.centres()[::7]]
    assert np.array_equal(np.array(distance) <= 3 * sigma, raster.mask.ravel()[::7])


def test_the_probe_comes_back(fsaverage5, probe):
    points = fsaverage5.patch(probe).points
    raster = gaussian_raster(points, PixelGrid.of_rect(RECT_MM, 1.0))
    left, right, bottom, top = RECT_MM
    x, y = points.T
    within = (x > left) & (x < right) & (y > bottom) & (y < top)
    smooth = np.sin(x / 15) + np.cos(y / 11)
    assert np.corrcoef(smooth[within], raster.units(raster.pictures(smooth))[within])[0, 1] >= 0.998


PYCORTEX = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from nsd_bench.cortex.store import open_store
cortex = open_store(sys.argv[1], sys.argv[2])
found = {hemi: cortex.db.get_surf("fsaverage", "flat", hemi) for hemi in ("lh", "rh")}
np.savez(sys.argv[3], **{f"{hemi}{i}": found[hemi][i] for hemi in found for i in range(2)})
"""


def test_the_flat_map_is_pycortexs(tmp_path):
    """fsaverage5 stands in for a subject named fsaverage, which NSD-Flat asks pycortex for."""
    pytest.importorskip("cortex.version")
    surfaces = tmp_path / "store/fsaverage/surfaces"
    surfaces.mkdir(parents=True)
    (surfaces.parent / "transforms").mkdir()  # without which pycortex does not list the subject
    for hemi, side in (("lh", "left"), ("rh", "right")):
        write_mesh(surfaces / f"flat_{hemi}.gii", *read_mesh(bundled(f"flat_{side}")))
    arguments = [tmp_path / "store", tmp_path / "settings", tmp_path / "found.npz"]
    subprocess.run(
        [sys.executable, "-c", PYCORTEX, *map(str, arguments)],
        env={**os.environ, "HOME": str(tmp_path / "home"), "MPLBACKEND": "agg"},
        check=True,
        capture_output=True,
    )
    with np.load(tmp_path / "found.npz") as found:
        left, right = found["lh0"][:, :2].astype(float), found["rh0"][:, :2].astype(float)
        left[:, 0] = left[:, 0] - left[:, 0].max() - 2
        right[:, 0] = right[:, 0] - right[:, 0].min() + 2
        triangles = np.concatenate([found["lh1"], found["rh1"] + len(left)])
    ours = read_flat(tmp_path / "store/fsaverage")
    np.testing.assert_allclose(ours.points, np.concatenate([left, right]), rtol=0, atol=1e-9)
    assert np.array_equal(ours.triangles, triangles)


@pytest.mark.parametrize(("n_vertices", "level"), [(2562, 4), (642, 3), (12, 0)])
def test_coarser_spheres_are_icosahedra(n_vertices, level):
    sphere = join_hemispheres(*(read_mesh(bundled(f"sphere_{side}")) for side in ("left", "right")))
    coarse = coarsened(sphere, n_vertices)
    assert len(coarse.triangles) == 2 * 20 * 4**level
    assert len(rim(coarse.triangles)[0]) == 0  # closed, and each edge once either way
    assert np.array_equal(np.unique(coarse.triangles), np.arange(2 * n_vertices))
    assert (np.bincount(coarse.triangles.ravel()) == 5).sum() == 2 * 12  # the corners of an icosahedron


def test_a_coarser_map_covers_the_same_places(fsaverage5):
    coarse = coarsened(fsaverage5, N_VERTICES)
    (x1, y1), (x2, y2) = np.diff(coarse.points[coarse.triangles], axis=1).transpose(1, 2, 0)
    areas = (x1 * y2 - x2 * y1) / 2
    assert (areas > 0).all()  # they turn as the finer ones do
    assert 0.9 < areas.sum() / fsaverage5.patch(fsaverage5.on_map).area_mm2 < 1
    assert len(triangle_polygons(coarse.points, coarse.triangles)) == 2


def test_a_map_as_fine_as_it_is_stays(fsaverage5):
    same = coarsened(fsaverage5, 10_242)
    assert np.array_equal(same.triangles, fsaverage5.triangles)
    assert np.array_equal(same.points, fsaverage5.points)


# sessions


def test_zscores_are_those_of_scikit_learn():
    betas = np.random.default_rng(0).normal(3, [1, 5, 0.1, 2], (7, 4)).astype(np.float32)
    betas[:, 1] = 4.5
    betas[2, 3] = np.nan
    before = betas.copy()
    zscores = session_zscores(betas)
    np.testing.assert_allclose(zscores, scale(betas.astype(np.float64)), atol=1e-6)
    assert zscores.dtype == np.float32
    assert (zscores[:, 1] == 0).all()
    assert np.isnan(zscores).sum() == 1
    assert np.array_equal(betas, before, equal_nan=True)


def test_zscores_of_many_units_are_made_in_parts(monkeypatch):
    betas = np.random.default_rng(1).normal(size=(5, 11)).astype(np.float32)
    whole = session_zscores(betas)
    monkeypatch.setattr("exporters.flat.pictures._COLUMNS_AT_ONCE", 3)
    assert np.array_equal(session_zscores(betas), whole)


def write_mgh(path: Path, betas: np.ndarray) -> Path:
    nib.save(nib.MGHImage(betas.T[:, None, None].astype(np.float32), np.eye(4)), path)
    return path


@pytest.fixture
def toy(tmp_path):
    """A session of 70 trials on 9 + 6 vertices, of which 7 + 5 are drawn."""
    rng = np.random.default_rng(2)
    left, right = rng.normal(size=(70, 9)), rng.normal(2, 3, size=(70, 6))
    paths = write_mgh(tmp_path / "lh.mgh", left), write_mgh(tmp_path / "rh.mgh", right)
    inside = np.array([1, 1, 0, 1, 1, 0, 1, 1, 1], bool), np.array([1, 0, 1, 1, 1, 1], bool)
    points = rng.uniform((-9, -6), (9, 5), (12, 2))
    units = np.flatnonzero(np.concatenate(inside))
    surface = Surface((9, 6), paths)
    return left.astype("f4"), right.astype("f4"), paths, inside, points, units, surface


def test_a_session_is_drawn_as_the_original_does(toy, tmp_path):
    left, right, paths, inside, points, units, surface = toy
    rect = (-10, 10, -7, 6)
    raster = gaussian_raster(points, PixelGrid.of_rect(rect, 2.0))
    draw_session(paths, units, surface, raster, 70, tmp_path / "drawn.npz")
    drawn = Drawn.read(tmp_path / "drawn.npz")
    found = np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in drawn.pngs])
    expected = original_loop(left, right, inside, points, rect, 2.0)
    assert found.shape == (70, raster.grid.height, raster.grid.width)
    assert np.abs(found.astype(int) - expected).max() <= 1  # a rounded sum may fall over an edge
    assert (found != expected).mean() < 1e-3
    assert (drawn.n_missing, len(drawn.sha256)) == (0, 64)
    assert (found[:, ~raster.mask[::-1]] == 127).all()


def test_units_without_data_are_counted_and_grey(toy, tmp_path):
    _, right, paths, _, points, units, surface = toy
    right = right.copy()
    right[:, 5] = np.nan
    write_mgh(paths[1], right)
    raster = gaussian_raster(points, PixelGrid.of_rect((-10, 10, -7, 6), 2.0))
    draw_session(paths, units, surface, raster, 70, tmp_path / "drawn.npz")
    drawn = Drawn.read(tmp_path / "drawn.npz")
    near = raster.weights[:, [-1]].toarray().reshape(raster.grid.shape) > 0
    assert drawn.n_missing == 70 * near.sum() > 0
    last = np.asarray(Image.open(io.BytesIO(drawn.pngs[-1])))
    assert (last[near[::-1]] == 127).all()


def test_infinite_betas_are_refused(toy, tmp_path):
    left, _, paths, _, points, units, surface = toy
    left = left.copy()
    left[3, :2] = np.inf
    write_mgh(paths[0], left)
    raster = gaussian_raster(points, PixelGrid.of_rect((-10, 10, -7, 6), 2.0))
    with pytest.raises(SourceError) as error:
        draw_session(paths, units, surface, raster, 70, tmp_path / "drawn.npz")
    assert message(error) == (
        f"{paths[0]}: 2 betas are infinite.\n"
        "  Expected: finite betas, or NaN where there is no data.\n"
        "  What to do: fetch the file again."
    )
    assert not (tmp_path / "drawn.npz").exists()


def test_pictures_are_upright_grey_pngs():
    raster = gaussian_raster(np.array([[0.5, 1.5]]), PixelGrid(1.0, 0.0, 0.0, 3, 2))
    png = encode_png(np.asarray(raster.mask[::-1], dtype=np.uint8))
    picture = Image.open(io.BytesIO(png))
    assert (picture.mode, picture.size) == ("L", (3, 2))
    assert np.asarray(picture)[0].any()  # the unit with the largest y is at the top
    assert b"tIME" not in png
    assert encode_png(np.asarray(picture)) == png


@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (6, 5, 3), (4, 1, 3)])
def test_pngs_open_with_the_same_pixels(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    picture = Image.open(io.BytesIO(encode_png(pixels)))
    assert picture.mode == ("L" if len(shape) == 2 else "RGB")
    assert np.array_equal(np.asarray(picture), pixels)
    assert encode_png(np.asfortranarray(pixels)[::-1]) == encode_png(pixels[::-1].copy())


def test_nsd_flats_pictures_have_their_size():
    grid = PixelGrid.of_rect(FlatOptions((1,), "fsaverage5").rect_mm, 1.0)
    assert Image.open(io.BytesIO(encode_png(np.zeros(grid.shape, np.uint8)))).size == (200, 215)


# masks


def test_masks_of_every_kind_say_the_same(tmp_path):
    values = np.array([0, 2, -1, 1, 0.5], dtype=np.float32)
    np.save(tmp_path / "m.npy", values.astype(np.float64))
    for name in ("m.mgh", "m.mgz"):
        nib.save(nib.MGHImage(values[:, None, None], np.eye(4)), tmp_path / name)
    array = nib.gifti.GiftiDataArray(values, "NIFTI_INTENT_SHAPE", datatype="float32")
    nib.save(nib.gifti.GiftiImage(darrays=[array]), tmp_path / "m.gii")
    for name in ("m.npy", "m.mgh", "m.mgz", "m.gii"):
        assert read_mask_file(tmp_path / name, 5).tolist() == [False, True, False, True, True]


def test_a_pointer_of_git_lfs_is_not_a_mask(tmp_path):
    pointer = tmp_path / "subj01.lh.all-vertices_fsaverage_space.npy"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1310864\n")
    with pytest.raises(SourceError) as error:
        read_mask_file(pointer, 163_842)
    assert message(error) == (
        f"{pointer}: is a pointer of Git LFS, not the mask itself.\n"
        "  Expected: one value for each of 163842 vertices.\n"
        "  What to do: run 'git lfs pull' in the folder that it was cloned to."
    )


def test_a_mask_of_another_length_is_refused(tmp_path):
    np.save(tmp_path / "m.npy", np.ones(4))
    with pytest.raises(SourceError) as error:
        read_mask_file(tmp_path / "m.npy", 5)
    assert message(error) == (
        f"mask {tmp_path}/m.npy: has shape (4,).\n"
        "  Expected: one value for each of 5 vertices, above 0 inside.\n"
        "  What to do: give a mask of fsaverage as the betas have it, one hemisphere a file."
    )


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("none.npy", None, "there is no such file"),
        ("text.npy", b"text", "cannot be read whole"),
        ("text.gii", b"text", "cannot be read whole"),
        ("text.mgh", b"text", "cannot be read whole"),
        ("text.label", b"text", "'.label' files are not read as masks"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path, name, data, problem):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError) as error:
        read_mask_file(tmp_path / name, 5)
    assert f"{tmp_path}/{name}: {problem}" in message(error)


def test_masks_of_words_are_refused(tmp_path):
    np.save(tmp_path / "m.npy", np.array(["a", "b"]))
    with pytest.raises(SourceError, match="holds <U1"):
        read_mask_file(tmp_path / "m.npy", 2)


def test_regions_are_atlases_folders_or_pairs(tmp_path):
    assert mask_files(3, "nsdgeneral") is None
    left, right = mask_files(3, str(tmp_path))
    assert left == tmp_path / "subj03.lh.all-vertices_fsaverage_space.npy"
    assert right == tmp_path / "subj03.rh.all-vertices_fsaverage_space.npy"
    assert mask_files(3, "a{subject}.npy, b.mgh") == (Path("a3.npy"), Path("b.mgh"))
    with pytest.raises(SourceError, match=r"region 'a.npy': 1 files"):
        mask_files(3, "a.npy")


# the data set


def test_splits_are_tiers_and_both_forms_are_equal(made):
    datasets = pytest.importorskip("datasets")
    for split, n in (("train", 3 * N_TRAIN), ("test", 3 * N_TEST)):
        arrow, png = (load(made / f"nsd-flat-{form}", split) for form in ("arrow", "png"))
        loaded = datasets.load_from_disk(made / f"nsd-flat-arrow/{split}")
        assert len(arrow) == len(png) == len(loaded) == n
        for row in (*range(0, n, 17), n - 1):
            assert same(arrow[row], png[row])
            assert same(arrow[row], loaded[row])
    assert read_manifest(made / "nsd-flat-arrow") == read_manifest(made / "nsd-flat-png")


def test_records_have_the_fields_of_nsd_flat(made):
    record = load(made / "nsd-flat-arrow", "train")[0]
    assert tuple(record) == COLUMNS
    assert list(record["objects"]) == [
        *("target", "category", "supercategory", "bbox", "segmentation", "area", "iscrowd")
    ]
    assert len({len(values) for values in record["objects"].values()}) == 1
    assert list(record["repetitions"])[:4] == [f"subject1_rep{r}" for r in range(3)] + ["subject2_rep0"]
    assert len(record["repetitions"]) == 24
    assert (record["image"].mode, record["image"].size) == ("RGB", (32, 32))
    assert (record["activity"].mode, record["activity"].size) == ("L", (25, 27))


def test_records_say_what_nsd_says(made, nsd_root):
    table = pd.read_csv(nsd_root / TABLE, index_col=0)
    records = load(made / "nsd-flat-png", "test")
    for record in (records[0], records[N_TEST], records[-1]):
        image = table.iloc[record["nsd_id"]]
        told = [record["repetitions"][f"subject{record['subject_id'] + 1}_rep{r}"] for r in range(3)]
        assert record["trial_id"] + 1 in told
        assert told == [image[f"subject{record['subject_id'] + 1}_rep{r}"] for r in range(3)]
        assert (record["coco_id"], record["coco_split"]) == (image["cocoId"], image["cocoSplit"])
        flags = ("flagged", "BOLD5000", "shared1000")
        assert [record[name] for name in flags] == [image[name] for name in flags]
    assert [r["session_id"] for r in records[::N_TEST]] == [0, 1, 0]
    assert [r["subject_id"] for r in records[::N_TEST]] == [0, 0, 2]
    assert [r["subject"] for r in records[::N_TEST]] == ["subj01", "subj01", "subj03"]
    trials = records.column("trial_id")
    assert trials[: 2 * N_TEST] == [*range(688, 750), *range(1438, 1500)]


def test_trials_are_listed_as_the_original_lists_them(tmp_path):
    images = pd.DataFrame({"cocoId": [9, 8, 7], "nsdId": [0, 1, 2], "cropBox": ["(0, 1)"] * 3})
    images = images.assign(**{name: 0 for name in REPETITIONS})
    images.loc[0, ["subject1_rep0", "subject1_rep1", "subject8_rep2"]] = [3, 1, 30_000]
    images.loc[2, "subject1_rep0"] = 2
    images.to_csv(tmp_path / "images.csv")
    rows = []
    for _, image in images.iterrows():
        for subject in range(1, 9):
            for repeat in range(3):
                if trial := image[f"subject{subject}_rep{repeat}"]:
                    rows.append({"subject_id": subject - 1, "trial_id": trial - 1, **image})
    expected = pd.DataFrame(rows).set_index(["subject_id", "trial_id"]).sort_index()
    found = stimulus_trials(tmp_path / "images.csv")
    assert found.index.tolist() == [(0, 0), (0, 1), (0, 2), (7, 29_999)]
    pd.testing.assert_frame_equal(found, expected)
    assert stimulus_trials(tmp_path / "images.csv", [8]).index.tolist() == [(7, 29_999)]


def test_a_table_that_is_none_is_refused(tmp_path):
    (tmp_path / "images.csv").write_text(",nsdId\n0,0\n")
    with pytest.raises(SourceError) as error:
        stimulus_trials(tmp_path / "images.csv")
    assert "Expected: the columns subject1_rep0 to subject8_rep2." in message(error)


def test_the_table_of_trials_goes_with_the_records(made):
    table = pd.read_csv(made / "nsd-flat-arrow/nsd_stim_info_long.csv", index_col=[0, 1])
    assert table.index.is_monotonic_increasing
    assert set(table.index.get_level_values("subject_id")) == {0, 2}
    assert len(table.loc[0]) == 30_000
    for record in load(made / "nsd-flat-arrow", "test")[::50]:
        row = table.loc[(record["subject_id"], record["trial_id"])]
        assert (row["nsdId"], row["cocoId"]) == (record["nsd_id"], record["coco_id"])


def test_the_whole_data_set_has_the_originals_size():
    tier_file, n_trials = load_tier_file("nsd-flat"), {"train": 0, "test": 0}
    for n_sessions in SESSIONS.values():
        trials = pd.DataFrame({"trial": np.arange(n_sessions * TRIALS_PER_SESSION)})
        trials = trials.assign(nsd_id=trials["trial"], session=trials["trial"] // TRIALS_PER_SESSION + 1)
        images = trials[["nsd_id"]].assign(sessions_total=n_sessions)
        tier = assign_trials(tier_file, trials, images)
        assert set(trials["session"][tier == "test"]) == set(range(n_sessions - 2, n_sessions + 1))
        for name in n_trials:
            n_trials[name] += int((tier == name).sum())
    assert n_trials == {"train": 195_000, "test": 18_000}


def test_photographs_are_nsds(made, nsd_root):
    record = load(made / "nsd-flat-arrow", "train")[40]
    with h5py.File(nsd_root / STIMULI) as file:
        pixels = file["imgBrick"][record["nsd_id"]]
    expected = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(record["image"]), np.asarray(expected))


def test_activity_is_the_originals_on_nsds_files(made, nsd_root):
    left, right = (read_mgh(nsd_root / BETAS.format(1, half, 1)) for half in ("lh", "rh"))
    flat = FlatMap.read(made / "nsd-flat-arrow", 1)
    inside = np.zeros(2 * N_VERTICES, dtype=bool)
    inside[flat.unit_ids] = True
    halves = inside[:N_VERTICES], inside[N_VERTICES:]
    expected = original_loop(left, right, halves, flat.raster.points, (-100, 100, -120, 95), 8.0)
    records = load(made / "nsd-flat-arrow", "train")
    found = records.activity(range(N_TRAIN))
    assert np.abs(found.astype(int) - expected[:N_TRAIN]).max() <= 1
    assert (found != expected[:N_TRAIN]).mean() < 1e-3


def test_pictures_go_back_to_units(made, nsd_root):
    flat = FlatMap.read(made / "nsd-flat-png", 1)
    activity = load(made / "nsd-flat-png", "train").activity(range(N_TRAIN))
    units = flat.units(activity)
    betas = read_mgh(nsd_root / BETAS.format(1, "lh", 1)).astype(np.float64)
    x, y = flat.raster.points.T
    left, right, bottom, top = flat.raster.grid.rect
    in_picture = (x > left) & (x < right) & (y > bottom) & (y < top) & (flat.unit_ids < N_VERTICES)
    truth = scale(betas[:, flat.unit_ids[in_picture]])[:N_TRAIN]
    assert units.shape == (N_TRAIN, len(flat.unit_ids))
    assert np.corrcoef(units[:, in_picture].ravel(), truth.ravel())[0, 1] > 0.9
    assert (activity[:, ~flat.mask] == 127).all()
    assert flat.rois["streams"].max() > 0


def test_regions_are_outlined_beside_the_map(made):
    regions = read_regions(made / "nsd-flat-png", 1)
    assert regions == read_regions(made / "nsd-flat-arrow", 1)
    manifest, names = read_manifest(made / "nsd-flat-png"), {one["properties"]["name"] for one in regions}
    assert names == {None, *manifest["roi_names"]["streams"].values()} - {"Unknown"}
    drawn = [one["properties"] for one in regions if not one["properties"]["atlas"]]
    areas = {one["hemisphere"]: one["area_mm2"] for one in drawn}
    assert areas == manifest["subjects"]["subj01"]["area_mm2"]
    inside = mask_of(FlatMap.read(made / "nsd-flat-png", 1).unit_ids, 2 * N_VERTICES)
    patch = coarsened(read_flat("fsaverage5"), N_VERTICES).patch(inside)
    assert sum(areas.values()) == pytest.approx(patch.area_mm2, abs=0.01)
    for one in regions:
        sign = {"left": -1, "right": 1}[one["properties"]["hemisphere"]]
        rings = [np.array(ring) for part in one["geometry"]["coordinates"] for ring in part]
        assert all((ring[:, 0] * sign >= 2).all() and np.array_equal(ring[0], ring[-1]) for ring in rings)
        assert sum(map(signed_area, rings)) == pytest.approx(one["properties"]["area_mm2"], abs=0.5)


def test_missing_outlines_are_named(made):
    with pytest.raises(PackageError) as error:
        read_regions(made / "nsd-flat-png", 7)
    assert message(error) == (
        f"{made}/nsd-flat-png/maps/subj07.geojson: not the outlines of regions (No such file or directory).\n"
        "  Expected: what 'nsd-bench export-flat' writes for every subject of the data set.\n"
        "  What to do: give a subject of the data set, or export it again."
    )


def test_the_manifest_says_what_it_was_made_of(made, nsd_root):
    manifest = read_manifest(made / "nsd-flat-png")
    assert manifest["n_records"] == {"train": 3 * N_TRAIN, "test": 3 * N_TEST}
    assert {name: manifest["options"][name] for name in ("coco", "tiers", "surface", "roi")} == {
        "coco": "nsd",
        "tiers": "toy.toml",
        "surface": "fsaverage5",
        "roi": "nsdgeneral",
    }
    assert manifest["tiers"]["name"] == "toy"
    assert manifest["roi_names"]["streams"]["1"] == "early"
    assert manifest["subjects"]["subj03"]["sessions"] == [1]
    assert manifest["subjects"]["subj03"]["n_vertices_not_on_map"] > 0
    assert manifest["pixels_without_data"]["subj03_session01"] > 0  # its simulation loses vertices
    assert str(nsd_root.parents[1]) not in json.dumps(manifest)
    assert any(name.endswith("instances_val2017.json") for name in manifest["sources"])
    terms = (made / "nsd-flat-png/TERMS.md").read_text()
    assert terms.startswith("# Not for redistribution")


def test_processes_and_interruptions_do_not_change_a_byte(small, nsd_root, tmp_path, monkeypatch):
    export_flat(small, nsd_root, tmp_path / "whole", forms=("png",), pool=Pool(2), progress=False)
    calls = []

    def killed(*arguments):
        calls.append(arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dataset, "write_photographs", killed)
        with pytest.raises(KeyboardInterrupt):
            export_flat(small, nsd_root, tmp_path / "parts", forms=("png",), progress=False)
    assert [path.name for path in (tmp_path / "parts").iterdir()] == [".nsd-flat.work"]
    with monkeypatch.context() as patch:
        patch.setattr(dataset, "draw_session", killed)  # drawn already
        export_flat(small, nsd_root, tmp_path / "parts", forms=("png",), pool=Pool(1), progress=False)
    assert len(calls) == 1
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    record = load(tmp_path / "parts/nsd-flat-png", "test")[0]
    assert record["captions"] == []
    assert set(map(tuple, record["objects"].values())) == {()}


def test_nothing_is_replaced(made, options, nsd_root):
    with pytest.raises(OutputError, match="exists already; nothing was written"):
        export_flat(options, nsd_root, made, forms=("png",), progress=False)


def test_legacy_keeps_vertices_that_are_not_on_the_map(small, made, nsd_root, tmp_path):
    legacy = replace(small, legacy=True)
    export_flat(legacy, nsd_root, tmp_path, forms=("png",), progress=False)
    now, then = (
        read_manifest(p)["subjects"]["subj03"] for p in (made / "nsd-flat-png", tmp_path / "nsd-flat-png")
    )
    assert then["n_units"] == now["n_units"] + now["n_vertices_not_on_map"]
    assert then["n_vertices_not_on_map"] == 0


# what is wrong with the input


def refused(options, root, tmp_path, kind=SourceError):
    with pytest.raises(kind) as error:
        export_flat(options, root, tmp_path / "out", forms=("png",), progress=False)
    assert not (tmp_path / "out").exists()
    return message(error)


def test_a_missing_hemisphere_of_betas_is_named(small, nsd_copy, tmp_path):
    path = nsd_copy / BETAS.format(3, "rh", 1)
    path.unlink()
    assert refused(small, nsd_copy, tmp_path).startswith(f"subj03, session 1: no file {path}")


def test_sessions_without_betas_can_be_left_out(options, nsd_copy, tmp_path):
    """The bucket denied those that were held out."""
    for half in ("lh", "rh"):
        (nsd_copy / BETAS.format(1, half, 2)).unlink()
    arguments = ["--nsd-root", nsd_copy, "--out", tmp_path, "--surface", "fsaverage5", "--subjects", "1,3"]
    arguments += [
        "--tiers",
        options.tiers,
        "--pixel-mm",
        8,
        "--image-size",
        8,
        "--form",
        "png",
        "--incomplete",
    ]
    result = CliRunner().invoke(command, [*map(str, arguments), "--workers", "1", "--quiet"])
    assert result.exit_code == 0, result.output
    assert "subj01: left out as there are no betas: session 2\n" in result.output
    found = read_manifest(tmp_path / "nsd-flat-png")
    assert found["subjects"]["subj01"]["sessions_left_out"] == [2]
    assert found["subjects"]["subj03"]["sessions_left_out"] == []
    assert found["n_records"] == {"train": 2 * N_TRAIN, "test": 2 * N_TEST}
    trials = load(tmp_path / "nsd-flat-png", "test").column("trial_id")
    assert trials == [*range(688, 750)] * 2
    for half in ("lh", "rh"):
        (nsd_copy / BETAS.format(3, half, 1)).unlink()
    only = replace(options, subjects=(3,), coco=None, incomplete=True)
    assert "subj03, session 1: no file" in refused(only, nsd_copy, tmp_path / "none")


def test_a_part_of_the_sessions_is_split_as_the_whole(options, nsd_root, tmp_path):
    by_session = tmp_path / "last.toml"
    by_session.write_text(
        'title = "t"\nsource = "s"\nby = "trial"\n[[rules]]\ntier = "test"\n'
        'where = "session > sessions_total - 1"\n[[rules]]\ntier = "train"\n'
    )
    first = replace(options, subjects=(1,), coco=None, sessions=(1,), tiers=str(by_session), image_size=8)
    (made,) = export_flat(first, nsd_root, tmp_path / "out", forms=("png",), progress=False)
    assert made.n_records == {"train": 750}  # the last session is the second, which is not asked for


def test_a_session_too_many_is_named(small, nsd_root, tmp_path):
    text = refused(replace(small, sessions=(1, 2)), nsd_root, tmp_path)
    assert "responses.tsv: holds 1 sessions, session 2 is asked for.\n" in text


def test_tables_that_contradict_the_design_are_refused(small, nsd_copy, tmp_path):
    path = nsd_copy / TABLE
    table = pd.read_csv(path, index_col=0)
    row = int(np.flatnonzero(table["subject3_rep0"] == 5)[0])
    table.loc[row, "subject3_rep0"] = 9
    path.unlink()
    table.to_csv(path)
    text = refused(small, nsd_copy, tmp_path)
    assert f"subject3_rep0: shows image {row} to subj03 in trial 8 (1 trials differ).\n" in text
    assert "Expected: trial 4, as nsd_expdesign.mat has it." in text


def test_tables_without_repetitions_are_refused(small, nsd_copy, tmp_path):
    path = nsd_copy / TABLE
    table = pd.read_csv(path, index_col=0).drop(columns="subject8_rep2")
    path.unlink()
    table.to_csv(path)
    assert "Expected: the columns subject1_rep0 to subject8_rep2." in refused(small, nsd_copy, tmp_path)


def test_a_map_of_another_surface_is_refused(small, nsd_root, tmp_path, monkeypatch):
    mesh = np.random.default_rng(0).normal(size=(7, 3)), np.array([[0, 1, 2]])
    monkeypatch.setattr("exporters.flat.source.read_flat", lambda _: join_hemispheres(mesh, mesh, "mine"))
    assert refused(small, nsd_root, tmp_path) == (
        "flat map mine: has 7 and 7 vertices.\n"
        "  Expected: 642 and 642 as the betas have, or a coarser fsaverage's.\n"
        "  What to do: give the flat map of fsaverage, or fsaverage5."
    )


def test_an_empty_region_is_refused(small, nsd_root, tmp_path):
    for half in ("lh", "rh"):
        np.save(tmp_path / f"{half}.npy", np.zeros(N_VERTICES))
    roi = f"{tmp_path}/lh.npy,{tmp_path}/rh.npy"
    text = refused(replace(small, roi=roi), nsd_root, tmp_path)
    assert text.startswith(f"subj03, region {roi!r}: no vertex is inside.")


def test_masks_of_the_challenge_are_used(small, nsd_root, tmp_path):
    inside = np.arange(N_VERTICES) % 2
    for half in ("lh", "rh"):
        np.save(tmp_path / f"subj03.{half}.all-vertices_fsaverage_space.npy", inside)
    wanted = replace(small, roi=str(tmp_path), legacy=True)
    export_flat(wanted, nsd_root, tmp_path / "out", forms=("png",), progress=False)
    flat = FlatMap.read(tmp_path / "out/nsd-flat-png", 3)
    assert flat.unit_ids.tolist() == [*range(1, N_VERTICES, 2), *range(N_VERTICES + 1, 2 * N_VERTICES, 2)]


def test_missing_annotations_are_named(small, nsd_root, tmp_path):
    text = refused(replace(small, coco=tmp_path), nsd_root, tmp_path)
    assert text.startswith(f"{tmp_path}: no file ")


def test_tiers_that_do_not_fit_are_refused(small, nsd_root, tmp_path):
    text = refused(replace(small, tiers="nsd-flat"), nsd_root, tmp_path, TierError)
    assert "tier 'train' is empty" in text


def test_a_full_disk_is_told_before_anything_is_drawn(small, nsd_root, tmp_path, monkeypatch):
    wanted = replace(small, image_size=40_000_000)
    with pytest.raises(OutputError, match="the disk has room for"):
        export_flat(wanted, nsd_root, tmp_path, forms=("png",), progress=False)


# loading


def test_what_is_not_there_is_named(made, tmp_path):
    with pytest.raises(PackageError) as error:
        load(made / "nsd-flat-png", "tets")
    assert message(error) == (
        f"{made}/nsd-flat-png: there is no split 'tets'.\n"
        "  Expected: one of 'test', 'train' (did you mean 'test'?).\n"
        "  What to do: ask for another split."
    )
    with pytest.raises(PackageError, match=r"a folder a split, with \.arrow or \.parquet files"):
        load(tmp_path, "train")
    with pytest.raises(PackageError) as error:
        load("somebody/nsd-flat", "train")
    assert message(error) == (
        "somebody/nsd-flat: there is no such folder.\n"
        "  Expected: a data set that 'nsd-bench export-flat' wrote.\n"
        "  What to do: check the path; allow_download=True looks for it in Hugging Face's hub."
    )
    with pytest.raises(PackageError, match="not the manifest of a flat-map data set"):
        read_manifest(tmp_path)
    with pytest.raises(PackageError, match="there is no field 'sesion_id'"):
        load(made / "nsd-flat-png", "test").column("sesion_id")


def test_the_hub_is_asked_only_when_told_to(monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: asked.append((name, split)) or [{}])
    assert load("somebody/nsd-flat", "train", allow_download=True) == [{}]
    assert asked == [("somebody/nsd-flat", "train")]


def test_published_shards_with_fewer_fields_open(made, tmp_path):
    records = load(made / "nsd-flat-png", "train")[:5]
    rows = [
        {
            "subject": record["subject"],
            "image": {"bytes": encode_png(pixels(record, "image")), "path": None},
            "activity": {"bytes": encode_png(pixels(record, "activity")), "path": None},
        }
        for record in records
    ]
    (tmp_path / "data").mkdir()
    for number, part in enumerate((rows[:3], rows[3:])):
        pq.write_table(pa.Table.from_pylist(part), tmp_path / f"data/train-{number:05}-of-00002.parquet")
    again = load(tmp_path, "train")
    assert len(again) == 5
    for one, other in zip(again, records, strict=True):
        assert list(one) == ["subject", "image", "activity"]
        assert np.array_equal(pixels(one, "image"), pixels(other, "image"))
        assert np.array_equal(pixels(one, "activity"), pixels(other, "activity"))
    assert np.array_equal(pixels(again[-1], "activity"), pixels(records[4], "activity"))
    with pytest.raises(IndexError):
        again[5]


def test_without_datasets_the_extra_is_named(monkeypatch, small, nsd_root, tmp_path):
    def none(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(flat_module, "import_module", none)
    with pytest.raises(NsdBenchError) as error:
        export_flat(small, nsd_root, tmp_path / "out", forms=("arrow",), progress=False)
    assert message(error) == (
        "form arrow: datasets is not installed.\n"
        "  Expected: the extra 'hf'.\n"
        "  What to do: pip install 'nsd-bench[hf]'."
    )
    with pytest.raises(NsdBenchError, match=r"^somebody/nsd-flat: datasets is not installed"):
        load("somebody/nsd-flat", "train", allow_download=True)
    assert not (tmp_path / "out").exists()


# the command


def test_the_command_exports(options, nsd_root, tmp_path):
    arguments = ["--nsd-root", nsd_root, "--out", tmp_path, "--surface", "fsaverage5", "--subjects", "3"]
    arguments += [
        "--tiers",
        options.tiers,
        "--pixel-mm",
        8,
        "--image-size",
        16,
        "--form",
        "png",
        "--name",
        "mine",
    ]
    result = CliRunner().invoke(command, [*map(str, arguments), "--workers", "1", "--quiet"])
    assert result.exit_code == 0, result.output
    assert result.output == (
        f"{tmp_path}/mine-png: {N_TRAIN} train, {N_TEST} test\n"
        "without captions and objects; --coco gives them\n"
        f"Next: nsd-bench view-flat {tmp_path}/mine-png --out flat.html\n"
    )


def test_a_wrong_rectangle_is_a_wrong_command_line():
    result = CliRunner().invoke(command, ["--nsd-root", "x", "--out", "y", "--surface", "z", "--rect", "1,2"])
    assert result.exit_code == 2
    assert "'1,2' is not like -100,100,-120,95" in result.output


def test_a_kernel_has_a_width():
    arguments = ["--nsd-root", "x", "--out", "y", "--surface", "fsaverage5", "--fwhm", "-1"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert "Invalid value for '--fwhm': -1.0 is not in the range x>0." in result.output


def test_a_subject_that_nsd_does_not_have():
    arguments = ["--nsd-root", "x", "--out", "y", "--surface", "fsaverage5", "--subjects", "1,9"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert "Invalid value for --subjects: 9 is none of NSD's subjects, 1 to 8" in result.output


def test_a_rectangle_without_a_pixel_is_refused(small, nsd_root, tmp_path):
    wanted = replace(small, rect_mm=(5.0, 5.5, 0.0, 9.0))
    assert "has no pixel" in refused(wanted, nsd_root, tmp_path, OptionError)


def test_the_plan_names_every_fetch_and_fetches_nothing(tmp_path):
    table = tmp_path / "nsddata/experiments/nsd/nsd_stim_info_merged.csv"
    table.parent.mkdir(parents=True)
    table.write_bytes(b"12345")
    options = ["--surface", "fsaverage5", "--subjects", "3", "--sessions", "1,32", "--plan"]
    done = CliRunner().invoke(
        command,
        ["--nsd-root", str(tmp_path), "--out", str(tmp_path / "out"), *options],
        catch_exceptions=False,
    )
    fetch = "aws s3 cp --no-sign-request s3://natural-scenes-dataset/"
    names = [
        "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5",
        "nsddata/experiments/nsd/nsd_expdesign.mat",
        "nsddata/ppdata/subj03/behav/responses.tsv",
        *(
            f"nsddata_betas/ppdata/subj03/fsaverage/betas_fithrf_GLMdenoise_RR/{half}.betas_session{number}.mgh"
            for number in ("01", "32")
            for half in ("lh", "rh")
        ),
    ]
    lines = done.output.splitlines()
    assert [line for line in lines if line.startswith("aws")] == [f"{fetch}{name} {name}" for name in names]
    assert "# 5 bytes are there: nsddata/experiments/nsd/nsd_stim_info_merged.csv" in lines
    unzip = "curl -LO http://images.cocodataset.org/annotations/annotations_trainval2017.zip && unzip "
    assert lines[-1] == f"{unzip}annotations_trainval2017.zip -d COCO"
    assert not (tmp_path / "out").exists()


def test_the_plan_says_that_annotations_are_there(options, nsd_root, tmp_path):
    arguments = ["--nsd-root", nsd_root, "--out", tmp_path, "--surface", "fsaverage5", "--plan", "--coco"]
    there, elsewhere = (
        CliRunner().invoke(command, [*map(str, arguments), str(folder)]) for folder in (options.coco, "a b")
    )
    assert there.output.splitlines()[-1] == "# Captions and objects are there."
    assert elsewhere.output.splitlines()[-1].endswith("unzip annotations_trainval2017.zip -d 'a b'")
