"""Folder, zip and packed twin: the same numbers, and damage named wherever it lies."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile

import numpy as np
import packages as tiny
import pytest
from click.testing import CliRunner

import nsd_bench
from nsd_bench.cli.packages import pack_command as command
from nsd_bench.errors import OutputError, PackageError
from nsd_bench.loaders.opened import pack
from nsd_bench.package import spec
from nsd_bench.package.packed import PackedStore
from nsd_bench.package.read import Package
from nsd_bench.package.validate import validate

ROWS = np.array([7, 0, 11, 7])


@pytest.fixture
def folder(tmp_path):
    return tiny.make_package(tmp_path)


@pytest.fixture
def packed(folder, tmp_path):
    return pack(Package(folder), tmp_path / "packed")


def rezip(folder, path, method=zipfile.ZIP_STORED, comment=b""):
    """Zip as others do: in another order, with extra fields and gaps in between."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            if file.is_file():
                info = zipfile.ZipInfo(f"{folder.name}/{file.relative_to(folder).as_posix()}")
                info.compress_type, info.extra = method, comment
                archive.writestr(info, file.read_bytes())
    return path


def forms(folder, tmp_path):
    return {
        "folder": folder,
        "zip": folder.with_name(f"{folder.name}.zip"),
        "another zip": rezip(
            folder, tmp_path / "stored.zip", comment=b"\x55\x54\x05\x00\x03\x00\x00\x00\x00"
        ),
        "deflated zip": rezip(folder, tmp_path / "deflated.zip", zipfile.ZIP_DEFLATED),
        "packed folder": pack(Package(folder), tmp_path / "a"),
        "packed zip": pack(Package(folder.with_name(f"{folder.name}.zip")), tmp_path / "b"),
    }


def test_every_form_gives_the_same_rows(folder, tmp_path):
    for path in forms(folder, tmp_path).values():
        package = pickle.loads(pickle.dumps(Package(path)))
        np.testing.assert_array_equal(package.images(ROWS), tiny.IMAGES[ROWS])
        np.testing.assert_array_equal(package.responses(ROWS), tiny.RESPONSES[ROWS])
        np.testing.assert_array_equal(package.behavior(slice(2, 5)), tiny.BEHAVIOR[2:5])
        assert package.images([]).shape == (0, 3, 4, 6)


def test_gathers_into_what_is_given(folder):
    arrays = Package(folder).trial_arrays("images")
    out = np.zeros((4, 3, 4, 6), np.uint8)
    assert arrays.gather(ROWS, out) is out
    np.testing.assert_array_equal(out, tiny.IMAGES[ROWS])


def test_arrays_in_fortran_order_are_read_too(folder):
    for trial in range(tiny.N_TRIALS):
        (folder / spec.data_file("images", trial)).unlink()  # repeats are links of one file
        np.save(folder / spec.data_file("images", trial), np.asfortranarray(tiny.IMAGES[trial]))
    np.testing.assert_array_equal(Package(folder).images(ROWS), tiny.IMAGES[ROWS])


@pytest.mark.parametrize("change", [b"x", None])
def test_a_file_that_is_too_long_or_too_short(folder, change):
    path = folder / spec.data_file("responses", 3)
    data = path.read_bytes()
    path.write_bytes(data + change if change else data[:-1])
    if change:  # what numpy.load reads is still there: validate's digests name it
        np.testing.assert_array_equal(Package(folder).responses([3]), tiny.RESPONSES[[3]])
        return
    with pytest.raises(PackageError) as caught:
        Package(folder).responses([0, 3])
    assert str(caught.value).startswith(f"{folder}, data/responses/3.npy: not a whole .npy array (")


def test_a_missing_file_is_named(folder):
    (folder / spec.data_file("images", 8)).unlink()
    for path in (folder, rezip(folder, folder.with_name("edited.zip"))):
        package = Package(path)
        package.images([7, 9])
        with pytest.raises(PackageError) as caught:
            package.images([7, 8])
        assert str(caught.value) == (
            f"{path}: data/images/8.npy is missing.\n"
            "  Expected: every file that the package format names.\n"
            "  What to do: run 'nsd-bench validate' on it to list everything that is missing, then export it"
            " again."
        )


def test_an_edited_zip_is_named(folder):
    np.save(folder / spec.data_file("images", 9), np.zeros((3, 4, 6), np.float32))
    path = rezip(folder, folder.with_name("edited.zip"))
    with pytest.raises(PackageError) as caught:
        Package(path).images([8, 9])
    assert str(caught.value) == (
        f"{path}, data/images/9.npy: holds float32 of shape (3, 4, 6).\n"
        "  Expected: uint8 of shape (3, 4, 6), like the first file.\n"
        "  What to do: run 'nsd-bench validate' to list every such file, then export the package again."
    )


