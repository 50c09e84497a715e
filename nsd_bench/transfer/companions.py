"""Companion packages: what another session's tiers are scored against, and predictions of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import PackageError, SubmissionError, choices
from nsd_bench.package.ids import align_ids
from nsd_bench.package.read import Package
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth
from nsd_bench.transfer.encoder_scores import evaluate_encoder
from nsd_bench.transfer.results import Evaluation, TransferOptions

__all__ = ["evaluate_companion", "imagery_trials", "predict_companion", "rows_of_tier", "tier_truth"]

_CONDITIONS: Final = {"vision": "perception", "imagery": "imagery"}
_IMAGES_AT_ONCE: Final = 256


class Predictor(Protocol):
    """A fitted model, such as those of `nsd_bench.models.zoo`."""

    unit_ids: npt.NDArray[np.int64]
    card: dict[str, Any]

    def predict(self, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return responses over their training standard deviation, shape (n, n_units).

        Parameters
        ----------
        images : array of shape (n, channels, height, width)
            As packages store them.
        """


def rows_of_tier(package: Package, tier: str) -> npt.NDArray[np.int64]:
    """Return the rows of a tier of a companion.

    Parameters
    ----------
    package
        A companion.
    tier
        Such as "ood".

    Raises
    ------
    PackageError
        If it has no such tier.
    """
    rows = np.flatnonzero(package.tiers == tier)
    if not rows.size:
        raise PackageError(
            f"there is no tier {tier!r}",
            place=str(package.path),
            expected=choices(tier, sorted(set(package.tiers.tolist()))),
            fix="give a companion with that tier; 'nsd-bench transfer export' makes them",
        )
    return rows


def tier_truth(package: Package, tier: str) -> Truth:
    """Return what a tier of a companion is scored against, called `test` for the scorer.

    Parameters
    ----------
    package
        A companion, which shows its responses.
    tier
        Such as "ood".

    Raises
    ------
    PackageError
        If it has no such tier.
    """
    rows = rows_of_tier(package, tier)
    return replace(Truth.of_rows(package, rows), tier=np.full(len(rows), "test"))


def predict_companion(model: Predictor, package: Package) -> Submission:
    """Predict every trial of a companion from its image; each distinct image is predicted once.

    Parameters
    ----------
    model
        Trained on the package that this is a companion of.
    package
        The companion.

    Raises
    ------
    SubmissionError
        If the model was trained on other units.
    """
    if not np.array_equal(model.unit_ids, package.units["unit_ids"]):
        raise SubmissionError(
            f"the model has {len(model.unit_ids)} units, the package {package.n_units} or others",
            place=str(package.path),
            expected="the units of the package that the model was trained on",
            fix="give the companion of that package",
        )
    image = package.trials["frame_image_id"].to_numpy()
    _, first, code = np.unique(image, return_index=True, return_inverse=True)
    blocks = [first[start : start + _IMAGES_AT_ONCE] for start in range(0, len(first), _IMAGES_AT_ONCE)]
    predicted = np.concatenate([model.predict(package.images(rows)) for rows in blocks])
    card = {**model.card, "package": package.name, "manifest_sha256": package.manifest_sha256}
    return Submission(
        trial_idx=package.trials["trial_idx"].to_numpy(),
        unit_ids=package.units["unit_ids"].to_numpy(np.int64),
        predictions=predicted[code].astype(np.float32),
        card=card,
    )


def evaluate_companion(
    submission: Submission, companion: Package, options: TransferOptions | None = None
) -> Evaluation:
    """Evaluate an encoder's predictions of the vision and imagery tiers, see `evaluate_encoder`.

    Parameters
    ----------
    submission
        What `predict_companion` gave, or the same of any model.
    companion
        With tiers vision and imagery; it shows its responses.
    options
        Of the uncertainty; None for the defaults.

    Raises
    ------
    SubmissionError
        If it is for another package, or trials or units are missing.
    PackageError
        If the companion has neither tier.
    """
    of = submission.card.get("package", companion.name)
    if of != companion.name:
        raise SubmissionError(
            f"is for package {of!r}",
            place=f"submission for {of!r}",
            expected=f"predictions of {companion.name!r}",
            fix="give what 'nsd-bench transfer predict' wrote for this companion",
        )
    rows, table, stimuli = imagery_trials(companion)
    trial, unit = align_ids(
        f"submission for {companion.name!r}",
        {
            "trial_idx": (submission.trial_idx, table["trial_id"].to_numpy()),
            "unit_ids": (submission.unit_ids, companion.units["unit_ids"].to_numpy()),
        },
        expected="every trial and unit of the companion",
        fix="predict it with 'nsd-bench transfer predict'",
    )
    predictions = submission.predictions[trial][:, unit].astype(np.float64)
    per_stimulus = pd.DataFrame(predictions).groupby(table["stimulus"].to_numpy()).mean()
    found = evaluate_encoder(
        per_stimulus.loc[stimuli["stimulus"]].to_numpy(),
        companion.standardised_responses(rows),
        table,
        stimuli,
        options,
        model=str(submission.card.get("model", "encoder")),
    )
    more = {"package": companion.name, "subject": companion.subject}
    return Evaluation({**found.metrics, **more}, found.per_trial)


def imagery_trials(
    package: Package,
) -> tuple[npt.NDArray[np.int64], pd.DataFrame, pd.DataFrame]:
    """List the trials of the vision and imagery tiers, and what was shown or cued in them.

    Parameters
    ----------
    package
        A companion.

    Returns
    -------
    rows, table, stimuli
        Rows of the package; `trial_id`, `condition` and `stimulus` of each; `stimulus` and `stimulus_type`
        of each distinct one.

    Raises
    ------
    PackageError
        If the companion has neither tier.
    """
    rows = np.flatnonzero(np.isin(package.tiers, list(_CONDITIONS)))
    if not rows.size:
        rows_of_tier(package, "imagery")
    trials = package.trials.iloc[rows].reset_index(drop=True)
    table = pd.DataFrame(
        {
            "trial_id": trials["trial_idx"],
            "condition": trials["tiers"].map(_CONDITIONS),
            "stimulus": trials["frame_image_id"],
        }
    )
    distinct = trials.drop_duplicates("frame_image_id").sort_values("frame_image_id", ignore_index=True)
    names = {"frame_image_id": "stimulus", "frame_image_class": "stimulus_type"}
    return rows, table, distinct[list(names)].rename(columns=names)
