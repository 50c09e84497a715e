"""What `validate` and `tiers audit` say of a package that withholds and yet tells."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import packages as tiny
import pytest
from click.testing import CliRunner

from nsd_bench.cli import cli
from nsd_bench.errors import has_errors
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.sealing import CHECKS, check_sealing
from nsd_bench.package.validate import validate
from tiers.audit.audit import audit

IDS, FIT_ON = spec.trials_file("trial_idx"), "meta/statistics/fit_on.json"
AGAIN = "Export it again before giving it to entrants."
REMOVE = "Remove the file, and do not give the package to entrants before."


def saved(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        np.save(folder / name, change(np.load(folder / name) if (folder / name).exists() else np.zeros(1)))

    return spoil


def said(name: str, change: Callable[[object], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_text(json.dumps(change(json.loads((folder / name).read_text()))))

    return spoil


def normalization_inside(folder: Path) -> None:
    (folder / "meta/normalization").mkdir()
    np.save(folder / "meta/normalization/mean.npy", np.zeros((2, 5)))


def truth_that_all_can_read(folder: Path) -> None:
    path = folder.with_name(f"{folder.name}.truth.npz")
    path.touch(0o644)


def plain_ids(folder: Path) -> None:
    np.save(folder / IDS, np.arange(tiny.N_TRIALS))
    said(FIT_ON, lambda fit_on: fit_on | {"trial_idx": tiny.TRAIN.tolist()})(folder)


def dates_by_image(folder: Path) -> None:
    for number, image in enumerate((tiny.IMAGE_OF_TRIAL * 7 % 11).tolist()):
        os.utime(folder / f"data/images/{number}.npy", (image, image))


FAULTS = {
    "columns": (
        "track1",
        saved("meta/trials/session.npy", lambda _: np.repeat([1, 2], 6)),
        "error: meta/trials/session.npy: gives away what a package of kind 'track1' withholds. " + REMOVE,
    ),
    "owner's files": (
        "track1",
        normalization_inside,
        "error: meta/normalization/mean.npy: tells the session of every training trial. " + REMOVE,
    ),
    "owner's files: inside": (
        "track2",
        lambda folder: (folder / "tiny-subj02.design.csv").touch(),
        "error: tiny-subj02.design.csv: is for the owner of the package only. " + REMOVE,
    ),
    "owner's files: mode": (
        "track2",
        truth_that_all_can_read,
        "warning: {parent}/tiny-subj02.truth.npz: can be read by others than its owner, and tells what the "
        "package withholds. Run: chmod 600 {parent}/tiny-subj02.truth.npz.",
    ),
    "ids": (
        "track1",
        plain_ids,
        f"error: {IDS}: holds plain numbers, not keyed ids. {AGAIN}",
    ),
    "ids: text": (
        "track1",
        saved(IDS, lambda ids: np.array([f"{number:032x}" for number in range(len(ids))])),
        f"error: {IDS}: holds plain numbers, not keyed ids. {AGAIN}",
    ),
    "ids: hash": (
        "track1",
        saved(IDS, lambda ids: np.r_[ids[:11], ["8f14e45fceea167a5a36dedd4bea2543"]]),  # MD5 of 7
        f"error: {IDS}: 1 ids are md5 of decimal numbers, undone by trying them. {AGAIN}",
    ),
    "ids: images": (
        "track1",
        saved("meta/trials/frame_image_id.npy", lambda _: tiny.IMAGE_OF_TRIAL),
        "error: meta/trials/frame_image_id.npy: holds plain numbers, not keyed ids. " + AGAIN,
    ),
    "order": (
        "track1",
        said(spec.MANIFEST, lambda manifest: manifest | {"sealing": {"file_order": "seed"}}),
        "error: manifest.json: says that files are numbered by {{'file_order': 'seed'}}, not by the key. "
        + AGAIN,
    ),
    "order: fit_on": (
        "track1",
        said(FIT_ON, lambda fit_on: fit_on | {"trial_idx": sorted(fit_on["trial_idx"])}),
        f"error: {FIT_ON}: lists the training trials in another order than that of their files. {AGAIN}",
    ),
    "order: dates": (
        "track1",
        dates_by_image,
        "warning: data/images/: its files have 7 modification times, in the order of neither names nor "
        "numbers, which may tell the trial of each. Give entrants a package as "
        "'nsd-bench export' or 'nsd-bench tiers apply' wrote it.",
    ),
    "behaviour": (
        "track2",
        said(spec.BEHAVIOR_NAMES, lambda names: [names[0], "TIME"]),
        "error: meta/behavior_names.json: holds TIME, which is the time of the trial. Take it out of "
        "'columns' in the recipe's [behavior], and export the package again.",
    ),
    "behaviour: statistics": (
        "track1",
        saved("meta/statistics/behavior/all/mean.npy", lambda values: values + 1),
        f"error: meta/statistics/behavior/all/mean.npy: tells of behaviour, which is withheld. {AGAIN}",
    ),
}


def test_every_check_has_a_fault():
    assert {name.split(":")[0] for name in FAULTS} == CHECKS.keys()


@pytest.mark.parametrize("fault", FAULTS)
def test_what_tells_is_named_by_validate_and_audit(tmp_path, fault):
    kind, spoil, text = FAULTS[fault]
    folder = tiny.make_package(tmp_path, kind)
    assert list(check_sealing(Package(folder))) == []
    spoil(folder)
    text = text.format(parent=tmp_path) if "{" in text else text
    for issues in (check_sealing(Package(folder)), validate(folder), audit(folder).issues):
        assert text in [str(issue) for issue in issues]


@pytest.mark.parametrize("kind", ["track1", "track2"])
def test_a_zip_whose_entries_tell(tmp_path, kind):
    folder = tiny.make_package(tmp_path, kind)
    assert validate(f"{folder}.zip") == []
    session = [3, 1, 2, 1, 3, 2, 1, 3, 2, 2, 1, 3]
    names = sorted(path.relative_to(tmp_path).as_posix() for path in folder.rglob("*") if path.is_file())
    with zipfile.ZipFile(tmp_path / "told.zip", "w") as archive:
        for name in names:
            year = 1980 + session[int(Path(name).stem)] if "data/images/" in name else 1980
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), (tmp_path / name).read_bytes())
    (issue,) = validate(tmp_path / "told.zip")
    assert (issue.level, issue.place) == ("warning", "data/images/")
    assert issue.problem.startswith("its files have 3 dates, in the order of neither names")


def test_a_copy_with_new_dates_tells_nothing(tmp_path):
    folder = tiny.make_package(tmp_path, "track1")
    copy = tmp_path / "copy" / folder.name
    shutil.copytree(folder, copy)
    for time, path in enumerate(sorted((copy / "data/images").iterdir())):
        os.utime(path, (time, time))
    assert validate(copy) == []


def test_a_sign_before_a_withheld_zero_is_named(tmp_path):
    folder = tiny.make_package(tmp_path, "track1")
    saved("data/responses/9.npy", np.negative)(folder)
    assert not np.load(folder / "data/responses/9.npy").any()
    assert "holds responses that should be withheld" in {issue.problem for issue in validate(folder)}


def test_packages_of_before_are_warned_of_and_can_be_used(tmp_path):
    folder = tiny.make_package(tmp_path, "track1")
    said(spec.MANIFEST, lambda one: {name: one[name] for name in one if name != "sealing"})(folder)
    normalization_inside(folder)
    issues = list(check_sealing(Package(folder)))
    assert [str(issue) for issue in issues] == [
        "warning: manifest.json: was made before nsd-bench 0.2: its file numbers follow from the seed, and "
        "tell each trial. Export it again, or run 'nsd-bench tiers apply' on it, before giving it "
        "to entrants."
    ]
    assert not has_errors(validate(folder))
    run = CliRunner().invoke(cli, ["validate", str(folder)])
    assert run.exit_code == 0 and "before giving it to entrants" in run.output


def test_open_packages_have_nothing_to_tell(tmp_path):
    assert list(check_sealing(Package(tiny.make_package(tmp_path)))) == []
