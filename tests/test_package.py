"""Write a package, open it again from folder and zip, and find everything that is wrong with it."""

from __future__ import annotations

import ast
import json
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import packages as tiny
import pytest
from click.testing import CliRunner

from nsd_bench.cli import cli
from nsd_bench.errors import NsdBenchError, OptionError, OutputError, PackageError, has_errors
from nsd_bench.outputs import array_to_bytes, new_file, new_folder, write_npz, write_zip
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.storage import array_from_bytes, read_npz, sha256_file
from nsd_bench.package.truth import Truth, load_truth
from nsd_bench.package.validate import CHECKS, validate
from nsd_bench.package.write import new_package


@pytest.fixture(params=["folder", "zip", "deflated zip"])
def package(request, tmp_path) -> Package:
    folder = tiny.make_package(tmp_path / "made")
    if request.param == "folder":
        return Package(folder)
    path = tmp_path / "made" / "tiny-subj02.zip"
    if request.param == "deflated zip":
        path = tmp_path / "deflated.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.rglob("*")):
                archive.write(file, file.relative_to(folder.parent))
    return Package(path)


def test_opens_as_it_was_written(package):
    rows = np.array([7, 0, 11])
    np.testing.assert_array_equal(package.images(rows), tiny.IMAGES[rows])
    np.testing.assert_array_equal(package.responses(rows), tiny.RESPONSES[rows])
    np.testing.assert_array_equal(package.behavior(slice(2, 4)), tiny.BEHAVIOR[2:4])
    assert package.image_shape == (3, 4, 6)
    assert (package.n_trials, package.n_units, package.subject) == (12, 5, 2)
    assert (package.name, package.kind, package.data_key) == ("tiny-subj02", "open", "2-1-0")
    assert package.data_keys == ["behavior", "images", "responses"]
    assert package.behavior_names == ["RT", "ISCORRECT"]
    np.testing.assert_array_equal(package.rows("test"), [8, 9, 10, 11])
    assert package.units["z_mm"].tolist() == [2, 5, 8, 11, 14]
    assert package.trials["nsd_id"].tolist() == tiny.IMAGE_OF_TRIAL.tolist()
    assert package.roi_names == {"visual": {1: "V1", 2: "V2"}}


def test_standardises_by_sensoriums_rule(package):
    std = tiny.RESPONSES[tiny.TRAIN].std(axis=0, ddof=1, dtype=np.float64)
    np.testing.assert_allclose(package.standardised_responses([3]), tiny.RESPONSES[[3]] / std, rtol=1e-5)
    pixels = tiny.IMAGES[tiny.TRAIN].astype(np.float64)
    np.testing.assert_allclose(package.statistic("images", "mean"), pixels.mean(), rtol=1e-6)
    np.testing.assert_allclose(package.statistic("images", "std"), pixels.std(ddof=1), rtol=1e-6)


def test_travels_to_other_processes(package):
    again = pickle.loads(pickle.dumps(package))
    np.testing.assert_array_equal(again.responses([5]), tiny.RESPONSES[[5]])


def test_unknown_tier_and_missing_package():
    with pytest.raises(PackageError) as caught:
        Package("nowhere.zip")
    assert str(caught.value) == (
        "nowhere.zip: there is no such file or folder.\n"
        "  Expected: a package: a folder with data/ and meta/, or its zip.\n"
        "  What to do: check the path, or make one with 'nsd-bench export'."
    )


def test_unknown_tier_lists_the_known(package):
    with pytest.raises(PackageError, match=r"there is no tier 'tset'\.\n.*did you mean 'test'\?"):
        package.rows("tset")


def test_a_folder_that_is_no_package(tmp_path):
    with pytest.raises(PackageError, match=r"meta/trials/tiers\.npy is missing"):
        Package(tmp_path)


def test_same_content_same_bytes(tmp_path):
    for number in (1, 2):
        tiny.make_package(tmp_path / str(number))
    first, second = (sha256_file(tmp_path / str(number) / "tiny-subj02.zip") for number in (1, 2))
    assert first == second
    names = zipfile.ZipFile(tmp_path / "1" / "tiny-subj02.zip").namelist()
    assert names == sorted(names)
    assert {name.split("/")[0] for name in names} == {"tiny-subj02"}


