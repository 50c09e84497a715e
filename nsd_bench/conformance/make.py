"""Make the conformance set: two small packages, submissions for them, and the values to expect.

Run by hand when a formula joins: ``make_set(Path("nsd_bench/conformance/data"))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.conformance.expected import Arrays, expected_values
from nsd_bench.conformance.layout import CASES, FORMAT, SUBMISSIONS, package_name, submission_file
from nsd_bench.outputs import write_json
from nsd_bench.package import spec
from nsd_bench.package.submission import Submission
from nsd_bench.package.write import Contents, new_package, write_contents

__all__ = ["ROI_NAMES", "Subject", "expected_json", "make_set", "make_subject", "predictions"]

ATLAS = "conformance"
ROI_NAMES = {1: "main", 2: "zero", 3: "single", 4: "unknown", 5: "empty"}

_REPEATS = {
    1: {"validation": [3], "test": [3] * 8, "final_test": [1] * 7},
    2: {"validation": [3, 3, 2, 2, 1, 1], "test": [3] * 8, "final_test": [3, 2, 3, 2, 2]},
}
_NCSNR = {
    1: ([0.9, 1.4, 0.7, 1.1, 0.35], [0.0, 0.0], [1.2], [np.nan]),
    2: ([1.3, 0.8, 1.0], [0.0], [0.9], [np.nan]),
}
_SIGNAL_SHARE = {1: 0.6, 2: 0.2}
_FIRST_IMAGE = {"train": 0, "validation": 100, "test": 200, "final_test": 300}
_N_TRAIN = 3


@dataclass(frozen=True)
class Subject:
    """One subject's trials: rows of a package.

    Parameters
    ----------
    number
        1 or 2.
    tier, image : arrays of shape (n_trials,)
    signal, responses : float32 arrays of shape (n_trials, n_units)
        The responses of the training tier are -1, 0 and 1, so that standardising leaves all as they are.
    ncsnr : float32 array of shape (n_units,)
    roi : int16 array of shape (n_units,)
        Labels of `ROI_NAMES`.
    """

    number: int
    tier: npt.NDArray[np.str_]
    image: npt.NDArray[np.int64]
    signal: npt.NDArray[np.float32]
    responses: npt.NDArray[np.float32]
    ncsnr: npt.NDArray[np.float32]
    roi: npt.NDArray[np.int16]


def make_subject(number: int) -> Subject:
    """Draw one subject's signal and responses, rounded to three decimals.

    Parameters
    ----------
    number
        1 or 2.
    """
    rng = np.random.Generator(np.random.Philox(number))
    parts = _NCSNR[number]
    ncsnr = np.concatenate(parts).astype(np.float32)
    roi = np.repeat([1, 2, 3, 4], [len(part) for part in parts]).astype(np.int16)
    tier, image = ["train"] * _N_TRAIN, list(range(_N_TRAIN))
    for name, repeats in _REPEATS[number].items():
        ids = np.repeat(_FIRST_IMAGE[name] + np.arange(len(repeats)), repeats)
        image += rng.permutation(ids).tolist()
        tier += [name] * len(ids)
    ids, first = np.unique(image, return_inverse=True)
    signal = rng.normal(size=(len(ids), len(ncsnr)))[first]
    responses = np.nan_to_num(ncsnr, nan=0.5) * signal + rng.normal(size=signal.shape)
    responses[:_N_TRAIN] = np.array([-1.0, 0.0, 1.0])[:, None]
    return Subject(number, np.array(tier), np.array(image), _rounded(signal), _rounded(responses), ncsnr, roi)


def _rounded(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return np.round(values, 3).astype(np.float32)


def predictions(subject: Subject) -> dict[str, npt.NDArray[np.float32]]:
    """Return what every submission predicts for all trials, by its name.

    Parameters
    ----------
    subject
        Whose trials and units are predicted.
    """
    rng = np.random.Generator(np.random.Philox(10 + subject.number))
    # Repeats of an image differ a little, so that averaging predictions over them matters.
    share = _SIGNAL_SHARE[subject.number]
    plain = np.round(share * subject.signal + 0.4 * rng.normal(size=subject.signal.shape), 3)
    constant_unit, constant_image, nan = plain.copy(), plain.copy(), plain.copy()
    constant_unit[:, 0] = 0.25
    constant_image[subject.image == _FIRST_IMAGE["test"]] = -0.5
    nan[np.flatnonzero(subject.tier == "test")[4], 1] = np.nan
    found = {
        "plain": plain,
        "flipped": -plain,
        "tiny": 1e-30 * plain,
        "constant": np.full_like(plain, 0.25),
        "constant-unit": constant_unit,
        "constant-image": constant_image,
        "nan": nan,
    }
    return {name: found[name].astype(np.float32) for name in SUBMISSIONS}


def arrays(subject: Subject, submission: str, tier: str, roi: str) -> Arrays:
    """Cut out what a case is about.

    Parameters
    ----------
    subject
        Whose trials.
    submission
        One of `SUBMISSIONS`.
    tier
        One of the subject's tiers.
    roi
        One of the names in `ROI_NAMES`.
    """
    rows = np.flatnonzero(subject.tier == tier)
    units = np.flatnonzero([ROI_NAMES[label] == roi for label in subject.roi])
    return Arrays(
        predictions(subject)[submission][np.ix_(rows, units)].astype(np.float64),
        subject.responses[np.ix_(rows, units)].astype(np.float64),
        subject.image[rows],
        subject.ncsnr[units].astype(np.float64),
    )


def expected_json() -> dict[str, Any]:
    """Derive the values to expect, for expected.json."""
    subjects = {number: make_subject(number) for number in _REPEATS}
    checks = []
    for case in CASES:
        cut = [arrays(subjects[number], case.submission, case.tier, case.roi) for number in case.subjects]
        checks.append({**case.json(), "values": expected_values(cut)})
    return {"format": FORMAT, "checks": checks}


def make_set(folder: Path) -> None:
    """Write packages, submissions and expected.json.

    Parameters
    ----------
    folder
        Where all of it is written.

    Raises
    ------
    OutputError
        If the packages exist already.
    """
    subjects = {number: make_subject(number) for number in _REPEATS}
    for subject in subjects.values():
        _write_package(folder, subject)
    for name, number in sorted({(case.submission, number) for case in CASES for number in case.subjects}):
        _submission(subjects[number], name).write(folder / submission_file(name, number))
    write_json(folder / "expected.json", expected_json())


def _submission(subject: Subject, name: str) -> Submission:
    scored = np.flatnonzero(subject.tier != "train")
    card = {"package": package_name(subject.number), "model": f"conformance, {name}"}
    return Submission(scored, _unit_ids(subject), predictions(subject)[name][scored], card)


def _unit_ids(subject: Subject) -> npt.NDArray[np.int64]:
    return 5 + 3 * np.arange(len(subject.ncsnr))


def _write_package(folder: Path, subject: Subject) -> None:
    name = package_name(subject.number)
    images, image = np.unique(subject.image, return_inverse=True)
    contents = Contents(
        trials=_trial_table(subject),
        units=_unit_table(subject),
        roi_names={ATLAS: ROI_NAMES},
        responses=subject.responses,
        rows=np.arange(len(subject.image)),
        withheld=np.zeros(len(subject.image), dtype=bool),
        images=(images[:, None, None, None] + np.zeros((3, 1, 2), int)).astype(np.uint8),
        image=image,
        behavior=np.zeros((len(subject.image), 1), dtype=np.float32),
        behavior_names=["RT"],
    )
    with new_package(folder, name, forms=("zip",)) as writer:
        write_contents(writer, contents)
        writer.finish(
            {
                "format": f"nsd_bench.package/{spec.FORMAT_VERSION}",
                "name": name,
                "title": "Conformance set; not data of NSD",
                "kind": "open",
                "sessions": [1],
                "recipe": {"values": {"responses": {"version": "none", "space": "none", "scale": "percent"}}},
                "tiers": {"title": "By hand", "name": "conformance"},
                "exporter": {"version": "0", "source_sha256": "0" * 64},
                "citation": "none: random numbers",
            }
        )
    (folder / f"{name}{spec.LOCK_SUFFIX}").unlink()


def _trial_table(subject: Subject) -> dict[str, npt.NDArray[Any]]:
    n_trials = len(subject.tier)
    return {
        "tiers": subject.tier,
        "trial_idx": np.arange(n_trials),
        "frame_image_id": subject.image,
        "frame_image_class": np.full(n_trials, "none"),
        "nsd_id": subject.image,
        "session": np.ones(n_trials, dtype=np.int64),
    }


def _unit_table(subject: Subject) -> dict[str, npt.NDArray[Any]]:
    n_units = len(subject.ncsnr)
    zeros = np.zeros(n_units, dtype=np.int64)
    return {
        "unit_ids": _unit_ids(subject),
        "animal_ids": zeros + subject.number,
        "sessions": zeros + 1,
        "scan_idx": zeros,
        "area": np.array([ROI_NAMES[label] for label in subject.roi]),
        "layer": np.full(n_units, "lh"),
        "cell_motor_coordinates": np.zeros((n_units, 3), dtype=np.float32),
        "ncsnr": subject.ncsnr,
        spec.roi_column(ATLAS): subject.roi,
    }
