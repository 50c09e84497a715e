"""One session's betas: two formats, the same numbers, and what is wrong with a broken file."""

from __future__ import annotations

import gzip
import hashlib
import zlib
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


def write_stored(path: Path, values: np.ndarray, **how) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", data=values.transpose(3, 2, 1, 0), **how)
    return path


@pytest.mark.parametrize(
    "how",
    [
        {"chunks": (750, 1, 1, 1), "shuffle": True},
        {"chunks": (750, 1, 1, 1), "fletcher32": True},
        {"chunks": (750, 1, 1, 1), "compression": "gzip", "shuffle": True},
        {"chunks": (750, 1, 1, 1), "compression": "lzf"},
        {"chunks": (750, 1, 1, 1), "scaleoffset": 0},
        {"chunks": (750, 1, 1, 1), "dtype": ">i2"},
        {"chunks": (75, 2, 3, 2), "compression": "gzip"},
        {"chunks": (1, *SHAPE[::-1]), "shuffle": True},
        {"chunks": None},
    ],
    ids=str,
)
def test_hdf5_is_read_however_it_is_stored(tmp_path, how):
    betas = read_betas([write_stored(tmp_path / "betas.hdf5", VALUES, **how)], UNITS, GRID)
    np.testing.assert_array_equal(betas.values, VALUES.reshape(-1, 750)[UNITS].T)
    assert betas.values.dtype == np.int16
    assert betas.values.flags.c_contiguous


def low_level(path: Path, filters: list[tuple[int, int]], kind: h5py.h5t.TypeID = h5py.h5t.STD_I16LE):
    """Make an empty data set as NSD has it, but for its filters or type."""
    file = h5py.File(path, "w")
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((750, 1, 1, 1))
    for code, flags in filters:
        settings.set_filter(code, flags, (1,))
    space = h5py.h5s.create_simple((750, *SHAPE[::-1]))
    return file, h5py.h5d.create(file.id, b"betas", kind, space, settings)


def test_a_chunk_may_be_stored_without_the_filter_of_the_others(tmp_path):
    file, betas = low_level(tmp_path / "betas.hdf5", [(h5py.h5z.FILTER_DEFLATE, 0)])
    with file:
        for number, (x, y, z) in enumerate(np.ndindex(*SHAPE)):
            data = VALUES[x, y, z].tobytes()
            plain = number % 2
            betas.write_direct_chunk((0, z, y, x), data if plain else zlib.compress(data), plain)
    values = read_betas([tmp_path / "betas.hdf5"], UNITS, GRID).values
    np.testing.assert_array_equal(values, VALUES.reshape(-1, 750)[UNITS].T)