def test_checksums_are_what_sha256sum_reads(tmp_path):
    folder = tiny.make_package(tmp_path)
    lines = (folder / spec.CHECKSUMS).read_text().splitlines()
    listed = dict(reversed(line.split("  ")) for line in lines)
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert listed.keys() == files - {spec.CHECKSUMS, spec.MANIFEST}
    assert all(sha256_file(folder / name) == digest for name, digest in listed.items())


@pytest.mark.parametrize("entry", ["../evil.npy", "/etc/evil.npy", "tiny/../../evil.npy", "c:\\evil.npy"])
def test_zip_that_climbs_out_is_refused(tmp_path, entry):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/meta/trials/tiers.npy", b"")
        archive.writestr(entry, b"boo")
    with pytest.raises(PackageError) as caught:
        Package(path)
    assert str(caught.value) == (
        f"{path}: entry {entry!r} climbs out of its folder.\n"
        "  Expected: relative paths below one top folder.\n"
        "  What to do: do not unzip this file; get the package from a source that you trust."
    )


def test_broken_zips(tmp_path):
    path = tmp_path / "half.zip"
    tiny.make_package(tmp_path)
    path.write_bytes((tmp_path / "tiny-subj02.zip").read_bytes()[:2000])
    with pytest.raises(PackageError, match="not a readable zip"):
        Package(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/x", b"")
        archive.writestr("b/x", b"")
    with pytest.raises(PackageError, match="2 entries at the top: a, b"):
        Package(path)


def test_pickles_are_refused():
    import io

    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(PackageError, match="holds Python objects, which only pickle could read"):
        array_from_bytes(stream.getvalue(), "here")


# -- nothing half-done ------------------------------------------------------------------------------


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), new_package(tmp_path, "p") as writer:
        writer.add_bytes("data/x", b"1")
        raise RuntimeError
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "f") as folder:
        (folder / "x").write_text("1")
        raise KeyboardInterrupt
    with pytest.raises(RuntimeError), new_file(tmp_path / "file") as file:
        file.write(b"1")
        raise RuntimeError
    assert listing(tmp_path) == []


def test_full_disk_is_an_output_error(tmp_path):
    with pytest.raises(OutputError) as caught, new_package(tmp_path, "p") as writer:
        writer.add_bytes("data/x", b"1")
        raise OSError(28, "No space left on device", str(writer.folder / "data/y"))
    text = str(caught.value)
    assert text.startswith(
        f"{tmp_path / 'p'}: cannot be written: No space left on device; nothing was kept.\n"
        "  Expected: a folder that can be written to, with room for the output ("
    )
    assert text.endswith(
        "  What to do: free disk space or choose another output folder, then run the command again."
    )
    assert listing(tmp_path) == []


@pytest.mark.parametrize("existing", ["p", "p.zip", "p.truth.npz"])
def test_existing_output_is_refused_before_work(tmp_path, existing):
    (tmp_path / existing).write_text("mine")
    with pytest.raises(OutputError) as caught, new_package(tmp_path, "p"):
        pytest.fail("the block must not run")
    assert str(caught.value) == (
        f"{tmp_path / existing}: exists already; nothing was written.\n"
        "  Expected: a path where nothing lies yet.\n"
        "  What to do: choose another path or remove it first."
    )
    assert (tmp_path / existing).read_text() == "mine"


def test_links_are_one_file_and_whole_in_the_zip(tmp_path):
    with new_package(tmp_path, "p") as writer:
        assert writer.add_image(0, 7, tiny.IMAGES[0])
        assert not writer.add_image(1, 7, tiny.IMAGES[0])
        writer.finish({})
    files = [tmp_path / "p/data/images" / name for name in ("0.npy", "1.npy")]
    assert files[0].stat().st_ino == files[1].stat().st_ino
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        assert archive.read("p/data/images/1.npy") == array_to_bytes(tiny.IMAGES[0])


