"""Data sets whose true scores are known, many at once: what intervals.py and the tests draw from.

A data set is a region: one truth of a subject holds many data sets side by side, each with units of its own,
so that one call of the scorer scores them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

ATLAS = "data sets"
LOW, MEDIUM = (0.02, 0.1), (0.1, 0.5)
NSD_IMAGES = (1000, 930, 907, 1000, 930, 1000, 907, 1000)
"""How many of NSD's 1,000 shared images some subjects saw: here nested, as in NSD by sessions."""
MODELS = ("A", "B", "near A", "better")
"""A and B are equally good and err independently. "near A" is as good as A and errs nearly alike. "better" is
better than B and errs as B does."""
_ALIKE = np.float32(np.sqrt(0.98))


@dataclass(frozen=True)
class Design:
    """How data sets are made.

    Parameters
    ----------
    n_subjects, n_images, n_units
        Of every data set; images and units a subject.
    shared
        Which images the subjects share: "all", "half", "none", or "nsd" for as many as NSD's subjects saw.
    rank
        How many image features, common to the subjects, the signals mix; another set is mixed by every
        model's errors. None: signals and errors are independent over images, units and subjects.
    true
        Correlation of predictions with the noiseless signal: the true signed_ratio.
    spread
        Standard deviation over subjects of the true score, and over models of a subject's.
    gain
        By how much the fourth model is better.
    ceiling
        Range of the units' noise ceilings of three repeats.
    repeats
        Numbers of repeats that images may have, equally often.
    heavy_tails
        Whether signals and noise have the tails of a t distribution with 4 degrees of freedom.
    noise_correlation
        Of two units' noise.
    slope
        By how much the correlation with the signal falls from the nearest to the farthest image.
    """

    n_subjects: int = 1
    n_images: int = 30
    n_units: int = 20
    shared: str = "all"
    rank: int | None = None
    true: float = 0.5
    spread: float = 0.0
    gain: float = 0.0
    ceiling: tuple[float, float] = MEDIUM
    repeats: tuple[int, ...] = (3,)
    heavy_tails: bool = False
    noise_correlation: float = 0.0
    slope: float = 0.0

    @property
    def images(self) -> list[npt.NDArray[np.int64]]:
        """Return which images every subject saw."""
        n, subjects = self.n_images, range(self.n_subjects)
        if self.shared == "nsd":
            return [np.arange(round(n * NSD_IMAGES[subject] / 1000)) for subject in subjects]
        common = {"all": n, "half": n // 2, "none": 0}[self.shared]
        own = n - common
        return [np.r_[:common, common + s * own : common + (s + 1) * own] for s in subjects]

    @property
    def amplitude(self) -> float:
        """Return that of predictions over the signal's: what makes the squared error least."""
        return self.true or 1.0

    @property
    def ncsnr(self) -> Array:
        """Return that of every unit: ceilings evenly over their range."""
        low, high = self.ceiling
        ceiling = low + (high - low) * (np.arange(self.n_units) + 0.5) / self.n_units
        ncsnr: Array = np.sqrt(ceiling / (1 - ceiling) / 3)
        return ncsnr


@dataclass(frozen=True)
class DataSets:
    """Some data sets: of every subject the truth and each model's predictions.

    Parameters
    ----------
    truths
        One a subject.
    submissions
        Model to one submission a subject.
    true
        Model to the true signed_ratio, shape (n_together, n_subjects).
    distance
        Of every subject's images from the nearest training image, shape (n_images,).
    """

    truths: list[Truth]
    submissions: dict[str, list[Submission]]
    true: dict[str, Array]
    distance: list[Array]


def data_sets(
    design: Design, n_together: int, seed: Sequence[int], models: Sequence[str] = MODELS
) -> DataSets:
    """Draw data sets; the same seed, the same bytes."""
    rng = np.random.default_rng(list(seed))
    images = design.images
    n_union = 1 + max(int(one.max()) for one in images)
    k = np.resize(design.repeats, n_union)
    distance = rng.permutation((np.arange(n_union) + 0.5) / n_union)
    true = _true_scores(design, rng, n_together)
    features = None
    if design.rank is not None:
        features = [_normal(rng, design.heavy_tails, n_together, n_union, design.rank)]
        features += [_normal(rng, False, n_together, n_union, design.rank) for _ in range(4)]
    truths: list[Truth] = []
    submissions: dict[str, list[Submission]] = {model: [] for model in models}
    for subject, seen in enumerate(images):
        size = (n_together, len(seen), design.n_units)
        if features is None:
            signal = _normal(rng, design.heavy_tails, *size)
            errors = [_normal(rng, False, *size) for _ in range(4)]
        else:
            signal, *errors = (one[:, seen] @ _mixture(design, subject) for one in features)
        a, b, *own = errors
        a, near = (_ALIKE * a + np.float32(np.sqrt(1 - _ALIKE**2)) * one for one in own)
        error = {"A": a, "B": b, "near A": near, "better": b}
        truths.append(_truth(design, subject, seen, k[seen], signal, rng))
        fall = design.slope * (0.5 - distance[seen])[:, None]
        for model in models:
            r = np.clip(true[model][:, subject, None, None] + fall, -1, 1).astype(np.float32)
            predicted = r * signal + np.sqrt(1 - r * r) * error[model]
            predicted *= np.float32(design.amplitude) * design.ncsnr.astype(np.float32)
            rows = np.repeat(np.arange(len(seen)), k[seen])
            submissions[model].append(
                Submission(
                    truths[-1].trial_idx,
                    truths[-1].unit_ids,
                    side_by_side(predicted)[rows],
                    {"package": truths[-1].package},
                )
            )
    return DataSets(truths, submissions, true, [distance[seen] for seen in images])


def side_by_side(values: Floats) -> Floats:
    """Put data sets, shape (n_together, n_images, n_units), beside each other: (n_images, n_all_units)."""
    return np.ascontiguousarray(values.transpose(1, 0, 2).reshape(values.shape[1], -1))


def _true_scores(design: Design, rng: np.random.Generator, n_together: int) -> dict[str, Array]:
    subject, first, second = design.spread * rng.normal(size=(3, n_together, design.n_subjects))
    a, b = (design.true + subject + own / np.sqrt(2) for own in (first, second))
    return {
        name: np.clip(value, -1, 1)
        for name, value in {"A": a, "B": b, "near A": a, "better": b + design.gain}.items()
    }


def _normal(rng: np.random.Generator, heavy_tails: bool, *shape: int) -> Floats:
    """Draw numbers of variance 1."""
    if heavy_tails:
        return (rng.standard_t(4, shape) / np.sqrt(2)).astype(np.float32)
    return rng.standard_normal(shape, dtype=np.float32)


def _mixture(design: Design, subject: int) -> Floats:
    """Return how a subject's units mix the features: shape (rank, n_units), columns of length 1."""
    assert design.rank is not None
    mixture = np.random.default_rng([design.rank, subject]).normal(size=(design.rank, design.n_units))
    return (mixture / np.linalg.norm(mixture, axis=0)).astype(np.float32)


def _truth(
    design: Design,
    subject: int,
    seen: npt.NDArray[np.int64],
    k: npt.NDArray[np.int64],
    signal: Floats,
    rng: np.random.Generator,
) -> Truth:
    n_together, n_trials = len(signal), int(k.sum())
    n_units = n_together * design.n_units
    noise = _normal(rng, design.heavy_tails, n_together, n_trials, design.n_units)
    if design.noise_correlation:
        noise *= np.float32(np.sqrt(1 - design.noise_correlation))
        common = _normal(rng, design.heavy_tails, n_together, n_trials, 1)
        noise += np.float32(np.sqrt(design.noise_correlation)) * common
    mean = side_by_side(signal * design.ncsnr.astype(np.float32))
    return Truth(
        package=f"simulated-subj{subject + 1:02}",
        subject=subject + 1,
        manifest_sha256="",
        trial_idx=np.arange(n_trials),
        frame_image_id=np.repeat(seen, k),
        nsd_id=np.repeat(seen, k),
        tier=np.full(n_trials, "test"),
        responses=np.repeat(mean, k, axis=0) + side_by_side(noise),
        unit_ids=np.arange(n_units),
        ncsnr=np.tile(design.ncsnr, n_together).astype(np.float32),
        response_mean=np.zeros(n_units, dtype=np.float32),
        response_std=np.ones(n_units, dtype=np.float32),
        rois={ATLAS: np.repeat(np.arange(1, n_together + 1), design.n_units).astype(np.int16)},
        roi_names={ATLAS: {number: str(number) for number in range(1, n_together + 1)}},
    )


def true_score(metric: str, design: Design, rho: Array | float) -> Array | float:
    """Return the score over infinitely many images; NaN of metrics whose score has no closed form.

    Parameters
    ----------
    metric
        Name of a metric, of a level of difficulty, "slope" or "oracle".
    rho
        True signed_ratio.
    """
    one = design.ncsnr**2 / (design.ncsnr**2 + 1)
    several = design.ncsnr**2 / (design.ncsnr**2 + np.mean(1 / np.array(design.repeats)))
    return {
        "signed_ratio": rho,
        "signed_r2": rho * np.abs(rho),
        "single_trial_correlation": rho * np.sqrt(one).mean(),
        "correlation_to_average": rho * np.sqrt(several).mean(),
        "feve": 2 * rho * design.amplitude - design.amplitude**2,
        "median_r": rho * np.median(np.sqrt(several)),
        "median_r2": rho**2 * np.median(several),
        "oracle": 1.0,
        "near": rho + design.slope / 3,
        "mid": rho,
        "far": rho - design.slope / 3,
        "slope": -design.slope,
    }.get(metric, np.nan) + 0 * rho
