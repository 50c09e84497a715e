"""Flat maps: geometry, rasters and the way back, against hand-made numbers and the original's algorithm."""

from __future__ import annotations

import importlib.util

import nibabel as nib
import numpy as np
import pytest
from cortices import icosahedron
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.interpolate import interpn
from sklearn.neighbors import NearestNeighbors

from nsd_bench.cortex import surfaces as files
from nsd_bench.cortex.flat import FlatMap, dequantise, quantise, upright
from nsd_bench.cortex.geometry import join_hemispheres, mask_of, vertices_of
from nsd_bench.cortex.outlines import outlines
from nsd_bench.cortex.raster import PixelGrid, gaussian_raster
from nsd_bench.cortex.surfaces import coarsened, read_flat
from nsd_bench.errors import NsdBenchError, OptionError, PackageError, SourceError

RECT = (-100.0, 100.0, -120.0, 95.0)
LEFT = np.array([[0.0, 0, 0], [4, 0, 0], [0, 3, 0], [4, 3, 0], [9, 9, 0]]), np.array([[0, 1, 2], [1, 3, 2]])
RIGHT = np.array([[5.0, 1, 0], [7, 1, 0], [5, 4, 0]]), np.array([[0, 1, 2]])


def join():
    return join_hemispheres(LEFT, RIGHT, "toy")


def message(error) -> str:
    return str(error.value)


def write_gifti(path, mesh):
    coordinates, triangles = mesh
    arrays = [
        nib.gifti.GiftiDataArray(coordinates.astype("f4"), "NIFTI_INTENT_POINTSET", datatype="float32"),
        nib.gifti.GiftiDataArray(triangles.astype("i4"), "NIFTI_INTENT_TRIANGLE", datatype="int32"),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.gifti.GiftiImage(darrays=arrays), path)


# geometry


def test_hemispheres_stand_2_mm_from_the_middle():
    flat = join()
    # All vertices count, the one at x = 9 that no triangle uses among them.
    assert flat.points[:5, 0].tolist() == [-11, -7, -11, -7, -2]
    assert flat.points[5:, 0].tolist() == [2, 4, 2]
    assert flat.points[:, 1].tolist() == [0, 0, 3, 3, 9, 1, 1, 4]
    assert flat.triangles.tolist() == [[0, 1, 2], [1, 3, 2], [5, 6, 7]]
    assert flat.on_map.tolist() == [True] * 4 + [False] + [True] * 3
    assert (len(flat), flat.n_vertices) == (8, (5, 3))


def test_joining_leaves_the_callers_arrays_alone():
    before = LEFT[0].copy(), RIGHT[1].copy()
    join()
    assert np.array_equal(LEFT[0], before[0])
    assert np.array_equal(RIGHT[1], before[1])


def test_patch_keeps_whole_triangles_and_drops_what_was_cut_away():
    inside = mask_of(np.array([0, 1, 2, 4, 6]), 8)
    patch = join().patch(inside)
    assert patch.vertices.tolist() == [0, 1, 2, 6]
    assert patch.points.tolist() == join().points[[0, 1, 2, 6]].tolist()
    assert patch.triangles.tolist() == [[0, 1, 2]]
    assert patch.area_mm2 == 6
    assert join().patch(inside, cut_away=True).vertices.tolist() == [0, 1, 2, 4, 6]
    assert join().patch(np.ones(8, dtype=bool)).area_mm2 == 6 + 6 + 3


def test_coarser_surfaces_are_the_first_vertices():
    flat = icosahedron(42)
    coarse = coarsened(flat, 12)
    assert coarse.n_vertices == (12, 12)
    assert coarse.points.tolist() == flat.points[[*range(12), *range(42, 54)]].tolist()
    assert coarse.on_map.all()
    with pytest.raises(OptionError) as error:
        coarsened(join(), 4)
    assert message(error) == (
        "toy: 4 vertices a hemisphere are more than there are.\n  Expected: at most 3.\n"
        "  What to do: give a flat map of a finer surface."
    )


