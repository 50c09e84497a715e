"""Flat maps: pixels as pycortex's, units where they belong, outlines, scales, figures and the command."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cortices import (
    N_SIDE,
    SQUARE,
    export_demo,
    icosahedron,
    message,
    need_pycortex,
    run,
)
from matplotlib.figure import Figure
from matplotlib.path import Path as Polygon
from packages import N_UNITS, UNIT_IDS, make_package
from PIL import Image

from exporters.nsd.layout import Layout
from nsd_bench.cli.flatmap import flatmap_command as command
from nsd_bench.cortex.canvas import make_canvas
from nsd_bench.cortex.drawing import Easel, make_easels, outline_atlas, scale_of, score_pictures
from nsd_bench.cortex.drawing_options import DrawingOptions
from nsd_bench.cortex.figure import Scale, draw_labels, draw_values, folds, place_names, shared_scale
from nsd_bench.cortex.geometry import join_hemispheres
from nsd_bench.cortex.maps import UnitMap, array_map, package_map, score_map, volume_map, whole_names
from nsd_bench.cortex.matching import fsaverage_placement, fsaverage_vertices, nearest_placement
from nsd_bench.cortex.outlines import Region, regions_on
from nsd_bench.cortex.placing import NOWHERE, Placement
from nsd_bench.cortex.surfaces import Cortex, read_cortex
from nsd_bench.errors import NsdBenchError, OptionError, PackageError, SourceError, SubmissionError
from nsd_bench.outputs import write_npz
from nsd_bench.package.read import Package


@pytest.fixture(scope="module")
def flat():
    return join_hemispheres(SQUARE, SQUARE, "squares")


@pytest.fixture(scope="module")
def canvas(flat):
    return make_canvas(flat, 80)


@pytest.fixture(scope="module")
def fs5() -> Cortex:
    pytest.importorskip("nilearn")
    return read_cortex("fsaverage5")


@pytest.fixture
def package(tmp_path) -> Package:
    return Package(make_package(tmp_path))


def easel(canvas, package, atlas="none") -> Easel:
    """The package's five units on the first vertices of each half of the squares."""
    units = np.full((2 * N_SIDE, 1), NOWHERE)
    units[:N_UNITS, 0] = UNIT_IDS
    placement = Placement(units, (4, 5, 6), "toy")
    return Easel(canvas, np.full(2 * N_SIDE, np.nan), package, placement, DrawingOptions(outlines=atlas))


# pixels


def test_pixels_show_the_nearest_vertex(flat, canvas):
    assert canvas.mask.shape == (80, 160)
    assert canvas.extent == (-40, 40, 0, 40)
    columns, rows = np.linspace(-40, 40, 160), np.linspace(40, 0, 80)
    row, column = np.nonzero(canvas.mask)
    there = np.column_stack([columns[column], rows[row]])
    distance = np.linalg.norm(there[:, None] - canvas.points[None], axis=2)
    np.testing.assert_allclose(distance[np.arange(len(row)), canvas.vertex], distance.min(axis=1), atol=1e-6)
    assert canvas.mask.mean() > 0.97


def test_left_is_left_and_up_is_up(flat, canvas):
    picture = canvas.picture(canvas.points[:, 0].astype(float))
    assert np.nanmax(picture[:, :79]) <= 0 <= np.nanmin(picture[:, 81:])
    height = canvas.picture(canvas.points[:, 1].astype(float))
    assert np.nanmean(height[:10]) > 30 > 10 > np.nanmean(height[-10:])


def test_values_of_another_surface_are_refused(canvas):
    with pytest.raises(OptionError) as error:
        canvas.picture(np.zeros(7))
    assert message(error) == (
        "flat map: values have shape (7,).\n"
        "  Expected: (882,): one value for every vertex, the right ones after the left.\n"
        "  What to do: put the values of the units on the vertices first."
    )


def test_a_picture_has_some_height(flat):
    with pytest.raises(OptionError, match="height = 3 is not possible"):
        make_canvas(flat, 3)


def test_vertices_that_were_cut_away_do_not_matter():
    points = np.vstack([SQUARE[0], [[900.0, -900, 0]]])
    canvas = make_canvas(join_hemispheres((points, SQUARE[1]), SQUARE), 40)
    assert canvas.extent == (-40, 40, 0, 40)
    assert N_SIDE not in canvas.vertex


def test_what_cutting_left_over_is_no_outline():
    """A triangle apart from the rest, whose vertices come first."""
    scrap = np.array([[4.0, 4, 0], [7, 4, 0], [4, 7, 0]])
    mesh = np.vstack([scrap, SQUARE[0]]), np.vstack([[[0, 1, 2]], SQUARE[1] + 3])
    assert make_canvas(join_hemispheres(mesh, mesh), 40).mask.mean() > 0.9


def test_pixels_are_those_of_pycortex(fs5):
    need_pycortex()
    from nsd_bench.cortex.store import pycortex_canvas

    environment = dict(os.environ)
    for height in (64, 150):
        own, other = make_canvas(fs5.flat, height), pycortex_canvas(fs5.flat, height)
        assert own.extent == other.extent
        np.testing.assert_array_equal(own.mask, other.mask)
        np.testing.assert_array_equal(own.vertex, other.vertex)
    assert dict(os.environ) == environment


