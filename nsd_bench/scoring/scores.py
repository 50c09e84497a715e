"""`Scores`: what scores.json says, read and written here; and how scores are put together over subjects."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from nsd_bench.errors import SubmissionError
from nsd_bench.inputs import reading
from nsd_bench.outputs import json_bytes, new_file, refuse_existing, write_npz
from nsd_bench.package.storage import read_npz
from nsd_bench.scoring.jackknife import Jackknife
from nsd_bench.scoring.legacy import LegacyValue
from nsd_bench.scoring.metrics import HEADLINE, METRICS, PATTERN_METRICS
from nsd_bench.scoring.options import ScoreOptions
from nsd_bench.scoring.records import IN_MEMORY, ONLY_IF_SET, JsonRecord, read_file
from nsd_bench.scoring.values import (
    INTERVALS,
    NEW_SUBJECTS,
    THESE_SUBJECTS,
    Score,
    is_small,
    mean_over_subjects,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "SCORES_FORMAT",
    "Anchors",
    "Key",
    "MetricNote",
    "PooledRegion",
    "PooledTier",
    "RegionScores",
    "Scorer",
    "Scores",
    "SubjectScores",
    "TierScores",
    "pooled_tiers",
    "read_units",
    "units_path",
]

SCORES_FORMAT: Final = "nsd_bench.scores/2"
"""2: intervals by the jackknife, for these subjects and for new ones; 1: by a bootstrap over both at once."""
SCORER_VERSION: Final = "3"
Key = tuple[str, str, str, str]
"""(tier, atlas, roi, metric)."""


@dataclass(frozen=True)
class Anchors(JsonRecord):
    """What chance, the mean over training and a perfect model would score.

    Parameters
    ----------
    null
        Under permutations of the images.
    train_mean
        Of a prediction that is the same for every image.
    oracle
        Of the other responses to the same image.
    """

    null: Score
    train_mean: Score
    oracle: Score


@dataclass(frozen=True, kw_only=True)
class RegionScores(JsonRecord):
    """A region of one subject.

    Parameters
    ----------
    atlas, roi
        "all" and "all" for all units together.
    n_units, n_units_predicted, n_units_constant_predictions
        Units in it; those that were predicted; those of these whose prediction is the same for every image.
    noise_ceiling
        Mean over its units, a fraction of variance; None where none is known.
    scores
        Metric to score.
    anchors
        Of the headline.
    difficulty
        "near", "mid", "far" and "slope" to score, where the distances of the images were given.
    """

    atlas: str
    roi: str
    n_units: int = 1
    n_units_predicted: int = 1
    n_units_constant_predictions: int = 0
    noise_ceiling: float | None = None
    scores: Mapping[str, Score]
    anchors: Anchors | None = field(default=None, metadata=ONLY_IF_SET)
    difficulty: Mapping[str, Score] | None = field(default=None, metadata=ONLY_IF_SET)


@dataclass(frozen=True)
class TierScores(JsonRecord):
    """A tier of one subject.

    Parameters
    ----------
    n_trials, n_images, n_images_repeated
        How many were scored, and how many of the images were shown more than once.
    n_units, n_units_predicted, n_units_without_ceiling, n_units_constant_responses
        Units of the truth; those that were predicted; those of these without ncsnr, and those whose responses
        are the same for every image.
    predictions_sha256
        Digest of what was predicted, whatever the file, its order and its card.
    rois
        All units first, then every region.
    difficulty
        `levels`: name to number and distances of images; `features`: what the distances are between.
    """

    n_trials: int
    n_images: int | None = field(default=None, metadata=ONLY_IF_SET)
    n_images_repeated: int | None = field(default=None, metadata=ONLY_IF_SET)
    n_units: int | None = field(default=None, metadata=ONLY_IF_SET)
    n_units_predicted: int = field(kw_only=True)
    n_units_without_ceiling: int | None = field(default=None, metadata=ONLY_IF_SET)
    predictions_sha256: str | None = field(default=None, metadata=ONLY_IF_SET)
    n_units_constant_responses: int | None = field(default=None, metadata=ONLY_IF_SET)
    rois: tuple[RegionScores, ...] = ()
    difficulty: Mapping[str, Any] | None = field(default=None, metadata=ONLY_IF_SET)


@dataclass(frozen=True)
class SubjectScores(JsonRecord):
    """Scores of one subject.

    Parameters
    ----------
    subject, package, manifest_sha256
        Which package was predicted.
    submission_sha256
        Digest of the submission's file; empty if it was no file.
    card
        What the submission says of itself.
    partial
        Whether it says that units may be missing.
    warnings
        What may be wrong with it, a sentence each.
    tiers
        Name to scores.
    scores
        (tier, atlas, roi, metric) to the score with its value without each image, where there is one. Like
        `difficulty` and `units` it is not in scores.json: empty of scores that were read.
    difficulty
        The same of the levels near, mid and far, and of the slope on distance, where distances were given.
    units
        "test/r" and so on to an array of shape (n_units,).
    """

    subject: int
    package: str
    manifest_sha256: str | None
    submission_sha256: str
    card: Mapping[str, Any]
    partial: bool = False
    warnings: tuple[str, ...] = ()
    tiers: Mapping[str, TierScores] = field(kw_only=True)
    scores: Mapping[Key, Jackknife] = field(
        default_factory=dict, repr=False, compare=False, metadata=IN_MEMORY
    )
    difficulty: Mapping[Key, Jackknife] = field(
        default_factory=dict, repr=False, compare=False, metadata=IN_MEMORY
    )
    units: Mapping[str, npt.NDArray[Any]] = field(
        default_factory=dict, repr=False, compare=False, metadata=IN_MEMORY
    )


@dataclass(frozen=True, kw_only=True)
class PooledRegion(JsonRecord):
    """A region, pooled over subjects.

    Parameters
    ----------
    atlas, roi
        See `RegionScores`.
    n_subjects
        How many subjects have its first score.
    scores
        Metric to the mean over the subjects that have it.
    difficulty
        The same of "near", "mid", "far" and "slope".
    """

    atlas: str
    roi: str
    n_subjects: int | None = field(default=None, metadata=ONLY_IF_SET)
    scores: Mapping[str, Score]
    difficulty: Mapping[str, Score] | None = field(default=None, metadata=ONLY_IF_SET)


@dataclass(frozen=True)
class PooledTier(JsonRecord):
    """A tier, pooled over subjects with equal weight.

    Parameters
    ----------
    n_subjects
        How many were scored on it.
    rois
        Regions in which any subject has a score.
    """

    n_subjects: int
    rois: tuple[PooledRegion, ...]

    def region(self, atlas: str = "all", roi: str = "all") -> PooledRegion | None:
        """Return a region, all units together by default; None where no subject has a score.

        Parameters
        ----------
        atlas, roi
            Which.
        """
        return next((one for one in self.rois if (one.atlas, one.roi) == (atlas, roi)), None)


@dataclass(frozen=True)
class MetricNote(JsonRecord):
    """What a score file says of a metric: see `nsd_bench.scoring.metrics.Metric`.

    Parameters
    ----------
    version, source, description
        See there.
    """

    version: int | str
    source: str = ""
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Scorer(JsonRecord):
    """How scores were computed.

    Parameters
    ----------
    version
        Of the scorer.
    n_draws, seed
        Of the null's permutations.
    confidence
        Of the intervals.
    intervals, interval, new_subjects, not_included
        What the intervals are, in words.
    """

    version: int | str
    n_draws: int = 0
    seed: int = 0
    confidence: float
    intervals: str = INTERVALS
    interval: str = THESE_SUBJECTS
    new_subjects: str = NEW_SUBJECTS
    not_included: str = "the uncertainty of ncsnr"


@dataclass(frozen=True, kw_only=True)
class Scores(JsonRecord):
    """Scores of a submission: of one subject or several, and pooled over them. What scores.json holds.

    Parameters
    ----------
    format
        Name and version of the file.
    scorer
        How they were computed.
    metrics
        Name to what is said of it.
    headline
        Name of the metric that ranks.
    subjects
        One each, by subject.
    pooled
        Tier to the mean over subjects.
    legacy
        Tier to name to the score of another benchmark, where these were asked for.
    regimes
        Regime other than NSD's own tiers to column to scores, where 'nsd-bench transfer regimes' added them.
    path
        File that they were read from; None if they were not.

    Examples
    --------
    >>> scores = Scores.load("scores.json")  # doctest: +SKIP
    >>> scores.to_frame().query("roi == 'V1' and metric == 'signed_ratio'")  # doctest: +SKIP
    """

    format: str = SCORES_FORMAT
    scorer: Scorer
    metrics: Mapping[str, MetricNote]
    headline: str
    subjects: tuple[SubjectScores, ...]
    pooled: Mapping[str, PooledTier]
    legacy: Mapping[str, Mapping[str, LegacyValue]] | None = field(default=None, metadata=ONLY_IF_SET)
    regimes: Mapping[str, Mapping[str, PooledTier]] | None = field(default=None, metadata=ONLY_IF_SET)
    path: Path | None = field(default=None, repr=False, compare=False, metadata=IN_MEMORY)

    @classmethod
    def of(cls, subjects: Iterable[SubjectScores], options: ScoreOptions | None = None) -> Scores:
        """Put together what was scored, subject by subject, and pool it.

        Parameters
        ----------
        subjects
            See `nsd_bench.scoring.score.score_subject`; in any order.
        options
            With which they were scored.

        Raises
        ------
        SubmissionError
            If two are of the same subject, which would count twice in the pooled score.
        """
        options = options or ScoreOptions()
        scored = sorted(subjects, key=lambda one: (one.subject, one.package))
        _refuse_twice([(one.subject, one.package) for one in scored])
        return cls(
            scorer=Scorer(
                version=SCORER_VERSION,
                n_draws=options.n_draws,
                seed=options.seed,
                confidence=options.confidence,
            ),
            metrics={
                name: MetricNote(one.version, one.source, one.description)
                for name, one in METRICS.items()
                if options.patterns or name not in PATTERN_METRICS
            },
            headline=HEADLINE,
            subjects=tuple(scored),
            pooled=pooled_tiers(scored, options.confidence),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Scores:
        """Read scores.json.

        Parameters
        ----------
        path
            Of the file. What single units have lies beside it, as NAME.units.npz, and is read when asked for.

        Raises
        ------
        SubmissionError
            If it is no score file; says what is wrong with it, and where in it.
        """
        found = read_file(cls, Path(path), SCORES_FORMAT, "score file", "nsd-bench score")
        return replace(found, path=Path(path))

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write scores.json and, beside it, what single units have as NAME.units.npz: both or neither.

        What was read is written as it was, keys that this version does not know among it.

        Parameters
        ----------
        path
            Of scores.json.
        force
            Replace what is there.

        Raises
        ------
        OutputError
            If one of the files exists, or cannot be written.
        """
        out = Path(path)
        for one in (out, units_path(out)):
            refuse_existing(one, force=force)
        with new_file(out) as file:
            file.write(json_bytes(self.to_json()))
            file.flush()
            self._save_units(units_path(out))  # inside: if the disk fills up at either, neither file is left

    def _save_units(self, out: Path) -> None:
        source = None if self.path is None else units_path(self.path)
        if source is None or any(one.units for one in self.subjects):
            write_npz(out, self.units)
        elif source.exists() and source.absolute() != out.absolute():
            with new_file(out) as file, source.open("rb") as origin:
                shutil.copyfileobj(origin, file)

    @cached_property
    def units(self) -> Mapping[str, npt.NDArray[Any]]:
        """What single units have: "subj01/test/r" and so on to an array of shape (n_units,).

        `unit_ids` and `ncsnr` of every tier, and r of image means (`r`), r over single trials
        (`single_trial_r`), `feve` and `noise_ceiling`.

        Raises
        ------
        SubmissionError
            If the scores were read, and NAME.units.npz beside them cannot be.
        """
        if self.path is None or any(one.units for one in self.subjects):
            return {
                f"subj{one.subject:02}/{name}": values
                for one in self.subjects
                for name, values in one.units.items()
            }
        return read_units(self.path)

    @property
    def tiers(self) -> list[str]:
        """Tiers that any subject was scored on."""
        return list(dict.fromkeys(tier for one in self.subjects for tier in one.tiers))

    def is_small(self, tier: str) -> bool:
        """Whether a subject has so few images of a tier that its scores are shown corrected.

        Parameters
        ----------
        tier
            Name of a tier.
        """
        return is_small([one.tiers[tier].n_images for one in self.subjects if tier in one.tiers])

    def without_tiers(self, hidden: Iterable[str], *, live: str | None = None) -> Scores:
        """Leave tiers out.

        Other regimes may hold columns of the same tiers, of held-out subjects, and a drop from the live tier,
        which beside the score itself tells that of the live one.

        Parameters
        ----------
        hidden
            Names of tiers.
        live
            Tier that is shown by the Ladder rule alone; kept among NSD's own tiers, of which boards show no
            more than what the ledger published.
        """
        out, regimes = {*hidden}, self.regimes
        if regimes is not None:
            elsewhere = out | ({live, "drop"} if live else set())
            kept = {
                regime: {name: one for name, one in columns.items() if name.split(" (")[0] not in elsewhere}
                for regime, columns in regimes.items()
            }
            regimes = {regime: columns for regime, columns in kept.items() if columns}
        return replace(
            self,
            pooled={tier: one for tier, one in self.pooled.items() if tier not in out},
            subjects=tuple(
                replace(one, tiers={tier: of for tier, of in one.tiers.items() if tier not in out})
                for one in self.subjects
            ),
            legacy=self.legacy and {tier: one for tier, one in self.legacy.items() if tier not in out},
            regimes=regimes,
        )

    def as_shown(self) -> Scores:
        """Return them with every value as it is shown: corrected on tiers with few images."""
        small = {tier for tier in self.tiers if self.is_small(tier)}
        return replace(
            self,
            subjects=tuple(
                replace(
                    one,
                    tiers={
                        tier: replace(of, rois=tuple(map(_region_shown, of.rois)))
                        if is_small([of.n_images])
                        else of
                        for tier, of in one.tiers.items()
                    },
                )
                for one in self.subjects
            ),
            pooled={
                tier: replace(of, rois=tuple(map(_pooled_shown, of.rois))) if tier in small else of
                for tier, of in self.pooled.items()
            },
        )

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row a package, tier, region and metric; needs pandas.

        Returns
        -------
        frame
            `package`, `subject` (both missing of means over subjects), `tier`, `atlas`, `roi`, `metric`,
            `value`, `corrected`, `low` and `high` (the interval), `se`, `df`, `p` (two-sided, of a score of
            chance 0; missing where chance is another), `n_images`, `n_units`, `n_subjects`, `reason`.
        """
        import pandas as pd

        frame = pd.DataFrame(list(self._rows()))
        whole = {name: "Int64" for name in ("subject", "n_images", "n_units", "n_subjects")}
        return frame.astype(
            {**whole, **{name: float for name in ("value", "corrected", "low", "high", "se", "df", "p")}}
        )

    def _rows(self) -> Iterator[dict[str, Any]]:
        for one in self.subjects:
            for tier, of in one.tiers.items():
                for row in of.rois:
                    head = {"package": one.package, "subject": one.subject, "tier": tier}
                    numbers = {"n_images": of.n_images, "n_units": row.n_units, "n_subjects": 1}
                    yield from _frame_rows(head, row, numbers)
        for tier, pooled in self.pooled.items():
            for mean in pooled.rois:
                head = {"package": None, "subject": None, "tier": tier}
                yield from _frame_rows(
                    head, mean, {"n_images": None, "n_units": None, "n_subjects": mean.n_subjects}
                )

    def __repr__(self) -> str:
        who = ", ".join(f"subj{one.subject:02}" for one in self.subjects)
        return f"<Scores of {who} on {', '.join(self.tiers)}: {'; '.join(self._headlines())}>"

    def _headlines(self) -> Iterator[str]:
        for tier, pooled in self.pooled.items():
            row = pooled.region()
            one = row.scores.get(self.headline) if row else None
            value = None if one is None else one.shown(small=self.is_small(tier))
            yield f"{self.headline} {'missing' if value is None else format(value, '.3f')} on {tier}"

    def _repr_html_(self) -> str:
        frame = self.to_frame()
        shown = frame[frame["metric"] == self.headline].fillna({"package": "mean of subjects"})
        columns = ["package", "tier", "atlas", "roi", "value", "corrected", "low", "high"]
        return str(shown[columns].to_html(index=False, float_format="{:.3f}".format, na_rep=""))


def units_path(path: Path) -> Path:
    """Return where what single units have lies, beside a scores.json.

    Parameters
    ----------
    path
        Of scores.json.

    Examples
    --------
    >>> units_path(Path("mine/scores.json")).as_posix()
    'mine/scores.units.npz'
    """
    return path.with_name(f"{path.stem}.units.npz")


def read_units(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read what single units have; see `Scores.units`.

    Parameters
    ----------
    path
        Of the scores.json that it lies beside.

    Raises
    ------
    SubmissionError
        If it cannot be read.
    """
    refusal = partial(
        SubmissionError,
        place=str(units_path(path)),
        expected="scores.json with scores.units.npz beside it, as 'nsd-bench score' wrote them",
        fix="check the path, or score again",
    )
    with reading(units_path(path), refusal, "not a score file"):
        return read_npz(units_path(path))