@given(arrays(bool, st.integers(1, 30)))
def test_masks_and_vertices_say_the_same(mask):
    assert np.array_equal(mask_of(vertices_of(mask, len(mask)), len(mask)), mask)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_vertices_out_of_range_are_named(wrong):
    with pytest.raises(OptionError) as error:
        mask_of(np.array([0, wrong]), 3)
    assert message(error).startswith(f"vertices: there is no vertex {wrong}.\n  Expected: 0 to 2.")


@pytest.mark.parametrize("mask", [np.ones(3, dtype=bool), np.ones(2)])
def test_masks_of_another_surface_are_refused(mask):
    with pytest.raises(OptionError, match=r"mask: the mask is .* of shape"):
        vertices_of(mask, 2)


@pytest.mark.parametrize(
    ("mesh", "problem"),
    [
        ((np.zeros((4, 1)), LEFT[1]), "coordinates have shape (4, 1)"),
        ((LEFT[0], np.zeros((2, 4), dtype=int)), "triangles are int64 of shape (2, 4)"),
        ((LEFT[0], LEFT[1].astype(float)), "triangles are float64 of shape (2, 3)"),
        ((LEFT[0], LEFT[1] + 3), "triangles name vertices 3 to 6 of 5"),
        ((LEFT[0], LEFT[1][:0]), "there is no triangle"),
    ],
)
def test_what_is_no_surface_is_refused(mesh, problem):
    with pytest.raises(SourceError) as error:
        join_hemispheres(LEFT, mesh, "toy")
    assert message(error) == (
        f"toy, right hemisphere: {problem}.\n"
        "  Expected: coordinates (n_vertices, 2 or 3) and integer triangles (n_triangles, 3) of them.\n"
        "  What to do: give the flat surface itself, such as pycortex's flat_lh.gii."
    )


# files


def test_nilearns_fsaverage5():
    pytest.importorskip("nilearn")
    flat = read_flat("fsaverage5")
    assert flat.n_vertices == (10242, 10242)
    left, right = flat.points[:10242], flat.points[10242:]
    np.testing.assert_allclose([left[:, 0].min(), left[:, 0].max()], [-313.553, -2], atol=5e-4)
    np.testing.assert_allclose([right[:, 0].min(), right[:, 0].max()], [2, 323.191], atol=5e-4)
    np.testing.assert_allclose(
        [flat.points[:, 1].min(), flat.points[:, 1].max()], [-141.142, 140.629], atol=1e-3
    )
    assert len(flat.triangles) == 18654 + 18790
    assert (~flat.on_map).sum() == 777 + 705
    assert flat.triangles[18654:].min() >= 10242


def test_a_pycortex_subject_and_a_pair_of_files_are_the_same(tmp_path):
    left, right = tmp_path / "me/surfaces/flat_lh.gii", tmp_path / "me/surfaces/flat_rh.gii"
    write_gifti(left, LEFT)
    write_gifti(right, RIGHT)
    for source in (tmp_path / "me", f"{left}, {right}"):
        flat = read_flat(source)
        assert np.array_equal(flat.points, join().points)
        assert np.array_equal(flat.triangles, join().triangles)
        assert flat.source == str(source)


def test_a_missing_hemisphere_is_named(tmp_path):
    write_gifti(tmp_path / "surfaces/flat_lh.gii", LEFT)
    with pytest.raises(SourceError) as error:
        read_flat(tmp_path)
    missing = tmp_path / "surfaces/flat_rh.gii"
    assert message(error) == (
        f"flat map {tmp_path}: there is no right hemisphere: no file {missing}.\n"
        "  Expected: the folder of a pycortex subject, LEFT.gii,RIGHT.gii, or fsaverage5.\n"
        "  What to do: give both hemispheres; "
        "cortex.download_subject('fsaverage') fetches the full fsaverage."
    )


def test_three_files_are_no_map():
    with pytest.raises(SourceError, match=r"flat map a.gii,b.gii,c.gii: 3 files"):
        read_flat("a.gii,b.gii,c.gii")