# -- truth ------------------------------------------------------------------------------------------


def test_truth_of_an_open_package_leaves_out_training(tmp_path):
    truth = load_truth(tiny.make_package(tmp_path))
    assert set(truth.tier) == {"validation", "test"}
    np.testing.assert_array_equal(truth.responses, tiny.RESPONSES[6:])
    truth.write(tmp_path / "t.truth.npz")
    again = Truth.read(tmp_path / "t.truth.npz")
    assert (tmp_path / "t.truth.npz").stat().st_mode & 0o777 == 0o600
    np.testing.assert_array_equal(again.standardised(), truth.standardised())
    assert (again.package, again.subject, again.roi_names) == ("tiny-subj02", 2, truth.roi_names)
    np.testing.assert_array_equal(again.rois["visual"], [1, 1, 2, 0, -1])


def test_truth_is_not_in_a_package_that_withholds(tmp_path):
    path = tiny.make_package(tmp_path, "track2")
    with pytest.raises(PackageError) as caught:
        load_truth(path)
    assert str(caught.value) == (
        f"{path}: the responses of test are withheld from this package: its kind is 'track2'.\n"
        "  Expected: a truth file, or a package that shows the responses that are scored.\n"
        "  What to do: give tiny-subj02.truth.npz instead."
    )


@pytest.mark.parametrize("spoil", ["relabelled", "no manifest", "trial numbers"])
def test_zeros_are_no_truth(tmp_path, spoil):
    """A package that withholds stays one when it is said to be open: nothing but its zeros tell."""
    path = tiny.make_package(tmp_path, "track1")
    {"relabelled": say(kind="open", commitments={}), "no manifest": remove(spec.MANIFEST)}.get(
        spoil, say(kind="open")
    )(path)
    if spoil == "trial numbers":
        np.save(path / "meta/trials/trial_idx.npy", np.arange(tiny.N_TRIALS))
    package = Package(path)
    assert package.is_withheld("test")
    test = package.rows("test")
    assert np.isnan(package.responses(test)).all() and np.isnan(package.standardised_responses(test)).all()
    np.testing.assert_array_equal(package.responses([0, 7]), tiny.RESPONSES[[0, 7]])
    refused = [lambda: load_truth(path, ["test"]), lambda: Truth.of_rows(package, test)]
    for take in refused:
        with pytest.raises(PackageError) as caught:
            take()
        assert str(caught.value) == (
            f"{path}: the responses of test are withheld from this package: all their responses are zero.\n"
            "  Expected: a truth file, or a package that shows the responses that are scored.\n"
            "  What to do: give tiny-subj02.truth.npz instead."
        )
    assert load_truth(path, ["validation"]).tier.tolist() == ["validation"] * 2


def test_zeros_of_validation_are_no_truth(tmp_path):
    path = tiny.make_package(tmp_path)
    blank("validation")(path)
    with pytest.raises(PackageError, match="the responses of validation are withheld from this package: all"):
        load_truth(path, ["validation"])


def test_training_trials_alone_are_no_truth(tmp_path):
    path = tiny.make_package(tmp_path)
    np.save(path / "meta/trials/tiers.npy", np.full(12, "train"))
    with pytest.raises(PackageError) as caught:
        load_truth(path)
    assert str(caught.value) == (
        f"{path}: has training trials alone: there is nothing to score.\n"
        "  Expected: a package with trials in another tier.\n"
        "  What to do: apply tiers that hold some trials out, with 'nsd-bench tiers apply'."
    )