def pooled_tiers(subjects: Sequence[SubjectScores], confidence: float) -> dict[str, PooledTier]:
    """Average over subjects with equal weight.

    Every value is the mean over the subjects that have it, and says how many; a region's row, how many have
    its first value.

    Parameters
    ----------
    subjects
        As they were scored, with the values without each image.
    confidence
        Of the intervals.
    """
    found: dict[str, PooledTier] = {}
    for tier in dict.fromkeys(tier for one in subjects for tier, *_ in one.scores):
        n_subjects = dict[tuple[str, str], int]()
        means: dict[str, dict[tuple[str, str], dict[str, Score]]] = {"scores": {}, "difficulty": {}}
        for part, of_subjects in (
            ("scores", [one.scores for one in subjects]),
            ("difficulty", [one.difficulty for one in subjects]),
        ):
            for key in dict.fromkeys(key for of in of_subjects for key in of if key[0] == tier):
                _, atlas, roi, name = key
                having = [of[key] for of in of_subjects if key in of]
                n_subjects.setdefault((atlas, roi), len(having))
                means[part].setdefault((atlas, roi), {})[name] = mean_over_subjects(having, confidence)
        found[tier] = PooledTier(
            sum(tier in one.tiers for one in subjects),
            tuple(
                PooledRegion(
                    atlas=place[0],
                    roi=place[1],
                    n_subjects=n,
                    scores=means["scores"].get(place, {}),
                    difficulty=means["difficulty"].get(place),
                )
                for place, n in n_subjects.items()
            ),
        )
    return found


