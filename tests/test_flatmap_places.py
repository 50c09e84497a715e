"""Where units lie: volumes read as pycortex, scipy and nilearn read them, NSD's transforms, MNI space."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from cortices import (
    SQUARE,
    export_demo,
    icosahedron,
    message,
    mgh,
    native_counts,
    need_pycortex,
    run,
    volume_transform,
    write_fs5,
    write_subject,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from exporters.nsd.layout import Layout
from exporters.nsd.transforms import DEPTHS, read_placement, transform_files
from exporters.packages.export import export_packages
from exporters.packages.recipe import load_recipe
from nsd_bench.cli.flatmap import flatmap_command as flatmap
from nsd_bench.cli.flatmap import view_command as view
from nsd_bench.cortex.canvas import make_canvas
from nsd_bench.cortex.geometry import FlatGeometry, join_hemispheres
from nsd_bench.cortex.matching import MNI305_TO_MNI152, mni_placement, volume_grid
from nsd_bench.cortex.overlays import drawn_regions
from nsd_bench.cortex.pixelwise import VolumeTransform, between, pixelwise, read_transform, vertexwise
from nsd_bench.cortex.placing import NOWHERE, Placement, check_sampling, nearest_units, trilinear_weights
from nsd_bench.cortex.store import PycortexSubject
from nsd_bench.cortex.surfaces import Cortex, read_cortex, read_mesh, write_mesh
from nsd_bench.errors import OptionError, PackageError, SourceError
from nsd_bench.outputs import write_npz
from nsd_bench.package.read import Package

BOTH = ("nearest", "trilinear")


@pytest.fixture(scope="module")
def fs5() -> Cortex:
    pytest.importorskip("nilearn")
    return read_cortex("fsaverage5")


@pytest.fixture(scope="module")
def flat() -> FlatGeometry:
    return join_hemispheres(SQUARE, SQUARE, "squares")


@pytest.fixture(scope="module")
def exported(nsd_root, tmp_path_factory) -> Path:
    return export_demo(nsd_root, tmp_path_factory.mktemp("packages"))


def first(folder: Path) -> Path:
    return next(iter(sorted(folder.glob("*-subj01"))))


# between voxels


def places_in(shape, n_vertices=40, n_depths=7) -> np.ndarray:
    """Lines through a volume, two depths of the third one nowhere."""
    rng = np.random.default_rng(1)
    ends = rng.uniform(0, np.array(shape) - 1, (2, n_vertices, 3))
    share = np.linspace(0, 1, n_depths)[None, :, None]
    places = ends[0][:, None] * (1 - share) + ends[1][:, None] * share
    places[2, 3:5] = np.nan
    return places


def test_trilinear_weights_are_scipys():
    shape = (5, 7, 4)
    places, volume = places_in(shape), np.random.default_rng(2).normal(size=shape)
    weights = trilinear_weights(places, shape)
    expected = map_coordinates(volume, np.nan_to_num(places).reshape(-1, 3).T, order=1).reshape(40, 7)
    expected[np.isnan(places).any(axis=2)] = np.nan
    np.testing.assert_allclose(weights @ volume.ravel(), np.nanmean(expected, axis=1), rtol=1e-10)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert weights.nnz < 40 * 7 * 8 / 2  # depths in one cell share their voxels


def test_places_beyond_the_outermost_voxels_count_as_on_them():
    places = np.array([[[-0.4, 0, 0]], [[1.3, 2.0, 0.5]], [[np.nan, 0, 0]]])
    weights = trilinear_weights(places, (2, 3, 2)).toarray()
    assert weights[0].tolist() == np.eye(12)[0].tolist()
    assert weights[1].tolist() == (np.eye(12)[10] / 2 + np.eye(12)[11] / 2).tolist()
    assert not weights[2].any()


def test_the_nearest_voxel_or_none():
    places = np.array([[0.4, 1.6, 2.2], [-0.6, 0, 0], [2.4, 0, 0], [np.nan, 0, 0]])
    assert nearest_units(places, (2, 3, 4)).tolist() == [2 * 4 + 2, NOWHERE, NOWHERE, NOWHERE]
    assert nearest_units(places, (2, 3, 4), edge=True).tolist() == [10, 0, 12, NOWHERE]


def test_samplings_that_there_are_not():
    with pytest.raises(OptionError) as error:
        check_sampling("trilinaer")
    assert message(error) == (
        "flat map: sampling = 'trilinaer' is not known.\n"
        "  Expected: one of 'nearest', 'trilinear' (did you mean 'trilinear'?).\n"
        "  What to do: give one of these."
    )
    with pytest.raises(OptionError, match="0 depths are not possible"):
        check_sampling("nearest", 0)


# missing units


def placements() -> list[Placement]:
    shape = (5, 7, 4)
    places = places_in(shape)
    units = nearest_units(places, shape)
    return [
        Placement(units, shape, "toy"),
        Placement(units, shape, "toy", weights=trilinear_weights(places, shape)),
    ]


@pytest.mark.parametrize("placement", placements(), ids=BOTH)
def test_missing_units_are_left_out_or_make_the_vertex_unknown(placement):
    rng = np.random.default_rng(3)
    ids = rng.permutation(140)[:130]
    values = rng.normal(size=130)
    values[:6] = np.nan
    full = np.full(140, np.nan)
    full[ids] = values
    shares = placement.weights
    if shares is None:
        shares = np.stack([(placement.units == unit).sum(axis=1) for unit in range(140)], axis=1)
    else:
        shares = shares.toarray()
    found = placement.on_vertices(ids, values)
    strict = placement.on_vertices(ids, values, nanmean=False)
    for vertex in range(40):
        used = shares[vertex] > 0
        known = used & np.isfinite(full)
        mean = np.average(full[known], weights=shares[vertex, known])
        assert found[vertex] == pytest.approx(mean, rel=1e-12)
        expected = mean if (known == used).all() else np.nan
        assert strict[vertex] == pytest.approx(expected, rel=1e-12, nan_ok=True)
    assert 0 < np.isnan(strict).sum() < 40


def test_weights_survive_a_file(tmp_path):
    placement = placements()[1]
    write_npz(tmp_path / "p.npz", placement.arrays())
    with np.load(tmp_path / "p.npz") as arrays:
        again = Placement.of_arrays(arrays)
    assert (again.weights != placement.weights).nnz == 0
    assert "data" not in placements()[0].arrays()


# volumes, pixel by pixel


@pytest.fixture(scope="module")
def of_pycortex(fs5, tmp_path_factory):
    """Pictures of CORTEX-7's subject from pycortex, three voxels in ten missing, and the subject."""
    need_pycortex()
    from nsd_bench.cortex.store import temporary_store

    transform = volume_transform()
    rng = np.random.default_rng(0)
    volume = rng.normal(size=transform.shape)
    volume[rng.random(transform.shape) < 0.3] = np.nan
    with temporary_store() as (cortex, store):
        write_fs5(cortex, store / "fs5volume", fs5, transform)
        shown = cortex.Volume(volume.T, "fs5volume", "four")
        pictures = {
            (sampling, nanmean, thick): cortex.quickflat.make_flatmap_image(
                shown, height=90 if thick > 1 else 91, sampler=sampling, nanmean=nanmean, thick=thick
            )[0]
            for sampling, nanmean, thick in product(BOTH, (True, False), (32, 1))
        }
        again = read_cortex(store / "fs5volume")
        found = read_transform(store / "fs5volume/transforms/four")
    return volume, again, found, pictures