def test_not_a_truth_file(tmp_path):
    write_npz(tmp_path / "x.npz", {"a": [1.0]})
    with pytest.raises(PackageError, match="not a truth file"):
        load_truth(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("header", "[1]", "TypeError: list indices must be integers or slices, not str"),
        ("roi_names", "[]", "AttributeError: 'list' object has no attribute 'items'"),
        ("tier", np.array(["test"]), "tier has shape (1,), responses (6, 5)"),
        ("ncsnr", np.ones(6), "ncsnr has shape (6,), responses (6, 5)"),
        ("roi_visual", np.ones(4), "visual has shape (4,), responses (6, 5)"),
    ],
)
def test_a_truth_file_that_contradicts_itself(tmp_path, name, content, problem):
    path = tmp_path / "t.truth.npz"
    load_truth(tiny.make_package(tmp_path)).write(path)
    arrays = {key: str(array) if array.ndim == 0 else array for key, array in read_npz(path).items()}
    write_npz(path, arrays | {name: content})
    with pytest.raises(PackageError) as caught:
        Truth.read(path)
    assert str(caught.value) == (
        f"{path}: not a truth file ({problem}).\n"
        "  Expected: a .truth.npz that 'nsd-bench export' wrote beside the package.\n"
        "  What to do: check the path, or export the package again."
    )


# -- validation -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", spec.KINDS)
@pytest.mark.parametrize("form", ["tiny-subj02", "tiny-subj02.zip"])
def test_good_packages_have_no_issue(tmp_path, kind, form):
    tiny.make_package(tmp_path, kind)
    assert validate(tmp_path / form) == []


def edit(name: str, change) -> callable:
    def apply(folder: Path) -> None:
        path = folder / name
        np.save(path, change(np.load(path)))

    return apply


def remove(name: str) -> callable:
    return lambda folder: (folder / name).unlink()


def write(name: str, data: bytes) -> callable:
    return lambda folder: (folder / name).write_bytes(data)


def set_first(value):
    def change(array: np.ndarray) -> np.ndarray:
        array[0] = value
        return array

    return change


def say(**changes) -> callable:
    """Change what the manifest says; None takes it away."""

    def apply(folder: Path) -> None:
        path = folder / spec.MANIFEST
        said = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in said.items() if value is not None}))

    return apply


def said(problem: str) -> str:
    return f"error: manifest.json: {problem}. {_AGAIN}"


def blank(tier: str) -> callable:
    """Put zeros in place of a tier's responses."""

    def apply(folder: Path) -> None:
        for row in np.flatnonzero(tier == tiny.TIERS):
            np.save(folder / spec.data_file("responses", row), np.zeros(tiny.N_UNITS, np.float32))

    return apply