def test_files_that_hold_no_surface_are_named(tmp_path):
    good, text, values = (tmp_path / name for name in ("good.gii", "text.gii", "values.gii"))
    write_gifti(good, LEFT)
    text.write_text("not XML")
    one = nib.gifti.GiftiDataArray(np.zeros(5, "f4"), "NIFTI_INTENT_SHAPE", datatype="float32")
    nib.save(nib.gifti.GiftiImage(darrays=[one]), values)
    for path, problem in (
        (text, "cannot be read as a surface"),
        (values, "holds no single NIFTI_INTENT_POINTSET"),
    ):
        with pytest.raises(SourceError) as error:
            read_flat(f"{good},{path}")
        assert message(error).startswith(f"{path}: ")
        assert problem in message(error)


def test_without_nilearn_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    with pytest.raises(NsdBenchError) as error:
        read_flat("fsaverage5")
    assert message(error) == (
        "flat map fsaverage5: nilearn is not installed.\n"
        "  Expected: the extra that brings fsaverage5's flat map.\n"
        "  What to do: pip install 'nsd-bench[flat]', or give a pycortex subject or LEFT.gii,RIGHT.gii."
    )


# grid


def test_grid_of_nsd_flat():
    grid = PixelGrid.of_rect(RECT, 1.0)
    assert grid.shape == (215, 200)
    assert grid.rect == RECT
    assert grid.centres()[[0, 1, 200, -1]].tolist() == [
        [-99.5, -119.5],
        [-98.5, -119.5],
        [-99.5, -118.5],
        [99.5, 94.5],
    ]


def test_grid_of_4_mm_rounds_to_whole_pixels():
    grid = PixelGrid.of_rect(RECT, 4.0)
    assert grid.shape == (54, 50)
    assert grid.rect == (-100, 100, -120, 96)


def test_halves_are_rounded_to_even_and_corners_to_pixels():
    grid = PixelGrid.of_rect((0.9, 5.9, -3.1, 3.9), 2.0)
    assert (grid.width, grid.height, grid.left, grid.bottom) == (2, 4, 0, -4)


@pytest.mark.parametrize(("rect", "pixel_mm"), [((0, 0, 0, 5), 1), ((0, 5, 5, 0), 1), ((0, 5, 0, 5), -1)])
def test_empty_grids_are_refused(rect, pixel_mm):
    with pytest.raises(OptionError, match=r"grid: rectangle .* has no pixel"):
        PixelGrid.of_rect(rect, pixel_mm)


# raster

GRID = PixelGrid(2.0, -4.0, -6.0, 5, 7)
POINTS = np.random.default_rng(3).uniform((-5, -7), (7, 9), (23, 2))


def original_weights(points, grid, fwhm=1.0):
    """The algorithm of the original Resampler.fit, in scikit-learn's words."""
    sigma = grid.pixel_mm * fwhm / 2.35482004503
    graph = NearestNeighbors().fit(points).radius_neighbors_graph(grid.centres(), 3 * sigma, mode="distance")
    graph.data = np.exp(-0.5 * graph.data**2 / sigma**2)
    density = np.asarray(graph.sum(axis=1)).ravel()
    return graph.toarray() / np.where(density == 0, 1e-8, density)[:, None], density


@pytest.mark.parametrize("fwhm", [1.0, 0.4, 2.5])
def test_weights_are_the_originals(fwhm):
    raster = gaussian_raster(POINTS, GRID, fwhm=fwhm)
    weights, density = original_weights(POINTS, GRID, fwhm)
    np.testing.assert_allclose(raster.weights.toarray(), weights, atol=1e-12)
    np.testing.assert_allclose(raster.density.ravel(), density, atol=1e-12)
    assert np.array_equal(raster.mask, raster.density > 0)
    sums = raster.weights.sum(axis=1)
    np.testing.assert_allclose(sums, raster.mask.ravel(), atol=1e-12)


def test_sigma_of_a_pixel_and_reach_of_three_sigma():
    grid = PixelGrid(1.0, 0.0, 0.0, 3, 1)
    points = np.array([[0.5 + 0.4246609, 0.5], [0.5, 0.5]])
    raster = gaussian_raster(points, grid)
    near = np.exp(-0.5)
    np.testing.assert_allclose(raster.weights.toarray()[0], [near / (1 + near), 1 / (1 + near)], rtol=1e-7)
    assert raster.mask.tolist() == [[True, True, False]]  # 3 sigma is 1.27 pixels