@pytest.mark.parametrize(("sampling", "nanmean", "thick"), [*product(BOTH, (True, False), (32, 1))])
def test_volumes_are_those_of_pycortex(of_pycortex, sampling, nanmean, thick):
    """To 1e-6 and better, on the subject that CORTEX-7 describes; NaN where pycortex has them."""
    volume, again, found, pictures = of_pycortex
    expected = pictures[sampling, nanmean, thick]
    canvas = make_canvas(again.flat, len(expected))
    pixels, placement = pixelwise(canvas, again, found, thick, sampling=sampling)
    values = placement.on_vertices(np.arange(volume.size), volume.ravel(), nanmean=nanmean)
    picture = pixels.picture(values)
    drawn = np.isfinite(picture)
    np.testing.assert_allclose(picture[drawn], expected[drawn], atol=1e-6)
    # pycortex draws pixels beyond the outermost vertices, too: with one and the same place.
    others = np.isfinite(expected) & ~drawn
    assert len(set(expected[others])) <= 1 and others.sum() < 0.004 * drawn.size
    if nanmean and thick > 1:
        assert drawn.sum() > 0.6 * canvas.mask.sum()
    if not nanmean:
        assert drawn.sum() < 0.8 * canvas.mask.sum()


@pytest.mark.parametrize("sampling", BOTH)
def test_left_half_of_a_volume_is_on_the_left(fs5, sampling):
    transform = volume_transform()
    canvas, placement = pixelwise(make_canvas(fs5.flat, 60), fs5, transform, n_depths=4, sampling=sampling)
    x_mm = transform.affine[0, 0] * np.indices(transform.shape)[0] + transform.affine[0, 3]
    picture = canvas.picture(placement.on_vertices(np.arange(x_mm.size), np.sign(x_mm).ravel()))
    middle = round(picture.shape[1] * -canvas.extent[0] / (canvas.extent[1] - canvas.extent[0]))
    assert np.nanmean(picture[:, : middle - 1]) < -0.97 and np.nanmean(picture[:, middle + 1 :]) > 0.97