# -- packed -----------------------------------------------------------------------------------


def test_the_packed_twin_validates_as_the_package_that_it_was(folder, packed):
    assert validate(packed) == validate(folder)
    twin, package = Package(packed), Package(folder)
    assert twin.store.names() == package.store.names()
    assert twin.manifest_sha256 == package.manifest_sha256
    name = spec.data_file("behavior", 5)
    assert bytes(twin.store.view(name)) == (folder / name).read_bytes()
    assert name in twin.store
    assert spec.data_file("behavior", 12) not in twin.store
    assert "data/behavior/x.npy" not in twin.store


def test_packing_twice_gives_the_same_bytes(folder, packed, tmp_path):
    again = pack(Package(folder.with_name(f"{folder.name}.zip")), tmp_path / "again")
    files = {file.relative_to(packed): file.read_bytes() for file in packed.rglob("*") if file.is_file()}
    assert files == {f.relative_to(again): f.read_bytes() for f in again.rglob("*") if f.is_file()}


def test_packed_files_start_with_the_plain_array(packed):
    flat = np.memmap(packed / "data/responses/c/0/0", np.float32, "r", shape=(12, 5))
    np.testing.assert_array_equal(flat, tiny.RESPONSES)


def test_zarr_opens_what_is_packed(packed):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(packed, mode="r")
    np.testing.assert_array_equal(group["data/images"][3:6], tiny.IMAGES[3:6])
    np.testing.assert_array_equal(group["data/responses"][:], tiny.RESPONSES)


def test_the_command_packs(folder, tmp_path):
    result = CliRunner().invoke(command, [str(folder), "--out", str(tmp_path / "out")])
    assert result.output == f"packed: {tmp_path / 'out' / 'tiny-subj02.packed'}\n"
    assert nsd_bench.open(tmp_path / "out/tiny-subj02.packed").n_trials == 12


def test_packing_over_something_leaves_it_alone(folder, packed):
    with pytest.raises(OutputError, match="exists already; nothing was written"):
        pack(Package(folder), packed.parent)


def test_packing_a_damaged_package_leaves_nothing(folder, tmp_path):
    (folder / spec.data_file("images", 4)).unlink()
    with pytest.raises(PackageError, match=r"data/images/4.npy is missing"):
        pack(Package(folder), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_short_packed_file_is_named_at_once(packed):
    path = packed / "data/images/c/0/0/0/0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(PackageError) as caught:
        Package(packed)
    assert str(caught.value) == (
        f"{path}: holds 1055 bytes, not 1056.\n"
        "  Expected: what 'nsd-bench pack' wrote.\n"
        "  What to do: pack the package again."
    )


@pytest.mark.parametrize("change", ["{", json.dumps({"shape": [3]}), json.dumps({"shape": 3})])
def test_a_damaged_description_is_named(packed, change):
    (packed / "data/images/zarr.json").write_text(change)
    with pytest.raises(PackageError, match=r"zarr.json: is not the description of an array"):
        PackedStore(packed)


@pytest.mark.parametrize(
    ("values", "said"),
    [(["a"], r"data/words/0\.npy: holds <U1"), ([1j], r"data/words/0\.npy: holds complex128")],
)
def test_what_is_no_number_of_ours_cannot_be_packed(folder, tmp_path, values, said):
    for trial in range(tiny.N_TRIALS):
        (folder / "data/words").mkdir(exist_ok=True)
        np.save(folder / f"data/words/{trial}.npy", np.array(values))
    with pytest.raises(PackageError, match=said):
        pack(Package(folder), tmp_path / "out")


# -- before training starts ---------------------------------------------------------------------


def test_a_full_check_names_the_first_error(folder):
    assert nsd_bench.open(folder, check="full").n_trials == 12
    (folder / spec.data_file("images", 4)).unlink()
    shutil.rmtree(folder / "meta/statistics/behavior")
    with pytest.raises(PackageError) as caught:
        nsd_bench.open(folder, check="full")
    first, *rest = [issue for issue in validate(folder) if issue.level == "error"]
    assert str(caught.value) == (
        f"{folder}, {first.place}: {first.problem} (and {len(rest)} more).\n"
        "  Expected: a package without errors.\n"
        "  What to do: export or download the package again; 'nsd-bench validate' lists them all."
    )


def test_an_unknown_check(folder):
    with pytest.raises(PackageError, match=r"check='ful' is unknown\.\n  Expected: one of 'none', 'full'"):
        nsd_bench.open(folder, check="ful")
