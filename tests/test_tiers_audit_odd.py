"""Whatever stands in a package, `tiers audit` ends in a report or in our error, never in a traceback."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from packages import N_TRIALS, make_package

from nsd_bench import spec
from nsd_bench.cli.tiers import command
from nsd_bench.errors import NsdBenchError

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
        "  Expected: a package whose tables are whole: a row for every trial.\n"
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