def test_volumes_need_both_surfaces_and_a_transform(flat, tmp_path):
    unknown = np.full((882, 3), np.nan)
    cortex = Cortex(flat, unknown[:, 0], unknown, unknown)
    with pytest.raises(SourceError, match="white matter and pia are missing"):
        pixelwise(make_canvas(flat, 80), cortex, volume_transform())
    with pytest.raises(SourceError, match="white matter and pia are missing"):
        vertexwise(cortex, volume_transform(), between(3))
    (tmp_path / "matrices.xfm").write_text('{"coord": [1, 2]}')
    with pytest.raises(SourceError, match="not a transform"):
        read_transform(tmp_path)


@pytest.mark.parametrize("sampling", BOTH)
def test_vertices_are_read_at_their_depths(fs5, sampling):
    transform = volume_transform()
    volume = np.random.default_rng(5).normal(size=transform.shape)
    placement = vertexwise(fs5, transform, between(3), sampling=sampling)
    values = placement.on_vertices(np.arange(volume.size), volume.ravel())
    depths = []
    for share in (0.25, 0.5, 0.75):
        mm = fs5.white_mm * (1 - share) + fs5.pial_mm * share
        voxels = (mm - transform.affine[:3, 3]) / 4
        depths.append(map_coordinates(volume, voxels.T, order=int(sampling == "trilinear"), mode="nearest"))
    expected = np.mean(depths, axis=0)
    same = np.isclose(values, expected, rtol=1e-9)
    assert same.all() if sampling == "trilinear" else same.mean() > 0.999  # halves may round either way


# NSD's own transforms


def write_transforms(root: Path, space="func1pt8", *, shape=(11, 13, 9)) -> dict[str, list[np.ndarray]]:
    """Three depths of every native vertex, 1-based; vertex 2 lies outside at all of them."""
    rng = np.random.default_rng(4)
    files, made = transform_files(Layout(root), 1, {"func1pt8": "func1pt8mm"}.get(space, space)), {}
    for depth in DEPTHS:
        made[depth] = []
        for side, (path, count) in enumerate(zip(files[depth], native_counts(root), strict=True)):
            voxels = rng.uniform(0.6, np.array(shape) + 0.4, (count, 3))
            voxels[:, 0] = (voxels[:, 0] + side * (shape[0] - 0.2)) / 2 + 0.3  # left half, right half
            voxels[2] = 9999
            mgh(path, voxels)
            made[depth].append(voxels)
    return made


def native_flat(root: Path) -> FlatGeometry:
    rng = np.random.default_rng(0)
    meshes = [(rng.normal(size=(count, 2)), np.array([[0, 1, count - 1]])) for count in native_counts(root)]
    return join_hemispheres(*meshes, "native")


def vertices_of_fsaverage(root: Path, side: str) -> np.ndarray:
    path = root / f"nsddata/ppdata/subj01/transforms/{side}.white-to-fsaverage.mgz"
    return np.asarray(nib.load(path).dataobj).ravel().astype(int) - 1


def test_voxels_lie_where_nsd_says(nsd_copy):
    made = write_transforms(nsd_copy)
    flat = icosahedron(162)
    placement = read_placement(Layout(nsd_copy), 1, "func1pt8mm", flat)
    assert placement.shape == (11, 13, 9) and placement.units.shape == (324, 3)
    for side, name in enumerate(("lh", "rh")):
        native = vertices_of_fsaverage(nsd_copy, name)
        for vertex, (number, depth) in product((0, 5, 161), enumerate(DEPTHS)):
            x, y, z = made[depth][side][native[vertex]]
            expected = NOWHERE if x == 9999 else (round(x - 1) * 13 + round(y - 1)) * 9 + round(z - 1)
            assert placement.units[side * 162 + vertex, number] == expected


def test_voxels_are_read_between_their_centres(nsd_copy):
    """As nsdcode reads them with "linear", where the place lies between centres."""
    made = write_transforms(nsd_copy)
    volume = np.random.default_rng(6).normal(size=(11, 13, 9))
    placement = read_placement(Layout(nsd_copy), 1, "func1pt8mm", native_flat(nsd_copy), sampling="trilinear")
    values = placement.on_vertices(np.arange(volume.size), volume.ravel())
    depths = [
        map_coordinates(volume, np.concatenate(made[depth]).T - 1, order=1, mode="nearest")
        for depth in DEPTHS
    ]
    expected = np.mean(depths, axis=0)
    expected[[2, native_counts(nsd_copy)[0] + 2]] = np.nan
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)  # places are float32


def test_a_flat_map_of_the_subject_needs_no_fsaverage(nsd_copy):
    made = write_transforms(nsd_copy)
    left, right = native_counts(nsd_copy)
    flat = native_flat(nsd_copy)
    placement = read_placement(Layout(nsd_copy), 1, "func1pt8mm", flat)
    assert (placement.units[2] == NOWHERE).all() and len(placement.units) == left + right
    x, y, z = np.rint(made["layerB2"][1][7] - 1).astype(int)
    assert placement.units[left + 7, 1] == (x * 13 + y) * 9 + z
    own = read_placement(Layout(nsd_copy), 1, "nativesurface", flat)
    assert own.units[:, 0].tolist() == list(range(left + right)) and own.shape == (left, right)


