"""The repeat oracle: what the other responses to an image tell about one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import ModelError
from nsd_bench.models.checked import CheckedOptions, Within
from nsd_bench.models.guard import fitting_view
from nsd_bench.models.image_means import base_card, image_means, unit_ids
from nsd_bench.models.model import Model
from nsd_bench.package import spec
from nsd_bench.package.ids import locate
from nsd_bench.package.read import Package
from nsd_bench.package.truth import Truth, load_truth

__all__ = ["RepeatOracle", "RepeatOracleOptions", "fit_repeat_oracle", "others_mean"]

Floats: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RepeatOracle(Model):
    """Predicts a response by the mean of the other responses of the same subject to the same image.

    It is no model of vision: it sees responses that every model is kept from, and says how far responses
    agree with each other. Read it over single trials, where no response takes part in its own prediction:
    `single_trial_correlation`, which a perfect model cannot exceed by more than the noise of k - 1 repeats
    costs here, and the anchor `oracle` of scores.json, which divides by what is to be expected and comes
    near 1. Metrics of image means do not apply to it: the mean of its predictions over the repeats of an
    image is the mean of the responses themselves, so that r is 1 and its ratio to the ceiling is above 1.

    An image without other repeats gets the mean over training trials.

    Parameters
    ----------
    unit_ids : int64 array of shape (n_units,)
    mean : float32 array of shape (n_units,)
        Standardised responses, mean over training trials.
    card
        `truth` is the file or open package with the responses of the withheld tiers, or None.
    """

    unit_ids: npt.NDArray[np.int64]
    mean: Floats
    card: dict[str, Any]

    def predict(self, images: npt.NDArray[Any]) -> Floats:
        """Return the training mean for every image: an image alone has no other repeats.

        Parameters
        ----------
        images : array of shape (n, channels, height, width)
            As packages store them. Only their number counts.
        """
        return np.tile(self.mean, (len(images), 1))

    def predict_rows(self, package: Package, rows: npt.NDArray[np.int64]) -> Floats:
        """Return predictions for some trials from the others among them, shape (len(rows), n_units).

        Parameters
        ----------
        package
            That it was fitted to.
        rows : int64 array of shape (n_rows,)
            File numbers of trials; each image's repeats among them count.

        Raises
        ------
        ModelError
            If responses are withheld from the package and no truth was given, or it is another package's.
        """
        images = package.array(spec.trials_file("frame_image_id"))[rows]
        return others_mean(self._responses(package, rows), images, self.mean)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return unit ids and training means; never responses."""
        return {"unit_ids": self.unit_ids, "mean": self.mean}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], card: dict[str, Any]) -> Self:
        """Put an oracle together.

        Parameters
        ----------
        tensors
            What `tensors` gave, by name.
        card
            As it was saved.

        Raises
        ------
        ValueError, KeyError
            If tensors are missing or contradict each other.
        """
        if tensors["unit_ids"].shape != tensors["mean"].shape:
            problem = f"{len(tensors['unit_ids'])} units beside means of shape {tensors['mean'].shape}"
            raise ValueError(problem)
        return cls(tensors["unit_ids"], tensors["mean"], card)

    def _responses(self, package: Package, rows: npt.NDArray[np.int64]) -> Floats:
        tiers = np.unique(package.tiers[rows]).tolist()
        withheld = [tier for tier in tiers if package.is_withheld(tier)]
        if not withheld:
            return package.standardised_responses(rows)
        if self.card["truth"] is None:
            raise ModelError(
                f"the responses of {' and '.join(withheld)} are withheld from this package",
                place=str(package.path),
                expected="tiers whose responses the package shows, or the truth beside it",
                fix="fit the oracle with truth=FILE, the truth file or an open package",
            )
        return _from_truth(load_truth(self.card["truth"]), package, rows)


@dataclass(frozen=True)
class RepeatOracleOptions(CheckedOptions):
    """Options of the repeat oracle.

    Parameters
    ----------
    truth
        A truth file, or an open package. Needed to predict tiers that are withheld from the package; read
        when they are predicted, and never kept in the model.
    seed
        Has no effect: nothing is drawn.
    """

    place: ClassVar[str] = "repeat-oracle"
    truth: str | Path | None = None
    seed: Annotated[int, Within(0)] = 0


def fit_repeat_oracle(
    package: Package, options: RepeatOracleOptions | None = None, **given: Any
) -> RepeatOracle:
    """Set up the repeat oracle: only training means are fitted.

    Parameters
    ----------
    package
        Only its train tier is read here.
    options, **given
        See `RepeatOracleOptions`; those by name count.

    Raises
    ------
    OptionError
        If an option is unknown or its value impossible.
    ModelError
        If there are fewer than 3 images in the train tier.
    """
    truth = RepeatOracleOptions.of(options, given).truth
    view = fitting_view(package)
    train = image_means(view, "train")
    mean = np.average(train.responses, axis=0, weights=train.k).astype(np.float32)
    card = base_card(view, "repeat-oracle", "repeat-oracle", train)
    card |= {"context": "responses to the same image", "truth": None if truth is None else str(truth)}
    return RepeatOracle(unit_ids(view), mean, card)


def others_mean(responses: Floats, images: npt.NDArray[Any], otherwise: Floats) -> Floats:
    """Return, for every trial, the mean response of the other trials of its image.

    Parameters
    ----------
    responses : float32 array of shape (n_trials, n_units)
    images : array of shape (n_trials,)
        Which image each trial showed.
    otherwise : float32 array of shape (n_units,)
        For images with one trial.

    Examples
    --------
    >>> responses = np.array([[1.0], [5], [2], [3]], dtype="float32")
    >>> others_mean(responses, np.array([7, 8, 7, 7]), np.float32([9])).tolist()
    [[2.5], [9.0], [2.0], [1.5]]
    """
    distinct, which = np.unique(images, return_inverse=True)
    k = np.bincount(which)[which][:, None]
    sums = np.zeros((len(distinct), responses.shape[1]), dtype=np.float64)
    np.add.at(sums, which, responses)
    others = (sums[which] - responses) / np.maximum(k - 1, 1)
    return np.where(k > 1, others, otherwise).astype(np.float32)


def _from_truth(truth: Truth, package: Package, rows: npt.NDArray[np.int64]) -> Floats:
    trial_idx = package.array(spec.trials_file("trial_idx"))[rows]
    at, found = locate(trial_idx, truth.trial_idx)
    same_units = np.array_equal(truth.unit_ids, package.units["unit_ids"])
    if not same_units or not found.all():
        raise ModelError(
            f"has no responses to {'these units' if not same_units else 'some of these trials'}",
            place=f"truth of {truth.package!r}",
            expected=f"every trial and unit of {package.name!r}",
            fix="give the truth that was exported with this package",
        )
    return truth.standardised()[at]