def test_a_type_that_only_looks_like_int16_is_not_read_raw(tmp_path):
    """12 bits from the third on: h5py calls it int16, and its bytes are four times the numbers."""
    kind = h5py.h5t.STD_I16LE.copy()
    kind.set_precision(12)
    kind.set_offset(2)
    file, betas = low_level(tmp_path / "betas.hdf5", [], kind)
    with file:
        betas.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(VALUES.transpose(3, 2, 1, 0) // 16))
        assert file["betas"].dtype == np.int16
    values = read_betas([tmp_path / "betas.hdf5"], UNITS, GRID).values
    np.testing.assert_array_equal(values, VALUES.reshape(-1, 750)[UNITS].T // 16)


def test_a_filter_that_is_not_installed_is_named(tmp_path):
    file, betas = low_level(tmp_path / "betas.hdf5", [(32_004, h5py.h5z.FLAG_OPTIONAL)])
    with file:
        for x, y, z in np.ndindex(*SHAPE):
            betas.write_direct_chunk((0, z, y, x), b"compressed")
    with pytest.raises(SourceError) as caught:
        read_betas([tmp_path / "betas.hdf5"], UNITS, GRID)
    assert str(caught.value) == (
        f"{tmp_path}/betas.hdf5: needs HDF5's filter 32004 (no name), not installed.\n"
        "  Expected: betas without a filter, as NSD has them, or one that h5py can decode.\n"
        "  What to do: use NSD's own file; or install the filter ('pip install hdf5plugin' has most) and set "
        "HDF5_PLUGIN_PATH to its folder of plugins."
    )


@pytest.mark.parametrize("how", [{}, {"shuffle": True}, {"fillvalue": 7}], ids=str)
@pytest.mark.parametrize(
    ("chunks", "written", "text"),
    [
        ((750, 1, 1, 1), np.s_[:, :2], "betas of 2 of 5 units were never written, that at (0, 2, 2) first"),
        ((50, 3, 4, 5), np.s_[:300], "betas of 5 of 5 units were never written, that at (0, 0, 0) first"),
    ],
)
def test_chunks_that_were_never_written_are_named(tmp_path, how, chunks, written, text):
    path, values = tmp_path / "betas_session02.hdf5", VALUES.transpose(3, 2, 1, 0)
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", values.shape, "<i2", chunks=chunks, **how)[written] = values[written]
    trials = "1 to 750" if chunks[0] == 750 else "301 to 750"
    with pytest.raises(SourceError) as caught:
        read_betas([path], UNITS, GRID)
    assert str(caught.value) == (
        f"{path}: {text} (trials {trials} of the session).\n"
        "  Expected: a beta for every unit and trial, as NSD's files have.\n"
        "  What to do: fetch the file again: what wrote it was interrupted."
    )


def test_a_data_set_without_any_beta_is_named(tmp_path):
    with h5py.File(tmp_path / "betas.hdf5", "w") as file:
        file.create_dataset("betas", (750, *SHAPE[::-1]), "<i2")
    with pytest.raises(SourceError, match=r"no beta was ever written \(trials 1 to 750 of the session\)"):
        read_betas([tmp_path / "betas.hdf5"], UNITS, GRID)


@pytest.mark.parametrize(
    ("units", "written", "text"),
    [
        (UNITS, np.s_[:, :2], r"fill value 7 in 2 of 5 units \(trials 1 to 750 "),
        (np.arange(60), np.s_[20:-1], r"fill value 7 in 21 of 750 trials \(trials 1 to 20, 750 "),
    ],
)
def test_fill_values_are_no_betas(tmp_path, units, written, text):
    values = VALUES.transpose(3, 2, 1, 0)
    with h5py.File(tmp_path / "betas.hdf5", "w") as file:
        betas = file.create_dataset("betas", values.shape, "<i2", fillvalue=7)
        betas[written] = values[written]
    with pytest.raises(SourceError, match=text):
        read_betas([tmp_path / "betas.hdf5"], units, GRID)


@pytest.mark.parametrize("suffix", WRITERS)
def test_trials_of_zeros_are_no_betas(tmp_path, suffix):
    values = VALUES.copy()
    values[..., 700:] = 0
    path = WRITERS[suffix](tmp_path / f"betas.{suffix}", values)
    with pytest.raises(
        SourceError, match=r": 50 of 750 trials are 0 in every unit \(trials 701 to 750 of the "
    ):
        read_betas([path], np.arange(60), GRID)
    assert (read_betas([path], UNITS, GRID).values[700:] == 0).all()  # so few may all be 0 by chance


def test_betas_in_other_files_are_refused(tmp_path):
    write_hdf5(tmp_path / "source.hdf5", VALUES)
    shape = (750, *SHAPE[::-1])
    view = h5py.VirtualLayout(shape, "<i2")
    view[:] = h5py.VirtualSource(tmp_path / "source.hdf5", "betas", shape)
    with h5py.File(tmp_path / "betas.hdf5", "w") as file:
        file.create_virtual_dataset("betas", view)
    with pytest.raises(SourceError, match="holds a view of other files, which may be missing or shorter"):
        read_betas([tmp_path / "betas.hdf5"], UNITS, GRID)


@pytest.mark.parametrize("kind", ["<u2", "<i4", "<f4"])
def test_other_types_in_hdf5_are_refused(tmp_path, kind):
    path = write_stored(tmp_path / "betas.hdf5", VALUES, chunks=(750, 1, 1, 1), dtype=kind)
    with pytest.raises(SourceError, match=f"holds {np.dtype(kind)}"):
        read_betas([path], UNITS, GRID)


@pytest.mark.parametrize(
    ("turn", "place"),
    [
        (np.diag([-1.0, 1, 1, 1]), "[0.0, 0.0, 0.0] mm, its axes run to LAS"),
        (
            np.array([[1.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
            "[1.8, 0.0, 0.0] mm, its axes run to RAS",
        ),
    ],
)
def test_volumes_that_lie_elsewhere_are_refused(tmp_path, turn, place):
    """Mirrored, or moved by one voxel; half a voxel is a matter of convention."""
    path = tmp_path / "betas.nii.gz"
    nib.Nifti1Image(VALUES, GRID.affine @ turn).to_filename(path)
    with pytest.raises(SourceError) as caught:
        read_betas([path], UNITS, GRID)
    assert str(caught.value) == (
        f"{path}: lies elsewhere: its first voxel is at {place}; "
        "the grid's is at [0.0, 0.0, 0.0] mm, its axes run to RAS.\n"
        "  Expected: the grid of brainmask.nii.gz, not moved and not mirrored.\n"
        "  What to do: use a volume of that grid; "
        "nibabel.as_closest_canonical turns back what was only mirrored."
    )
    nib.Nifti1Image(VALUES[..., 0], GRID.affine @ turn).to_filename(path)
    with pytest.raises(SourceError, match="lies elsewhere"):
        read_volume(path, GRID)
    turn = np.eye(4)
    turn[:3, 3] = 0.5
    nib.Nifti1Image(VALUES[..., 0], GRID.affine @ turn).to_filename(path)
    np.testing.assert_array_equal(read_volume(path, GRID), VALUES[..., 0])


def test_data_inside_the_header_are_refused(tmp_path):
    path = tmp_path / "roi.nii.gz"
    nib.Nifti1Image(VALUES[..., 0], GRID.affine).to_filename(path)
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[108:112] = np.float32(0).tobytes()  # vox_offset
    path.write_bytes(gzip.compress(data))
    for read in (
        read_grid,
        lambda path: read_volume(path, GRID),
        lambda path: read_betas([path], UNITS, GRID),
    ):
        with pytest.raises(
            SourceError, match="has vox_offset 0: its first voxels would be bytes of the header"
        ):
            read(path)


def test_volumes_without_numbers_are_refused(tmp_path):
    path = tmp_path / "roi.nii.gz"
    nib.Nifti1Image(np.zeros(SHAPE, np.dtype([(name, "u1") for name in "RGB"])), GRID.affine).to_filename(
        path
    )
    with pytest.raises(SourceError, match="Expected: one number for every voxel"):
        read_volume(path, GRID)


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
