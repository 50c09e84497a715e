"""Everything that is wrong with a submission, listed at once; and its rows and columns put in order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import Issue, SubmissionError, choices, has_errors
from nsd_bench.package import spec
from nsd_bench.package.ids import align_ids, id_issues
from nsd_bench.package.statistics import response_precision
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth
from nsd_bench.scoring.moments import Moments, accumulate
from nsd_bench.scoring.patterns import Patterns, image_means
from nsd_bench.scoring.regions import Roi, rois_of

__all__ = ["Aligned", "AlignedTier", "align", "align_tier", "check", "is_partial", "tiers_covered"]

_LARGEST = 1e15  # its fourth power, which metrics come near to, is still a float64


def check(submission: Submission, truth: Truth, tiers: Sequence[str] | None = None) -> list[Issue]:
    """List everything that keeps a submission from being scored.

    Parameters
    ----------
    submission, truth
        In whatever order their trials and units are.
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
        issues += id_issues("unit_ids", submission.unit_ids, wanted, truth.unit_ids, remedy)
        issues += _check_partial(submission, truth, len(wanted)) if partial else []
    return [*issues, *_check_numbers(submission), *_check_manifest(submission, truth)]


def tiers_covered(submission: Submission, truth: Truth) -> list[str]:
    """Return the truth's tiers of which the submission has any trial.

    Parameters
    ----------
    submission, truth
        In whatever order their trials are.
    """
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
    yield from id_issues("trial_idx", given, expected, truth.trial_idx, "Predict them")


def is_partial(submission: Submission) -> bool:
    """Return whether the card says that units may be missing.

    Parameters
    ----------
    submission
        Whose card is read.
    """
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


def _check_numbers(submission: Submission) -> Iterator[Issue]:
    values = submission.predictions
    if not values.size:
        return
    # One pass: a unit's extremes are finite only if all of its predictions are.
    low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
    if not ((low >= -_LARGEST) & (high <= _LARGEST)).all():
        bad = ~(np.abs(values) <= np.float64(_LARGEST))  # in float16 that would be infinity
        row, column = np.argwhere(bad)[0]
        what = f"beyond {_LARGEST:g}" if np.isfinite(values[bad]).all() else "NaN or infinite"
        yield Issue(
            "error",
            "predictions",
            f"{bad.sum()} are {what}, first that of trial {submission.trial_idx[row]}, "
            f"unit {submission.unit_ids[column]}",
            "Give a finite number for every trial and unit",
        )


def align(submission: Submission, truth: Truth, tiers: Sequence[str] | None = None) -> Aligned:
    """Check a submission and put it beside the truth, once for all that is computed of it.

    Parameters
    ----------
    submission, truth
        Aligned by trial and unit ids; not modified.
    tiers
        Which tiers; None: those of which the submission has any trial.

    Raises
    ------
    SubmissionError
        If the submission is wrong; lists all that `check` finds.
    """
    issues = check(submission, truth, tiers)
    if has_errors(issues):
        raise SubmissionError(
            "cannot be scored:\n" + "\n".join(f"    {issue}" for issue in issues),
            place=f"submission for {truth.package!r}",
            expected="a finite prediction for every trial and unit, each once",
            fix="correct what is listed above",
        )
    predicted = np.isin(truth.unit_ids, submission.unit_ids)
    return Aligned(
        submission,
        truth if predicted.all() else truth.of_units(predicted),
        rois_of(truth, predicted),
        tuple(tiers or tiers_covered(submission, truth)),
        [str(issue) for issue in issues],
    )


@dataclass(frozen=True)
class Aligned:
    """A submission that can be scored, beside its truth.

    Parameters
    ----------
    submission
        As it was given.
    truth
        Of the units that are predicted.
    rois
        Regions of the truth, and which of these units lie in them.
    tiers
        Those that are scored.
    warnings
        What may be wrong with it.
    """

    submission: Submission
    truth: Truth
    rois: list[Roi]
    tiers: tuple[str, ...]
    warnings: list[str]

    def of_tier(self, tier: str) -> AlignedTier:
        """Return the trials of a tier.

        Parameters
        ----------
        tier
            One of `tiers`.
        """
        return align_tier(self.submission, self.truth, tier)


