"""Scores of one tier of one subject, its regions and its levels of difficulty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import Issue
from nsd_bench.scoring.align import AlignedTier
from nsd_bench.scoring.anchors import (
    ORACLE_FEWEST,
    NullProducts,
    generator,
    oracle_terms,
    permutations,
    z_scored_means,
)
from nsd_bench.scoring.difficulty import LEVELS, levels, slope_terms
from nsd_bench.scoring.jackknife import Jackknife
from nsd_bench.scoring.metrics import (
    HEADLINE,
    METRICS,
    PATTERN_METRICS,
    RATIOS,
    headline_terms,
    kinds_of_images,
    unit_values,
)
from nsd_bench.scoring.moments import Array, Moments
from nsd_bench.scoring.options import ScoreOptions
from nsd_bench.scoring.patterns import Patterns
from nsd_bench.scoring.regions import Regions, RegionSums, Roi
from nsd_bench.scoring.scores import Anchors, RegionScores
from nsd_bench.scoring.values import Score, anchor, uncertain, without_value

__all__ = ["UNIT_COLUMNS", "TierSums"]

UNIT_COLUMNS = ("r", "single_trial_r", "feve", "noise_ceiling")
_UNITS_IN_CACHE: Final = 32
_CONSTANT = (
    "predictions",
    "have the same prediction for every image and count as r = 0",
    "Predict them, or accept that they lower the score",
)
_STILL = (
    "truth",
    "have responses that do not vary over the images, and do not count",
    "Nothing can be right or wrong about them",
)
_PARTIAL = "not all units of this region were predicted"
_ONE_IMAGE = "there are fewer than two images"
_ONE_TRIAL = "there are fewer than two trials"

Key = tuple[str, str, str]
"""(atlas, roi, metric)."""


class TierSums:
    """Sums over the units of every region, filled a block of units at a time.

    Parameters
    ----------
    part
        Predictions and responses of the tier; only its images, and the truth's ncsnr, unit ids and subject
        are used here.
    rois
        Regions of the truth's units.
    options
        How uncertainty is computed.
    distance : float64 array of shape (n_images,)
        From the nearest training image; None scores no levels of difficulty.
    """

    def __init__(
        self,
        part: AlignedTier,
        rois: list[Roi],
        options: ScoreOptions,
        distance: Array | None = None,
    ) -> None:
        self.rois, self.options, self.nsd_id, self.distance = rois, options, part.nsd_id, distance
        truth, k = part.truth, part.k.astype(np.float64)
        self.unit_ids = truth.unit_ids
        self.ncsnr, self.has_one_image, self.has_one_trial = truth.ncsnr, len(k) < 2, k.sum() < 2
        self.inside = np.stack([roi.inside for roi in rois], axis=1)
        self.permuted = permutations(k, options.n_draws, generator(options.seed, truth.subject, 1))
        self.levels = None if distance is None else levels(distance)
        everything, self.repeated = np.ones(len(k), dtype=bool), k > 1
        self.images = {name: self.repeated if one.repeated else everything for name, one in RATIOS.items()}
        self.images |= {"oracle": self.repeated, "slope": everything}
        if self.levels is not None:
            self.images |= {name: self.levels == number for number, name in enumerate(LEVELS)}
        # Which column of a denominator goes with each column of the numerator.
        self.kind = {name: kinds_of_images(k[images])[1] for name, images in self.images.items()}
        self.sums = RegionSums()
        largest = int(max(roi.inside.sum() for roi in rois))
        self.null = NullProducts(len(k) if options.n_draws else 0, largest, len(rois))
        self.per_unit = {name: np.empty(len(self.ncsnr)) for name in UNIT_COLUMNS}
        self.constant = np.zeros(len(self.ncsnr), dtype=bool)
        self.other: dict[Key, Jackknife] = {}

    def block(self, moments: Moments, columns: slice) -> RegionSums:
        """Sum over a block of units, for `add`; several blocks may be summed at once.

        Parameters
        ----------
        moments
            Of these units.
        columns
            Which units of the tier.
        """
        starts = range(columns.start, columns.stop, _UNITS_IN_CACHE)
        parts = [
            self._terms(
                moments.of_units(slice(start - columns.start, stop - columns.start)), slice(start, stop)
            )
            for start in starts
            if (stop := min(start + _UNITS_IN_CACHE, columns.stop))
        ]
        sums, regions = RegionSums(), Regions(self.inside[columns])
        for name in parts[0]:
            top, bottom = (np.concatenate(one) for one in zip(*(part[name] for part in parts), strict=True))
            sums.add_terms(name, regions, top, bottom)
        sums.constant = regions.sum(self.constant[columns].astype(np.float64))
        sums.ceiling = regions.sum(np.nan_to_num(self.per_unit["noise_ceiling"][columns]))
        if self.options.n_draws:
            y, p = (self.null.rounded(one) for one in z_scored_means(moments))
            known = ~(np.isnan(self.ncsnr[columns]) | np.isnan(self.per_unit["r"][columns]))
            sums.null = (y, p, self.inside[columns] & known[:, None])
        return sums

    def _terms(self, moments: Moments, columns: slice) -> dict[str, tuple[Array, Array]]:
        """Return numerator and denominator of every score for some units; keep what single units have."""
        ncsnr = self.ncsnr[columns]
        values = unit_values(moments, ncsnr)
        terms = {name: metric.terms(values) for name, metric in RATIOS.items() if metric.terms}
        if self.repeated.any():
            terms["oracle"] = oracle_terms(moments.of_images(self.repeated), ncsnr)
        if self.levels is not None and self.distance is not None:
            terms["slope"] = slope_terms(moments, self.distance), np.sqrt(values.ceiling)
            for name in LEVELS:
                terms[name] = headline_terms(moments.of_images(self.images[name]), ncsnr)
        found = (values.r, values.single_trial_r, values.feve, values.ceiling)
        for name, of_unit in zip(UNIT_COLUMNS, found, strict=True):
            self.per_unit[name][columns] = of_unit[:, 0]
        self.constant[columns] = values.constant & (values.ceiling[:, 0] > 0)
        return terms

    def add(self, sums: RegionSums) -> None:
        """Add what `block` returned, in the order of the units.

        Parameters
        ----------
        sums
            Of the units that follow those that were added.
        """
        if sums.null is not None:
            self.null.add(*sums.null)
        self.sums.add(sums)

    def _ratio(self, name: str, roi: int) -> Jackknife | None:
        if (
            name not in self.sums.top
            or (name in RATIOS and self._too_few(name))
            or not self.rois[roi].is_complete
            or not self.sums.counted[name][roi]
            or not self.sums.bottom[name][roi, 0] > 0
        ):
            return None
        bottom = self.sums.bottom[name][roi]
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = self.sums.top[name][roi] / (bottom if len(bottom) == 1 else bottom[self.kind[name]])
        ids = None if self.nsd_id is None else self.nsd_id[self.images[name]]
        # Levels of difficulty are the headline over some images, and its slope is had in the same way.
        found = METRICS[name if name in RATIOS else HEADLINE].score(ratio[0], ratio[1:], ids)
        return replace(found, fewest=ORACLE_FEWEST) if found and name == "oracle" else found

    def _too_few(self, name: str) -> str | None:
        """Say what there is too little of for any correlation; None if there is enough."""
        if self.has_one_image and METRICS[name].over_images:
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
            r = self.per_unit["r"][roi.inside]
            within = (
                None
                if patterns is None
                else Patterns(patterns.predicted[:, roi.inside], patterns.observed[:, roi.inside])
            )
            for name, metric in METRICS.items():
                if metric.of_units:
                    values = np.array([metric.of_units(r[~np.isnan(r)])])
                elif metric.of_patterns and within:
                    values = metric.of_patterns(within)
                else:
                    continue
                found = metric.score(values[0], values[1:], self.nsd_id if metric.of_patterns else None)
                if found:
                    self.other[roi.atlas, roi.name, name] = found

    def scores(self) -> dict[Key, Jackknife]:
        """Return (atlas, roi, metric) to the score, where there is one."""
        return self._scores_of(RATIOS) | self.other

    def difficulty(self) -> dict[Key, Jackknife]:
        """Return (atlas, roi, level or "slope") to the score, where there is one."""
        return self._scores_of((*LEVELS, "slope"))

    def _scores_of(self, names: Iterable[str]) -> dict[Key, Jackknife]:
        return {
            (roi.atlas, roi.name, name): ratio
            for number, roi in enumerate(self.rois)
            for name in names
            if (ratio := self._ratio(name, number)) is not None
        }

    def warnings(self) -> list[Issue]:
        """List what keeps units from counting as they could; nothing that the headline does not depend on."""
        if self.has_one_image:
            return []
        return [*self._warned(self.constant, _CONSTANT), *self._warned(self._still(), _STILL)]

    @property
    def n_constant_responses(self) -> int:
        """How many units with a noise ceiling have responses that do not vary."""
        return int(self._still().sum())

    def _still(self) -> npt.NDArray[np.bool_]:
        return np.asarray(np.isnan(self.per_unit["r"]) & (self.per_unit["noise_ceiling"] > 0))

    def _warned(self, units: npt.NDArray[np.bool_], what: tuple[str, str, str]) -> Iterator[Issue]:
        place, problem, remedy = what
        if units.any():
            first = self.unit_ids[units][0]
            yield Issue(
                "warning", place, f"{units.sum()} of {len(units)} units {problem}, first unit {first}", remedy
            )

    def regions(self) -> tuple[RegionScores, ...]:
        """Return the scores of every region."""
        null = self.null.sums(self.permuted) if self.options.n_draws else np.empty((0, len(self.rois)))
        return tuple(self._region(number, roi, null[:, number]) for number, roi in enumerate(self.rois))

    def level_sizes(self) -> dict[str, Any]:
        """Return how many images each level has, and how far the nearest and the farthest of them are."""
        assert self.distance is not None  # known to the caller
        return {
            name: {"n_images": len(within), "distance": [float(within.min()), float(within.max())]}
            for number, name in enumerate(LEVELS)
            if (within := self.distance[self.levels == number]).size
        }

    def _region(self, number: int, roi: Roi, null: Array) -> RegionScores:
        n_known = int((roi.inside & ~np.isnan(self.ncsnr)).sum())
        n_constant, ceilings = (
            np.broadcast_to(one, len(self.rois))[number] for one in (self.sums.constant, self.sums.ceiling)
        )
        confidence = self.options.confidence
        empty = None if roi.n_units else "no unit lies in this region"
        empty = empty or (None if roi.is_complete else _PARTIAL)
        no_ceiling = empty or (_ONE_IMAGE if self.has_one_image else METRICS[HEADLINE].empty)
        headline = self._ratio(HEADLINE, number)
        oracle_reason = empty or "no image has repeats, or no ceiling"
        return RegionScores(
            atlas=roi.atlas,
            roi=roi.name,
            n_units=roi.n_units,
            n_units_predicted=int(roi.inside.sum()),
            n_units_constant_predictions=int(n_constant),
            noise_ceiling=float(ceilings / n_known) if n_known else None,
            scores={
                name: uncertain(self._score(name, number), confidence, empty or self._reason(name))
                for name in METRICS
                if self.options.patterns or name not in PATTERN_METRICS
            },
            anchors=Anchors(
                self._null(headline, number, null, no_ceiling),
                # The training mean predicts the same for every image, and a constant's r is 0 by definition.
                without_value(no_ceiling) if headline is None else anchor(0.0, None, None),
                uncertain(self._ratio("oracle", number), confidence, oracle_reason),
            ),
            difficulty=self._difficulty(number, headline, empty, no_ceiling),
        )

    def _difficulty(
        self, number: int, headline: Jackknife | None, empty: str | None, no_ceiling: str
    ) -> dict[str, Score] | None:
        if self.levels is None:
            return None
        few = np.bincount(self.levels, minlength=len(LEVELS)) < 2
        reasons = [empty or _ONE_IMAGE if is_few else no_ceiling for is_few in few]
        slope = no_ceiling if headline is None else "all images are equally far"
        return {
            name: uncertain(self._ratio(name, number), self.options.confidence, reason)
            for name, reason in zip((*LEVELS, "slope"), (*reasons, slope), strict=True)
        }

    def _reason(self, name: str) -> str:
        """Say why a region whose units were all predicted has no score."""
        return self._too_few(name) or METRICS[name].empty

    def _score(self, name: str, number: int) -> Jackknife | None:
        roi = self.rois[number]
        return self._ratio(name, number) if name in RATIOS else self.other.get((roi.atlas, roi.name, name))

    def _null(self, headline: Jackknife | None, number: int, null: Array, no_ceiling: str) -> Score:
        if not len(null) or headline is None:
            return without_value(no_ceiling if len(null) else "no draws were asked for")
        scores = null / self.sums.bottom[HEADLINE][number, 0]
        tail = 50 * (1 - self.options.confidence)
        low, high = np.percentile(scores, [tail, 100 - tail]).tolist()
        return anchor(float(scores.mean()), (low, high), None)
