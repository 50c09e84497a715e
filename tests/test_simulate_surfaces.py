"""The simulated cortex: areas where they belong, the same on surfaces and in volumes, drawable as NSD's."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from exporters.cortex.build import build_subject
from exporters.cortex.freesurfer import read_patch
from exporters.cortex.placing import transform_placement
from exporters.cortex.transforms import save_transform
from exporters.cortex.validate import validate_subject
from exporters.simulate.anatomy import Anatomy, make_anatomy
from exporters.simulate.freesurfer import write_native
from exporters.simulate.geometry import (
    fibonacci_sphere,
    flattened,
    folds,
    icosphere,
    on_medial_wall,
    own_frame,
    place,
    seen_from,
)
from exporters.simulate.mni import mni_brain
from exporters.simulate.regions import LABELS, patches, ranks
from exporters.simulate.surfaces import make_fsaverage, make_native_surface, surface_labels
from nsd_bench.cortex.store import PycortexSubject

SIDES = ("lh", "rh")


def mgz(path: Path) -> np.ndarray:
    data = gzip.decompress(path.read_bytes())  # nibabel itself would leave the file open
    return np.asanyarray(nib.MGHImage.from_bytes(data).dataobj)


def labels_of(root: Path, subject: int, side: str, atlas: str) -> np.ndarray:
    return mgz(root / f"nsddata/freesurfer/subj{subject:02}/label/{side}.{atlas}.mgz")[:, 0, 0].astype(int)


def surface(root: Path, subject: int, side: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    return nib.freesurfer.read_geometry(root / f"nsddata/freesurfer/subj{subject:02}/surf/{side}.{name}")


def directions(n: int = 300) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


# Shapes


def test_vertices_are_counted_as_freesurfer_counts_them():
    nilearn = pytest.importorskip("nilearn")
    folder = Path(nilearn.__file__).parent / "datasets/data/fsaverage5"
    for side in ("left", "right"):
        points = nib.load(folder / f"sphere_{side}.gii.gz").agg_data("pointset")
        np.testing.assert_allclose(icosphere(10242) * 100, points, atol=0.02)
    for n in (12, 42, 642):
        np.testing.assert_array_equal(icosphere(10242)[:n], icosphere(n))


def test_places_and_directions_are_inverse():
    depth = np.random.default_rng(1).uniform(0.05, 1, 300)
    places = place(directions(), depth)
    found, found_depth = seen_from(places)
    np.testing.assert_allclose(found, directions(), atol=1e-9)
    np.testing.assert_allclose(found_depth, depth)
    assert places[:, 0].max() <= 1e-12
    surface = place(directions(), 1.0)
    on_ball = np.isclose(np.linalg.norm(surface, axis=1), 1)
    assert (on_ball | np.isclose(surface[:, 0], 0)).all()
    np.testing.assert_array_equal(own_frame(own_frame(places, "rh"), "rh"), places)
    np.testing.assert_array_equal(own_frame(places, "lh"), places)


def test_a_sphere_of_any_number_of_vertices_is_closed_and_even():
    points, triangles = fibonacci_sphere(251)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    assert len(triangles) == 2 * 251 - 4  # Euler
    a, b, c = points[triangles].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    assert ((normals * (a + b + c)).sum(axis=1) > 0).all()
    edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()


def test_the_flat_map_keeps_areas_and_turns_no_triangle_over():
    points, triangles = fibonacci_sphere(3001)
    kept = triangles[~on_medial_wall(points)[triangles].any(axis=1)]
    a, b, c = flattened(points)[kept].transpose(1, 0, 2)
    (x1, y1), (x2, y2) = (b - a).T, (c - a).T
    areas = (x1 * y2 - y1 * x2) / 2
    assert (areas > 0).all()
    a, b, c = points[kept].transpose(1, 0, 2)
    true = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    np.testing.assert_allclose(areas, true, rtol=0.25)  # by the wall triangles are long and thin
    assert areas.sum() == pytest.approx(true.sum(), rel=0.01)


def test_gyri_and_sulci_are_smooth_and_each_subjects_own():
    points, triangles = fibonacci_sphere(3001)
    first, second = (folds(points, np.random.default_rng(seed)) for seed in (0, 1))
    assert first.min() < -0.9 and first.max() > 0.9
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2
    neighbours = first[triangles[:, 0]], first[triangles[:, 1]]
    assert np.corrcoef(*neighbours)[0, 1] > 0.8


# Regions


def test_patches_are_as_many_as_wanted_equal_and_from_the_back():
    labels = patches(directions(360), 180)
    assert np.bincount(labels)[1:].tolist() == [2] * 180
    assert directions(360)[labels <= 90, 1].max() <= directions(360)[labels > 90, 1].min()
    assert ranks(np.array([3.0, 3.0, 1.0])).tolist() == [0.5, 1.0, 0.0]  # equals keep their order


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return make_anatomy((31, 37, 29), 4, np.random.default_rng(0))


@pytest.mark.parametrize("atlas", ["prf-visualrois", "streams", "floc-faces", "floc-words", "Kastner2015"])
def test_areas_are_patches_of_the_surface(anatomy, atlas):
    for side in SIDES:
        native = make_native_surface(anatomy, side, np.random.default_rng(1))
        labels = surface_labels(anatomy, native.voxels(anatomy))[atlas]
        for label in np.unique(labels[labels > 0]):
            inside, name = labels == label, LABELS[atlas][label - 1]
            assert np.linalg.norm(native.sphere[inside].mean(axis=0)) > 0.7, name  # of scattered ones 0
            if atlas in ("prf-visualrois", "streams") and not name.startswith("mid"):
                assert largest_part(native.triangles, inside) > 0.7, name


def largest_part(triangles: np.ndarray, inside: np.ndarray) -> float:
    edges = triangles[:, [0, 1, 1, 2]].reshape(-1, 2)
    edges = edges[inside[edges].all(axis=1)]
    graph = sparse.coo_array((np.ones(len(edges)), edges.T), shape=(len(inside),) * 2)
    sizes = np.bincount(connected_components(graph, directed=False)[1][inside])
    return sizes.max() / inside.sum()


def test_areas_lie_where_brains_have_them(anatomy):
    places = np.column_stack(np.unravel_index(np.arange(31 * 37 * 29), (31, 37, 29))) / (30, 36, 28) * 2 - 1
    lateral, y, z = abs(places[:, 0]), places[:, 1], places[:, 2]

    def middle(values: np.ndarray, atlas: str, *names: str) -> float:
        labels = [LABELS[atlas].index(name) + 1 for name in names]
        return values[np.isin(anatomy.labels[atlas], labels)].mean()

    early, late = ("V1v", "V1d"), ("ventral", "lateral", "parietal")
    for atlas, names in {"prf-visualrois": ["hV4"], "streams": late, "Kastner2015": ["FEF"]}.items():
        assert middle(y, "prf-visualrois", *early) < middle(y, atlas, *names)
    assert middle(y, "nsdgeneral", "nsdgeneral") < -0.3
    for area in ("V1", "V2", "V3"):
        assert middle(z, "prf-visualrois", f"{area}v") < middle(z, "prf-visualrois", f"{area}d")
    assert (
        middle(z, "streams", "ventral") < middle(z, "streams", "lateral") < middle(z, "streams", "parietal")
    )
    assert middle(lateral, "streams", "lateral") > middle(lateral, "streams", "early")
    assert middle(lateral, "floc-places", "PPA") < middle(lateral, "floc-faces", "FFA-1", "FFA-2")
    assert middle(lateral, "floc-faces", "FFA-1") < middle(lateral, "floc-bodies", "EBA")
    assert (
        middle(z, "floc-faces", "FFA-1") < middle(z, "floc-bodies", "EBA") < middle(z, "floc-places", "RSC")
    )


def test_neighbours_see_neighbouring_places(anatomy):
    grid = anatomy.angle_deg.reshape(anatomy.shape)
    radians = np.deg2rad(np.stack([grid[:, :, :-1].ravel(), grid[:, :, 1:].ravel()]))
    known = np.isfinite(radians).all(axis=0)
    apart = np.rad2deg(np.arccos(np.clip(np.cos(np.diff(radians[:, known], axis=0)), -1, 1)))
    assert np.median(apart) < 25  # any two fields of one quarter are 30 apart, of two quarters 90
    inside = anatomy.labels["nsdgeneral"] == 1
    assert anatomy.eccentricity_deg[inside].max() < 4
    assert np.percentile(anatomy.eccentricity_deg[inside], [25, 75]) == pytest.approx([1.1, 3.0], abs=0.1)


# Files


def test_surfaces_show_the_regions_of_the_voxels_below(nsd_root):
    roi = nsd_root / "nsddata/ppdata/subj01/func1pt8mm/roi"
    n_compared = 0
    for side in SIDES:
        path = nsd_root / f"nsddata/ppdata/subj01/transforms/{side}.func1pt8-to-layerB2.mgz"
        coordinates = mgz(path)
        assert coordinates.shape == (len(labels_of(nsd_root, 1, side, "streams")), 1, 1, 3)
        assert coordinates.dtype == np.dtype(">f4")
        x, y, z = np.rint(coordinates[:, 0, 0].T).astype(int) - 1
        for atlas in ("streams", "HCP_MMP1"):
            volume = np.asanyarray(nib.load(roi / f"{side}.{atlas}.nii.gz").dataobj)[x, y, z]
            cortex = volume >= 0
            found = labels_of(nsd_root, 1, side, atlas)[cortex]
            assert (found == volume[cortex]).mean() > 0.97  # the medial wall has no labels
            n_compared += cortex.sum()
    assert n_compared > 1500


def test_layers_lie_one_above_the_other_and_cortex_between_white_and_pial(nsd_root):
    transforms = nsd_root / "nsddata/ppdata/subj01/transforms"
    for side in SIDES:
        layers = [mgz(transforms / f"{side}.func1pt8-to-layerB{k}.mgz")[:, 0, 0] for k in (1, 2, 3)]
        np.testing.assert_allclose(layers[1], (layers[0] + layers[2]) / 2, atol=1e-4)
        white, pial = (surface(nsd_root, 1, side, name)[0] for name in ("white", "pial"))
        thickness = nib.freesurfer.read_morph_data(
            nsd_root / f"nsddata/freesurfer/subj01/surf/{side}.thickness"
        )
        np.testing.assert_allclose(np.linalg.norm(pial - white, axis=1), thickness, rtol=1e-4)
        step = (white - pial) / 4 / 1.8  # in voxels: a quarter of the way
        np.testing.assert_allclose(layers[1] - layers[0], step, atol=1e-4)


def test_both_ways_between_fsaverage_and_native_lead_to_near_vertices(nsd_root):
    sphere = icosphere(642)
    for side in SIDES:
        native = surface(nsd_root, 1, side, "sphere.reg")[0] / 100
        transforms = nsd_root / "nsddata/ppdata/subj01/transforms"
        there, back = (
            mgz(transforms / f"{side}.{name}.mgz")[:, 0, 0].astype(int) - 1
            for name in ("white-to-fsaverage", "fsaverage-to-white")
        )
        assert (there.shape, back.shape) == ((642,), (len(native),))
        assert np.linalg.norm(sphere[back] - native, axis=1).max() < 0.16  # half an edge and a bit
        assert np.median(np.linalg.norm(native[there] - sphere, axis=1)) < 0.08


def test_the_freesurfer_folder_becomes_a_subject_that_agrees_with_nsds_transforms(nsd_root, tmp_path):
    subject = PycortexSubject(tmp_path, "subj01")
    build_subject(nsd_root / "nsddata/freesurfer/subj01", subject)
    reference = nsd_root / "nsddata/ppdata/subj01/func1pt8mm/mean.nii.gz"
    save_transform(subject, "full", np.eye(4), reference)
    assert validate_subject(subject, (11, 13, 9)) == []
    middle = transform_placement(subject, "full", n_depths=1).units[:, 0]
    expected = []
    for side in SIDES:
        path = nsd_root / f"nsddata/ppdata/subj01/transforms/{side}.func1pt8-to-layerB2.mgz"
        x, y, z = np.rint(mgz(path)[:, 0, 0].T).astype(int) - 1
        expected.append(np.ravel_multi_index((x, y, z), (11, 13, 9)))
    assert (middle == np.concatenate(expected)).mean() > 0.99  # float32 half-way between two voxels
    anatomical = nib.load(subject.anatomy)
    x, y, z = np.argwhere(np.asanyarray(anatomical.dataobj) > 0).T
    centre = anatomical.affine @ [x.mean(), y.mean(), z.mean(), 1]
    np.testing.assert_allclose(centre[:3], 0, atol=0.6)


def test_the_medial_wall_is_cut_out_of_the_flat_map(nsd_root):
    for side in SIDES:
        sphere = surface(nsd_root, 1, side, "sphere")[0] / 100
        path = nsd_root / f"nsddata/freesurfer/subj01/surf/{side}.full.flat.patch.3d"
        patch = read_patch(path, len(sphere))
        wall = on_medial_wall(own_frame(sphere, side))
        np.testing.assert_array_equal(patch.vertices, np.flatnonzero(~wall))
        assert 0 < patch.on_border.sum() < 0.1 * len(sphere)
        assert (labels_of(nsd_root, 1, side, "HCP_MMP1")[wall] == 0).all()


def test_mni_coordinates_count_x_from_the_right(tmp_path):
    anatomy = make_anatomy((12, 14, 10), 1, np.random.default_rng(0))
    fsaverage = make_fsaverage(42, np.random.default_rng(1))
    under = write_native(tmp_path, 1, anatomy, fsaverage, 0, mni_shape=(22, 26, 19))
    assert {side: voxels.shape for side, voxels in under.items()} == {"lh": (42,), "rh": (42,)}
    for side, is_left in {"lh": True, "rh": False}.items():
        path = tmp_path / f"nsddata/ppdata/subj01/transforms/{side}.MNI-to-layerB2.mgz"
        x, y, z = mgz(path)[:, 0, 0].T
        from_left = 22 + 1 - x
        assert ((from_left < 12) == is_left).mean() > 0.97
        voxels = np.rint([from_left - 1, y - 1, z - 1]).astype(int)
        assert mni_brain((22, 26, 19))[tuple(voxels)].all()
