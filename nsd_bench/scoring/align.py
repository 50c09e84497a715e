"""Everything that is wrong with a submission, listed at once; and its rows and columns put in order."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import Issue, SubmissionError, choices
from nsd_bench.package import spec
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth

__all__ = [
    "aligned",
    "check",
    "is_partial",
    "positions",
    "predictions_digest",
    "refuse_incomplete",
    "refuse_unscored",
    "tiers_covered",
]

_MOST_NAMED = 3
_LARGEST = 1e15  # its fourth power, which metrics come near to, is still a float64


def check(submission: Submission, truth: Truth, tiers: Sequence[str] | None = None) -> list[Issue]:
    """List everything that keeps a submission from being scored.

    Parameters
    ----------
    tiers
        Tiers whose trials must all be there. None: those of which the submission has any trial.

    Returns
    -------
    issues
        Errors, and warnings where the package was another export of the same name, or units are missing of
        a submission that may be partial.
    """
    package, tier = list(_check_card(submission, truth)), list(_check_tiers(truth, tiers))
    issues = package + tier
    shape = list(_check_shape(submission))
    if shape:
        return issues + shape
    if not package:  # the ids of another package would all be wrong, too
        issues += [] if tier else _check_trials(submission, truth, tiers)
        partial = is_partial(submission)
        wanted = np.intersect1d(truth.unit_ids, submission.unit_ids) if partial else truth.unit_ids
        remedy = "Predict every unit, or say that this is partial: 'partial': true in the card"
        issues += _check_ids("unit_ids", submission.unit_ids, wanted, truth.unit_ids, remedy)
        issues += _check_partial(submission, truth, len(wanted)) if partial else []
    return [*issues, *_check_numbers(submission), *_check_manifest(submission, truth)]


def tiers_covered(submission: Submission, truth: Truth) -> list[str]:
    """Return the truth's tiers of which the submission has any trial."""
    present = np.isin(truth.trial_idx, submission.trial_idx)
    return [tier for tier in spec.TIERS if present[truth.tier == tier].any()]


def _check_trials(submission: Submission, truth: Truth, tiers: Sequence[str] | None) -> Iterator[Issue]:
    wanted = tiers_covered(submission, truth) if tiers is None else list(tiers)
    given = submission.trial_idx
    if not wanted and given.size and given.dtype.kind == truth.trial_idx.dtype.kind:
        present = " or ".join(tier for tier in spec.TIERS if tier in truth.tier)
        problem = f"none of the {given.size} trials belongs to a tier of the truth, which has {present}"
        remedy = "or give the package itself as truth and name the tier that it shows: --tier validation"
        yield Issue("error", "trial_idx", problem, f"Predict {present}, {remedy}")
        return
    expected = truth.trial_idx[np.isin(truth.tier, wanted)] if wanted else truth.trial_idx
    yield from _check_ids("trial_idx", given, expected, truth.trial_idx, "Predict them")


def is_partial(submission: Submission) -> bool:
    """Return whether the card says that units may be missing."""
    return submission.card.get("partial") is True


def _check_partial(submission: Submission, truth: Truth, n_known: int) -> Iterator[Issue]:
    n_units = len(truth.unit_ids)
    if not n_known:
        yield Issue(
            "error", "unit_ids", f"none of the {n_units} units is predicted", "Predict at least one region"
        )
    elif n_known < n_units:
        yield Issue(
            "warning",
            "unit_ids",
            f"partial: {n_known} of {n_units} units are predicted; regions that miss any have no score",
            "Predict the others, too, to be compared over all units",
        )


def _check_card(submission: Submission, truth: Truth) -> Iterator[Issue]:
    package = submission.card.get("package")
    if package is None:
        yield Issue(
            "error",
            "card",
            f"lacks 'package', the truth is that of {truth.package!r}",
            "Write the name of the package that was predicted into the card",
        )
    elif package != truth.package:
        yield Issue(
            "error",
            "card",
            f"package is {package!r}, the truth is that of {truth.package!r}",
            "Give the truth of the package that was predicted",
        )