def test_native_vertices_on_fsaverage(nsd_copy):
    left, _ = native_counts(nsd_copy)
    placement = read_placement(Layout(nsd_copy), 1, "nativesurface", icosahedron(162))
    expected = [vertices_of_fsaverage(nsd_copy, side)[:162] for side in ("lh", "rh")]
    assert placement.units[:162, 0].tolist() == expected[0].tolist()
    assert placement.units[162:, 0].tolist() == (expected[1] + left).tolist()


def write_matched(root: Path) -> list[np.ndarray]:
    """The vertex of fsaverage that every native vertex is, from 1; its match is the one that NSD matched."""
    rng = np.random.default_rng(7)
    files = transform_files(Layout(root), 1, "fsaverage")["native"]
    made = [rng.integers(1, 643, count) for count in native_counts(root)]
    for path, side, vertices in zip(files, ("lh", "rh"), made, strict=True):
        vertices[vertices_of_fsaverage(root, side)] = np.arange(1, 643)
        mgh(path, vertices)
    return made


def test_vertices_of_fsaverage_on_the_subjects_own_map(nsd_copy):
    left, right = write_matched(nsd_copy)
    placement = read_placement(Layout(nsd_copy), 1, "fsaverage", native_flat(nsd_copy))
    assert placement.shape == (642, 642) and not placement.is_approximate
    assert placement.units[:, 0].tolist() == [*(left - 1), *(right - 1 + 642)]
    values = placement.on_vertices(np.arange(1284), np.arange(1284.0))
    assert values[len(left) + 4] == 642 + right[4] - 1


def test_fsaverage_on_another_surface_is_refused(nsd_copy):
    write_matched(nsd_copy)
    left, right = native_counts(nsd_copy)
    layout = Layout(nsd_copy)
    with pytest.raises(SourceError) as error:
        read_placement(layout, 1, "fsaverage", icosahedron(12))
    assert message(error) == (
        "flat map ico 12: has 12 and 12 vertices.\n"
        f"  Expected: {left} and {right} vertices of this subject's own surface, or an fsaverage.\n"
        "  What to do: give the flat map of the package's own subject, or fsaverage5."
    )
    path = transform_files(layout, 1, "fsaverage")["native"][1]
    mgh(path, np.full(right, 643))
    with pytest.raises(SourceError, match="Expected: whole numbers from 1 to 642, the vertices of fsaverage"):
        read_placement(layout, 1, "fsaverage", native_flat(nsd_copy))
    path.unlink()
    with pytest.raises(SourceError, match=r"no file .*rh\.fsaverage-to-white\.mgz"):
        read_placement(layout, 1, "fsaverage", native_flat(nsd_copy))


def test_transforms_that_are_missing_are_named(nsd_copy):
    files = transform_files(Layout(nsd_copy), 1, "func1pt8mm")
    for depth in DEPTHS:
        for path in files[depth]:
            path.unlink(missing_ok=True)
    with pytest.raises(SourceError, match=r"no file .*lh\.func1pt8-to-layerB1\.mgz \(6 of 7 files"):
        read_placement(Layout(nsd_copy), 1, "func1pt8mm", icosahedron(162))


def test_transforms_of_another_kind_are_refused(nsd_copy):
    write_transforms(nsd_copy)
    folder = nsd_copy / "nsddata/ppdata/subj01/transforms"
    flat = icosahedron(162)
    mgh(folder / "lh.white-to-fsaverage.mgz", np.full(642, 99999))
    with pytest.raises(SourceError, match="entry 0 is index 99999 of "):
        read_placement(Layout(nsd_copy), 1, "func1pt8mm", flat)
    mgh(folder / "lh.func1pt8-to-layerB2.mgz", np.ones(12))
    with pytest.raises(SourceError, match=r"has shape \(12,\)"):
        read_placement(Layout(nsd_copy), 1, "func1pt8mm", flat)
    (folder / "lh.func1pt8-to-layerB2.mgz").write_bytes(b"no gzip")
    with pytest.raises(SourceError, match="cannot be read whole"):
        read_placement(Layout(nsd_copy), 1, "func1pt8mm", flat)


@pytest.mark.parametrize(
    ("depths", "change", "problem"),
    [
        (DEPTHS, lambda lh, rh: (rh, lh), "layerB1.mgz: lies to the right of the other hemisphere"),
        (DEPTHS, lambda lh, rh: (lh * 1.8, rh * 1.8), "layerB1.mgz: names voxels beyond the grid for "),
        (DEPTHS[1:], lambda lh, rh: (lh[:-1], rh), "layerB2.mgz: has "),
    ],
)
def test_places_of_another_surface_or_space_are_refused(nsd_copy, depths, change, problem):
    made = write_transforms(nsd_copy)
    files = transform_files(Layout(nsd_copy), 1, "func1pt8mm")
    for depth in depths:
        for path, voxels in zip(files[depth], change(*made[depth]), strict=True):
            mgh(path, voxels)
    with pytest.raises(SourceError, match=re.escape(f"lh.func1pt8-to-{problem}")):
        read_placement(Layout(nsd_copy), 1, "func1pt8mm", icosahedron(162))