def test_pycortex_is_an_extra(flat, monkeypatch):
    import sys

    from nsd_bench.cortex.store import pycortex_canvas

    monkeypatch.setitem(sys.modules, "cortex", None)
    with pytest.raises(NsdBenchError) as error:
        pycortex_canvas(flat, 64)
    assert message(error) == (
        "--engine pycortex: cortex is not installed.\n"
        "  Expected: the extra 'pycortex'.\n"
        "  What to do: pip install 'nsd-bench[pycortex]'."
    )


# the cortex itself


def test_fsaverage5_has_folds_and_places(fs5):
    assert fs5.curvature.shape == (20484,) and fs5.middle_mm.shape == (20484, 3)
    assert fs5.middle_mm[:10242, 0].mean() < -20 and fs5.middle_mm[10242:, 0].mean() > 20
    assert 0.3 < (fs5.curvature > 0).mean() < 0.7


def test_planted_halves_come_out_where_they_belong(fs5):
    canvas = make_canvas(fs5.flat, 120)
    x, y, z = (canvas.picture(axis) for axis in fs5.middle_mm.T)
    middle = round(canvas.mask.shape[1] * -canvas.extent[0] / (canvas.extent[1] - canvas.extent[0]))
    assert np.nanmean(np.sign(x[:, :middle])) < -0.99 and np.nanmean(np.sign(x[:, middle:])) > 0.99
    # The occipital poles meet in the middle, the frontal ones lie outside; above is up.
    assert np.nanmean(y[:, middle - 60 : middle + 60]) < -45 and np.nanmean(y[:, :60]) > 20
    assert np.nanmean(z[:40]) > np.nanmean(z[-40:]) + 20


def write_subject(folder: Path, *, bad: bool = False) -> Path:
    for side in ("lh", "rh"):
        for kind, depth in (("flat", 0), ("wm", 1), ("pia", 3)):
            points = SQUARE[0] + np.array([0, 0, depth])
            write_gifti(folder / f"surfaces/{kind}_{side}.gii", points, SQUARE[1])
    (folder / "surface-info").mkdir()
    np.savez(folder / "surface-info/curvature.npz", left=np.ones(N_SIDE - bad), right=-np.ones(N_SIDE))
    return folder


def write_gifti(path: Path, points, triangles) -> None:
    arrays = [
        nib.gifti.GiftiDataArray(points.astype("f4"), "NIFTI_INTENT_POINTSET", datatype="float32"),
        nib.gifti.GiftiDataArray(triangles.astype("i4"), "NIFTI_INTENT_TRIANGLE", datatype="int32"),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.gifti.GiftiImage(darrays=arrays), path)


def test_a_pycortex_subject_brings_its_own_folds(tmp_path):
    cortex = read_cortex(write_subject(tmp_path / "s1"))
    assert cortex.curvature[[0, N_SIDE]].tolist() == [-1, 1]  # pycortex turns FreeSurfer's sign
    assert set(cortex.middle_mm[:, 2]) == {2}
    pair = ",".join(str(tmp_path / f"s1/surfaces/flat_{side}.gii") for side in ("lh", "rh"))
    assert np.isnan(read_cortex(pair).curvature).all()


def test_files_of_two_surfaces_are_refused(tmp_path):
    folder = write_subject(tmp_path / "s1", bad=True)
    with pytest.raises(SourceError, match="the curvature has 881 vertices, the flat map 882"):
        read_cortex(folder)
    np.savez(folder / "surface-info/curvature.npz", sulci=np.ones(N_SIDE))
    with pytest.raises(SourceError, match="holds no curvature"):
        read_cortex(folder)
    (folder / "surface-info/curvature.npz").unlink()
    (folder / "surfaces/pia_lh.gii").write_text("<GIFTI/>")
    with pytest.raises(SourceError, match="cannot be read as a surface"):
        read_cortex(folder)


# units on vertices


def test_depths_are_averaged_without_the_missing_ones():
    placement = Placement(np.array([[5, 7, 7], [NOWHERE, 9, 5], [1, 1, NOWHERE]]), (2, 3, 4), "toy")
    values = placement.on_vertices(np.array([5, 7, 9]), np.array([1.0, 4.0, np.nan]))
    assert values.tolist() == [3.0, 1.0, pytest.approx(np.nan, nan_ok=True)]


def test_labels_are_voted_on():
    placement = Placement(np.array([[5, 7, 7], [NOWHERE, 9, 5], [1, 1, NOWHERE]]), (2, 3, 4), "toy")
    labels = placement.labels_on_vertices(np.array([5, 7, 9]), np.array([2, 3, -1], dtype=np.int16))
    assert labels.tolist() == [3, 2, 0]


def test_depths_that_come_back_to_a_unit_count_twice():
    placement = Placement(np.array([[3, 3, 1, 3], [-1, 1, -1, 1]]), (2, 2), "toy")
    ids, values = np.array([1, 3]), np.array([10.0, 2.0])
    assert placement.on_vertices(ids, values).tolist() == [4, 10]
    assert placement.labels_on_vertices(ids, np.array([1, 2])).tolist() == [2, 1]
    assert placement.labels_on_vertices(ids, np.array([-1, 0])).tolist() == [0, 0]


def test_order_of_units_does_not_matter():
    rng = np.random.default_rng(0)
    placement = Placement(rng.integers(-1, 60, (30, 3)), (3, 4, 5), "toy")
    ids, values = rng.permutation(60)[:25], rng.normal(size=25)
    shuffled = rng.permutation(25)
    np.testing.assert_array_equal(
        placement.on_vertices(ids, values), placement.on_vertices(ids[shuffled], values[shuffled])
    )