_AGAIN = "Export or download the package again."
FAULTS = {
    "manifest": (
        "open",
        say(format="nsd_bench.package/9"),
        "error: manifest.json: format is 'nsd_bench.package/9', not 'nsd_bench.package/1'. "
        "Export it again, or install the version of nsd-bench that made it.",
    ),
    "manifest: kind": (
        "open",
        say(kind="opne"),
        said("kind is 'opne', not one of open, track1, track2"),
    ),
    "manifest: key": ("open", say(sessions=None), said("does not say 'sessions'")),
    "manifest: key inside": ("open", say(tiers={"name": "x"}), said("does not say 'tiers.title'")),
    "manifest: type": (
        "open",
        say(n_trials=[1]),
        "error: manifest.json: 'n_trials' is [1], not an object. Export the package again.",
    ),
    "agreement: subject": (
        "open",
        say(subject=5),
        said("subject is 5, and 2 by the arrays and the kind"),
    ),
    "agreement: units": ("open", say(n_units=6), said("n_units is 6, and 5 by the arrays and the kind")),
    "agreement: trials": (
        "track1",
        say(n_trials={"train": 6, "validation": 1, "test": 4}),
        said(
            "n_trials is {'train': 6, 'validation': 1, 'test': 4}, and "
            "{'test': 4, 'train': 6, 'validation': 2} by the arrays and the kind"
        ),
    ),
    "agreement: tiers": (
        "track1",
        edit("meta/trials/tiers.npy", lambda tiers: np.where(tiers == "test", "final_test", tiers)),
        said("withheld_tiers is ['test'], and ['final_test'] by the arrays and the kind"),
    ),
    "agreement: commitments": (
        "track1",
        say(commitments=None),
        said("commits to no truth of tier 'test', which is withheld"),
    ),
    "agreement: a digest": (
        "track2",
        say(commitments={"test": 7}),
        said("commits to no truth of tier 'test', which is withheld"),
    ),
    "agreement: relabelled": (
        "track1",
        say(kind="open"),
        said("commits to the truth of tier 'test', which is not withheld"),
    ),
    "agreement: withheld tiers of an open package": (
        "track1",
        say(kind="open"),
        said("withheld_tiers is ['test'], and [] by the arrays and the kind"),
    ),
    "agreement: session": ("open", say(sessions=[1]), said("sessions lack 2, of which there are trials")),
    "agreement: sessions": (
        "open",
        say(sessions=[1, 2, 3]),
        said("sessions name 3, of which there is no trial"),
    ),
    "withholding: zeros in an open package": (
        "track1",
        say(kind="open"),
        "error: data/responses/: all responses of tier 'test' are zero, in a package of kind 'open'. "
        "Get the package from who made it: zeros stand for responses that are withheld.",
    ),
    "withholding: zeros in train": (
        "track1",
        blank("train"),
        "error: data/responses/: all responses of tier 'train' are zero, in a package of kind 'track1'. "
        "Get the package from who made it: zeros stand for responses that are withheld.",
    ),
    "withholding: ids": (
        "track1",
        say(kind="open"),
        f"error: meta/trials/trial_idx.npy: holds keyed ids, in a package of kind 'open'. {_AGAIN}",
    ),
    "withholding: behaviour": (
        "track1",
        edit("data/behavior/2.npy", set_first(1.0)),
        "error: data/behavior/2.npy: holds behavior that should be withheld. "
        "Do not give this package to entrants; export it again.",
    ),
    "units: subjects": (
        "open",
        edit("meta/neurons/animal_ids.npy", set_first(7)),
        f"error: meta/neurons/animal_ids.npy: holds 2 subjects, not one. {_AGAIN}",
    ),
    "units: atlas": (
        "open",
        remove("meta/neurons/roi_visual.npy"),
        "error: meta/neurons/roi_visual.npy: is missing, though meta/roi_names.json names its labels. "
        + _AGAIN,
    ),
    "units: dropped": (
        "open",
        say(units_dropped={"no data": [4, 9]}),
        said("units_dropped names 1 units that are in the package, 9 first"),
    ),
    "units: dropped twice": (
        "open",
        say(units_dropped={"no data": [4, 5], "ncsnr": [5]}),
        said("units_dropped names a unit more than once"),
    ),
    "statistics: shape": (
        "open",
        edit("meta/statistics/responses/stimulus_Frame/max.npy", lambda array: array[:-1]),
        f"error: meta/statistics/responses/stimulus_Frame/max.npy: has shape (4,), not (5,). {_AGAIN}",
    ),
    "data: names of behaviour": (
        "open",
        write(spec.BEHAVIOR_NAMES, b'["RT"]'),
        f"error: meta/behavior_names.json: has 1 names for behaviour of shape (2,). {_AGAIN}",
    ),
    "checksums: files": ("open", say(n_files=3), said("n_files is 3, not 86")),
    "trials": (
        "open",
        edit("meta/trials/tiers.npy", set_first("trian")),
        "error: meta/trials/tiers.npy: holds 'trian', not one of train, validation, test, final_test. "
        "Correct the tier file and apply it again.",
    ),
    "trials: length": (
        "open",
        edit("meta/trials/session.npy", lambda array: array[:-1]),
        "error: meta/trials/session.npy: has 11 rows, meta/trials/tiers.npy 12. "
        "Export or download the package again.",
    ),
    "trials: leak": (
        "open",
        edit("meta/trials/tiers.npy", set_first("test")),
        "error: meta/trials/frame_image_id.npy: image 10 is in 2 tiers (1 such images). "
        "Choose tiers that keep the repeats of an image together.",
    ),
    "trials: twice": (
        "open",
        edit("meta/trials/trial_idx.npy", set_first(10)),
        "error: meta/trials/trial_idx.npy: holds 10 more than once. Export or download the package again.",
    ),
    "withholding": (
        "track1",
        edit("data/responses/9.npy", set_first(1.0)),
        "error: data/responses/9.npy: holds responses that should be withheld. "
        "Do not give this package to entrants; export it again.",
    ),
    "withholding: columns": (
        "track2",
        lambda folder: np.save(folder / "meta/trials/nsd_id.npy", tiny.IMAGE_OF_TRIAL),
        "error: meta/trials/nsd_id.npy: gives away what a package of kind 'track2' withholds. "
        "Remove the file, and do not give the package to entrants before.",
    ),
    "units": (
        "open",
        edit("meta/neurons/unit_ids.npy", set_first(8)),
        "error: meta/neurons/unit_ids.npy: holds an id more than once. Export or download the package again.",
    ),
    "statistics": (
        "open",
        edit("meta/statistics/responses/all/std.npy", set_first(np.nan)),
        "error: meta/statistics/responses/all/std.npy: holds NaN or infinity. "
        "Export or download the package again.",
    ),
    "statistics: fitted on test": (
        "open",
        write(spec.FIT_ON, b'{"tier": "train", "trial_idx": [0, 10, 110]}'),
        "error: meta/statistics/fit_on.json: 1 trials outside the train tier, 110 first. "
        "Export or download the package again.",
    ),
    "data": (
        "open",
        remove("data/images/4.npy"),
        "error: data/images/4.npy: is missing. Export or download the package again.",
    ),
    "data: short": (
        "open",
        write("data/responses/3.npy", b"\x93NUMPY"),
        "error: data/responses/3.npy: not a whole .npy array (EOF: reading magic string, expected 8 bytes "
        "got 6). Export or download the package again.",
    ),
    "data: dtype": (
        "open",
        edit("data/responses/3.npy", lambda array: array.astype(np.float64)),
        "error: data/responses/3.npy: is float64 of shape (5,), others float32 of shape (5,). "
        "Export or download the package again.",
    ),
    "data: NaN": (
        "open",
        edit("data/responses/3.npy", set_first(np.nan)),
        "error: data/responses/3.npy: holds NaN or infinity. Export or download the package again.",
    ),
    "data: stray": (
        "open",
        write("data/images/notes.txt", b"hello"),
        "error: data/images/notes.txt: does not belong here. Remove the file.",
    ),
    "checksums": (
        "open",
        edit("data/responses/3.npy", set_first(9.0)),
        "error: data/responses/3.npy: is not what was exported: its SHA-256 differs. "
        "Export or download the package again.",
    ),
}