@pytest.mark.parametrize("from_the_right", [False, True])
def test_mni_voxels_lie_where_nsd_says(nsd_copy, from_the_right):
    """NSD's places are of a template that begins on the right, its files begin on the left."""
    counts, made = native_counts(nsd_copy), []
    files = transform_files(Layout(nsd_copy), 1, "MNI")
    rng = np.random.default_rng(8)
    for depth in DEPTHS:
        for path, count, x in zip(files[depth], counts, ((20, 80), (100, 160)), strict=True):
            voxels = np.column_stack([rng.integers(*x, count), rng.integers(1, 180, (count, 2))])
            made.append(voxels.copy())
            voxels[:, 0] = 183 - voxels[:, 0] if from_the_right else voxels[:, 0]
            mgh(path, voxels)
    placement = read_placement(Layout(nsd_copy), 1, "MNI", native_flat(nsd_copy))
    expected = np.ravel_multi_index(tuple(np.concatenate(made[2:4]).T - 1), (182, 218, 182))
    assert placement.units[:, 1].tolist() == expected.tolist()
    assert placement.affine[:3, 3].tolist() == [-91, -126, -72] and not placement.is_approximate


# MNI space


@given(
    st.tuples(*[st.integers(2, 9)] * 3),
    st.sampled_from([1.0, 1.8, 3.0]),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.integers(0, 99),
)
def test_grids_are_found_from_ids_and_places(shape, voxel_mm, signs, seed):
    affine = np.diag([*(np.array(signs) * voxel_mm), 1.0])
    affine[:3, 3] = -91, -126, -72
    rng = np.random.default_rng(seed)
    n_voxels = int(np.prod(shape))
    corners = np.ravel_multi_index(tuple(np.eye(4, 3, dtype=int).T), shape)  # four that span the grid
    ids = np.union1d(corners, rng.permutation(n_voxels)[: n_voxels // 2])
    places = np.column_stack(np.unravel_index(ids, shape)) @ affine[:3, :3] + affine[:3, 3]
    (n_x, *rest), found = volume_grid(ids, places.astype(np.float32))
    assert tuple(rest) == shape[1:] and n_x == ids.max() // (shape[1] * shape[2]) + 1
    np.testing.assert_allclose(found, affine, atol=1e-3)


@pytest.mark.parametrize("ids", [[0, 1, 2, 3], [0, 1, 4, 13], [0, 1, 5, 12]])
def test_what_is_no_grid_is_refused(ids):
    """All in one row; an id that is off; places that are off."""
    places = np.column_stack(np.unravel_index([0, 1, 4, 12] if ids[1:] != [1, 2, 3] else ids, (2, 3, 4)))
    ids, places = np.array([*ids, 23]), np.vstack([places, [[1, 2, 3]]]) * 3.0
    if ids[2] == 2:
        ids, places = ids[:4], places[:4]
    with pytest.raises(PackageError, match="do not make up one grid"):
        volume_grid(ids, places)


def mni_volume(seed=9) -> nib.Nifti1Image:
    """Smooth noise on a grid of 4 mm around the brain."""
    from scipy.ndimage import gaussian_filter

    data = gaussian_filter(np.random.default_rng(seed).normal(size=(48, 57, 48)), 1.5)
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = -94, -132, -78
    return nib.Nifti1Image(data.astype(np.float32), affine)


def units_of(image: nib.Nifti1Image) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ids = np.arange(np.prod(image.shape))
    places = np.column_stack(np.unravel_index(ids, image.shape)) @ image.affine[:3, :3] + image.affine[:3, 3]
    return ids, places, image.get_fdata().ravel()


def test_mni_volumes_are_read_as_nilearn_reads_them(fs5):
    surface = pytest.importorskip("nilearn.surface")
    from nilearn.datasets import load_fsaverage

    image = mni_volume()
    ids, places, values = units_of(image)
    placement = mni_placement(fs5, ids, places, matrix=np.eye(4), sampling="trilinear")
    found = placement.on_vertices(ids, values)
    meshes = [load_fsaverage("fsaverage5")[kind].parts for kind in ("pial", "white_matter")]
    expected = np.concatenate(
        [
            surface.vol_to_surf(image, outer, inner_mesh=inner)
            for outer, inner in zip(*(kind.values() for kind in meshes), strict=True)
        ]
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_fsaverage_lies_in_mni305(fs5):
    """A voxel in the place of a vertex, moved as FreeSurfer says, is what the vertex shows."""
    image = mni_volume()
    ids, places, _ = units_of(image)
    placement = mni_placement(fs5, ids, places, n_depths=1)
    assert placement.is_approximate and placement.units.shape == (20484, 1)
    moved = np.column_stack([fs5.middle_mm, np.ones(20484)]) @ np.array(MNI305_TO_MNI152).T
    shown = places[placement.units[:, 0]]
    assert (np.abs(shown - moved[:, :3]) <= 2 + 1e-6).all()
    assert np.linalg.norm(moved[:, :3] - fs5.middle_mm, axis=1).max() > 2  # it does matter


def test_other_surfaces_need_a_matrix(flat):
    ids, places, _ = units_of(mni_volume())
    cortex = Cortex(flat, np.zeros(882), np.zeros((882, 3)), np.ones((882, 3)))
    with pytest.raises(OptionError) as error:
        mni_placement(cortex, ids, places)
    assert message(error) == (
        "flat map squares: it is not known how its mm become those of MNI space.\n"
        "  Expected: fsaverage, which lies in MNI space, or a matrix.\n"
        "  What to do: give --mni-matrix, draw on fsaverage5, or give --nsd-root with NSD's "
        "MNI-to-layerB1..3.mgz."
    )
    assert len(mni_placement(cortex, ids, places, matrix=np.eye(4)).units) == 882


# the commands


@pytest.fixture(scope="module")
def in_mni(nsd_root, tmp_path_factory) -> Path:
    """A package of MNI space: voxels of 12 mm, each holding its own x; one session of one subject."""
    import shutil

    root = tmp_path_factory.mktemp("mni") / "nsd"
    shutil.copytree(nsd_root, root)
    affine = np.diag([12.0, 12, 12, 1])
    affine[:3, 3] = -90, -126, -72
    shape = (16, 19, 16)
    x_mm = affine[0, 0] * np.indices(shape)[0] + affine[0, 3]
    betas = np.repeat((x_mm * 100)[..., None].astype(np.int16), 750, axis=3)
    betas += np.arange(750, dtype=np.int16) % 7  # no trial is like the next
    folder = root / "nsddata_betas/ppdata/subj01/MNI/betas_fithrf"
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(betas, affine), folder / "betas_session01.nii.gz")
    nib.save(nib.Nifti1Image(np.ones(shape, dtype=np.uint8), affine), root / "mask.nii.gz")
    recipe = load_recipe("demo", subjects=(1,), kind="open")
    responses = {"space": "MNI", "version": "betas_fithrf", "format": None, "scale": "percent"}
    units = {"mask": str(root / "mask.nii.gz"), "labels": (), "area": ""}
    recipe = recipe.model_copy(
        update={
            "sessions": (1,),
            "responses": recipe.responses.model_copy(update=responses),
            "units": recipe.units.model_copy(update=units),
        }
    )
    (made,) = export_packages(recipe, root, root / "out", forms=("folder",), progress=False)
    return made.path


def test_mni_packages_need_nothing_on_fsaverage(in_mni, fs5, tmp_path):
    arguments = [in_mni, "--out", tmp_path, "--height", 64, "--map", "mean", "--sampling", "trilinear"]
    code, output = run(flatmap, *arguments, "--keep-placements", "--format", "svg")
    assert code == 0
    assert ": mean of training responses, approximate places" in Path(output.strip()).read_text()
    with np.load(tmp_path / f"{in_mni.name}.placement.npz") as arrays:
        placement = Placement.of_arrays(arrays)
    assert placement.is_approximate and placement.weights is not None
    x_mm = np.indices((16, 19, 16))[0].ravel() * 12.0 - 90
    shown = placement.on_vertices(np.arange(x_mm.size), x_mm)
    np.testing.assert_allclose(shown, fs5.middle_mm[:, 0], atol=2.5)


def test_mni_packages_on_another_surface_take_a_matrix(in_mni, fs5, tmp_path):
    subject = write_subject(tmp_path / "s1", fs5, np.eye(4), (3, 4, 5))
    for file in subject.glob("surfaces/*_rh.gii"):  # one vertex more than fsaverage5
        points, triangles = read_mesh(file)
        write_mesh(file, np.vstack([points, [[30, 0, 0]]]), triangles)
    arguments = [in_mni, "--surface", subject, "--map", "mean", "--out"]
    with pytest.raises(OptionError, match="it is not known how its mm become those of MNI space"):
        run(flatmap, *arguments, tmp_path / "a", "--height", 40)
    (tmp_path / "m.txt").write_text("1 0 0 5\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    matrix = ["--mni-matrix", tmp_path / "m.txt"]
    assert run(flatmap, *arguments, tmp_path / "a", "--height", 40, *matrix)[0] == 0
    assert run(view, *arguments, tmp_path / "v.html", *matrix)[0] == 0
    assert "-subj01, approximate places</h1>" in (tmp_path / "v.html").read_text()


def test_commands_place_voxels_with_nsds_transforms(exported, nsd_copy, tmp_path, fs5):
    write_transforms(nsd_copy)
    package = first(exported)
    options = ["--nsd-root", nsd_copy, "--sampling", "trilinear"]
    arguments = [package, "--out", tmp_path, "--height", 64, "--keep-placements", "--sulci", "streams"]
    assert run(flatmap, *arguments, *options, "--no-curvature")[0] == 0
    with np.load(tmp_path / f"{package.name}.placement.npz") as arrays:
        assert arrays["units"].shape == (20484, 3) and not arrays["is_approximate"]
    assert run(view, package, "--out", tmp_path / "view.html", *options)[0] == 0
    page = (tmp_path / "view.html").read_text()
    assert f"<h1>{package.name}</h1>" in page  # nothing is approximate
    assert run(view, package, "--out", tmp_path / "again.html", "--placements", tmp_path)[0] == 0
    assert (tmp_path / "again.html").read_text() == page


def test_every_package_is_drawn_on_the_subjects_own_surface(exported, nsd_root, tmp_path):
    """Voxels and fsaverage alike, on a flat map made from the simulated FreeSurfer folder."""
    from nsd_bench.cli.cortex import cortex_command as cortex

    store = tmp_path / "db"
    assert run(cortex, "build", "--store", store, nsd_root / "nsddata/freesurfer/subj01")[0] == 0
    recipe = load_recipe("demo", subjects=(1,), kind="open")
    responses = recipe.responses.model_copy(update={"space": "fsaverage", "format": "mgh"})
    recipe = recipe.model_copy(update={"sessions": (1,), "name": "fsa", "responses": responses})
    (made,) = export_packages(recipe, nsd_root, tmp_path, forms=("folder",), progress=False)
    arguments = ["--surface", store / "subj01", "--out", tmp_path / "out", "--height", 60]
    for package in (first(exported), made.path):
        assert run(flatmap, package, *arguments, "--nsd-root", nsd_root, "--keep-placements")[0] == 0
        with np.load(tmp_path / f"out/{package.name}.placement.npz") as arrays:
            placement = Placement.of_arrays(arrays)
        assert len(placement.units) == sum(native_counts(nsd_root)) and not placement.is_approximate
        shown = np.isin(placement.units, Package(package).units["unit_ids"]).any(axis=1)
        assert 0.1 < shown.mean() < 0.9
    with pytest.raises(SourceError, match="or --nsd-root to draw on the subject's own surface"):
        run(flatmap, made.path, *arguments, "--force")


def test_commands_name_missing_transforms(exported, nsd_root, tmp_path, fs5):
    package = first(exported)
    empty = tmp_path / "empty"
    empty.mkdir()
    for command, out in ((flatmap, "out"), (view, "view.html")):
        with pytest.raises(SourceError, match=r"no file .*brainmask\.nii\.gz"):
            run(command, package, "--out", tmp_path / out, "--nsd-root", empty)
        assert not (tmp_path / out).exists()


def test_commands_go_through_a_transform(exported, tmp_path, fs5):
    """A pycortex subject whose reference is the package's own grid; one of another grid is refused."""
    package, shape = first(exported), (11, 13, 9)
    affine = np.diag([1.8, 1.8, 1.8, 1])
    affine[:3, 3] = -0.9 * (np.array(shape) - 1)
    subject = write_subject(tmp_path / "fs5", fs5, affine, shape)
    arguments = [package, "--surface", subject, "--depths", 3, "--transform"]
    made = set()
    for number, options in enumerate(([], ["--sampling", "trilinear"], ["--no-nanmean"])):
        out, page = tmp_path / f"{number}", tmp_path / f"{number}.html"
        code, output = run(flatmap, *arguments, "own", "--height", 40, *options, "--out", out)
        assert code == 0
        assert run(view, *arguments, "own", *options, "--out", page)[0] == 0
        made |= {Path(output.strip()).read_bytes(), page.read_bytes()}
    assert len(made) == 6
    with pytest.raises(PackageError, match="the package's units are of another grid"):
        run(flatmap, *arguments, "other", "--height", 40, "--out", tmp_path / "other")
    assert run(flatmap, *arguments, "own", "--depths", 0, "--out", tmp_path / "other")[0] == 2
    assert not (tmp_path / "other").exists()


def test_one_depth_is_the_middle(fs5):
    transform = VolumeTransform(np.eye(4), (400, 400, 400), np.eye(4), "1 mm")
    moved = Cortex(fs5.flat, fs5.curvature, fs5.white_mm + 200, fs5.pial_mm + 200)
    (unit,) = set(vertexwise(moved, transform, between(1)).units[77])
    assert np.unravel_index(unit, (400,) * 3) == tuple(np.rint(moved.middle_mm[77]).astype(int))


# a drawing


def write_drawing(
    subject: Path, cortex: Cortex, paths: dict[str, list[str]], sulci: dict[str, list[str]]
) -> None:
    left, right, bottom, top = make_canvas(cortex.flat, 100).extent
    width = 1024 * (right - left) / (top - bottom)
    layers = ""
    for layer, groups in {"rois": paths, "sulci": sulci}.items():
        shapes = ""
        for name, drawn in groups.items():
            shapes += f'<g inkscape:label="{name}">' + "".join(f'<path d="{one}"/>' for one in drawn) + "</g>"
        layers += f'<g inkscape:label="{layer}"><g inkscape:label="shapes">{shapes}</g></g>'
    (subject / "overlays.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" '
        'xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape" '
        f'width="{width}" height="1024">{layers}</svg>'
    )


def disc(x: float, y: float) -> str:
    angles = np.linspace(0, 2 * np.pi, 60)
    return "M " + " ".join(f"{x + 60 * np.cos(a):.2f},{y + 60 * np.sin(a):.2f}" for a in angles) + " Z"


@pytest.fixture
def drawn_on(fs5, tmp_path) -> PycortexSubject:
    """A disc on each side, one that lies half beside the map, and a name without a shape."""
    subject = write_subject(tmp_path / "fs5", fs5, np.eye(4), (3, 4, 5))
    paths = {"Both": [disc(700, 500), disc(1600, 500)], "Beside": [disc(0, 512)], "Empty": []}
    write_drawing(subject, fs5, paths, {"Calcarine": ["M 600,400 L 700,420 750,500"], "None": []})
    return PycortexSubject.at(subject)


def test_a_drawing_is_read_without_inkscape(fs5, drawn_on):
    """CORTEX-22: x = left + x / w (right - left), y = bottom + (h - y) / h (top - bottom)."""
    canvas = make_canvas(read_cortex(drawn_on.path).flat, 300)
    both, beside = drawn_regions(drawn_on, canvas)
    assert (both.name, beside.name) == ("Both", "Beside")
    left, _, bottom, top = canvas.extent
    mm = (top - bottom) / 1024
    middles = [(left + x * mm, bottom + (1024 - 500) * mm) for x in (700, 1600)]
    for loop, places, middle in zip(both.loops, both.places, middles, strict=True):
        np.testing.assert_allclose(np.hypot(*(loop - middle).T), 60 * mm, rtol=0.01)
        assert np.hypot(*(places[0] - middle)) < 3
    (loop,) = beside.loops
    outside = np.isnan(loop[:, 0])
    assert 0.3 < outside.mean() < 0.9 and np.nanmin(loop[:, 0]) >= left


@pytest.mark.parametrize(
    "needed", [("--transform", "own"), ("--outlines", "overlays"), ("--sulci", "overlays")]
)
def test_fsaverage5_has_neither_transforms_nor_a_drawing(exported, fs5, nsd_copy, tmp_path, needed):
    write_transforms(nsd_copy)
    with pytest.raises(OptionError) as error:
        run(flatmap, first(exported), "--nsd-root", nsd_copy, "--height", 60, "--out", tmp_path, *needed)
    assert message(error) == (
        "flat map: the surface 'fsaverage5' is no pycortex subject.\n"
        "  Expected: the folder of one: only these have transforms and drawings.\n"
        "  What to do: give --surface STORE/SUBJECT, or leave --transform and 'overlays' out."
    )


def test_sulci_that_are_drawn_are_open_lines(fs5, drawn_on):
    canvas = make_canvas(read_cortex(drawn_on.path).flat, 300)
    (sulcus,) = drawn_regions(drawn_on, canvas, "sulci")
    assert (sulcus.name, sulcus.is_sulcus, sulcus.places) == ("Calcarine", True, [])
    (line,) = sulcus.loops
    left, _, bottom, top = canvas.extent
    mm = (top - bottom) / 1024
    ends = [(left + x * mm, top - y * mm) for x, y in ((600, 400), (750, 500))]
    np.testing.assert_allclose(line[[0, -1]], ends, atol=1e-6)


def test_the_command_outlines_a_drawing(exported, drawn_on, fs5, nsd_copy, tmp_path):
    write_transforms(nsd_copy)
    arguments = [first(exported), "--surface", drawn_on.path, "--nsd-root", nsd_copy, "--height", 60]
    arguments += ["--outlines", "overlays", "--format", "svg", "--out", tmp_path / "out"]
    code, output = run(flatmap, *arguments)
    assert code == 0
    svg = Path(output.strip()).read_text()
    assert svg.count(">Both</text>") == 2 and ">V1v</text>" not in svg and ">Empty</text>" not in svg
    assert "dasharray" not in svg
    _, output = run(flatmap, *arguments, "--sulci", "overlays", "--force")
    assert "dasharray" in Path(output.strip()).read_text()
    drawing = drawn_on.drawing
    drawing.write_text(drawing.read_text().replace("M 700", "A 700").replace("M 760", "A 760"))
    with pytest.raises(SourceError, match="an outline of 'Both' cannot be read"):
        run(flatmap, *arguments, "--force")
    drawing.unlink()
    with pytest.raises(SourceError, match="nothing is drawn: there is no such file"):
        run(flatmap, *arguments, "--force")
