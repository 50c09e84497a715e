"""Subjects for pycortex: built from FreeSurfer's files, checked, completed, and opened by pycortex itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner
from cortex_trees import (
    C_RAS,
    REFERENCE_AFFINE,
    SIDES,
    bundled,
    make_freesurfer,
    make_reference,
    picture,
)

from exporters.cortex.build import BuildOptions, build_subject, import_subject
from exporters.cortex.freesurfer import flat_surface, oriented, read_patch, uprightness, write_patch
from exporters.cortex.masks import SAMPLERS, label_regions
from exporters.cortex.placing import mni_to_subject, transform_placement, volume_labels
from exporters.cortex.transforms import (
    align,
    anatomy_to_functional,
    flirt_to_world,
    read_matrix,
    save_transform,
    surface_affine,
)
from exporters.cortex.validate import validate_subject
from nsd_bench.cli.cortex import cortex_command as command
from nsd_bench.cortex.figure import Scale
from nsd_bench.cortex.geometry import signed_area
from nsd_bench.cortex.overlays import add_image_layer, draw_regions, outline_counts
from nsd_bench.cortex.store import PycortexSubject, open_store, read_flat_mesh
from nsd_bench.cortex.surfaces import read_flat, read_mesh, write_mesh
from nsd_bench.errors import NsdBenchError, OptionError, OutputError, SourceError

pytest.importorskip("nilearn")

N = 10242


@pytest.fixture(scope="module")
def freesurfer(tmp_path_factory) -> Path:
    return make_freesurfer(tmp_path_factory.mktemp("freesurfer"))


@pytest.fixture(scope="module")
def whole(freesurfer, tmp_path_factory) -> PycortexSubject:
    """A subject with a transform, not to be changed."""
    subject = PycortexSubject(tmp_path_factory.mktemp("db"), "fs5")
    build_subject(freesurfer, subject)
    reference = make_reference(subject.store / "reference.nii.gz")
    save_transform(subject, "full", np.eye(4), reference)
    return subject


@pytest.fixture
def subject(whole, tmp_path) -> PycortexSubject:
    """A copy that may be changed."""
    shutil.copytree(whole.path, tmp_path / "db/fs5")
    return PycortexSubject(tmp_path / "db", "fs5")


def anatomy(subject: PycortexSubject) -> np.ndarray:
    return np.concatenate([read_mesh(subject.surface("wm", side))[0] for side in SIDES])


# Patches


def test_a_patch_is_read_from_the_bytes_that_freesurfer_writes(tmp_path):
    path = tmp_path / "lh.full.flat.patch.3d"
    rows = struct.pack(">i3f", 3, 1.5, -2.0, 0.0) + struct.pack(">i3f", -8, 0.25, 4.0, 0.0)
    path.write_bytes(struct.pack(">ii", -1, 2) + rows)
    patch = read_patch(path, 8)
    assert patch.vertices.tolist() == [2, 7]
    assert patch.points.tolist() == [[1.5, -2.0, 0.0], [0.25, 4.0, 0.0]]
    assert patch.on_border.tolist() == [False, True]
    write_patch(tmp_path / "again", patch)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("data", "n_vertices", "problem"),
    [
        (b"#!ascii", 8, "7 bytes that begin with 0, 0"),
        (struct.pack(">ii", -1, 2) + bytes(16), 8, "24 bytes that begin with -1, 2"),
        (struct.pack(">iii3f", -1, 1, 9, 0, 0, 0), 8, "1 vertices, up to 9, of a surface of 8"),
        (struct.pack(">ii", -1, 0), 8, "0 vertices, up to 0, of a surface of 8"),
    ],
)
def test_what_is_no_patch_is_refused(tmp_path, data, n_vertices, problem):
    path = tmp_path / "lh.patch"
    path.write_bytes(data)
    with pytest.raises(SourceError) as error:
        read_patch(path, n_vertices)
    assert str(error.value) == (
        f"{path}: is not a patch of this surface ({problem}).\n"
        "  Expected: a binary patch of FreeSurfer's, as mris_flatten writes.\n"
        "  What to do: give the patch of the same subject, written without -ascii."
    )


def test_the_largest_part_of_a_patch_is_kept_and_the_rest_put_to_zero():
    triangles = np.array([[0, 1, 2], [1, 2, 3], [4, 5, 6], [6, 7, 8]])
    vertices = np.array([0, 1, 2, 3, 4, 5, 6])
    points, kept = flat_surface(vertices, np.arange(14.0).reshape(7, 2), triangles, 9)
    assert kept.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert points[3].tolist() == [6, 7, 0]
    assert not points[4:].any()
    with pytest.raises(SourceError, match="none of 4 triangles lies on the patch"):
        flat_surface(np.array([0, 5]), np.zeros((2, 2)), triangles, 9)


# Which way up


def test_fsaverage5_lies_upright(whole):
    known = {"lh": (0.947, 0.866), "rh": (0.936, 0.848)}  # measured when the rule was made
    for side, expected in known.items():
        flat, triangles = read_mesh(bundled(f"flat_{SIDES[side]}"))
        used = np.unique(triangles)
        found = uprightness(flat[used], read_mesh(whole.surface("wm", side))[0][used], side)
        assert found == pytest.approx(expected, abs=2e-3)


def test_both_conventions_are_recognised_and_give_the_same_map(freesurfer, whole, tmp_path):
    raw = PycortexSubject(tmp_path, "raw")
    build_subject(freesurfer, raw, BuildOptions(patch="raw", white="white"))
    for side, word in SIDES.items():
        assert raw.surface("flat", side).read_bytes() == whole.surface("flat", side).read_bytes()
        flat, triangles = read_mesh(bundled(f"flat_{word}"))
        used = np.unique(triangles)
        points, kept = read_mesh(whole.surface("flat", side))
        np.testing.assert_array_equal(points[used], flat[used])
        assert {tuple(row) for row in np.sort(triangles, axis=1).tolist()} <= {
            tuple(row) for row in np.sort(kept, axis=1).tolist()
        }


def test_a_patch_that_lies_neither_way_is_not_guessed():
    rng = np.random.default_rng(0)
    body = rng.normal(size=(50, 3))
    upside_down = np.stack([body[:, 1], -body[:, 2], 0 * body[:, 0]], axis=1)
    with pytest.raises(SourceError) as error:
        oriented(upside_down, body, "rh", place="rh.full.flat.patch.3d")
    assert error.value.problem.startswith("it is not clear which way up the patch lies (")
    assert error.value.fix == "look at the patch, and say --axes pycortex or --axes raw"
    np.testing.assert_array_equal(oriented(upside_down, body, "rh", axes="raw"), upside_down[:, :2])
    with pytest.raises(SourceError, match="one of 'auto', 'pycortex', 'raw'"):
        oriented(upside_down, body, "rh", axes="row")


# Building


def test_surfaces_are_moved_to_the_scanner_and_values_negated(freesurfer, whole):
    for side, word in SIDES.items():
        for kind, source in {"wm": "white", "pia": "pial", "inflated": "infl"}.items():
            expected = read_mesh(bundled(f"{source}_{word}"))[0]
            np.testing.assert_allclose(read_mesh(whole.surface(kind, side))[0], expected, atol=1e-4)
    curvature = nib.freesurfer.read_morph_data(freesurfer / "surf/rh.curv")
    for kind in ("curvature", "sulcaldepth", "thickness"):
        assert whole.info(kind).is_file()
    with np.load(whole.info("curvature")) as stored:
        np.testing.assert_array_equal(stored["right"], -curvature.astype(np.float64))
    volume = nib.load(whole.anatomy)
    assert volume.shape == (8, 12, 16)
    np.testing.assert_allclose(volume.affine[:3, 3], np.array([4, -8, 6]) + C_RAS)


def test_building_again_gives_the_same_bytes_and_never_replaces(freesurfer, whole, tmp_path):
    again = PycortexSubject(tmp_path, "fs5")
    build_subject(freesurfer, again)
    for file in sorted(path for path in again.path.rglob("*") if path.is_file()):
        assert file.read_bytes() == (whole.path / file.relative_to(again.path)).read_bytes(), file
    with pytest.raises(OutputError, match="exists already"):
        build_subject(freesurfer, again)


def test_a_missing_file_is_named_and_nothing_is_left(freesurfer, tmp_path):
    with pytest.raises(SourceError) as error:
        build_subject(freesurfer, PycortexSubject(tmp_path, "fs5"), BuildOptions(patch="occip"))
    assert error.value.problem == f"no file {freesurfer}/surf/lh.occip.flat.patch.3d"
    assert "'full.flat.patch.3d'" in error.value.expected
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_or_anatomy_says_what_to_fetch(freesurfer, tmp_path):
    with pytest.raises(SourceError) as error:
        build_subject(tmp_path / "subj01", PycortexSubject(tmp_path / "db", "fs5"))
    assert str(error.value) == (
        f"{tmp_path}/subj01: no file {tmp_path}/subj01/mri/T1.mgz.\n"
        "  Expected: a FreeSurfer subject with surf/ and mri/T1.mgz.\n"
        "  What to do: give the folder of the subject itself: there is no such folder."
    )
    half = shutil.copytree(freesurfer, tmp_path / "subj01", ignore=shutil.ignore_patterns("T1.mgz"))
    with pytest.raises(SourceError) as error:
        build_subject(half, PycortexSubject(tmp_path / "db", "fs5"))
    bucket = "s3://natural-scenes-dataset/nsddata/freesurfer"
    assert error.value.fix == f"fetch it; NSD's is {bucket}/subj01/mri/T1.mgz"
    (half / "mri/T1.mgz").write_bytes(b"no volume")
    with pytest.raises(SourceError, match=r"mri/T1.mgz: cannot be read whole"):
        build_subject(half, PycortexSubject(tmp_path / "db", "fs5"))
    assert not (tmp_path / "db").exists()


def test_surfaces_of_two_subjects_are_refused(freesurfer, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(freesurfer, mixed)
    points, triangles = np.eye(3), np.array([[0, 1, 2]])
    nib.freesurfer.write_geometry(mixed / "surf/lh.pial", points, triangles)
    with pytest.raises(SourceError, match="has 3 vertices") as error:
        build_subject(mixed, PycortexSubject(tmp_path / "db", "mixed"))
    assert error.value.expected == f"10242, as {mixed}/surf/lh.smoothwm has"
    shutil.copy(freesurfer / "surf/lh.pial", mixed / "surf/lh.pial")
    nib.freesurfer.write_morph_data(mixed / "surf/rh.curv", np.zeros(7))
    with pytest.raises(SourceError, match="has 7 values"):
        build_subject(mixed, PycortexSubject(tmp_path / "db", "mixed"))


@pytest.mark.parametrize("name", ["", "../subj01", "a b", "-x"])
def test_names_that_are_no_folders_are_refused(tmp_path, name):
    with pytest.raises(OptionError, match="cannot be the name of a subject or a transform"):
        PycortexSubject(tmp_path, name)
    with pytest.raises(OptionError, match="cannot be the name of a subject or a transform"):
        PycortexSubject(tmp_path, "s").transform(name)


# Validation


def problems(subject: PycortexSubject, shape=None) -> list[str]:
    return [issue.problem for issue in validate_subject(subject, shape)]


def test_a_whole_subject_has_no_issue(whole):
    assert validate_subject(whole, (40, 52, 44)) == []
    assert problems(PycortexSubject(whole.store, "nobody")) == ["there is no such subject"]


def test_data_of_another_grid_is_found(whole):
    assert problems(whole, (40, 44, 52)) == ["is for volumes (40, 52, 44), the data has (40, 44, 52)"]


def test_a_transform_of_another_subject_of_nsds_is_found(subject, tmp_path):
    """The tutorial that people follow gives one mean volume to all eight."""
    nib.save(image((82, 106, 84), np.diag([1.8, 1.8, 1.8, 1])), tmp_path / "meanbeta.nii.gz")
    save_transform(subject, "other", np.eye(4), tmp_path / "meanbeta.nii.gz")
    assert problems(subject) == []
    for name, expected in {
        "subj01": ["is for volumes (82, 106, 84), which are subj02's"],
        "subj02": [],
    }.items():
        renamed = PycortexSubject(subject.store, name)
        shutil.copytree(subject.path, renamed.path)
        assert problems(renamed) == expected


def test_what_is_wrong_with_surfaces_is_listed(subject):
    subject.surface("pia", "lh").unlink()
    points, triangles = read_mesh(subject.surface("wm", "rh"))
    write_mesh(subject.surface("wm", "rh"), points[:-1], triangles[:1])
    subject.anatomy.unlink()
    shutil.rmtree(subject.path / "transforms/full")
    found = problems(subject)
    assert "vertices differ: flat 10242, inflated 10242, pia 10242, wm 10241" in found
    assert "no volume can be drawn: no transform" in found
    assert found.count("there is no such file") == 1
    assert "there is no anatomical volume" in found


def test_a_subject_of_surfaces_alone_is_warned_of_not_refused(subject):
    subject.anatomy.unlink()
    (issue,) = validate_subject(subject)
    assert (issue.level, issue.place) == ("warning", str(subject.anatomy))


def test_a_turned_bent_or_stray_flat_map_is_found(subject):
    path = subject.surface("flat", "lh")
    points, triangles = read_mesh(path)
    unused = np.setdiff1d(np.arange(N), triangles)[:3]
    turned = points[:, [1, 0, 2]] * [1, -1, 1]
    turned[unused] = 999.0, 9.0, 0.0
    turned[unused[:1]] = turned[triangles[0, 0]]  # within the map, which shifts nothing
    turned[triangles[0, 0], 2] = 0.25
    write_mesh(path, turned, triangles)
    issues = {issue.problem: issue for issue in validate_subject(subject)}
    assert {issue.place for issue in issues.values()} == {str(path)}
    assert issues["2 vertices that no triangle uses lie beside the map"].level == "warning"
    assert issues["is not flat: z reaches 0.25 mm"].level == "warning"
    (rotated,) = (issue for problem, issue in issues.items() if problem.startswith("is turned or mirrored"))
    assert rotated.fix == "Build it again with the other --axes ('pycortex' or 'raw'); 'auto' finds out"


def test_a_broken_transform_and_curvature_are_found(subject):
    file = subject.transform("full") / "matrices.xfm"
    content = json.loads(file.read_text())
    content["magnet"][0][3] += 1
    file.write_text(json.dumps(content))
    np.savez(subject.info("curvature"), left=np.zeros(N), right=np.zeros(5))
    assert problems(subject) == [
        "rh has 5 values for 10242 vertices",
        "'coord' and 'magnet' contradict each other",
    ]
    file.write_text("{}")
    subject.info("curvature").write_bytes(b"")
    found = problems(subject)
    assert "holds no transform (there is no 'coord' in it)" in found
    assert any(problem.startswith("rh cannot be read (") for problem in found)
    subject.info("curvature").unlink()
    (subject.transform("full") / "matrices.xfm").unlink()
    assert "there is no curvature" in problems(subject)


# Import


def test_a_ready_subject_is_copied_without_its_cache(subject, tmp_path):
    (subject.path / "cache/old.npz").write_bytes(b"old")
    copy = PycortexSubject(tmp_path / "other", "renamed")
    assert import_subject(subject.path, copy) == []
    assert sorted(child.name for child in copy.path.iterdir()) == sorted(
        child.name for child in subject.path.iterdir()
    )
    assert list((copy.path / "cache").iterdir()) == []
    with pytest.raises(OutputError, match="exists already"):
        import_subject(subject.path, copy)


def test_a_broken_subject_is_not_imported(subject, tmp_path):
    subject.surface("pia", "lh").unlink()
    subject.surface("pia", "rh").unlink()
    with pytest.raises(SourceError) as error:
        import_subject(subject.path, PycortexSubject(tmp_path / "other", "fs5"))
    assert error.value.problem.endswith("(2 errors in all)")
    assert error.value.fix == (
        f"list them with 'nsd-bench cortex validate --store {subject.store} {subject.name}'"
    )
    assert not (tmp_path / "other").exists()


# Transforms


def image(shape, affine) -> nib.Nifti1Image:
    return nib.Nifti1Image(np.zeros(shape, dtype=np.float32), np.asarray(affine, dtype=float))


def test_flirt_mirrors_images_whose_determinant_is_positive():
    """The same box of tissue, stored from right to left and from left to right, is aligned by identity."""
    left_to_right = image((5, 6, 7), np.diag([2.0, 2, 2, 1]))
    right_to_left = image((5, 6, 7), [[-2, 0, 0, 8], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    identity = np.eye(4)
    np.testing.assert_allclose(flirt_to_world(identity, left_to_right, right_to_left), np.eye(4), atol=1e-12)
    shifted = np.eye(4)
    shifted[0, 3] = 3.0  # to the left, which is where FLIRT's x grows
    np.testing.assert_allclose(
        flirt_to_world(shifted, left_to_right, right_to_left)[:3, 3], [-3, 0, 0], atol=1e-12
    )


def write_matrix(path: Path, matrix: np.ndarray, head: str = "") -> Path:
    path.write_text(head + "\n".join(" ".join(f"{x:.9f}" for x in row) for row in matrix) + "\n")
    return path


def test_every_convention_gives_the_same_transform(freesurfer, whole, tmp_path):
    """One rigid motion, written as each program would write it."""
    turn, reference = np.radians(10), whole.transform("full") / "reference.nii.gz"
    to_functional = np.array(
        [[np.cos(turn), -np.sin(turn), 0, 3], [np.sin(turn), np.cos(turn), 0, -2], [0, 0, 1, 5], [0, 0, 0, 1]]
    )
    functional, body = nib.load(reference), nib.load(whole.anatomy)
    affine = write_matrix(tmp_path / "affine.txt", np.linalg.inv(to_functional))
    space = np.diag([4.0, 4, 4, 1])
    space[0] = [-4, 0, 0, 4 * 39]
    body_space = np.eye(4)  # its determinant is negative, its voxels 1 mm
    world = body_space @ np.linalg.inv(body.affine) @ np.linalg.inv(to_functional)
    flirt = write_matrix(tmp_path / "flirt.mat", world @ functional.affine @ np.linalg.inv(space))
    from_surface = np.eye(4)
    from_surface[:3, 3] = C_RAS
    matrix = surface_affine(functional) @ np.linalg.inv(functional.affine) @ to_functional @ from_surface
    register = write_matrix(tmp_path / "register.dat", matrix, "fs5\n4.0\n4.0\n0.15\n")
    with register.open("a") as file:
        file.write("round\n")
    for convention, path in (("affine", affine), ("flirt", flirt), ("register", register)):
        found = anatomy_to_functional(path, convention, reference, whole.anatomy, freesurfer)
        np.testing.assert_allclose(found, to_functional, atol=1e-5, err_msg=convention)
    with pytest.raises(OptionError, match="give it with --freesurfer"):
        anatomy_to_functional(register, "register", reference, whole.anatomy)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 2 3\n", "its shape is (1, 3)"),
        ("1 2\n3\n", "inhomogeneous"),
        ("a b c d\n", "could not convert string to float: 'a'"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 2\n", "its last row is [0.0, 0.0, 0.0, 2.0]"),
        ("1 0 0 0\n1 0 0 0\n0 0 1 0\n0 0 0 1\n", "it cannot be inverted"),
    ],
)
def test_what_is_no_matrix_is_refused(tmp_path, text, problem):
    path = tmp_path / "m.txt"
    path.write_text(text)
    with pytest.raises(SourceError) as error:
        read_matrix(path)
    assert problem in error.value.problem
    assert error.value.expected == "four rows of four numbers, the last one 0 0 0 1"
    with pytest.raises(SourceError, match="holds no matrix"):
        read_matrix(tmp_path / "absent.txt")


def test_a_transform_is_not_changed_under_its_masks(subject, tmp_path):
    reference, moved = make_reference(tmp_path / "r.nii.gz"), np.eye(4)
    moved[1, 3] = 7
    mask = subject.transform("full") / "mask_thick.nii.gz"
    mask.write_bytes(b"mask")
    with pytest.raises(OutputError) as error:
        save_transform(subject, "full", moved, reference)
    assert error.value.problem == "the transform exists already, and 1 masks were made with it"
    assert error.value.fix == "choose another name, or replace it and its masks with --delete-masks"
    assert mask.is_file()
    stale = [
        subject.path / f"cache/{name}.npz" for name in ("full_linenn", "flatpixel_full_1024_nearest_l32")
    ]
    others = [subject.path / f"cache/{name}.npz" for name in ("flatmask_1024", "fuller_linenn")]
    for file in (*stale, *others):
        file.write_bytes(b"cache")
    save_transform(subject, "full", moved, reference, delete_masks=True)
    assert not any(file.exists() for file in (mask, *stale))
    assert all(file.is_file() for file in others)
    content = json.loads((subject.transform("full") / "matrices.xfm").read_text())
    assert content["magnet"] == moved.tolist()
    np.testing.assert_allclose(content["coord"], np.linalg.inv(REFERENCE_AFFINE) @ moved)


def test_a_transform_needs_its_subject(whole, tmp_path):
    reference = make_reference(tmp_path / "r.nii.gz")
    with pytest.raises(OptionError) as error:
        save_transform(PycortexSubject(whole.store, "fs6"), "full", np.eye(4), reference)
    assert str(error.value) == (
        f"{whole.store}: there is no subject 'fs6'.\n"
        "  Expected: one of 'fs5' (did you mean 'fs5'?).\n"
        "  What to do: correct --store or the name; 'nsd-bench cortex build' and 'import' make subjects."
    )
    with pytest.raises(OptionError, match="a folder with pycortex subjects"):
        save_transform(PycortexSubject(tmp_path / "empty", "fs5"), "full", np.eye(4), reference)
    assert not (whole.store / "fs6").exists()


def test_flirts_matrix_needs_the_anatomy(subject, tmp_path):
    matrix, reference = write_matrix(tmp_path / "m.mat", np.eye(4)), make_reference(tmp_path / "r.nii.gz")
    given = ("transform", "--store", subject.store, "fs5", "new", "--reference", reference)
    assert run(*given, "--flirt", matrix).startswith("0 ")
    subject.anatomy.unlink()
    with pytest.raises(SourceError, match=r"raw.nii.gz: there is no such file"):
        run(*given[:-3], "other", *given[-2:], "--flirt", matrix)
    assert run(*given[:-3], "other", *given[-2:], "--affine", matrix).startswith("0 ")


def test_the_first_volume_of_a_series_is_the_reference(subject, tmp_path):
    series = tmp_path / "series.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 2, 2), np.eye(4)), series)
    path = save_transform(subject, "short", np.eye(4), series)
    stored = nib.load(path / "reference.nii.gz")
    np.testing.assert_array_equal(stored.dataobj, np.arange(0, 24, 2).reshape(2, 3, 2))


# Programs of others


def test_a_missing_program_is_named_with_the_way_without_it(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for tool, package in {"bbregister": "FreeSurfer", "flirt": "FSL"}.items():
        with pytest.raises(NsdBenchError) as error:
            align(tool, tmp_path / "f.nii", whole.anatomy, tmp_path / "out", tmp_path)
        assert str(error.value) == (
            f"--align {tool}: {tool} is not installed.\n"
            f"  Expected: {package}'s program on the PATH.\n"
            "  What to do: give the matrix of an alignment made elsewhere with --register, --flirt or "
            f"--affine, or install {package}."
        )
    with pytest.raises(OptionError, match="cannot align with 'bbregister' without a FreeSurfer folder"):
        align("bbregister", tmp_path / "f.nii", whole.anatomy, tmp_path / "out")
    with pytest.raises(OptionError, match="cannot align with 'ants'"):
        align("ants", tmp_path / "f.nii", whole.anatomy, tmp_path / "out")


def test_programs_are_called_as_they_want_it(whole, tmp_path, monkeypatch):
    for tool in ("bbregister", "flirt"):
        program = tmp_path / tool
        program.write_text(
            '#!/bin/sh\necho "$SUBJECTS_DIR $@" > "$LAST"\n[ -n "$FAIL" ] && echo no >&2\n[ -z "$FAIL" ]'
        )
        program.chmod(0o755)
    output = tmp_path / "said.txt"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("LAST", str(output))
    monkeypatch.setenv("SUBJECTS_DIR", "elsewhere")
    align("bbregister", tmp_path / "f.nii", whole.anatomy, output, tmp_path / "fs/subj01")
    said = output.read_text().split()
    assert said[:3] == [str(tmp_path / "fs"), "--s", "subj01"]
    assert said[3:] == ["--mov", f"{tmp_path}/f.nii", "--reg", str(output), "--init-coreg", "--t2"]
    align("flirt", tmp_path / "f.nii", whole.anatomy, output)
    said = output.read_text().split()
    assert said[1:5] == ["-in", f"{tmp_path}/f.nii", "-ref", str(whole.anatomy)]
    monkeypatch.setenv("FAIL", "yes")
    with pytest.raises(SourceError, match=r"flirt ended with code 1 \(no\)"):
        align("flirt", tmp_path / "f.nii", whole.anatomy, output)


# Outlines


def regions(subject: PycortexSubject) -> np.ndarray:
    where = anatomy(subject)
    labels = np.zeros(2 * N, dtype=np.int64)
    labels[where[:, 1] < -70] = 1
    labels[(where[:, 1] > 20) & (where[:, 2] > 20)] = 2
    return labels


def outlines_mm(subject: PycortexSubject) -> dict[str, list[np.ndarray]]:
    """Read the drawing as pycortex places it: 1024 high, y downwards, from the corner of the flat map."""
    mesh = read_flat_mesh(subject)
    low, high = mesh.points.min(axis=0), mesh.points.max(axis=0)
    found = {}
    for name in re.findall(r'inkscape:label="(\w+)"[^>]*id="\1"', subject.drawing.read_text()):
        paths = re.findall(rf'id="{name}_\d+" d="M ([^"]*) Z"', subject.drawing.read_text())
        pairs = [np.array([p.split(",") for p in path.replace("L ", "").split()], float) for path in paths]
        scale = (high[1] - low[1]) / 1024
        found[name] = [
            np.stack([low[0] + x * scale, high[1] - y * scale], 1) for x, y in (p.T for p in pairs)
        ]
    return found


def test_regions_are_drawn_and_read_back(subject):
    labels = regions(subject)
    drawn = draw_regions(subject, label_regions(labels, {1: "V1", 2: "front", 9: "absent"}), min_area_mm2=20)
    assert drawn == {"V1": 4, "front": 2, "absent": 0}
    mesh, found = read_flat_mesh(subject), outlines_mm(subject)
    on_map = np.isin(np.arange(2 * N), mesh.triangles)
    for name, label in {"V1": 1, "front": 2}.items():
        area = sum(abs(signed_area(loop)) for loop in found[name])
        corners = mesh.points[mesh.triangles[(labels[mesh.triangles] == label).all(axis=1)]]
        inner = abs(sum(signed_area(triangle) for triangle in corners))
        assert inner < area < 1.35 * inner
        assert (labels[on_map] == label).any()
    assert mesh.points[:N, 0].max() == mesh.points[N:, 0].min() == 0
    before = subject.drawing.read_bytes()
    with pytest.raises(OptionError, match="the region 'V1' is drawn already"):
        draw_regions(subject, label_regions(labels, {1: "V1"}))
    assert subject.drawing.read_bytes() == before
    draw_regions(subject, label_regions(labels, {1: "V1"}), min_area_mm2=20, replace=True)
    assert outline_counts(subject) == {"front": 2, "absent": 0, "V1": 4}
    assert problems(subject) == ["regions without an outline: absent"]


def test_what_was_drawn_by_hand_stays(subject):
    labels = regions(subject)
    draw_regions(subject, label_regions(labels, {1: "V1"}))
    by_hand = subject.drawing.read_text().replace("<svg ", '<svg data-mine="yes" ', 1)
    subject.drawing.write_text(by_hand)
    draw_regions(subject, label_regions(labels, {2: "front"}))
    assert 'data-mine="yes"' in subject.drawing.read_text()
    assert outline_counts(subject).keys() == {"V1", "front"}


def test_drawings_that_cannot_be_used_are_refused(subject):
    assert outline_counts(subject) == {}
    with pytest.raises(OptionError, match=r"region 'V1' has shape \(7,\)"):
        draw_regions(subject, label_regions(np.zeros(7, dtype=np.int64), {1: "V1"}))
    labels = regions(subject)
    draw_regions(subject, label_regions(labels, {2: "front"}))
    text = subject.drawing.read_text()
    subject.drawing.write_text(text.replace('label="rois"', 'label="ROIS"'))
    with pytest.raises(SourceError, match=f"{subject.drawing}: has no layer rois/shapes"):
        outline_counts(subject)
    assert problems(subject) == ["has no layer rois/shapes"]
    subject.drawing.write_text(text[:-20])
    with pytest.raises(SourceError, match="cannot be read as a drawing of regions"):
        draw_regions(subject, label_regions(labels, {1: "V1"}))


def test_vertices_find_their_voxels_through_a_transform(whole):
    placement = transform_placement(whole, "full", n_depths=3)
    assert (placement.units.shape, placement.shape) == ((2 * N, 3), (40, 52, 44))
    middle = sum(read_mesh(whole.surface(kind, "lh"))[0][100] for kind in ("wm", "pia")) / 2
    voxel = np.rint(np.linalg.inv(REFERENCE_AFFINE) @ [*middle, 1])[:3].astype(int)
    assert placement.units[100, 1] == np.ravel_multi_index(voxel, (40, 52, 44))
    ids = np.arange(40 * 52 * 44)
    x_mm = nib.load(whole.transform("full") / "reference.nii.gz").get_fdata().ravel()
    placed = placement.on_vertices(ids, x_mm)
    np.testing.assert_allclose(placed, anatomy(whole)[:, 0], atol=6)
    with pytest.raises(OptionError) as error:
        transform_placement(whole, "fulll")
    assert str(error.value) == (
        f"{whole.path}: there is no transform 'fulll'.\n"
        "  Expected: one of 'full' (did you mean 'full'?).\n"
        "  What to do: correct the name, or add it with 'nsd-bench cortex transform'."
    )


def test_vertices_beyond_the_grid_show_nothing(subject, tmp_path):
    small = tmp_path / "small.nii.gz"
    nib.save(image((4, 5, 6), np.diag([2.0, 2, 2, 1])), small)
    save_transform(subject, "small", np.eye(4), small)
    units = transform_placement(subject, "small").units
    inside = (np.abs(anatomy(subject) - [3, 4, 5]) < [10, 11, 12]).all(axis=1)
    assert (units[~inside] == -1).all()
    assert units.max() < 120


def test_labels_of_voxels_come_onto_the_vertices(whole, tmp_path):
    reference = nib.load(whole.transform("full") / "reference.nii.gz")
    labels = np.where(reference.get_fdata() > 30, 4, -1).astype(np.int16)
    nib.save(nib.Nifti1Image(labels, reference.affine), tmp_path / "roi.nii.gz")
    found = volume_labels(whole, "full", tmp_path / "roi.nii.gz")
    assert np.unique(found).tolist() == [0, 4]
    x_mm = anatomy(whole)[:, 0]
    assert (found[x_mm > 36] == 4).all()
    assert (found[x_mm < 24] == 0).all()


# MNI


def test_a_volume_is_looked_up_through_the_matrix(tmp_path):
    shape, affine = (9, 10, 11), np.diag([2.0, 2, 2, 1])
    x, y, z = (affine[:3, :3] @ np.indices(shape).reshape(3, -1)).reshape(3, *shape)
    nib.save(nib.Nifti1Image((x + 10 * y - z).astype(np.float32), affine), tmp_path / "mni.nii.gz")
    nib.save(image((4, 5, 3), np.diag([3.0, 3, 3, 1])), tmp_path / "subject.nii.gz")
    shift = np.eye(4)
    shift[:3, 3] = [1, 2, 5]
    matrix = write_matrix(tmp_path / "m.txt", shift)
    out = mni_to_subject(tmp_path / "mni.nii.gz", tmp_path / "subject.nii.gz", matrix, tmp_path / "o.nii.gz")
    made = nib.load(out)
    i, j, k = np.indices((4, 5, 3)) * 3.0
    np.testing.assert_allclose(made.get_fdata(), (i + 1) + 10 * (j + 2) - (k + 5), atol=1e-4)
    assert made.header["descrip"].item().decode() == "approximate: one affine matrix from MNI"
    first = out.read_bytes()
    out.unlink()
    mni_to_subject(tmp_path / "mni.nii.gz", tmp_path / "subject.nii.gz", matrix, out)
    assert out.read_bytes() == first
    with pytest.raises(OutputError, match="exists already"):
        mni_to_subject(tmp_path / "mni.nii.gz", tmp_path / "subject.nii.gz", matrix, out)


def test_beyond_the_volume_nothing_is_known_and_labels_stay_whole(tmp_path):
    labels = np.zeros((4, 4, 4), dtype=np.int16)
    labels[2:] = 7
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "labels.nii")
    nib.save(image((6, 2, 2), np.diag([0.9, 1, 1, 1])), tmp_path / "subject.nii")
    matrix = write_matrix(tmp_path / "m.txt", np.eye(4))
    out = mni_to_subject(
        tmp_path / "labels.nii", tmp_path / "subject.nii", matrix, tmp_path / "o.nii", labels=True
    )
    found = nib.load(out).get_fdata()[:, 0, 0]
    np.testing.assert_array_equal(found, [0, 0, 7, 7, np.nan, np.nan])
    nib.save(image((2, 2, 2, 3), np.eye(4)), tmp_path / "series.nii")
    with pytest.raises(OptionError, match="has 4 dimensions"):
        mni_to_subject(tmp_path / "series.nii", tmp_path / "subject.nii", matrix, tmp_path / "p.nii")


# The command


def run(*arguments) -> str:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return f"{int(result.exit_code)} {result.output}"


def test_a_subject_from_nothing_to_outlines(freesurfer, tmp_path):
    store, reference = tmp_path / "db", make_reference(tmp_path / "mean.nii.gz")
    built = run("build", "--store", store, freesurfer, "--name", "subj01")
    assert built.startswith(f"0 {store / 'subj01'}\nNext: nsd-bench cortex transform --store {store} subj01")
    given = ("transform", "--store", store, "subj01", "full", "--reference", reference)
    assert run(*given).startswith("2 ")
    assert run(*given, "--identity") == f"0 {store}/subj01/transforms/full\n"
    affine = write_matrix(tmp_path / "a.txt", np.eye(4))
    assert run(*given, "--affine", affine, "--delete-masks").startswith("0 ")
    for side, half in zip(SIDES, np.split(regions(PycortexSubject(store, "subj01")), 2), strict=True):
        nib.save(
            nib.MGHImage(half.astype(np.float32)[:, None, None], np.eye(4)), tmp_path / f"{side}.toy.mgz"
        )
    names = tmp_path / "toy.mgz.ctab"
    names.write_text("0 Unknown 0 0 0 0\n1 V1 0 0 0 0\n2 front 0 0 0 0\n")
    labels = ("--labels", tmp_path / "lh.toy.mgz", tmp_path / "rh.toy.mgz", "--names", names)
    drawn = run("outlines", "--store", store, "subj01", *labels, "--min-area", 20)
    assert drawn == f"0 {store}/subj01/overlays.svg: V1 (4), front (2)\n"
    assert run("validate", "--store", store, "subj01", "--shape", "40,52,44") == f"0 {store}/subj01: ok\n"
    assert "1 errors, 0 warnings" in run("validate", "--store", store, "subj01", "--shape", "4,5,4")
    assert run("validate", "--store", store, "subj01", "--shape", "4x5").startswith("2 ")
    grid = nib.load(reference)
    nib.save(nib.Nifti1Image(np.zeros(grid.shape, np.int16), grid.affine), tmp_path / "labels.nii.gz")
    given = ("outlines", "--store", store, "subj01", "--names", names, "--volume", tmp_path / "labels.nii.gz")
    assert run(*given).startswith("2 ")
    assert "V1 (0)" in run(*given, "--transform", "full", "--replace")
    placement = tmp_path / "tiny.placement.npz"
    run("place", "--store", store, "subj01", "full", "--out", placement)
    with np.load(placement) as stored:
        assert stored["units"].shape == (2 * N, 5)
    copied = run("import", "--store", tmp_path / "other", store / "subj01")
    assert "regions without an outline: V1" in copied
    assert copied.endswith(f"{tmp_path}/other/subj01\n")
    mni = ("mni", reference, "--reference", reference, "--matrix", affine, "--out", tmp_path / "o.nii.gz")
    assert run(*mni) == f"0 {tmp_path}/o.nii.gz: approximate, one affine matrix from MNI\n"


@pytest.fixture
def labelled(freesurfer, tmp_path) -> Path:
    """A copy of the FreeSurfer folder with two atlases in label/."""
    folder = tmp_path / "fs5"
    shutil.copytree(freesurfer, folder)
    (folder / "label").mkdir()
    where = anatomy(built(freesurfer, tmp_path / "first"))
    for atlas, name, inside in (("rear", "V1", where[:, 1] < -70), ("fore", "front", where[:, 1] > 40)):
        (folder / f"label/{atlas}.mgz.ctab").write_text(f"0 Unknown 0 0 0 0\n3 {name} 0 0 0 0\n")
        for side, half in zip(SIDES, np.split(3 * inside.astype(np.float32), 2), strict=True):
            nib.save(nib.MGHImage(half[:, None, None], np.eye(4)), folder / f"label/{side}.{atlas}.mgz")
    return folder


def built(freesurfer: Path, store: Path) -> PycortexSubject:
    build_subject(freesurfer, PycortexSubject(store, "s"))
    return PycortexSubject(store, "s")


def test_several_atlases_are_drawn_at_once(labelled, tmp_path):
    subject = built(labelled, tmp_path / "db")
    given = ("outlines", "--store", tmp_path / "db", "s", "--freesurfer", labelled, "--min-area", 50)
    assert run(*given, "--atlas", "rear", "--atlas", "fore") == f"0 {subject.drawing}: V1 (4), front (2)\n"
    assert outline_counts(subject) == {"V1": 4, "front": 2}
    before = subject.drawing.read_bytes()
    with pytest.raises(OptionError) as error:  # those of the default, none of which is there
        run(*given, "--replace")
    assert str(error.value) == (
        f"{labelled}: there is no atlas 'prf-visualrois': no file {labelled}/label/prf-visualrois.mgz.ctab.\n"
        "  Expected: one of 'fore', 'rear'.\n"
        "  What to do: name one of these with --atlas, or fetch what 'nsd-bench cortex plan' lists."
    )
    assert subject.drawing.read_bytes() == before
    assert run(*given[:4], "--atlas", "rear").startswith("2 ")
    assert run(*given, "--names", labelled / "label/rear.mgz.ctab").startswith("2 ")


def test_what_own_maps_need_is_listed(tmp_path):
    there = tmp_path / "nsddata/freesurfer/subj01/surf/lh.pial"
    there.parent.mkdir(parents=True)
    there.write_bytes(bytes(1234))
    printed = run("plan", "--nsd-root", tmp_path, "--subjects", "1,2", "--atlas", "streams").splitlines()
    assert printed[-2:] == [
        "           1,234  bytes in 1 files; 51 files are missing",
        "To fetch them, run in NSD's root what --missing prints.",
    ]
    assert "           1,234  nsddata/freesurfer/subj01/surf/lh.pial" in printed
    name = "nsddata/ppdata/subj02/transforms/rh.func1pt8-to-layerB3.mgz"
    assert f"         missing  {name}" in printed
    fetch = run("plan", "--nsd-root", tmp_path, "--subjects", "2", "--atlas", "streams", "--missing")
    assert f"aws s3 cp --no-sign-request s3://natural-scenes-dataset/{name} {name}" in fetch.splitlines()
    assert "0.8" not in fetch and fetch.count("\n") == 26
    with pytest.raises(OptionError, match="NSD: there is no subject 9"):
        run("plan", "--nsd-root", tmp_path, "--subjects", "9")


# pycortex itself

PYCORTEX = """
import json, shutil, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import numpy as np, nibabel as nib
from nsd_bench.cortex.store import open_store
store, settings, freesurfer, flirt = map(Path, sys.argv[1:])
cortex = open_store(store, settings)
labels = np.load(store.parent / "labels.npy")
on_map = np.isin(np.arange(labels.size), np.unique(cortex.db.get_surf("fs5", "flat", merge=True)[1]))
overlap = {}
for name, label in {"V1": 1, "front": 2}.items():
    found = np.isin(np.arange(labels.size), cortex.utils.get_roi_verts("fs5", name)[name]) & on_map
    wanted = (labels == label) & on_map
    overlap[name] = (found & wanted).sum() / (found | wanted).sum()
