"""Scores of one tier of one subject, its regions and its levels of difficulty."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.scoring.anchors import NullProducts, oracle_terms, permutations, z_scored_means
from nsd_bench.scoring.bootstrap import generator, image_weights, interval
from nsd_bench.scoring.described import DESCRIBED
from nsd_bench.scoring.difficulty import LEVELS, image_mean_terms, levels, slopes
from nsd_bench.scoring.medians import MEDIANS
from nsd_bench.scoring.metrics import HEADLINE, METRICS, unit_values
from nsd_bench.scoring.moments import Array, Moments, grouped
from nsd_bench.scoring.options import Options
from nsd_bench.scoring.pattern_metrics import PATTERN_METRICS
from nsd_bench.scoring.patterns import Patterns
from nsd_bench.scoring.rois import Roi
from nsd_bench.truth import Truth

__all__ = ["UNIT_COLUMNS", "TierSums", "valued"]

UNIT_COLUMNS = ("r", "single_trial_r", "feve", "noise_ceiling")
_DRAWS_AT_ONCE = 64
_PARTIAL = "not all units of this region were predicted"
_ONE_IMAGE = "there are fewer than two images"
_ONE_TRIAL = "there are fewer than two trials"


class TierSums:
    """Sums over the units of every region, filled a block of units at a time.

    Parameters
    ----------
    truth
        Only its ncsnr and subject are used.
    rois
        Regions of the truth's units.
    k : float64 array of shape (n_images,)
        Number of repeats of every image of the tier.
    options
        How uncertainty is computed.
    distance : float64 array of shape (n_images,)
        From the nearest training image; None scores no levels of difficulty.
    """

    def __init__(
        self, truth: Truth, rois: list[Roi], k: Array, options: Options, distance: Array | None = None
    ) -> None:
        self.rois, self.options, self.distance = rois, options, distance
        self.ncsnr, self.has_one_image, self.has_one_trial = truth.ncsnr, len(k) < 2, k.sum() < 2
        self.inside = np.stack([roi.inside for roi in rois], axis=1).astype(np.float64)
        self.weights = image_weights(len(k), options.n_draws, generator(options.seed, truth.subject, 0))
        self.permuted = permutations(k, options.n_draws, generator(options.seed, truth.subject, 1))
        self.levels = None if distance is None else levels(distance)
        shape = (len(self.weights), len(rois))
        names = (*METRICS, "oracle", "train_mean", *LEVELS)
        self.top = {name: np.zeros(shape) for name in names}
        self.bottom = {name: np.zeros(shape) for name in names}
        self.counted = {name: np.zeros(len(rois), dtype=np.int64) for name in names}
        self.ceiling = np.zeros(len(rois))
        self.null = NullProducts(len(k), len(rois))
        self.shares = np.zeros((len(k), len(rois)))
        self.per_unit = {name: np.empty(len(self.ncsnr)) for name in UNIT_COLUMNS}
        self.r = np.empty((len(self.weights), len(self.ncsnr)))
        self.other: dict[tuple[str, str, str], Array] = {}

    def add(self, moments: Moments, columns: slice) -> None:
        """Add a block of units."""
        inside, ncsnr = self.inside[columns], self.ncsnr[columns]
        groups = grouped(self.weights, moments, self.levels, self.options.product)
        values = unit_values(groups, ncsnr)
        for name, metric in METRICS.items():
            self._add_terms(name, inside, *metric.terms(values))
        if (moments.k > 1).any():
            self._add_terms("oracle", inside, *oracle_terms(groups, ncsnr))
        if self.levels is not None:
            responses, predictions = z_scored_means(moments)
            self.shares += (responses * predictions) @ (inside * np.isfinite(ncsnr)[:, None])
            for number, name in enumerate(LEVELS):
                within = [group for group in groups if group.stratum == number]
                self._add_terms(name, inside, *image_mean_terms(within, ncsnr))
        # The training mean predicts the same for every image, and a constant's r is 0 by definition.
        of_mean = replace(values, r=np.zeros_like(values.r[:1]), ceiling=values.ceiling[:1])
        self._add_terms("train_mean", inside, *METRICS[HEADLINE].terms(of_mean))
        known = np.where(np.isnan(ncsnr), 0.0, 1.0)[:, None]
        if self.options.n_draws:
            self.null.add(moments, inside * known)
        self.r[:, columns] = values.r
        self.ceiling += np.nansum(values.ceiling[0][:, None] * inside, axis=0)
        found = (values.r, values.single_trial_r, values.feve, values.ceiling)
        for name, of_unit in zip(UNIT_COLUMNS, found, strict=True):
            self.per_unit[name][columns] = of_unit[0]

    def _add_terms(self, name: str, inside: Array, top: Array, bottom: Array) -> None:
        rows = len(top)
        counts = ~np.isnan(bottom[0])
        # A unit without a value counts nowhere; 0 in both sums leaves the other units as they are.
        self.top[name][:rows] += np.where(counts, top, 0.0) @ inside
        self.bottom[name][:rows] += np.where(counts, bottom, 0.0) @ inside
        self.counted[name] += (inside[counts] > 0).sum(axis=0)

    def _ratio(self, name: str, roi: int) -> Array | None:
        if (
            (name in METRICS and self._too_few(name))
            or not self.rois[roi].is_complete
            or not self.counted[name][roi]
            or self.bottom[name][0, roi] <= 0
        ):
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio: Array = self.top[name][:, roi] / self.bottom[name][:, roi]
        return ratio

    def _too_few(self, name: str) -> str | None:
        """Say what there is too little of for any correlation; None if there is enough."""
        if self.has_one_image and (name not in METRICS or METRICS[name].over_images):
            return _ONE_IMAGE
        return _ONE_TRIAL if self.has_one_trial else None

    def finish(self, patterns: Patterns | None) -> None:
        """Compute what needs all units of a region at once: medians, and metrics of patterns.

        Parameters
        ----------
        patterns
            Image means of all units; None leaves metrics of patterns out.
        """
        for roi in self.rois:
            if not roi.n_units or not roi.is_complete or self.has_one_image:
                continue
            found = self._medians(roi.inside)
            if patterns is not None:
                within = Patterns(patterns.predicted[:, roi.inside], patterns.observed[:, roi.inside])
                found |= {name: one.draws(within, self.weights) for name, one in PATTERN_METRICS.items()}
            for name, draws in found.items():
                if np.isfinite(draws[0]):
                    self.other[roi.atlas, roi.name, name] = draws

    def _medians(self, inside: npt.NDArray[np.bool_]) -> dict[str, Array]:
        """Take medians a few draws at a time: r of all draws and units is the largest array there is."""
        starts = range(0, len(self.r), _DRAWS_AT_ONCE)
        blocks = (self.r[start : start + _DRAWS_AT_ONCE, inside] for start in starts)
        parts = [{name: median.over_units(r) for name, median in MEDIANS.items()} for r in blocks]
        return {name: np.concatenate([part[name] for part in parts]) for name in MEDIANS}

    def draws(self) -> dict[tuple[str, str, str], Array]:
        """Return (atlas, roi, metric) to the value and its draws, where there is a value."""
        return self._draws_of(METRICS) | self.other

    def difficulty_draws(self) -> dict[tuple[str, str, str], Array]:
        """Return (atlas, roi, level or "slope") to the value and its draws, where there is a value."""
        found = self._draws_of(LEVELS)
        for number, roi in enumerate(self.rois):
            slope = self._slope(number)
            if slope is not None:
                found[roi.atlas, roi.name, "slope"] = slope
        return found

    def _draws_of(self, names: Iterable[str]) -> dict[tuple[str, str, str], Array]:
        return {
            (roi.atlas, roi.name, name): ratio
            for number, roi in enumerate(self.rois)
            for name in names
            if (ratio := self._ratio(name, number)) is not None
        }

    def _slope(self, number: int) -> Array | None:
        if self.distance is None or self._ratio(HEADLINE, number) is None:
            return None
        share = self.shares[:, number] / self.bottom[HEADLINE][0, number]
        return slopes(share, self.distance, self.weights)

    def rois_json(self) -> list[dict[str, Any]]:
        """Return what scores.json says of every region."""
        null = self.null.sums(self.permuted)
        return [self._roi_json(number, roi, null[:, number]) for number, roi in enumerate(self.rois)]

    def levels_json(self) -> dict[str, Any]:
        """Return how many images each level has, and how far they are."""
        assert self.distance is not None  # known to the caller
        return {
            "levels": {
                name: {"n_images": len(within), "distance": [float(within.min()), float(within.max())]}
                for number, name in enumerate(LEVELS)
                if (within := self.distance[self.levels == number]).size
            }
        }

    def _roi_json(self, number: int, roi: Roi, null: Array) -> dict[str, Any]:
        n_known = int((roi.inside & ~np.isnan(self.ncsnr)).sum())
        confidence = self.options.confidence
        empty = None if roi.n_units else "no unit lies in this region"
        empty = empty or (None if roi.is_complete else _PARTIAL)
        no_ceiling = empty or (_ONE_IMAGE if self.has_one_image else METRICS[HEADLINE].empty)
        found: dict[str, Any] = {
            "atlas": roi.atlas,
            "roi": roi.name,
            "n_units": roi.n_units,
            "n_units_predicted": int(roi.inside.sum()),
            "noise_ceiling": float(self.ceiling[number] / n_known) if n_known else None,
            "scores": {
                name: valued(self._draws_of_metric(name, number), confidence, empty or self._reason(name))
                for name in DESCRIBED
                if self.options.patterns or name not in PATTERN_METRICS
            },
            "anchors": {
                "null": valued(
                    self._null(number, null),
                    confidence,
                    no_ceiling if len(null) else "no draws were asked for",
                ),
                "train_mean": valued(self._first("train_mean", number), confidence, no_ceiling),
                "oracle": valued(
                    self._ratio("oracle", number), confidence, empty or "no image has repeats, or no ceiling"
                ),
            },
        }
        if self.levels is not None:
            few = np.bincount(self.levels, minlength=len(LEVELS)) < 2
            reasons = [empty or _ONE_IMAGE if is_few else no_ceiling for is_few in few]
            found["difficulty"] = self._ladder_json(number, reasons, no_ceiling)
        return found

    def _ladder_json(self, number: int, reasons: list[str], no_ceiling: str) -> dict[str, Any]:
        ladder = {
            name: valued(self._ratio(name, number), self.options.confidence, reason)
            for name, reason in zip(LEVELS, reasons, strict=True)
        }
        slope = self._slope(number)
        reason = no_ceiling if slope is None else "all images are equally far"
        return ladder | {"slope": valued(slope, self.options.confidence, reason)}

    def _reason(self, name: str) -> str:
        """Say why a region whose units were all predicted has no score."""
        return self._too_few(name) or DESCRIBED[name].empty

    def _draws_of_metric(self, name: str, number: int) -> Array | None:
        roi = self.rois[number]
        return self._ratio(name, number) if name in METRICS else self.other.get((roi.atlas, roi.name, name))

    def _null(self, number: int, null: Array) -> Array | None:
        if not len(null) or self._ratio(HEADLINE, number) is None:
            return None
        scores = null / self.bottom[HEADLINE][0, number]
        draws: Array = np.r_[scores.mean(), scores]
        return draws

    def _first(self, name: str, roi: int) -> Array | None:
        ratio = self._ratio(name, roi)
        return None if ratio is None else ratio[:1]


def valued(draws: Array | None, confidence: float, reason: str) -> dict[str, Any]:
    """Put together a value (first of `draws`) with its interval, or null with the reason."""
    if draws is None or not np.isfinite(draws[0]):
        return {"value": None, "interval": None, "reason": reason}
    return {
        "value": float(draws[0]),
        "interval": interval(float(draws[0]), draws[1:], confidence),
        "reason": None,
    }