def test_every_check_has_a_fault():
    assert {name.split(":")[0] for name in FAULTS} == CHECKS.keys()


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path, fault):
    kind, spoil, text = FAULTS[fault]
    folder = tiny.make_package(tmp_path, kind)
    spoil(folder)
    assert text in [str(issue) for issue in validate(folder)]


@pytest.mark.parametrize(
    ("name", "data", "place"),
    [
        ("meta/trials/tiers.npy", array_to_bytes(np.array(["train"])), "check of statistics"),
        ("meta/neurons/unit_ids.npy", array_to_bytes(3), "check of units"),
        ("data/responses/0.npy", array_to_bytes(3.0), "check of data"),
        (spec.CHECKSUMS, b"\xff\xfe", "check of checksums"),
    ],
)
def test_files_that_are_built_otherwise_end_a_check_and_no_more(tmp_path, name, data, place):
    folder = tiny.make_package(tmp_path)
    (folder / name).write_bytes(data)
    issues = validate(folder)
    (broken,) = [issue for issue in issues if issue.place == place]
    assert broken.problem.startswith("a file is not built as the format says (")
    changed = [issue.place for issue in issues if "SHA-256 differs" in issue.problem]
    assert changed == ([name] if name not in (spec.MANIFEST, spec.CHECKSUMS) else [])


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        (spec.MANIFEST, b"7", "holds int, not an object"),
        (spec.MANIFEST, b'{"sessions": 3}', "'sessions' is 3, not a list"),
        (
            spec.MANIFEST,
            b'{"units_dropped": {"why": 1}}',
            "'units_dropped' does not map reasons to lists of ids",
        ),
        (spec.MANIFEST, b'{"sessions": null}', "'sessions' is None, not a list"),
        (spec.MANIFEST, b'{"recipe": {"values": [1]}}', "'recipe.values' is [1], not an object"),
        (spec.FIT_ON, b"[]", "holds list, not an object"),
        (spec.ROI_NAMES, b'{"streams": {"one": "V1"}}', "does not map atlases to labels to names"),
        (spec.BEHAVIOR_NAMES, b"{}", "holds dict, not a list"),
    ],
)
def test_json_of_another_shape_is_an_error_in_every_command(tmp_path, name, data, problem):
    folder = tiny.make_package(tmp_path)
    (folder / name).write_bytes(data)
    assert (name, problem) in [(issue.place, issue.problem) for issue in validate(folder)]
    with pytest.raises(PackageError) as caught:
        for read in ("manifest", "units_dropped", "fit_on", "roi_names", "behavior_names"):
            getattr(Package(folder), read)
    assert str(caught.value) == (
        f"{folder}, {name}: {problem}.\n"
        "  Expected: the file that the exporter wrote.\n"
        "  What to do: export the package again."
    )