def _refuse_twice(scored: Sequence[tuple[int, str]]) -> None:
    for number, (subject, package) in enumerate(scored):
        for other, earlier in scored[:number]:
            if subject == other:
                raise SubmissionError(
                    f"is scored twice, for {earlier!r} and {package!r}",
                    place=f"subj{subject:02}",
                    expected="one submission a subject",
                    fix="score the submissions of one model only, one file a subject",
                )


def _values_shown(scores: Mapping[str, Score]) -> dict[str, Score]:
    return {name: replace(one, value=one.shown(small=True)) for name, one in scores.items()}


def _pooled_shown(row: PooledRegion) -> PooledRegion:
    ladder = row.difficulty and _values_shown(row.difficulty)
    return replace(row, scores=_values_shown(row.scores), difficulty=ladder)


def _region_shown(row: RegionScores) -> RegionScores:
    anchors = row.anchors
    if anchors is not None:
        anchors = replace(anchors, oracle=replace(anchors.oracle, value=anchors.oracle.shown(small=True)))
    ladder = row.difficulty and _values_shown(row.difficulty)
    return replace(row, scores=_values_shown(row.scores), difficulty=ladder, anchors=anchors)


def _frame_rows(
    head: dict[str, Any], row: RegionScores | PooledRegion, numbers: dict[str, int | None]
) -> Iterator[dict[str, Any]]:
    for metric, one in row.scores.items():
        low, high = one.interval or (None, None)
        if one.n_subjects is not None:
            numbers = {**numbers, "n_subjects": one.n_subjects}
        yield {
            **head,
            "atlas": row.atlas,
            "roi": row.roi,
            "metric": metric,
            "value": one.value,
            "corrected": one.corrected,
            "low": low,
            "high": high,
            "se": one.se,
            "df": one.df,
            "p": _p(metric, one),
            **numbers,
            "reason": one.reason,
        }


def _p(metric: str, one: Score) -> float | None:
    """Return p of a score of 0; None where chance is not 0, or there is no standard error."""
    centre = one.shown(small=True)
    if centre is None or not one.se or one.df is None or (metric in METRICS and METRICS[metric].is_share):
        return None
    return float(2 * stdtr(one.df, -np.abs(centre) / one.se))