patch = cortex.freesurfer.get_surf("fs5", "lh", "patch", "full.flat", freesurfer_subject_dir=str(freesurfer))
ours = cortex.db.get_surf("fs5", "flat", "lh")[0]
used = np.unique(cortex.db.get_surf("fs5", "flat", "lh")[1])
theirs = patch[0][:, [1, 0]] * [1, -1]
from exporters.cortex.masks import read_ribbon
from nsd_bench.cortex.store import PycortexSubject
names = {"cortical-conservative": "nearest", "cortical-liberal": "line_nearest"}
regions = cortex.utils.get_roi_verts("fs5", roi=["V1", "front"], mask=True)
cortical, differ = {}, {}
for sampler in ("cortical", "cortical-conservative", "cortical-liberal", "thin", "thick"):
    ribbon = read_ribbon(PycortexSubject(store, "fs5"), "full", sampler)
    expected = cortex.get_cortical_mask("fs5", "full", names.get(sampler, sampler)).T
    cortical[sampler] = int(expected.sum())
    differ[sampler] = [int((ribbon.voxels != expected).sum())]
    threshold = 0.5 if sampler in names else None
    for split in (False, True):
        masks = cortex.utils.get_roi_masks(
            "fs5", "full", roi_list=["V1", "front"], gm_sampler=sampler, threshold=threshold, split_lr=split
        )
        for name, mask in ribbon.masks(regions, split=split).items():
            differ[sampler].append(int((mask != (masks[name].T > 0)).sum()))