def test_pictures_are_weighted_means():
    raster = gaussian_raster(POINTS, GRID)
    values = np.random.default_rng(0).normal(size=(70, 23)).astype(np.float32)
    pictures = raster.pictures(values, fill=9.0)
    expected = values.astype(float) @ original_weights(POINTS, GRID)[0].T
    expected[:, ~raster.mask.ravel()] = 9
    assert pictures.shape == (70, 7, 5)
    np.testing.assert_allclose(pictures.reshape(70, -1), expected, atol=1e-12)
    assert np.array_equal(raster.pictures(values[4], fill=9.0), pictures[4])


def test_labels_go_to_the_largest_share_and_the_smallest_among_equals():
    grid = PixelGrid(1.0, 0.0, 0.0, 4, 1)
    points = np.array([[0.4, 0.5], [0.6, 0.5], [2.5, 0.5], [2.5, 0.9], [2.5, 0.1]])
    raster = gaussian_raster(points, grid, fwhm=0.5)
    picture = raster.label_picture(np.array([7, 5, 9, 2, 2], dtype=np.int16), fill=-1)
    assert picture.tolist() == [[5, -1, 9, -1]]
    assert picture.dtype == np.int16
    flags = raster.label_picture(np.array([True, True, False, False, False]))
    assert flags.tolist() == [[True, False, False, False]]


def test_labels_are_the_originals():
    raster = gaussian_raster(POINTS, GRID)
    labels = np.random.default_rng(1).integers(0, 4, 23)
    one_hot = np.eye(4)[labels]
    expected = (original_weights(POINTS, GRID)[0] @ one_hot).argmax(axis=1).reshape(7, 5)
    assert np.array_equal(raster.label_picture(labels), np.where(raster.mask, expected, 0))


@pytest.mark.parametrize("method", ["nearest", "linear"])
def test_units_are_read_where_they_lie(method):
    inner = np.random.default_rng(5).uniform((-3, -5), (5, 7), (40, 2))  # between pixel centres
    pictures = np.random.default_rng(6).normal(size=(3, 7, 5))
    found = gaussian_raster(inner, GRID).units(pictures, interpolation=method, border="strict")
    expected = [interpn((GRID.y_mm, GRID.x_mm), one, inner[:, ::-1], method=method) for one in pictures]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    one = gaussian_raster(inner, GRID).units(pictures[1], interpolation=method)
    np.testing.assert_allclose(one, expected[1], atol=1e-12)


def test_half_a_pixel_of_border_is_clamped_and_what_lies_outside_is_0():
    grid = PixelGrid(1.0, 0.0, 0.0, 3, 2)
    points = np.array([[0.1, 0.1], [2.9, 1.9], [3.0, 0.5], [3.2, 0.5], [1.5, 1.0]])
    raster, picture = gaussian_raster(points, grid), np.arange(1.0, 7).reshape(2, 3)
    assert raster.units(picture, interpolation="linear").tolist() == [1, 6, 3, 0, 3.5]
    assert raster.units(picture.astype(np.uint8)).dtype == np.uint8
    assert raster.units(picture)[:4].tolist() == [1, 6, 3, 0]
    with pytest.raises(OptionError) as error:
        raster.units(picture, border="strict")
    assert message(error) == (
        "units, border = 'strict': 3 units lie beyond the outermost pixel centres.\n"
        "  Expected: every unit of the grid between pixel centres.\n"
        "  What to do: use border = 'clamp', or a larger grid."
    )