EDITS = {
    "recipe": None,
    "recipe.values.responses.space": None,
    "exporter": None,
    "tiers": None,
    "tiers.text": 7,
    "sessions": None,
    "citation": None,
    "kind": ["open"],
    "n_trials": "many",
    "units_dropped": {"why": "x"},
    "commitments": [],
    "withheld_tiers": {},
    "name": 3,
    "": [],
}


@pytest.mark.parametrize("place", EDITS)
def test_an_edited_manifest_ends_no_command_in_a_traceback(tmp_path, place):
    path = tiny.make_package(tmp_path)
    truth = tmp_path / "shown.truth.npz"
    load_truth(path).write(truth)
    manifest = json.loads((path / spec.MANIFEST).read_text())
    *outside, last = place.split(".")
    inside = manifest
    for key in outside:
        inside = inside[key]
    inside[last] = EDITS[place]
    if EDITS[place] is None:
        del inside[last]
    (path / spec.MANIFEST).write_text(json.dumps(manifest if place else EDITS[place]))
    assert has_errors(validate(path))
    commands = [
        ["validate", path],
        ["info", path],
        ["verify", path, "--lock", f"{path}.lock.json"],
        ["verify", path, "--nsd-root", tmp_path],
        ["tiers", "apply", path, "shared1000"],
        ["tiers", "audit", path, "--out", tmp_path / "audit.json"],
        ["reveal", truth, path],
    ]
    for arguments in commands:
        done = CliRunner().invoke(cli, [str(one) for one in arguments])
        # Errors of ours become one block of text in `main`; anything else would be a traceback.
        assert done.exception is None or isinstance(done.exception, NsdBenchError | SystemExit), arguments
        if arguments[0] != "info":
            assert done.exit_code != 0 or arguments[1] == "audit", arguments


def test_many_faults_are_listed_at_once_and_cut_short(tmp_path):
    folder = tiny.make_package(tmp_path)
    remove("data/behavior/1.npy")(folder)
    remove("meta/neurons/layer.npy")(folder)
    edit("meta/trials/tiers.npy", set_first("trian"))(folder)
    places = {issue.place for issue in validate(folder)}
    assert places >= {"data/behavior/1.npy", "meta/neurons/layer.npy", "meta/trials/tiers.npy"}


def test_validate_command_says_so_and_sets_the_exit_code(tmp_path):
    folder = tiny.make_package(tmp_path)
    good = CliRunner().invoke(cli, ["validate", str(folder), str(folder) + ".zip"])
    assert (good.exit_code, good.output) == (0, f"{folder}: ok\n{folder}.zip: ok\n")
    shelf = CliRunner().invoke(cli, ["validate", str(tmp_path)])
    assert (shelf.exit_code, shelf.output) == (0, f"{folder}: ok\n")
    assert CliRunner().invoke(cli, ["info", str(tmp_path)]).output.startswith(f"{folder.name}: ")
    remove("data/images/4.npy")(folder)
    bad = CliRunner().invoke(cli, ["validate", str(folder)])
    assert bad.exit_code == 1
    assert bad.output.startswith(f"{folder}: 1 errors, 0 warnings\n  error: data/images/4.npy: is missing.")


