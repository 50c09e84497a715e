"""From 1 mm to 3 mm: nilearn as oracle, nothing half made, the same bytes however it is run."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import tracemalloc
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner

from exporters.curated import grey_matter
from exporters.curated.grey_matter import pinned_mask, read_mask
from exporters.curated.nifti import new_volumes
from exporters.curated.resample import (
    ResampleOptions,
    coarse_grid,
    make_resampling,
    resample,
    resample_session,
)
from exporters.nsd.volumes import Grid
from exporters.packages.pool import Pool
from nsd_bench.cli.curated import resample_command as command
from nsd_bench.decoding.volumes import open_volumes
from nsd_bench.errors import OptionError, OutputError, SourceError

ORIGIN_MM = (-91, -126, -72)
AFFINE = np.eye(4)
AFFINE[:3, 3] = ORIGIN_MM
COARSE = np.diag([3.0, 3.0, 3.0, 1.0])
COARSE[:3, 3] = ORIGIN_MM
NSD_SHAPE, SHAPE, N_VOLUMES = (182, 218, 182), (12, 16, 11), 4
COARSE_SHAPE = (5, 6, 5)
RNG = np.random.default_rng(0)
BETAS = RNG.integers(-32768, 32767, (*SHAPE, N_VOLUMES), dtype=np.int16, endpoint=True)


def grid_of(shape: tuple[int, int, int]) -> Grid:
    return Grid(shape, AFFINE, Path("betas_session01.nii.gz"))


def save(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(values, affine).to_filename(path)
    return path


@pytest.fixture
def fine(tmp_path) -> Path:
    """Two subjects with two sessions and one, and a mask of every coarse voxel that is not at an edge."""
    for subject, session in ((1, 1), (1, 2), (3, 1)):
        folder = tmp_path / f"mni/1mm/subj0{subject}"
        save(folder / f"betas_session0{session}.nii.gz", np.roll(BETAS, subject + session, axis=3))
        valid = np.ones(SHAPE, dtype=np.int16)
        valid[6, 6, 3] = session != 2
        save(folder / f"valid_session0{session}.nii.gz", valid)
    mask = np.zeros(COARSE_SHAPE, dtype=np.uint8)
    mask[1:3, 1:4, 1:3] = 1
    save(tmp_path / "mask.nii.gz", mask, COARSE)
    return tmp_path / "mni/1mm"


def options(fine: Path, **changes: object) -> ResampleOptions:
    return ResampleOptions(**{"mask": fine.parents[1] / "mask.nii.gz", **changes})


def run(fine: Path, out: str = "3mm", **changes: object) -> list[Path]:
    return list(resample(fine, fine.parent / out, options(fine, **changes), pool=Pool(1)))


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.nii.gz")}


def nilearn_image(values: np.ndarray) -> nib.Nifti1Image:
    image = pytest.importorskip("nilearn.image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return image.resample_img(nib.Nifti1Image(values, AFFINE), target_affine=np.diag((3, 3, 3)))


@pytest.mark.parametrize("shape", [NSD_SHAPE, (18, 21, 17), (12, 15, 10), (13, 16, 11)])
def test_drago_is_what_nilearn_gives(shape):
    values = np.random.default_rng(1).integers(-32768, 32767, shape, dtype=np.int16)
    oracle = nilearn_image(values)
    coarse = coarse_grid(grid_of(shape))
    ours = make_resampling(grid_of(shape), np.ones(coarse.shape, dtype=bool), "drago")
    assert coarse.shape == oracle.shape
    np.testing.assert_array_equal(coarse.affine, oracle.affine)
    np.testing.assert_allclose(
        ours(values.ravel(order="F")).reshape(coarse.shape), oracle.get_fdata(), rtol=0, atol=1e-9
    )


def test_nsd_grid():
    coarse = coarse_grid(grid_of(NSD_SHAPE))
    values = np.arange(np.prod(NSD_SHAPE), dtype=np.int32).reshape(NSD_SHAPE) + 1
    ours = make_resampling(grid_of(NSD_SHAPE), np.ones(coarse.shape, dtype=bool), "drago")
    made = ours(values.ravel(order="F")).reshape(coarse.shape)
    assert coarse.shape == (62, 74, 62)
    np.testing.assert_array_equal(made[:61, :73, :61], values[::3, ::3, ::3].astype(np.float32))
    assert not made[61].any()
    assert not made[:, 73].any()
    assert not made[:, :, 61].any()


def test_grey_matter_is_what_nilearn_gives():
    nilearn = pytest.importorskip("nilearn")
    if nilearn.__version__ != "0.14.1":
        pytest.skip("other versions of nilearn have another mask")
    from nilearn.datasets import load_mni152_gm_mask
    from nilearn.image import resample_to_img

    target = nib.Nifti1Image(np.zeros((62, 74, 62), dtype=np.float32), COARSE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = resample_to_img(load_mni152_gm_mask(), target, interpolation="nearest")
    np.testing.assert_array_equal(pinned_mask(coarse_grid(grid_of(NSD_SHAPE))), oracle.get_fdata() > 0)


def test_grey_matter_has_56504_voxels():
    mask = pinned_mask(coarse_grid(grid_of(NSD_SHAPE)))
    assert (mask.shape, int(mask.sum())) == ((62, 74, 62), 56_504)


def test_changed_grey_matter_is_refused(monkeypatch):
    monkeypatch.setattr(grey_matter, "MASK_SHA256", "f" * 64)
    with pytest.raises(SourceError) as caught:
        pinned_mask(coarse_grid(grid_of(NSD_SHAPE)))
    assert str(caught.value) == (
        "grey_matter_3mm.nii.gz: is not the mask that this version of nsd-bench was released with.\n"
        f"  Expected: voxels with the digest {'f' * 64}.\n"
        "  What to do: install nsd-bench again, or give a mask of your own with --mask."
    )


@pytest.mark.parametrize(
    ("shape", "affine", "value", "text"),
    [
        (COARSE_SHAPE, AFFINE, 0, "lies elsewhere: its first voxel is at [-91.0, -126.0, -72.0] mm"),
        (COARSE_SHAPE, COARSE, 0, "is empty"),
        ((5, 6, 4), COARSE, 1, "has shape (5, 6, 4)"),
        ((5, 6, 4, 3), COARSE, 1, "has shape (5, 6, 4, 3)"),
    ],
)
def test_other_masks_are_refused(tmp_path, shape, affine, value, text):
    path = save(tmp_path / "mask.nii.gz", np.full(shape, value, dtype=np.uint8), affine)
    with pytest.raises(SourceError) as caught:
        read_mask(path, coarse_grid(grid_of(SHAPE)))
    assert str(caught.value).startswith(f"{path}: {text}")
    if "shape" in text:
        assert caught.value.expected.startswith(f"{COARSE_SHAPE}, one volume on the 3 mm grid of ")
        assert caught.value.fix == (
            "give a mask on that grid with --mask, as OUT.answer/mni_mask_3mm.nii.gz of a simulated tree"
        )


def test_inside_equal_outside_zero_like_nilearns_masker(fine):
    maskers = pytest.importorskip("nilearn.maskers")
    path = run(fine)[0]
    source = fine / "subj01/betas_session01.nii.gz"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        masker = maskers.NiftiMasker(mask_img=nib.load(fine.parents[1] / "mask.nii.gz"))
        oracle = masker.inverse_transform(masker.fit_transform(nilearn_image(nib.load(source).get_fdata())))
    made = nib.load(path)
    np.testing.assert_array_equal(made.affine, oracle.affine)
    np.testing.assert_allclose(made.get_fdata(), oracle.get_fdata(), rtol=0, atol=0.01)
    assert made.get_data_dtype() == np.float32
    assert np.count_nonzero(made.get_fdata().any(axis=3)) == 12


def test_mean_averages_blocks_around_the_same_centres():
    values = BETAS[..., 0]
    ours = make_resampling(grid_of(SHAPE), np.ones(COARSE_SHAPE, dtype=bool), "mean")
    made = ours(values.ravel(order="F")).reshape(COARSE_SHAPE)
    for place in itertools.product(*map(range, COARSE_SHAPE)):
        block = values[tuple(slice(max(3 * n - 1, 0), 3 * n + 2) for n in place)]
        expected = block.mean() if block.size else 0
        assert made[place] == pytest.approx(expected, abs=0.02), place


def test_mean_of_a_constant_is_that_constant():
    mask = np.ones(COARSE_SHAPE, dtype=bool)
    mask[:, :, 4] = False  # its blocks lie beyond the fine grid
    ours = make_resampling(grid_of(SHAPE), mask, "mean")
    np.testing.assert_allclose(ours(np.full(np.prod(SHAPE), 300, dtype=np.int16)), 300, rtol=1e-6)


@pytest.mark.parametrize("scale", ["raw", "psc"])
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_scale_and_type(fine, scale, dtype):
    made = nib.load(run(fine, scale=scale, dtype=dtype)[0])
    assert made.get_data_dtype() == dtype
    expected = nib.load(fine / "subj01/betas_session01.nii.gz").get_fdata()[3:9:3, 3:12:3, 3:9:3]
    expected = expected / (300 if scale == "psc" else 1)
    np.testing.assert_allclose(made.get_fdata()[1:3, 1:4, 1:3], expected, rtol=2e-7)


def test_means_as_int16_are_rounded(fine):
    rounded, exact = (
        nib.load(run(fine, d, method="mean", dtype=d)[0]).get_fdata() for d in ("int16", "float32")
    )
    np.testing.assert_array_equal(rounded, np.rint(exact))


@pytest.mark.parametrize(("method", "n_left"), [("drago", 11), ("mean", 11)])
def test_voxels_without_data_in_a_session_are_left_out_of_all(fine, method, n_left):
    paths = run(fine, method=method, intersect_valid=True)
    masks = [int(nib.load(path.with_name("mask.nii.gz")).get_fdata().sum()) for path in paths]
    assert masks == [n_left, n_left, 12]  # only subj01 has a session without that voxel
    lost = [nib.load(path).get_fdata()[2, 2, 1].any() for path in paths]
    assert lost == [False, False, True]


def test_a_block_counts_only_if_all_of_it_has_data(fine):
    valid = np.ones(SHAPE, dtype=np.int16)
    valid[4, 4, 4] = 0  # next to the centre of the unit (1, 1, 1), and no centre itself
    save(fine / "subj03/valid_session01.nii.gz", valid)
    counts = {}
    for method in ("drago", "mean"):
        path = run(fine, method, method=method, intersect_valid=True)[-1]
        counts[method] = int(nib.load(path.with_name("mask.nii.gz")).get_fdata().sum())
    assert counts == {"drago": 12, "mean": 11}


def test_no_voxel_left(fine):
    save(fine / "subj03/valid_session01.nii.gz", np.zeros(SHAPE, dtype=np.int16))
    with pytest.raises(SourceError, match="no unit has data in every session"):
        run(fine, intersect_valid=True)


def test_goes_on_where_it_stopped(fine):
    made = run(fine)
    whole = bytes_below(fine.parent / "3mm")
    before = {path: path.stat().st_mtime_ns for path in made}
    made[1].unlink()
    assert sorted(run(fine)) == made
    assert bytes_below(fine.parent / "3mm") == whole
    after = {path: path.stat().st_mtime_ns for path in made}
    assert [path for path in made if after[path] != before[path]] == [made[1]]


def test_a_newer_source_is_resampled_again(fine):
    first = run(fine)[0]
    source = save(fine / "subj01/betas_session01.nii.gz", BETAS[..., ::-1])
    later = first.stat().st_mtime_ns + 10**9
    os.utime(source, ns=(later, later))
    before = first.read_bytes()
    run(fine)
    assert first.read_bytes() != before


def test_another_mask_of_a_subject_makes_its_files_again(fine):
    made = run(fine, intersect_valid=True)
    before = {path: path.stat().st_mtime_ns for path in made}
    valid = np.ones(SHAPE, dtype=np.int16)
    valid[3, 3, 3] = 0
    save(fine / "subj03/valid_session01.nii.gz", valid)
    run(fine, intersect_valid=True)
    assert [path for path in made if path.stat().st_mtime_ns != before[path]] == made[2:]
    assert not nib.load(made[2]).get_fdata()[1, 1, 1].any()


def test_no_room(fine, monkeypatch):
    monkeypatch.setattr("os.statvfs", lambda path: os.statvfs_result((1, 1, 9, 9, 9, 9, 9, 9, 0, 255)))
    with pytest.raises(OutputError, match=r"the disk has room for 0.0 MB only"):
        run(fine)


def test_other_options_are_not_mixed_in(fine):
    run(fine)
    with pytest.raises(OutputError) as caught:
        run(fine, method="mean")
    assert str(caught.value) == (
        f"{fine.parent / '3mm'}: holds files that were made with method = 'drago'.\n"
        "  Expected: method = 'mean', as asked for now.\n"
        "  What to do: choose another folder with --out, or remove this one."
    )


def test_same_bytes_with_any_number_of_processes_and_order_of_files(fine):
    run(fine)
    list(resample(fine, fine.parent / "two", options(fine), pool=Pool(2)))
    for path in sorted(fine.rglob("*.nii.gz"), reverse=True):  # the disk lists them in another order now
        moved = path.rename(path.with_suffix(".moved"))
        path.write_bytes(moved.read_bytes())
        moved.unlink()
    run(fine, "moved")
    expected = bytes_below(fine.parent / "3mm")
    assert len(expected) == 5
    assert bytes_below(fine.parent / "two") == expected
    assert bytes_below(fine.parent / "moved") == expected


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4000:4200] = bytes(200)
    path.write_bytes(data)


def too_long(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"\0"))


def other_grid(path: Path) -> None:
    save(path, BETAS[:-1])


def scaled(path: Path) -> None:
    save(path, BETAS.astype(np.float32))


BREAKS = {
    truncated: "cannot be read whole (",
    damaged: "cannot be read whole (",
    too_long: "cannot be read whole (it goes on after the last volume)",
    other_grid: "has shape (11, 16, 11)",
    scaled: "holds float32 times 1",
}


@pytest.mark.parametrize("harm", BREAKS)
def test_a_broken_file_leaves_nothing_and_the_others_are_made(fine, harm):
    harm(fine / "subj01/betas_session02.nii.gz")
    failed = {}
    made = list(resample(fine, fine.parent / "3mm", options(fine), on_error=failed.__setitem__))
    (target,) = failed
    assert target.relative_to(fine.parent).as_posix() == "3mm/subj01/betas_session02.nii.gz"
    assert str(failed[target]).startswith(f"{fine}/subj01/betas_session02.nii.gz: {BREAKS[harm]}")
    assert isinstance(failed[target], SourceError)
    assert [path.name for path in made] == ["betas_session01.nii.gz"] * 2
    assert not [path for path in (fine.parent / "3mm").rglob("*session02*")]


def test_without_on_error_the_first_broken_file_stops(fine):
    truncated(fine / "subj01/betas_session02.nii.gz")
    with pytest.raises(SourceError, match="cannot be read whole"):
        run(fine)


def test_voxels_of_another_size_are_refused(fine):
    save(fine / "subj01/betas_session01.nii.gz", BETAS, COARSE)
    with pytest.raises(SourceError, match=r"has voxels of \[3.0, 3.0, 3.0\] mm"):
        run(fine)


@pytest.mark.parametrize("name", ["method", "scale", "dtype"])
def test_unknown_options(name):
    with pytest.raises(OptionError, match=f"there is no {name} 'drage'"):
        ResampleOptions(**{name: "drage"})


def test_volumes_written_are_the_volumes_read(tmp_path):
    units = np.array([1, 7, 23])
    values = RNG.normal(size=(5, 3)).astype(np.float32)
    with new_volumes(
        tmp_path / "a.nii.gz", (2, 3, 4), COARSE, units, n_volumes=5, dtype="float32", scale=0.5
    ) as writer:
        for row in values:
            writer.append(row)
    opened = open_volumes(tmp_path / "a.nii.gz")
    in_file = opened.file_order(units)
    np.testing.assert_array_equal([volume[in_file] for volume in opened], values)
    assert (opened.shape, opened.n_volumes, opened.scale) == ((2, 3, 4), 5, 0.5)
    image = nib.load(tmp_path / "a.nii.gz")
    expected = np.zeros((24, 5))
    expected[units] = values.T / 2
    np.testing.assert_array_equal(image.get_fdata().reshape(24, 5), expected)
    assert image.header["sform_code"] == 4
    plain = tmp_path / "a.nii"
    plain.write_bytes(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
    np.testing.assert_array_equal([volume[in_file] for volume in open_volumes(plain)], values)


def test_one_volume_in_memory_at_a_time(tmp_path):
    source = tmp_path / "betas_session01.nii.gz"
    grid = grid_of(NSD_SHAPE)
    with new_volumes(source, NSD_SHAPE, AFFINE, np.arange(9), n_volumes=8, dtype=np.int16) as writer:
        for number in range(8):
            writer.append(np.full(9, number, dtype=np.int16))
    resampling = make_resampling(grid, pinned_mask(coarse_grid(grid)), "drago")
    tracemalloc.start()
    resample_session(source, resampling, tmp_path / "out.nii.gz", ResampleOptions())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.5 * 2 * np.prod(NSD_SHAPE)  # bytes of two and a half of the eight volumes


def test_command(fine, tmp_path):
    arguments = [str(fine.parent), "--mask", str(tmp_path / "mask.nii.gz"), "--quiet", "--workers", "1"]
    result = CliRunner().invoke(command, arguments)
    assert result.output.startswith(f"{fine.parent / '3mm'}: 3 files\nNext: nsd-bench curate")
    one = CliRunner().invoke(command, [*arguments, "--subjects", "3", "--out", str(tmp_path / "one")])
    assert one.output.startswith(f"{tmp_path / 'one'}: 1 file\nNext: nsd-bench curate")
    settings = json.loads((fine.parent / "3mm/resample.json").read_text())
    assert (settings["method"], settings["scale"], settings["dtype"]) == ("drago", "raw", "float32")
    truncated(fine / "subj03/betas_session01.nii.gz")
    result = CliRunner().invoke(command, [*arguments, "--out", str(tmp_path / "other")])
    assert result.exit_code == 1
    assert result.output.endswith("1 of 3 files were not made\n")