def test_there_and_back_again():
    points = np.random.default_rng(7).uniform((-100, -120), (100, 95), (60_000, 2))
    raster = gaussian_raster(points, PixelGrid.of_rect(RECT, 1.0))
    values = np.sin(points[:, 0] / 15) + np.cos(points[:, 1] / 11)
    back = raster.units(raster.pictures(values))
    assert np.corrcoef(values, back)[0, 1] > 0.998


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda raster: raster.pictures(np.zeros((2, 22))), "(23,)"),
        (lambda raster: raster.pictures(np.zeros((1, 1, 23))), "(23,)"),
        (lambda raster: raster.label_picture(np.zeros(23)), "(23,)"),
        (lambda raster: raster.label_picture(np.zeros((23, 2), int)), "(23,)"),
        (lambda raster: raster.units(np.zeros((5, 7))), "(7, 5)"),
    ],
)
def test_arrays_of_another_raster_are_refused(call, expected):
    with pytest.raises(OptionError) as error:
        call(gaussian_raster(POINTS, GRID))
    assert f"Expected: {expected}, trials before it" in message(error)


def test_unknown_interpolation_is_refused():
    with pytest.raises(OptionError, match=r"one of 'nearest', 'linear' \(did you mean 'linear'\?\)"):
        gaussian_raster(POINTS, GRID).units(np.zeros((7, 5)), interpolation="linaer")


def test_a_raster_without_units_is_refused():
    with pytest.raises(OptionError, match=r"none of 1 units is near a pixel"):
        gaussian_raster(np.array([[500.0, 0.0]]), GRID)


# levels


def test_levels():
    zscores = np.array([-np.inf, -2.6, -2.5, 0, 2.4999, 2.5, 3, np.inf, np.nan], dtype=np.float32)
    assert quantise(zscores).tolist() == [0, 0, 0, 127, 254, 255, 255, 255, 127]
    assert zscores[1] == np.float32(-2.6)  # the caller's array is as it was


@given(st.floats(-2.5, 2.5))
def test_levels_lose_at_most_a_255th_of_the_range(zscore):
    back = dequantise(quantise(np.array([zscore])))[0]
    assert back - 1e-12 <= zscore <= back + 5 / 255 + 1e-12


def test_upright_turns_rows_only():
    assert upright(np.arange(12).reshape(2, 2, 3))[0].tolist() == [[3, 4, 5], [0, 1, 2]]


# outlines and maps


def enclosed(loop) -> float:
    x, y = loop[:-1].T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_outlines_follow_parts_and_holes():
    inside = np.zeros((9, 12), dtype=bool)
    inside[1:8, 1:7], inside[3:5, 3:5], inside[2, 10] = True, False, True
    loops = sorted(outlines(inside), key=enclosed)
    # Half-way contours cut an eighth of a pixel off every corner, of the hole too.
    assert [enclosed(loop) for loop in loops] == [0.5, 3.5, 41.5]
    assert all(np.array_equal(loop[0], loop[-1]) for loop in loops)
    assert loops[0][:-1].mean(axis=0).tolist() == [10.5, 2.5]


def test_maps_reopen_and_read_pictures(tmp_path):
    from nsd_bench.outputs import write_npz

    flat = FlatMap(
        gaussian_raster(POINTS, GRID, fwhm=2.0), np.arange(23) * 3, {"a": np.ones((7, 5), np.int16)}
    )
    write_npz(tmp_path / "maps/subj02.npz", flat.arrays(2.0))
    again = FlatMap.read(tmp_path, 2)
    assert np.array_equal(again.raster.weights.toarray(), flat.raster.weights.toarray())
    assert again.raster.grid == GRID
    assert again.unit_ids.tolist() == list(range(0, 69, 3))
    assert again.rois["a"].shape == (7, 5)
    assert np.array_equal(again.mask, flat.raster.mask[::-1])
    zscores = np.random.default_rng(2).uniform(-2, 2, (2, 7, 5))
    activity = upright(quantise(zscores))
    np.testing.assert_allclose(again.units(activity), again.raster.units(zscores), atol=5 / 255)


def test_a_missing_map_is_named(tmp_path):
    with pytest.raises(PackageError) as error:
        FlatMap.read(tmp_path, 7)
    assert message(error).startswith(f"{tmp_path}/maps/subj07.npz: not a map (")


def test_surfaces_import_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, nsd_bench.cortex.surfaces, nsd_bench.cortex.flat\nprint(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert not loaded & {"nibabel", "nilearn", "skimage", "matplotlib", "pandas", "torch"}
    assert importlib.util.find_spec("nibabel")
