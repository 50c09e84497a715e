"""Whatever stands in a package, `tiers audit` ends in a report or in our error, never in a traceback."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from packages import N_TRIALS, make_package

from nsd_bench.cli.tiers import tiers_command as command
from nsd_bench.errors import NsdBenchError
from nsd_bench.package import spec

NUMBERS = np.arange(N_TRIALS)
ODD = {
    "NaN": np.r_[NUMBERS[1:] * 1.0, np.nan],
    "halves": NUMBERS.astype(np.float16) / 2,
    "negative": -NUMBERS,
    "huge": np.uint64(2**64 - 1) - NUMBERS.astype(np.uint64),
    "bool": NUMBERS % 2 == 0,
    "complex": NUMBERS * 1j,
    "NaT": np.full(N_TRIALS, "NaT", "M8[s]"),
    "dates": NUMBERS.astype("M8[D]"),
    "pickled": np.array([None, 1, "x"] * 4, dtype=object),
    "lone surrogates": np.array([f"\ud800{n}" for n in NUMBERS]),
    "not ASCII": np.array([f"ä漢{n}" for n in NUMBERS]),
    "bytes": np.array([b"\xff%d" % n for n in NUMBERS]),
    "other byte order": NUMBERS.astype(">i8"),
    "records": np.zeros(N_TRIALS, dtype=[("a", "i4"), ("b", "U2")]),
    "two axes": NUMBERS.reshape(-1, 1),
    "empty": NUMBERS[:0],
    "too long": np.arange(N_TRIALS + 1),
    "all the same": np.zeros(N_TRIALS, dtype=np.int64),
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    return {kind: make_package(tmp_path_factory.mktemp(kind), kind) for kind in ("open", "track1")}


def ends_well(path, tmp_path) -> str:
    """Audit a package; return what was said, all of which can be printed."""
    run = CliRunner().invoke(command, ["audit", str(path), "--out", str(tmp_path / "a.json"), "--force"])
    if isinstance(run.exception, NsdBenchError):
        return str(run.exception)
    assert run.exit_code in (0, 1) and isinstance(run.exception, SystemExit | None), run.exception
    assert json.loads((tmp_path / "a.json").read_text())["format"] == "nsd_bench.audit/1"
    return run.output


@pytest.mark.parametrize(
    ("kind", "column", "odd"),
    [
        *(
            (kind, column, list(ODD))
            for kind in ("open", "track1")
            for column in ("trial_idx", "frame_image_id")
        ),
        ("open", "session", ["NaN", "negative", "bool", "other byte order", "huge", "empty"]),
        *(
            ("open", column, ["NaN", "lone surrogates", "pickled", "two axes"])
            for column in ("nsd_id", "tiers")
        ),
        ("open", "frame_image_class", ["lone surrogates", "records", "too long"]),
    ],
)
def test_odd_columns(packages, tmp_path, kind, column, odd):
    place = packages[kind] / spec.trials_file(column)
    before = place.read_bytes() if place.exists() else None
    try:
        for name in odd:
            np.save(place, ODD[name])
            ends_well(packages[kind], tmp_path)
    finally:
        if before is None:
            place.unlink()
        else:
            place.write_bytes(before)


@pytest.mark.parametrize("column", ["trial_idx", "frame_image_id"])
def test_ids_that_are_neither_numbers_nor_texts(tmp_path, column):
    path = make_package(tmp_path)
    np.save(path / spec.trials_file(column), NUMBERS / 2)
    assert ends_well(path, tmp_path) == (
        f"{path}, meta/trials/{column}.npy: holds float64, not whole numbers or texts.\n"
        "  Expected: a package that is whole: a row of every table, an image and a response for every "
        "trial.\n"
        "  What to do: run 'nsd-bench validate' to list everything that is wrong, "
        "then export the package again."
    )


@pytest.mark.parametrize("sessions", [[], ["1"], [2**40], [None], [[1]], [1.5]])
def test_odd_sessions_in_the_manifest(packages, tmp_path, sessions):
    place = packages["track1"] / spec.MANIFEST
    before = place.read_text()
    place.write_text(json.dumps(json.loads(before) | {"sessions": sessions}))
    ends_well(packages["track1"], tmp_path)
    place.write_text(before)


@pytest.mark.parametrize("fitted", ["5", "[[1], {}]", '[null, 1, "a"]', '["\\ud800"]', "{}"])
def test_odd_lists_of_what_statistics_were_fitted_on(packages, tmp_path, fitted):
    place = packages["track1"] / spec.FIT_ON
    before = place.read_text()
    place.write_text(f'{{"trial_idx": {fitted}}}')
    assert "meta/statistics/fit_on.json: " in ends_well(packages["track1"], tmp_path)
    place.write_text(before)


@pytest.mark.parametrize("animals", [[], ["x"] * 5, [np.nan] * 5, 3])
def test_packages_that_do_not_tell_their_subject(packages, tmp_path, animals):
    place = packages["track1"] / spec.neurons_file("animal_ids")
    before, values = place.read_bytes(), np.array(animals)
    np.save(place, values)
    said = f"meta/neurons/animal_ids.npy: holds {values.dtype} of shape {values.shape}, which tell no subject"
    assert said in ends_well(packages["track1"], tmp_path)
    place.write_bytes(before)


@pytest.mark.parametrize(
    "image",
    [
        np.full((3, 4, 6), 7, np.uint8),
        np.zeros((1, 1, 1), np.uint8),
        np.full((3, 1, 200), np.nan),
        np.full((2, 4, 6), 1e300),
        np.full((3, 4, 6), 2**64 - 1, np.uint64),
    ],
    ids=["one colour", "one pixel", "NaN", "huge", "uint64"],
)
def test_odd_images(tmp_path, image):
    path = make_package(tmp_path)
    for row in range(N_TRIALS):
        np.save(path / spec.data_file("images", row), image)
    assert "pairs of images in train and test have the same pixels" in ends_well(path, tmp_path)


@pytest.mark.parametrize("kind", ["open", "track1"])
@pytest.mark.parametrize("tier", ["train", "validation", "test", "none"])
def test_packages_of_one_tier(tmp_path, kind, tier):
    path = make_package(tmp_path, kind)
    np.save(path / spec.trials_file("tiers"), np.full(N_TRIALS, tier))
    assert "nothing can leak between them" in ends_well(path, tmp_path)


@pytest.mark.parametrize("kind", ["open", "track1"])
def test_zips_and_packages_with_less(tmp_path, kind):
    path = make_package(tmp_path, kind)
    whole = path.with_name(f"{path.name}.zip")
    assert ends_well(whole, tmp_path).startswith("0 errors, 0 warnings")
    shutil.rmtree(path / "data" / "behavior")
    assert ends_well(path, tmp_path).startswith("0 errors, 0 warnings")
    (path / spec.MANIFEST).unlink()  # as Sensorium's own
    assert ends_well(path, tmp_path).startswith("0 errors, 0 warnings")


@pytest.mark.parametrize("key", ["images", "responses"])
def test_a_package_without_what_is_fitted_is_no_clean_one(tmp_path, key):
    path = make_package(tmp_path)
    shutil.rmtree(path / "data" / key)
    assert f"data/{key}/: holds nothing" in ends_well(path, tmp_path)


@pytest.mark.parametrize("column", ["trial_idx", "session", "nsd_id", "tiers"])
@pytest.mark.parametrize("odd", ["NaN", "NaT", "bytes", "two axes", "other byte order", "records"])
def test_tiers_show_refuses_odd_columns(tmp_path, column, odd):
    path = make_package(tmp_path)
    np.save(path / spec.trials_file(column), ODD[odd])
    run = CliRunner().invoke(command, ["show", "session-out", "--package", str(path)])
    assert isinstance(run.exception, NsdBenchError)
    assert f"{column}.npy: holds {ODD[odd].dtype}" in str(run.exception) or column == "tiers"


def test_a_design_table_of_other_than_whole_numbers(tmp_path):
    path = make_package(tmp_path)
    table = tmp_path / "design.csv"
    table.write_text("trial,session,nsd_id\n0,1,5\n1,1,\n")
    run = CliRunner().invoke(command, ["show", "session-out", "--package", str(path), "--design", str(table)])
    assert isinstance(run.exception, NsdBenchError)
    assert "design.csv: column 'nsd_id' holds float64, not whole numbers" in str(run.exception)