def _check_tiers(truth: Truth, tiers: Sequence[str] | None) -> Iterator[Issue]:
    present = [tier for tier in spec.TIERS if tier in truth.tier]
    for tier in tiers or ():
        if tier not in present:
            shown = ", or give the package itself, which shows it" if tier == "validation" else ""
            yield Issue(
                "error",
                "tier",
                f"the truth of {truth.package!r} has no trial of tier {tier!r}",
                f"Ask for {choices(tier, present)}{shown}",
            )


def _check_manifest(submission: Submission, truth: Truth) -> Iterator[Issue]:
    digest = submission.card.get("manifest_sha256")
    if digest and truth.manifest_sha256 and digest != truth.manifest_sha256:
        yield Issue(
            "warning",
            "card",
            f"was made on another export of {truth.package!r}: its manifest has digest {digest!s:.12}..., "
            f"the truth's {truth.manifest_sha256[:12]}...",
            "Export both with the same recipe and version",
        )


def _check_shape(submission: Submission) -> Iterator[Issue]:
    ids = {"trial_idx": submission.trial_idx, "unit_ids": submission.unit_ids}
    flat = True
    for name, values in ids.items():
        if values.ndim != 1:
            flat = False
            yield Issue("error", name, f"has shape {values.shape}", "Give a one-dimensional array")
    shape = tuple(values.size for values in ids.values())
    if flat and submission.predictions.shape != shape:
        yield Issue(
            "error",
            "predictions",
            f"have shape {submission.predictions.shape}, trial_idx and unit_ids {shape}",
            "Give one row a trial and one column a unit",
        )
    if submission.predictions.dtype.kind != "f":
        yield Issue(
            "error",
            "predictions",
            f"are {submission.predictions.dtype}",
            "Give float32 or float16",
        )


def _check_ids(
    name: str, given: npt.NDArray[Any], expected: npt.NDArray[Any], known: npt.NDArray[Any], remedy: str
) -> Iterator[Issue]:
    if given.dtype.kind != known.dtype.kind:
        yield Issue(
            "error", name, f"is {given.dtype}, the truth's {known.dtype}", "Take ids from the package"
        )
        return
    values, counts = np.unique(given, return_counts=True)
    wrong = {
        "duplicated": (values[counts > 1], "Give each once"),
        "missing": (np.setdiff1d(expected, given), remedy),
        "unknown": (np.setdiff1d(given, known), "Remove them, or give the truth of the package they are of"),
    }
    for what, (ids, fix) in wrong.items():
        if ids.size:
            more = ", ..." if ids.size > _MOST_NAMED else ""
            named = ", ".join(str(value) for value in ids[:_MOST_NAMED]) + more
            yield Issue("error", name, f"{ids.size} of {len(expected)} {what}: {named}", fix)


def _check_numbers(submission: Submission) -> Iterator[Issue]:
    values = submission.predictions
    if not values.size:
        return
    # One pass: a unit's extremes are finite only if all of its predictions are.
    low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
    if not ((low >= -_LARGEST) & (high <= _LARGEST)).all():
        bad = ~(np.abs(values) <= _LARGEST)
        row, column = np.argwhere(bad)[0]
        what = f"beyond {_LARGEST:g}" if np.isfinite(values[bad]).all() else "NaN or infinite"
        yield Issue(
            "error",
            "predictions",
            f"{bad.sum()} are {what}, first that of trial {submission.trial_idx[row]}, "
            f"unit {submission.unit_ids[column]}",
            "Give a finite number for every trial and unit",
        )