@pytest.mark.parametrize("flip", [False, True])
def test_handedness_and_shape_are_checked(flip):
    """Cubic grids: only the coordinates tell an axis that was turned round, or two that were swapped."""
    shape, affine = (4, 4, 4), np.diag([-1.8 if flip else 1.8, 1.8, 1.8, 1.0])
    ids = np.array([0, 21, 63])
    where = 1.8 * np.column_stack(np.unravel_index(ids, shape))
    placement = Placement(np.zeros((2, 1), np.int64), shape, "transforms", affine)
    if not flip:
        placement.check(ids, where)
        with pytest.raises(PackageError, match="unit 64 is not one of 64"):
            placement.check(np.array([64]), where[:1])
        with pytest.raises(PackageError, match="lies at"):
            placement.check(np.array([1]), where[:1])
        return
    with pytest.raises(PackageError) as error:
        placement.check(ids, where)
    assert message(error) == (
        "transforms: the package's units are of another grid: unit 21 lies at [-1.8, 1.8, 1.8] mm, where the "
        "package says [1.8, 1.8, 1.8].\n"
        "  Expected: units of a grid or surface of shape (4, 4, 4).\n"
        "  What to do: give the transforms of the package's own subject and space."
    )


@pytest.mark.parametrize("affine", [None, np.eye(4) * 2])
def test_placements_survive_a_file(tmp_path, affine):
    placement = Placement(np.array([[3, NOWHERE]]), (2, 3, 4), "toy", affine, is_approximate=affine is None)
    write_npz(tmp_path / "p.npz", placement.arrays())
    with np.load(tmp_path / "p.npz") as arrays:
        again = Placement.of_arrays(arrays)
    assert (again.shape, again.source, again.is_approximate) == ((2, 3, 4), "toy", affine is None)
    assert again.units.tolist() == [[3, NOWHERE]]
    assert again.affine is None if affine is None else (again.affine == affine).all()


def test_coarser_maps_show_the_first_vertices():
    left, right = fsaverage_vertices(icosahedron(12), 162)
    assert left.tolist() == right.tolist() == list(range(12))
    units = np.array([3, 11, 100, 162 + 3, 323])
    placement = fsaverage_placement(icosahedron(12), units, np.array(["lh", "lh", "lh", "rh", "rh"]))
    assert placement.shape == (162, 162)
    assert placement.units[:, 0].tolist() == [*range(12), *range(162, 174)]
    placement.check(units, np.full((5, 3), np.nan))


def test_finer_maps_show_the_nearest_vertex():
    flat = icosahedron(162)
    left, _ = fsaverage_vertices(flat, 12)
    distance = np.linalg.norm(flat.points[:162, None] - flat.points[None, :12], axis=2)
    assert left.tolist() == distance.argmin(axis=1).tolist()


def test_what_is_no_fsaverage_is_refused(flat):
    with pytest.raises(SourceError, match="has 441 and 441 vertices"):
        fsaverage_vertices(flat, 642)
    with pytest.raises(PackageError, match="the last vertex on the left is 20, the first on the right 15"):
        fsaverage_placement(icosahedron(12), np.array([20, 15]), np.array(["lh", "rh"]))


def grid_units(shape, voxel_mm=1.8):
    ids = np.arange(int(np.prod(shape)))[::3]
    voxels = np.column_stack(np.unravel_index(ids, shape))
    return ids, (voxels - (np.array(shape) - 1) / 2) * voxel_mm


def test_grid_is_found_from_ids_and_coordinates():
    ids, where = grid_units((5, 7, 4))
    placement = nearest_placement(np.array([[0, 0, 0], [1.0, 2, 3]]), ids, where)
    assert placement.shape == (5, 7, 4) and placement.is_approximate
    with pytest.raises(PackageError, match="do not make up one grid"):
        nearest_placement(where, ids, where[:, ::-1] * (1, 1, -1))


def test_places_are_stretched_to_the_grid():
    ids, where = grid_units((6, 8, 9))
    known = np.vstack([where, (np.array((6, 8, 9)) - 1) / 2 * 1.8 * np.array([[1], [-1]])])
    placement = nearest_placement(known * (3, 5, 7) + 40, ids, where)
    assert placement.units[: len(ids), 0].tolist() == ids.tolist()


def test_what_is_far_from_every_voxel_shows_nothing():
    ids, where = grid_units((7, 9, 8))
    near = np.linalg.norm(where - where[0], axis=1) > 7
    placement = nearest_placement(where, ids[near], where[near])
    assert placement.units[0, 0] == NOWHERE
    assert placement.units[near, 0].tolist() == ids[near].tolist()
    with pytest.raises(SourceError, match="not known where the vertices lie"):
        nearest_placement(np.full((4, 3), np.nan), ids, where)


# outlines


def circle(points, centre, radius):
    return np.linalg.norm(points - centre, axis=1) < radius


def test_vertices_inside_an_outline_are_those_of_the_region(flat):
    """CORTEX-27's acceptance: intersection over union of at least 0.88; outlines by pixel reach 1."""
    canvas = make_canvas(flat, 400)
    inside = circle(canvas.points, (-20, 20), 9)
    (region,) = regions_on(canvas, inside.astype(int) * 4, {4: "V4", 5: "V5"})
    found = np.zeros(len(inside), dtype=bool)
    for loop in region.loops:
        found |= Polygon(loop).contains_points(canvas.points)
    assert (found & inside).sum() / (found | inside).sum() >= 0.98
    (places,) = region.places
    assert region.name == "V4"
    assert np.hypot(places[0, 0] + 20, places[0, 1] - 20) < 2
    assert (np.hypot(places[:, 0] + 20, places[:, 1] - 20) < 5.5).all()  # half-way to the border