def align_tier(submission: Submission, truth: Truth, tier: str) -> AlignedTier:
    """Put the predictions of a tier beside its responses; numbers are not looked at, as `align` does.

    Parameters
    ----------
    submission
        Of every trial of the tier, and every unit of the truth.
    truth
        In whose order all is then.
    tier
        Its name.

    Raises
    ------
    SubmissionError
        If trials or units are missing, or there twice.
    """
    rows = np.flatnonzero(truth.tier == tier)
    trial, unit = align_ids(
        f"submission for {truth.package!r}",
        {
            "trial_idx": (submission.trial_idx, truth.trial_idx[rows]),
            "unit_ids": (submission.unit_ids, truth.unit_ids),
        },
        expected="every trial and unit of the truth",
        fix="predict all of the tier",
    )
    _, first, image = np.unique(truth.frame_image_id[rows], return_index=True, return_inverse=True)
    return AlignedTier(tier, submission, truth, rows, trial, unit, rows[first], image)


@dataclass(frozen=True)
class AlignedTier:
    """Predictions and responses of a tier, a row a trial and a column a unit, in the truth's order.

    Parameters
    ----------
    tier
        Its name.
    submission, truth
        Where predictions and responses are.
    rows, trial : int64 arrays of shape (n_trials,)
        Rows of the truth, and rows of the submission.
    unit : int64 array of shape (n_units,)
        Columns of the submission.
    first : int64 array of shape (n_images,)
        A row of the truth that showed the image.
    image : int64 array of shape (n_trials,)
        Which image each trial showed, 0 to n_images - 1.
    """

    tier: str
    submission: Submission
    truth: Truth
    rows: npt.NDArray[np.int64]
    trial: npt.NDArray[np.int64]
    unit: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    image: npt.NDArray[np.int64]

    @cached_property
    def k(self) -> npt.NDArray[np.int64]:
        """Number of repeats of every image, shape (n_images,)."""
        return np.bincount(self.image)

    @property
    def nsd_id(self) -> npt.NDArray[np.int64] | None:
        """Which of NSD's images they are, shape (n_images,); None where the truth does not say."""
        return None if self.truth.nsd_id is None else self.truth.nsd_id[self.first]

    @cached_property
    def precision(self) -> npt.NDArray[np.float32]:
        """What responses are multiplied with to be in the units of predictions, shape (n_units,)."""
        return response_precision(self.truth.response_std)

    def predictions(self) -> npt.NDArray[np.floating[Any]]:
        """Return the predictions, shape (n_trials, n_units)."""
        return self.submission.predictions[self.trial][:, self.unit]

    def responses(self) -> npt.NDArray[np.float32]:
        """Return the responses in the units of predictions, shape (n_trials, n_units)."""
        return self.truth.responses[self.rows] * self.precision

    def moments(self, columns: slice) -> Moments:
        """Return the sums over the repeats of every image, for some units.

        Parameters
        ----------
        columns
            Which units, in the order of the truth.
        """
        in_order = np.array_equal(self.unit, np.arange(len(self.unit)))
        return accumulate(
            self.truth.responses[:, columns],
            self.submission.predictions[:, columns if in_order else self.unit[columns]],
            self.image,
            rows=(self.rows, self.trial),
            scale=self.precision[columns],
        )

    def patterns(self) -> Patterns:
        """Return the predicted and the observed image means, of all units."""
        return Patterns(
            image_means(self.predictions(), self.image), image_means(self.responses(), self.image)
        )

    def digest(self) -> str:
        """Return the SHA-256 digest of what is predicted, whatever the file, its order and its card.

        Over unit ids and float32 predictions, both in ascending order of trial and unit ids.
        """
        units = self.unit[np.argsort(self.truth.unit_ids)]
        digest = hashlib.sha256(np.sort(self.truth.unit_ids).astype("<i8").tobytes())
        for row in self.trial[np.argsort(self.truth.trial_idx[self.rows])]:
            values = self.submission.predictions[row, units].astype("<f4") + np.float32(0)  # -0 is 0
            digest.update(values.tobytes())
        return digest.hexdigest()
