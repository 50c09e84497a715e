"""One session's betas: two formats, the same numbers, and what is wrong with a broken file."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest

from exporters.nsd.betas import FORMATS, SessionBetas, per_percent, read_betas
from exporters.nsd.surfaces import Surface, read_vertices
from exporters.nsd.volumes import Grid, read_grid, read_volume
from nsd_bench.errors import SourceError

SHAPE = (5, 4, 3)
UNITS = np.array([0, 7, 8, 31, 59])
VALUES = np.random.default_rng(0).integers(-32768, 32767, (*SHAPE, 750), dtype=np.int16, endpoint=True)
GRID = Grid(SHAPE, np.diag([1.8, 1.8, 1.8, 1.0]), Path("brainmask.nii.gz"))


def write_nifti(path: Path, values: np.ndarray) -> Path:
    nib.Nifti1Image(values, GRID.affine).to_filename(path)
    return path


def write_hdf5(path: Path, values: np.ndarray, chunks: tuple[int, ...] | None = (750, 1, 1, 1)) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", data=values.transpose(3, 2, 1, 0), chunks=chunks)
    return path


N_VERTICES = (13, 9)
SURFACE = Surface(N_VERTICES, (Path("lh.ncsnr.mgh"), Path("rh.ncsnr.mgh")))
VERTICES = np.array([0, 5, 12, 13, 20])  # three left ones, two right ones
ON_SURFACE = np.random.default_rng(1).integers(-900, 900, (22, 750), dtype=np.int16)


def write_surface_hdf5(path: Path, values: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", data=values.T, chunks=(750, 1))
    return path


def write_mgh(path: Path, values: np.ndarray) -> Path:
    nib.MGHImage(values.reshape(-1, 1, 1, 750).astype(np.float32), np.eye(4)).to_filename(path)
    return path


WRITERS = {"nii.gz": write_nifti, "hdf5": write_hdf5}
SURFACE_WRITERS = {"mgh": write_mgh, "hdf5": write_surface_hdf5}


def test_every_format_is_tested():
    volumes = {suffix for space in ("func1pt8mm", "func1mm", "MNI") for suffix in FORMATS[space]}
    surfaces = {suffix for space in ("fsaverage", "nativesurface") for suffix in FORMATS[space]}
    assert (volumes, surfaces) == (WRITERS.keys(), SURFACE_WRITERS.keys())


@pytest.mark.parametrize("suffix", WRITERS)
def test_reads_the_right_voxels(tmp_path, suffix):
    path = WRITERS[suffix](tmp_path / f"betas.{suffix}", VALUES)
    betas = read_betas([path], UNITS, GRID)
    expected = VALUES.reshape(-1, 750)[UNITS].T
    np.testing.assert_array_equal(betas.values, expected)
    assert betas.values.dtype == np.int16
    assert betas.values.flags.c_contiguous
    assert betas.per_percent == 300
    assert betas.sha256 == hashlib.sha256(np.ascontiguousarray(expected).tobytes()).hexdigest()


@pytest.mark.parametrize("suffix", SURFACE_WRITERS)
def test_reads_the_right_vertices(tmp_path, suffix):
    halves = np.split(ON_SURFACE, [N_VERTICES[0]])
    paths = [
        SURFACE_WRITERS[suffix](tmp_path / f"{side}.betas.{suffix}", half)
        for side, half in zip(("lh", "rh"), halves, strict=True)
    ]
    betas = read_betas(paths, VERTICES, SURFACE)
    np.testing.assert_array_equal(betas.values, ON_SURFACE[VERTICES].T)
    assert betas.values.dtype.isnative
    assert betas.per_percent == per_percent(suffix) == {"mgh": 1, "hdf5": 300}[suffix]
    left_only = read_betas(paths, VERTICES[:2], SURFACE)
    np.testing.assert_array_equal(left_only.values, ON_SURFACE[VERTICES[:2]].T)


def test_other_numbers_of_trials_read_too(tmp_path):
    path = write_nifti(tmp_path / "betas_nsdimagery.nii.gz", VALUES[..., :720])
    np.testing.assert_array_equal(
        read_betas([path], UNITS, GRID, n_trials=720).values, VALUES.reshape(-1, 750)[UNITS, :720].T
    )


def test_missing_is_zero_in_volumes_and_nan_on_fsaverage():
    volume = np.ones((750, 3), dtype=np.int16)
    volume[:, 1] = 0
    volume[5, 2] = 0  # a beta of exactly 0 is legal
    assert SessionBetas(volume, 300).missing.tolist() == [False, True, False]
    surface = np.zeros((750, 2), dtype=np.float32)
    surface[:, 1] = np.nan
    assert SessionBetas(surface, 1).missing.tolist() == [False, True]


@pytest.mark.parametrize("suffix", SURFACE_WRITERS)
def test_broken_surfaces_are_named(tmp_path, suffix):
    halves = np.split(ON_SURFACE, [N_VERTICES[0]])
    paths = [
        SURFACE_WRITERS[suffix](tmp_path / f"{side}.betas.{suffix}", half)
        for side, half in zip(("lh", "rh"), halves, strict=True)
    ]
    with pytest.raises(SourceError, match=r"lh\.betas.*: has shape .*\n.*this hemisphere's ncsnr"):
        read_betas(paths, VERTICES, Surface((14, 9), SURFACE.sources))
    paths[1].write_bytes(paths[1].read_bytes()[:-9000])
    with pytest.raises(SourceError, match=r"rh\.betas.*: cannot be read whole"):
        read_betas(paths, VERTICES, SURFACE)


def test_vertex_values(tmp_path):
    values = np.arange(7, dtype=np.float32)
    for suffix in ("mgh", "mgz"):
        nib.MGHImage(values[:, None, None], np.eye(4)).to_filename(tmp_path / f"x.{suffix}")
        np.testing.assert_array_equal(read_vertices(tmp_path / f"x.{suffix}"), values)
    write_mgh(tmp_path / "many.mgh", ON_SURFACE)
    with pytest.raises(SourceError, match="Expected: one value a vertex"):
        read_vertices(tmp_path / "many.mgh")
    (tmp_path / "x.mgz").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(SourceError, match="cannot be read whole"):
        read_vertices(tmp_path / "x.mgz")


def test_hdf5_with_other_chunks_reads_the_same(tmp_path):
    path = write_hdf5(tmp_path / "betas.hdf5", VALUES, chunks=(1, *SHAPE[::-1]))
    betas = read_betas([path], UNITS, GRID)
    np.testing.assert_array_equal(betas.values, VALUES.reshape(-1, 750)[UNITS].T)


def test_truncated_nifti_is_named(tmp_path):
    path = write_nifti(tmp_path / "betas.nii.gz", VALUES)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(SourceError) as caught:
        read_betas([path], UNITS, GRID)
    assert str(caught.value).splitlines()[0].startswith(f"{path}: cannot be read whole (")
    assert str(caught.value).splitlines()[1:] == [
        "  Expected: a complete file as NSD has it.",
        "  What to do: fetch it again and compare its size with the bucket's.",
    ]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("byte", [0, 255])
def test_damaged_nifti_is_named(tmp_path, share, byte):
    path = write_nifti(tmp_path / "betas.nii.gz", VALUES)
    data = bytearray(path.read_bytes())
    start = int(share * len(data))
    data[start : start + 64] = bytes([byte]) * 64
    path.write_bytes(data)
    with pytest.raises(SourceError, match="cannot be read whole"):
        read_betas([path], UNITS, GRID)


def test_truncated_hdf5_is_named(tmp_path):
    path = write_hdf5(tmp_path / "betas.hdf5", VALUES)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(SourceError, match="cannot be read whole"):
        read_betas([path], UNITS, GRID)


@pytest.mark.parametrize("suffix", WRITERS)
def test_another_subjects_file_is_named(tmp_path, suffix):
    path = WRITERS[suffix](tmp_path / f"betas.{suffix}", VALUES[:, :3])
    with pytest.raises(SourceError) as caught:
        read_betas([path], UNITS, GRID)
    has, grid = ((5, 3, 3, 750), (5, 4, 3, 750)) if suffix == "nii.gz" else ((750, 3, 3, 5), (750, 3, 4, 5))
    assert str(caught.value) == (
        f"{path}: has shape {has}.\n"
        f"  Expected: {grid}, the grid of brainmask.nii.gz.\n"
        "  What to do: check that both files are of the same subject and space, and fetch them again."
    )


def test_converted_files_are_refused(tmp_path):
    path = write_nifti(tmp_path / "betas.nii.gz", (VALUES / 300).astype(np.float32))
    with pytest.raises(SourceError, match=r"betas.nii.gz: holds float32\.\n"):
        read_betas([path], UNITS, GRID)
    image = nib.Nifti1Image(VALUES, GRID.affine)
    image.header.set_slope_inter(1 / 300, 0)
    image.to_filename(path)
    with pytest.raises(SourceError, match="holds int16 with a scale in its header"):
        read_betas([path], UNITS, GRID)


def test_volume_and_coordinates(tmp_path):
    volume = np.arange(60, dtype=np.float32).reshape(SHAPE)
    affine = np.diag([1.8, 1.8, 1.8, 1.0])
    affine[:3, 3] = -3.6, -2.7, -1.8
    nib.Nifti1Image(volume, affine).to_filename(tmp_path / "volume.nii.gz")
    grid = read_grid(tmp_path / "volume.nii.gz")
    assert (grid.shape, grid.n_units) == (SHAPE, 60)
    np.testing.assert_array_equal(read_volume(tmp_path / "volume.nii.gz", grid), volume)
    # unit 31 is voxel (2, 2, 1): 31 = 2*12 + 2*3 + 1
    np.testing.assert_allclose(grid.coordinates_mm(np.array([31])), [[0.0, 0.9, 0.0]], atol=1e-6)


def test_not_a_volume(tmp_path):
    (tmp_path / "text.nii.gz").write_text("version https://git-lfs")
    with pytest.raises(SourceError, match="cannot be read whole"):
        read_grid(tmp_path / "text.nii.gz")


def test_vertices_with_a_broken_header_are_named(tmp_path):
    path = tmp_path / "lh.prf-visualrois.mgz"
    path.write_bytes(gzip.compress(bytes([1]) * 400))
    with pytest.raises(SourceError, match="cannot be read whole"):
        read_vertices(path)