values = np.nan_to_num(cortex.db.get_surf("fs5", "flat", merge=True)[0][:, 0])
vertices = cortex.Vertex(values, "fs5", cmap="viridis", vmin=-100, vmax=100)
cortex.utils.add_roi(vertices, name="theirs", open_inkscape=False)
drawn = cortex.db.get_overlay("fs5").rois.shapes
x_mm = cortex.Volume(str(store / "fs5/transforms/full/reference.nii.gz"), "fs5", "full")
image = cortex.quickflat.make_flatmap_image(x_mm, height=128)[0]
half = image.shape[1] // 2
reference = str(store / "fs5/transforms/full/reference.nii.gz")
anatomy = str(store / "fs5/anatomicals/raw.nii.gz")
print("RESULT", json.dumps({
    "store": str(cortex.database.default_filestore),
    "overlap": overlap,
    "cortical": cortical,
    "differ": differ,
    "drawn": {name: len(shape.splines) for name, shape in drawn.items()},
    "flat": float(abs(ours[used][:, :2] - theirs[used]).max()),
    "coord": cortex.db.get_xfm("fs5", "full").xfm,
    "left": float(np.nanmean(np.sign(image[:, :half]))), "right": float(np.nanmean(np.sign(image[:, half:]))),
    "from_fsl": cortex.xfm.Transform.from_fsl(str(flirt), reference, anatomy).xfm.tolist(),
    "curvature": float(cortex.db.get_surfinfo("fs5", "curvature").left[0]),
}))
"""


def test_pycortex_opens_the_subject_and_agrees(freesurfer, subject, tmp_path):
    """In a process of its own: pycortex takes its store when it is imported, once and for all."""
    pytest.importorskip("lxml")
    if shutil.which("python") is None or not _installed("cortex"):
        pytest.skip("pycortex is not installed")
    labels = regions(subject)
    draw_regions(subject, label_regions(labels, {1: "V1", 2: "front"}), min_area_mm2=20)
    on_page = read_flat(subject.path).points[:, 0]
    add_image_layer(subject, "ours", on_page, Scale("viridis", -100, 100))
    np.save(tmp_path / "labels.npy", labels)
    turned = np.array([[0, -1, 0, 4.0], [1, 0, 0, 2], [0, 0, 1, -3], [0, 0, 0, 1]])
    flirt = write_matrix(tmp_path / "flirt.mat", turned)
    arguments = [subject.store, tmp_path / "settings", freesurfer.parent, flirt]
    ended = subprocess.run(
        [sys.executable, "-c", PYCORTEX, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "MPLBACKEND": "agg", "HOME": str(tmp_path / "home")},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.rpartition("RESULT ")[2])
    assert Path(found["store"]) == subject.store
    assert min(found["overlap"].values()) > 0.94
    assert found["flat"] < 1e-4
    np.testing.assert_allclose(found["coord"], np.linalg.inv(REFERENCE_AFFINE), atol=1e-12)
    assert found["left"] < -0.99 < 0.99 < found["right"]
    reference = subject.transform("full") / "reference.nii.gz"
    ours = anatomy_to_functional(flirt, "flirt", reference, subject.anatomy)
    np.testing.assert_allclose(found["from_fsl"], np.linalg.inv(REFERENCE_AFFINE) @ ours, atol=1e-9)
    with np.load(subject.info("curvature")) as stored:
        assert found["curvature"] == stored["left"][0]
    assert not (tmp_path / "home/.config/pycortex").exists()
    assert found["cortical"] == {
        "cortical": 10148,
        "cortical-conservative": 9157,
        "cortical-liberal": 14460,
        "thin": 7000,
        "thick": 26248,
    }
    assert found["differ"] == {sampler: [0] * 7 for sampler in SAMPLERS}
    assert found["drawn"] == {"V1": 4, "front": 2, "ours": 0, "theirs": 0}
    shown = {name: picture(subject, name)[..., 3] > 127 for name in ("ours", "theirs")}
    assert shown["ours"].shape == shown["theirs"].shape
    assert (shown["ours"] == shown["theirs"]).mean() > 0.99  # pycortex smooths the rim


def _installed(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def test_without_pycortex_one_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cortex", None)
    with pytest.raises(NsdBenchError) as error:
        open_store(tmp_path, tmp_path / "settings")
    assert str(error.value) == (
        f"{tmp_path}: pycortex is not installed.\n"
        "  Expected: the extra that brings pycortex.\n"
        "  What to do: pip install 'nsd-bench[pycortex]', or draw with 'nsd-bench flatmap', which needs none."
    )
    assert "XDG_CONFIG_HOME" not in os.environ or os.environ["XDG_CONFIG_HOME"] != str(tmp_path / "settings")


def test_settings_of_ones_own_are_never_changed(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "cortex", raising=False)
    mine = tmp_path / "settings/pycortex/options.cfg"
    mine.parent.mkdir(parents=True)
    mine.write_text("[basic]\nfilestore = /mine\n")
    with pytest.raises(OutputError, match="holds other settings"):
        open_store(tmp_path, tmp_path / "settings")
    assert mine.read_text() == "[basic]\nfilestore = /mine\n"


def test_a_second_store_in_one_process_is_refused(tmp_path, monkeypatch):
    from types import SimpleNamespace

    fake = SimpleNamespace(database=SimpleNamespace(default_filestore=str(tmp_path / "first")))
    monkeypatch.setitem(sys.modules, "cortex", fake)
    assert open_store(tmp_path / "first", tmp_path / "settings") is fake
    with pytest.raises(NsdBenchError, match="one store in each process"):
        open_store(tmp_path / "second", tmp_path / "settings")