def test_rows_may_be_a_mask_and_must_exist(tmp_path):
    package = Package(tiny.make_package(tmp_path))
    held = package.tiers == "test"
    np.testing.assert_array_equal(package.responses(held), tiny.RESPONSES[held])
    np.testing.assert_array_equal(package.responses([-1]), tiny.RESPONSES[[-1]])
    assert package.images([]).shape == (0, *tiny.IMAGES.shape[1:])
    for rows in ([12], [1.0], held[:-1]):
        with pytest.raises(OptionError) as caught:
            package.responses(rows)
        assert str(caught.value).startswith(f"{package.path}: no such rows (")
        assert "Expected: file numbers from 0 to 11, a slice, or a mask of all trials." in str(caught.value)


def test_a_truth_is_no_package(tmp_path):
    truth = tmp_path / "tiny-subj02.truth.npz"
    write_npz(truth, {"responses": tiny.RESPONSES})
    with pytest.raises(PackageError) as caught:
        Package(truth)
    assert str(caught.value) == (
        f"{truth}: is a truth or a submission, not a package.\n"
        "  Expected: a package: a folder with data/ and meta/, or its zip.\n"
        "  What to do: give the package that it belongs to."
    )


def test_a_folder_of_packages_is_no_package(tmp_path):
    folder = tiny.make_package(tmp_path)
    with pytest.raises(PackageError) as caught:
        Package(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: is a folder of packages, not a package.\n"
        "  Expected: one of 'tiny-subj02', 'tiny-subj02.zip'.\n"
        f"  What to do: give one of them, as {folder}."
    )


def test_info_command(tmp_path):
    folder = tiny.make_package(tmp_path, "track1")
    result = CliRunner().invoke(cli, ["info", str(folder)])
    assert result.exit_code == 0
    for line in (
        "tiny-subj02: Tiny",
        "  subject      2, data key 2-1-0, kind track1",
        "  trials       12 of 8 images",
        "    train           6 trials of 5 images",
        "    test            4 trials of 2 images, responses withheld",
        "  images       3 x 4 x 6 (channels x height x width), uint8",
        "    visual         V1 2, V2 1",
        "  behaviour    RT, ISCORRECT (withheld)",
    ):
        assert line in result.output.splitlines()


def test_zip_of_a_folder_has_the_folder_on_top(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.txt").write_text("1")
    write_zip(tmp_path / "x", tmp_path / "y.zip")
    assert zipfile.ZipFile(tmp_path / "y.zip").namelist() == ["x/a.txt"]


PATH = re.compile(
    r"meta|(data|meta)/.*|.*\.(truth\.npz|normalization\.npz|design\.csv|lock\.json|packed|submission\.(npz|csv))"
    r"|checksums\.sha256|left-out"
)
OF_OTHERS = {
    "exporters/simulate/photographs.py": "pictures of scikit-image",
    "nsd_bench/cortex/flat.py": "NSD-Flat",
    "nsd_bench/imagery/dataset.py": "a key of a batch",
    "nsd_bench/leaderboard/bundle/score.py": "stands alone on Codabench's workers",
}


def test_paths_of_a_package_are_in_spec_alone():
    root = Path(spec.__file__).parents[2]
    found = {}
    for room in ("nsd_bench", "exporters", "tiers"):
        for path in (root / room).rglob("*.py"):
            tree = ast.parse(path.read_text())
            described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            texts = [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in described
            ]
            if literal := [text for text in texts if PATH.fullmatch(text)]:
                found[path.relative_to(root).as_posix()] = literal
    assert found.pop("nsd_bench/package/spec.py")
    assert found.keys() == OF_OTHERS.keys(), found