def test_each_hemisphere_has_a_name_and_specks_have_none(canvas):
    both = circle(np.abs(canvas.points), (20, 20), 9)
    labels = both + 2 * circle(canvas.points, (36, 36), 1.5)
    region, *others = regions_on(canvas, labels, {1: "A", 2: "speck"}, least_area=0.01)
    assert others == []
    assert [np.sign(places[0, 0]) for places in region.places] == [-1, 1]
    assert [one.name for one in regions_on(canvas, labels, {1: "A", 2: "speck"})] == ["A", "speck"]


def test_names_do_not_cover_each_other():
    """Two rings around one middle: the deepest place of both would be the same."""
    ring = np.column_stack([np.arange(12.0), np.zeros(12)])
    regions = [Region("V1d", [], [ring]), Region("V1v", [], [ring[:4]]), Region("sulcus", [], [ring], True)]
    names = place_names(regions, 2.0)
    assert names == [("V1v", 0.0, 0.0), ("V1d", 5.0, 0.0)]  # three letters of 2 mm are 4.32 mm wide
    assert [x for _, x, _ in place_names(regions, 40.0)] == [0.0, 0.0]  # no room: the deepest place


# colours


def test_scales_are_shared_and_two_sided_where_values_are():
    rng = np.random.default_rng(0)
    values = [rng.uniform(0, 1, 400), rng.uniform(0, 3, 400)]
    one = shared_scale(values)
    assert one == Scale("inferno", 0.0, float(np.percentile(np.concatenate(values), 99)))
    two = shared_scale([*values, -values[1]])
    assert two.colours == "RdBu_r" and two.low == -two.high
    assert shared_scale(values, colours="magma", low=-1, high=2) == Scale("magma", -1, 2)
    assert shared_scale([-values[0]], low=0, high=1).colours == "inferno"
    assert shared_scale([np.zeros(3)]) == Scale("inferno", 0.0, 1.0)


def test_scales_that_are_impossible():
    with pytest.raises(OptionError) as error:
        shared_scale([np.ones(3)], colours="viridiss")
    assert "there is no colour map 'viridiss'" in message(error) and "'viridis'" in message(error)
    with pytest.raises(OptionError, match="the scale ends at 1 and begins at 5"):
        shared_scale([np.ones(3)], low=5)
    with pytest.raises(OptionError, match="no unit has a value"):
        shared_scale([np.full(3, np.nan)])


# figures