def positions(
    submission: Submission, truth: Truth, rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return where the submission has some of the truth's trials, and all of its units.

    Parameters
    ----------
    rows : int64 array
        Which rows of the truth.

    Raises
    ------
    SubmissionError
        If trials or units are missing; `check` lists all that is wrong.
    """
    trial = _positions(submission.trial_idx, truth.trial_idx[rows], "trial_idx")
    return trial, _positions(submission.unit_ids, truth.unit_ids, "unit_ids")


def aligned(
    submission: Submission, truth: Truth, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.floating[Any]]:
    """Return predictions in the truth's order, shape (len(rows), n_units); see `positions`."""
    trial, unit = positions(submission, truth, rows)
    return submission.predictions[trial][:, unit]


def predictions_digest(submission: Submission, truth: Truth, rows: npt.NDArray[np.int64]) -> str:
    """Return the SHA-256 digest of what is predicted, whatever the file, its order and its card.

    Over unit ids and float32 predictions, both in ascending order of trial and unit ids.

    Parameters
    ----------
    truth
        Of the units that are predicted.
    rows : int64 array
        Which rows of the truth.
    """
    trial, unit = positions(submission, truth, rows)
    units = unit[np.argsort(truth.unit_ids)]
    digest = hashlib.sha256(np.sort(truth.unit_ids).astype("<i8").tobytes())
    for row in trial[np.argsort(truth.trial_idx[rows])]:
        digest.update((submission.predictions[row, units].astype("<f4") + np.float32(0)).tobytes())  # -0 is 0
    return digest.hexdigest()


def _positions(given: npt.NDArray[Any], wanted: npt.NDArray[Any], name: str) -> npt.NDArray[np.int64]:
    order = np.argsort(given, kind="stable")
    found = np.minimum(np.searchsorted(given[order], wanted), len(given) - 1)
    positions: npt.NDArray[np.int64] = order[found]
    missing = given[positions] != wanted
    if missing.any():
        raise SubmissionError(
            f"{missing.sum()} of {len(wanted)} are missing, {wanted[missing][0]} first",
            place=f"submission, {name}",
            expected="every trial and unit of the truth",
            fix="predict all of the tier",
        )
    return positions


_EXPECTED = "one submission for every package of the benchmark, each of all units and trials"
_FIX = "submit all of them together; what covers a part only is never ranked"


def refuse_incomplete(submissions: Iterable[Submission], packages: Sequence[str]) -> None:
    """Refuse submissions that do not cover a benchmark, before anything is scored.

    Parameters
    ----------
    submissions
        What was handed in together.
    packages
        Names of the packages of the benchmark.

    Raises
    ------
    SubmissionError
        If a package has no submission or several, one is for another package, or a card says
        `"partial": true`; lists all that is so.
        Trials and units that are missing without that word are refused when it is scored.
    """
    given = list(submissions)
    counts = Counter(str(one.card.get("package")) for one in given)
    missing = [name for name in packages if not counts[name]]
    problems = (
        [f"{len(missing)} of {len(packages)} packages have none: {', '.join(missing)}"] if missing else []
    )
    problems += [f"there are {n} for {name!r}" for name, n in sorted(counts.items()) if n > 1]
    problems += [
        f"there is one for {name!r}, which is none of them" for name in sorted({*counts} - {*packages})
    ]
    partial = sorted({str(one.card.get("package")) for one in given if is_partial(one)})
    problems += [f"the card for {name!r} says that it is partial" for name in partial]
    if problems:
        raise _incomplete(problems)


def refuse_unscored(scores: Mapping[str, Any]) -> None:
    """Refuse scores of which a subject has no headline on a tier, which the mean would leave out.

    Parameters
    ----------
    scores
        See `nsd_bench.scoring.score.scores_json`.

    Raises
    ------
    SubmissionError
        Listing subjects and tiers, each with the reason.
    """
    problems = []
    for subject in scores["subjects"]:
        for tier, found in subject["tiers"].items():
            row = next(row for row in found["rois"] if (row["atlas"], row["roi"]) == ("all", "all"))
            headline = row["scores"][scores["headline"]]
            if headline["value"] is None:
                problems.append(f"subj{subject['subject']:02} has no score on {tier}: {headline['reason']}")
    if problems:
        raise _incomplete(problems)


def _incomplete(problems: Sequence[str]) -> SubmissionError:
    return SubmissionError(
        "is not complete:\n" + "\n".join(f"    {problem}" for problem in problems),
        place="submission",
        expected=_EXPECTED,
        fix=_FIX,
    )