def colour_at(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    """Colour of a figure of the squares at a place in mm: 160 pixels wide, 80 of them high between strips."""
    margin = (image.height - 80) / 2
    return image.convert("RGB").getpixel((int((x + 40) * 2), int(margin + (40 - y) * 2)))


def opened(data: bytes, path: Path) -> Image.Image:
    path.write_bytes(data)
    return Image.open(path)


def test_colours_lie_where_the_values_are(canvas, tmp_path):
    """Red front right, blue back left, the background where there is no value."""
    x, y = canvas.points.T.astype(float)
    values = np.where((x > 4) & (y > 20), 1.0, np.where((x < -4) & (y < 20), -1.0, np.nan))
    data = draw_values(
        canvas, values, Scale("RdBu_r", -1, 1), title="t", label="l", background=folds(np.sign(x))
    )
    image = opened(data, tmp_path / "a.png")
    assert image.width == 160
    red, blue = colour_at(image, 30, 30), colour_at(image, -30, 10)
    assert red[0] > 2 * red[2] and blue[2] > 2 * blue[0]
    assert colour_at(image, 30, 8)[0] == round(0.375 * 255) or colour_at(image, 30, 8)[0] == int(0.375 * 255)
    assert abs(colour_at(image, -30, 30)[0] - 0.625 * 255) < 1.5


@pytest.mark.parametrize(("kind", "head"), [("png", b"\x89PNG"), ("svg", b"<svg "), ("pdf", b"%PDF")])
def test_same_bytes_every_time(canvas, kind, head):
    values = np.hypot(*canvas.points.T.astype(float))
    regions = regions_on(canvas, circle(canvas.points, (-20, 20), 9).astype(int), {1: "V1"})
    made = {
        draw_values(
            canvas,
            values,
            Scale("inferno", 0, 50),
            title="a < b & c",
            label="mm",
            background=folds(values),
            regions=regions,
            kind=kind,
        )
        for _ in range(2)
    }
    assert len(made) == 1 and made.pop().startswith(head)


def test_svg_keeps_text_as_text(canvas):
    labels = circle(canvas.points, (-20, 20), 9).astype(int)
    regions = regions_on(canvas, labels, {1: "V1"})
    svg = draw_labels(
        canvas, labels, title='"a" & b', background=folds(labels), regions=regions, kind="svg"
    ).decode()
    assert ">V1</text>" in svg and 'aria-label="&quot;a&quot; &amp; b"' in svg


def svg_of(canvas, title: str, factor: float = 1.0) -> str:
    values = np.hypot(*canvas.points.T.astype(float)) * factor
    scale = Scale("inferno", 0, 50 * factor)
    return draw_values(
        canvas, values, scale, title=title, label="mm", background=folds(values), kind="svg"
    ).decode()


def test_long_titles_become_smaller_so_that_they_fit(canvas):
    """matplotlib's font has letters of about half their size; 0.9 of 720 points are for the title."""
    sizes = {}
    for title in ("short", "a long title, " * 10):
        (size,) = re.findall(rf"font-size: ([\d.]+)px[^>]*>{title.rstrip()}", svg_of(canvas, title))
        sizes[title] = float(size)
    short, long = sizes.values()
    assert short == 15
    assert 0.9 * 720 / 0.65 < long * 140 < 0.9 * 720 / 0.4


@pytest.mark.parametrize("factor", [1e-7, 1, 1e6])
def test_the_colour_bar_has_few_numbers_and_no_factor(canvas, factor):
    svg = svg_of(canvas, "t", factor)
    numbers = [float(text) for text in re.findall(r">([\d.e+-]+)</text>", svg.replace("\N{MINUS SIGN}", "-"))]
    assert numbers[0] == 0 and 5 <= len(numbers) <= 7
    np.testing.assert_allclose(np.diff(numbers), 10 * factor)


def test_a_figure_that_is_given_keeps_its_size(canvas, tmp_path):
    """Of twice the height: the map stays as it is, in the middle."""
    figure = Figure(figsize=(4, 6), dpi=50)
    values = np.sign(canvas.points[:, 0].astype(float))
    scale, greys = Scale("RdBu_r", -1, 1), folds(values)
    data = draw_values(canvas, values, scale, title="t", label="l", background=greys, figure=figure)
    image = np.asarray(opened(data, tmp_path / "a.png").convert("RGB")).astype(int)
    assert image.shape == (300, 200, 3) and figure.get_size_inches().tolist() == [4, 6]
    red, blue = image[..., 0] > 2 * image[..., 2], image[..., 2] > 2 * image[..., 0]
    assert blue[100:200, 10:90].mean() > 0.9 and red[100:200, 110:190].mean() > 0.9
    assert not blue[40:98].any()  # 200 x 100 pixels of 200 x 300


def test_the_title_stands_where_it_is_wanted(canvas):
    figure = Figure(figsize=(4, 3))
    values, options = np.ones(len(canvas.points)), DrawingOptions(title_at=(0.5, 0.13))
    draw_values(
        canvas,
        values,
        Scale("inferno", 0, 2),
        title="below",
        label="l",
        background=values,
        options=options,
        figure=figure,
    )
    assert {text.get_text(): text.get_position() for text in figure.texts}["below"] == (0.5, 0.13)


def test_resolution_and_colour_bar(canvas, tmp_path):
    values = np.hypot(*canvas.points.T.astype(float))
    shown = {"title": "t", "label": "l", "background": folds(values)}
    made = [
        opened(
            draw_values(canvas, values, Scale("inferno", 0, 50), options=options, **shown),
            tmp_path / f"{number}.png",
        )
        for number, options in enumerate(
            (DrawingOptions(), DrawingOptions(dpi=32), DrawingOptions(colour_bar=False))
        )
    ]
    assert [image.width for image in made] == [160, 320, 160]
    below = [np.asarray(image.convert("L"))[-image.width // 18 :].min() for image in made]
    assert below[0] < 200 and below[1] < 200 and below[2] == 255


def test_a_width_and_a_size_of_0_are_0(canvas):
    """Lines have a black rim of 1.2 points around them, letters one of 2.4."""
    labels = circle(canvas.points, (-20, 20), 9).astype(int)
    shown = {"title": "", "background": folds(labels), "regions": regions_on(canvas, labels, {1: "V1"})}
    expected = {None: {"2.2", "2.4"}, "line_width": {"2.4"}, "label_size": {"2.2"}}
    for option, widths in expected.items():
        options = DrawingOptions(**({} if option is None else {option: 0}))
        svg = draw_labels(canvas, labels, options=options, kind="svg", **shown).decode()
        assert set(re.findall(r"stroke: #000000; stroke-width: ([\d.]+)", svg)) == widths, option
        assert (">V1</text>" in svg) == (option != "label_size")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("height", 0, "16 pixels or more"),
        ("dpi", 0, "1 pixel per inch or more"),
        ("line_width", -1, "points, 0 or more"),
        ("label_size", float("nan"), "points, 0 or more"),
        ("title_at", (0.5, 1.2), "two shares of the figure, 0 to 1"),
        ("low", float("inf"), "a finite number, or None"),
        ("engine", "", "'own', 'pycortex'"),
        ("outlines", "", "a name"),
        ("transform", "", "a name"),
    ],
)
def test_options_that_are_not_possible_are_refused(option, value, expected):
    with pytest.raises(OptionError, match=re.escape(f"{option} = {value!r} is not possible")) as error:
        DrawingOptions(**{option: value})
    assert expected in str(error.value)


def test_no_depth_and_unknown_sampling_are_refused():
    with pytest.raises(OptionError, match="0 depths are not possible"):
        DrawingOptions(depths=0)
    with pytest.raises(OptionError, match="sampling = 'cubic' is not known"):
        DrawingOptions(sampling="cubic")


def test_ends_of_0_are_taken_as_0():
    shown = UnitMap("x", "x", np.arange(3), np.array([-3.0, 2.0, 5.0]))
    assert scale_of([shown], DrawingOptions(low=0)) == Scale("inferno", 0, pytest.approx(4.94))
    assert scale_of([shown], DrawingOptions(high=0, low=-2)) == Scale("RdBu_r", -2, 0)


def test_sulci_are_dashed_and_have_no_names(canvas):
    labels = circle(canvas.points, (-20, 20), 9).astype(int)
    made = [
        draw_labels(
            canvas,
            labels,
            title="",
            background=folds(labels),
            regions=regions_on(canvas, labels, {1: "V1"}, are_sulci=are_sulci),
            options=DrawingOptions(line_width=2.5, label_size=17),
            kind="svg",
        ).decode()
        for are_sulci in (False, True)
    ]
    assert [svg.count(">V1</text>") for svg in made] == [1, 0]
    assert ["stroke-dasharray" in svg for svg in made] == [False, True]
    assert "stroke-width: 2.5" in made[0] and "17px" in made[0]


def test_labels_have_a_colour_each(canvas, tmp_path):
    labels = np.select([circle(canvas.points, (-20, 20), 9), circle(canvas.points, (20, 20), 9)], [3, 8])
    data = draw_labels(canvas, labels, title="", background=folds(labels - 9.0), regions=[])
    image = opened(data, tmp_path / "a.png")
    left, right, none = (colour_at(image, x, 20) for x in (-20, 20, 2))
    assert len({left, right, none}) == 3 and len(set(none)) == 1


@pytest.mark.parametrize("n_labels", [1, 10, 11, 20, 25])
def test_however_many_labels_no_two_look_alike(canvas, n_labels, tmp_path):
    labels = np.arange(882) % n_labels + 1
    image = opened(
        draw_labels(canvas, labels, title="", background=folds(labels - 9.0), regions=[]), tmp_path / "a.png"
    )
    inside = np.asarray(image.convert("RGB"))[image.height // 2 - 30 : image.height // 2 + 30, 5:75]
    assert len(np.unique(inside.reshape(-1, 3), axis=0)) == n_labels


def test_unknown_formats_are_refused(canvas):
    with pytest.raises(OptionError, match="format 'gif' is not known"):
        draw_labels(canvas, np.ones(882, int), title="", background=np.ones(882), regions=[], kind="gif")


# what to draw


def test_maps_of_a_package(package):
    np.testing.assert_array_equal(package_map(package, "ncsnr").values, package.units["ncsnr"])
    np.testing.assert_allclose(package_map(package, "sd").values, package.statistic("responses", "std"))
    np.testing.assert_allclose(package_map(package, "beta:4").values, package.responses([4])[0])
    assert package_map(package, "ncsnr").unit_ids.tolist() == UNIT_IDS.tolist()
    atlas = next(iter(package.roi_names))
    found = package_map(package, f"roi:{atlas}")
    assert found.values.tolist() == package.units[f"roi_{atlas}"].tolist()
    assert found.label_names == package.roi_names[atlas]


@pytest.mark.parametrize("wanted", ["snr", "roi:V1", "beta:12", "beta:-1", "beta:"])
def test_maps_that_are_not_there(package, wanted):
    with pytest.raises(OptionError, match=f"there is no map '{wanted}'"):
        package_map(package, wanted)


def test_withheld_responses_are_not_drawn(tmp_path):
    package = Package(make_package(tmp_path, "track1"))
    with pytest.raises(OptionError) as error:
        package_map(package, "beta:9")
    assert message(error) == (
        f"{package.path}: the response to trial 9 is withheld.\n"
        "  Expected: a trial of a tier whose responses are in the package.\n"
        "  What to do: ask for a training trial, such as beta:0."
    )


def test_own_numbers(package, tmp_path):
    np.save(tmp_path / "mine.npy", np.arange(5))
    np.savez(tmp_path / "two.npz", a=np.arange(5.0), b=np.arange(4.0))
    assert array_map(package, tmp_path / "mine.npy").values.tolist() == [0, 1, 2, 3, 4]
    assert array_map(package, tmp_path / "two.npz", "a").name == "a"
    with pytest.raises(OptionError, match="there is no array 'two'"):
        array_map(package, tmp_path / "two.npz")
    with pytest.raises(OptionError, match=r"'b' is float64 of shape \(4,\)"):
        array_map(package, tmp_path / "two.npz", "b")
    with pytest.raises(OptionError, match="cannot be read"):
        array_map(package, tmp_path / "none.npy")


def volume_of(package: Package, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A volume that holds each voxel's number, and the affine that puts the units where the package says."""
    units = package.units
    ids, places = units["unit_ids"].to_numpy(), units[["x_mm", "y_mm", "z_mm"]].to_numpy()
    voxels = np.column_stack([*np.unravel_index(ids, shape), np.ones(len(ids))])
    affine = np.eye(4)
    affine[:3] = np.linalg.lstsq(voxels, places)[0].T
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape), affine


def test_own_volumes(exported, tmp_path, nsd_root):
    package = Package(sorted(exported.glob("demo-subj01"))[0])
    shape = nib.load(Layout(nsd_root).brainmask(1, "func1pt8mm")).shape
    volume, affine = volume_of(package, shape)
    path = tmp_path / "mine.nii.gz"
    nib.save(nib.Nifti1Image(volume, affine), path)
    found = volume_map(package, path)
    assert found.name == "mine"
    np.testing.assert_array_equal(found.values, package.units["unit_ids"])
    mirrored = affine @ np.diag([-1, 1, 1, 1])
    for other, placed in ((volume, mirrored), (volume[:, :-1], affine), (volume[None], affine)):
        nib.save(nib.Nifti1Image(other, placed), path)
        with pytest.raises(OptionError) as error:
            volume_map(package, path)
        problem, *rest = message(error).split("\n")
        assert problem.startswith(f"{path}: has another grid: unit") or problem.endswith(f"{other.shape}.")
        assert rest[0] == (
            "  Expected: one 3-D volume on the grid of the package's units, neither moved nor mirrored."
        )
    path.write_bytes(b"no volume")
    with pytest.raises(OptionError, match="cannot be read"):
        volume_map(package, path)


def test_volumes_are_not_of_vertices(package, tmp_path, monkeypatch):
    monkeypatch.setattr(package, "units", package.units.assign(x_mm=np.nan))
    with pytest.raises(OptionError, match="is a volume, and the package's units are vertices"):
        volume_map(package, tmp_path / "mine.nii")


def test_all_atlases_that_packages_share(exported):
    packages = [Package(path) for path in sorted(exported.glob("demo-subj0?"))]
    atlases = [f"roi:{atlas}" for atlas in packages[0].roi_names]
    assert len(atlases) > 1
    assert whole_names(packages, ["ncsnr", "roi:all", atlases[1]]) == ["ncsnr", *atlases]
    assert whole_names(packages, ["sd"]) == ["sd"]


def test_without_an_atlas_there_are_not_all(package, tmp_path, monkeypatch):
    monkeypatch.setattr(type(package), "roi_names", {})
    with pytest.raises(OptionError) as error:
        whole_names([package], ["roi:all"])
    assert message(error) == (
        f"{package.path}: there is no atlas for roi:all.\n"
        "  Expected: packages with at least one atlas in common.\n"
        "  What to do: ask for roi:ATLAS, package by package."
    )


def score_columns() -> dict[str, np.ndarray]:
    head = "subj02/test"
    return {
        f"{head}/unit_ids": UNIT_IDS,
        f"{head}/r": np.array([0.5, -0.5, 0.2, 0.1, 0.0], dtype=np.float32),
        f"{head}/noise_ceiling": np.array([0.5, 0.5, 0.0, np.nan, 0.4]),
        f"{head}/r_interval": np.array([[0, 1], [1, 3], [0, 0], [2, 2.5], [0, 4.0]]),
    }


def test_columns_of_a_score(package):
    columns = score_columns()
    share = score_map(columns, package, "test", "share").values
    np.testing.assert_allclose(share, [0.5, -0.5, np.nan, np.nan, 0], atol=1e-7)
    assert scale_of([score_map(columns, package, "test", "share")]) == Scale("inferno", 0.0, 1.0)
    width = score_map(columns, package, "test", "r_interval")
    assert width.values.tolist() == [1, 2, 0, 0.5, 4]
    assert width.label == "width of the interval of r of image means, test"
    other = columns | {"subj02/test/r": np.full(5, 0.1)}
    difference = score_map(columns, package, "test", "r", other)
    np.testing.assert_allclose(difference.values, [0.4, -0.6, 0.1, 0, -0.1], atol=1e-7)
    assert difference.label == "r of image means, test: A minus B"
    lower = columns | {"subj02/test/r": np.full(5, -1.0)}
    scale = scale_of([score_map(columns, package, "test", "r", lower)])
    assert scale.colours == "RdBu_r" and scale.low == -scale.high < 0  # although A is better everywhere


def test_columns_that_do_not_fit(package):
    columns = score_columns()
    with pytest.raises(SubmissionError) as error:
        score_map(columns, package, "test", "R")
    assert "one of 'r', 'noise_ceiling', 'r_interval', 'share' (did you mean 'r'?)" in message(error)
    with pytest.raises(SubmissionError, match="Expected: this subject and tier, scored"):
        score_map(columns, package, "final_test", "r")
    with pytest.raises(SubmissionError, match="the two scores are of different units"):
        score_map(columns, package, "test", "r", columns | {"subj02/test/unit_ids": UNIT_IDS[::-1]})
    with pytest.raises(PackageError, match="the package lacks units that were scored"):
        score_map(columns | {"subj02/test/unit_ids": UNIT_IDS + 1}, package, "test", "r")


# on one easel


def test_image_for_a_report(canvas, package, tmp_path):
    shown = easel(canvas, package, outline_atlas(package))
    data = shown.draw(np.arange(5.0), title="title", label="r")
    image = opened(data, tmp_path / "a.png")
    assert colour_at(image, -30, 38)[0] == colour_at(image, -30, 38)[1]  # no unit: the grey below
    # The five units lie in the lowest row from the left; the last one has the largest value.
    assert sum(colour_at(image, -31.8, 0.4)) > sum(colour_at(image, -39.5, 0.4))
    assert data == shown.draw(np.arange(5.0), title="title", label="r")


def test_units_of_another_grid_are_refused(canvas, package):
    placement = Placement(np.zeros((882, 1), np.int64), (2, 3, 4), "toy")
    with pytest.raises(PackageError, match="unit 77 is not one of 24"):
        Easel(canvas, np.zeros(882), package, placement)


# the command


@pytest.fixture(scope="module")
def exported(nsd_root, tmp_path_factory) -> Path:
    return export_demo(nsd_root, tmp_path_factory.mktemp("packages"))


def test_command_draws_what_it_is_asked_for(exported, tmp_path, fs5):
    package = next(iter(sorted(exported.glob("*-subj01"))))
    np.save(tmp_path / "mine.npy", np.arange(Package(package).n_units))
    out = tmp_path / "out"
    arguments = [package, "--out", out, "--approximate", "--height", 64, "--keep-placements"]
    arguments += [
        "--map",
        "ncsnr",
        "--map",
        "roi:streams",
        "--values",
        tmp_path / "mine.npy",
        "--format",
        "png",
        "--label-size",
        "20pt",
        "--no-colour-bar",
    ]
    assert run(command, *arguments)[0] == 0
    names = ["mine.png", "ncsnr.png", "placement.npz", "roi-streams.png"]
    assert sorted(file.name for file in out.iterdir()) == [f"{package.name}.{name}" for name in names]
    before = (out / f"{package.name}.ncsnr.png").read_bytes()
    with pytest.raises(NsdBenchError, match="exists already"):
        run(command, *arguments)
    again = [package, "--out", out, "--placements", out, "--height", 64, "--map", "ncsnr", "--force"]
    again += ["--label-size", 20, "--no-colour-bar"]
    assert run(command, *again)[0] == 0
    assert (out / f"{package.name}.ncsnr.png").read_bytes() == before


def test_command_draws_scores_and_differences(exported, tmp_path, fs5):
    package = next(iter(sorted(exported.glob("*-subj03"))))
    ids = Package(package).units["unit_ids"].to_numpy()
    for name, sign in (("a", 1), ("b", -1)):
        columns = {"unit_ids": ids, "r": sign * np.linspace(0, 1, len(ids))}
        write_npz(
            tmp_path / f"{name}.units.npz",
            {f"subj03/test/{column}": values for column, values in columns.items()},
        )
        (tmp_path / f"{name}.json").write_text(json.dumps({}))
    arguments = ["--out", tmp_path / "out", "--approximate", "--height", 64, "--scores", tmp_path / "a.json"]
    code, output = run(
        command, package, *arguments, "--minus", tmp_path / "b.json", "--column", "r", "--outlines", "none"
    )
    assert code == 0 and output.strip().endswith(f"{package.name}.r-test-difference.png")
    with pytest.raises(SubmissionError, match=r"none\.units\.npz: cannot be read"):
        run(command, package, *arguments[:-1], tmp_path / "none.json")


def test_command_says_how_to_place_units(exported, tmp_path, fs5):
    package = next(iter(sorted(exported.glob("*-subj01"))))
    with pytest.raises(OptionError) as error:
        run(command, package, "--out", tmp_path, "--height", 64)
    assert message(error) == (
        f"{package}: it is not known where units of space 'func1pt8mm' lie on the surface.\n"
        "  Expected: NSD's transforms, or what was kept of them.\n"
        "  What to do: give --nsd-root or --placements; --approximate places voxels by where they are."
    )
    with pytest.raises(OptionError, match="height = 0 is not possible"):
        run(command, package, "--out", tmp_path, "--height", 0, "--approximate")
    assert run(command, package, "--out", tmp_path, "--dpi", 0)[0] == 2
    code, output = run(command, package, "--out", tmp_path, "--label-size", "20px")
    assert code == 2 and "'20px' is no size like 20 or 20pt" in output
    for option, needed in (("--minus", "--scores"), ("--column", "--scores"), ("--key", "--values")):
        code, output = run(command, package, "--out", tmp_path, option, "x")
        assert code == 2 and f"{option} needs {needed}" in output
    with pytest.raises(OptionError, match="there is no atlas 'streets'"):
        run(command, package, "--out", tmp_path, "--height", 64, "--approximate", "--outlines", "streets")
    assert list(tmp_path.iterdir()) == []


def test_placements_of_another_surface_are_refused(exported, tmp_path, fs5):
    package = next(iter(sorted(exported.glob("*-subj01"))))
    placement = Placement(np.zeros((7, 1), np.int64), (11, 13, 9), "toy")
    write_npz(tmp_path / f"{package.name}.placement.npz", placement.arrays())
    with pytest.raises(PackageError, match=r"not a placement \(of 7 vertices, the surface has 20484\)"):
        run(command, package, "--out", tmp_path / "out", "--placements", tmp_path)
    beyond = Placement(np.full((20_484, 1), 11 * 13 * 9), (11, 13, 9), "toy")
    write_npz(tmp_path / f"{package.name}.placement.npz", beyond.arrays())
    with pytest.raises(PackageError, match=r"not a placement \(units of shape .* not all among the 1287"):
        run(command, package, "--out", tmp_path / "out", "--placements", tmp_path)


def test_pictures_for_a_report_share_one_scale(exported, fs5):
    """The same numbers look the same in both packages, although one of them has a single larger one."""
    packages = [Package(path) for path in sorted(exported.glob("*-subj0?"))]
    easels = make_easels(packages, DrawingOptions(height=40, approximate=True))
    columns = {}
    for package, largest in zip(packages, (1, 9), strict=True):
        ids = package.units["unit_ids"].to_numpy()
        columns |= {f"subj{package.subject:02}/test/unit_ids": ids}
        columns |= {f"subj{package.subject:02}/test/r": np.where(np.arange(len(ids)) % 2, largest, 0.5)}
    made = score_pictures(easels, columns, "test", "r")
    assert list(made) == [package.name for package in packages]
    alone = score_pictures(easels[:1], columns, "test", "r")
    assert alone[packages[0].name] != made[packages[0].name]
    assert score_pictures(easels, columns, "test", "r") == made
