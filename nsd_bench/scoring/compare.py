"""Compare two submissions on the same images: difference, interval and p, image by image."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scipy import stats

from nsd_bench.errors import SubmissionError
from nsd_bench.outputs import refuse_existing, write_json
from nsd_bench.package.matching import Given, TruthSource
from nsd_bench.scoring.jackknife import NOTHING_CHANGES, Jackknife, Uncertainty, difference, fixed, population
from nsd_bench.scoring.metrics import HEADLINE, METRICS
from nsd_bench.scoring.options import ScoreOptions
from nsd_bench.scoring.records import ONLY_IF_SET, JsonRecord, read_file
from nsd_bench.scoring.score import align_all, score_aligned
from nsd_bench.scoring.scores import Key, SubjectScores
from nsd_bench.scoring.values import INTERVALS, NEW_SUBJECTS, THESE_SUBJECTS, NewSubjects, Score

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "COMPARISON_FORMAT",
    "ComparedSubject",
    "Comparer",
    "Comparison",
    "Difference",
    "RegionDifferences",
    "Side",
    "compare",
    "compare_scores",
]

COMPARISON_FORMAT: Final = "nsd_bench.comparison/2"
"""2 and 1 as those of scores."""
_DIFFERENCE: Final = ("version", "value", "corrected", "se", "df", "interval", "p", "reason")
_OF_NEW: Final = ("se", "df", "interval", "p", "reason", "n_subjects")


@dataclass(frozen=True)
class Difference(Score):
    """A score of the first submission less that of the second.

    Parameters
    ----------
    p
        Two-sided, of no difference; None where there is no interval.
    p_adjusted, n_tests
        p adjusted for the number of regions that were tested, and that number; None of all units together.
    version
        Of the metric.
    """

    p: float | None = None
    p_adjusted: float | None = field(default=None, metadata=ONLY_IF_SET)
    n_tests: int | None = field(default=None, metadata=ONLY_IF_SET)
    version: int | str | None = field(default=None, metadata=ONLY_IF_SET)


@dataclass(frozen=True)
class RegionDifferences(JsonRecord):
    """A region: metric to the difference.

    Parameters
    ----------
    atlas, roi
        "all" and "all" for all units together.
    differences
        Metric to the difference.
    """

    atlas: str
    roi: str = "all"
    differences: Mapping[str, Difference] = field(kw_only=True)


@dataclass(frozen=True)
class ComparedSubject(JsonRecord):
    """One subject.

    Parameters
    ----------
    subject, package
        Which.
    n_images
        Tier to its number of images.
    tiers
        Tier to regions.
    """

    subject: int
    package: str
    n_images: Mapping[str, int | None]
    tiers: Mapping[str, tuple[RegionDifferences, ...]]


@dataclass(frozen=True)
class Side(JsonRecord):
    """A submission that was compared, of one subject.

    Parameters
    ----------
    submission_sha256
        Digest of its file.
    card
        What it says of itself.
    """

    submission_sha256: str
    card: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Comparer(JsonRecord):
    """How two submissions were compared.

    Parameters
    ----------
    confidence
        Of the intervals.
    intervals, interval, new_subjects, p_adjusted
        What they are, in words.
    """

    confidence: float = 0.95
    intervals: str = INTERVALS
    interval: str = THESE_SUBJECTS
    new_subjects: str = NEW_SUBJECTS
    p_adjusted: str = "false discovery rate over the n_tests regions of a metric, Benjamini-Hochberg"


@dataclass(frozen=True, kw_only=True)
class Comparison(JsonRecord):
    """By how much one submission is better than another. What `nsd-bench compare --out` writes.

    Parameters
    ----------
    format
        Name and version of the file.
    scorer
        How they were compared.
    first, second
        The submissions of both sides.
    subjects
        What was found of each subject that both sides have.
    pooled
        Tier to regions, pooled over these subjects.
    regimes
        Regime other than NSD's own tiers to the same as `pooled`.
    """

    format: str = COMPARISON_FORMAT
    scorer: Comparer = field(default_factory=Comparer)
    first: tuple[Side, ...]
    second: tuple[Side, ...]
    subjects: tuple[ComparedSubject, ...] = ()
    pooled: Mapping[str, tuple[RegionDifferences, ...]]
    regimes: Mapping[str, Mapping[str, tuple[RegionDifferences, ...]]] | None = field(
        default=None, metadata=ONLY_IF_SET
    )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Comparison:
        """Read a comparison.

        Parameters
        ----------
        path
            What `save` wrote.

        Raises
        ------
        SubmissionError
            If it is no comparison; says what is wrong with it, and where in it.
        """
        return read_file(cls, Path(path), COMPARISON_FORMAT, "comparison", "nsd-bench compare --out")

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write it as JSON.

        Parameters
        ----------
        path
            A .json.
        force
            Replace what is there.

        Raises
        ------
        OutputError
            If the file exists, or cannot be written.
        """
        refuse_existing(Path(path), force=force)
        write_json(Path(path), self.to_json())

    @staticmethod
    def headline(rows: Iterable[RegionDifferences]) -> Difference | None:
        """Return the difference in the headline over all units; None where it was not scored on both sides.

        Parameters
        ----------
        rows
            Regions of a tier, of a subject or pooled.
        """
        return next((row.differences.get(HEADLINE) for row in rows if row.atlas == "all"), None)

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row a package, tier, region and metric; needs pandas.

        Returns
        -------
        frame
            `package`, `subject` (both missing of means over subjects), `tier`, `atlas`, `roi`, `metric`,
            `value`, `corrected`, `low` and `high` (the interval), `se`, `df`, `p`, `p_adjusted`, `reason`.
        """
        import pandas as pd

        parts = [(one.package, one.subject, one.tiers) for one in self.subjects]
        return pd.DataFrame(
            [
                {
                    "package": package,
                    "subject": subject,
                    "tier": tier,
                    "atlas": row.atlas,
                    "roi": row.roi,
                    "metric": metric,
                    "value": one.value,
                    "corrected": one.corrected,
                    "low": (one.interval or (None, None))[0],
                    "high": (one.interval or (None, None))[1],
                    "se": one.se,
                    "df": one.df,
                    "p": one.p,
                    "p_adjusted": one.p_adjusted,
                    "reason": one.reason,
                }
                for package, subject, tiers in [*parts, (None, None, self.pooled)]
                for tier, rows in tiers.items()
                for row in rows
                for metric, one in row.differences.items()
            ]
        ).astype({"subject": "Int64"})

    def __repr__(self) -> str:
        found = [
            f"{one.value:+.3f} on {tier}" if one and one.value is not None else f"missing on {tier}"
            for tier, one in ((tier, self.headline(rows)) for tier, rows in self.pooled.items())
        ]
        who = ", ".join(f"subj{one.subject:02}" for one in self.subjects)
        return f"<Comparison of {who}: {HEADLINE} {', '.join(found)}>"


def compare(
    first: Given,
    second: Given,
    truths: TruthSource,
    options: ScoreOptions | None = None,
    *,
    tiers: Sequence[str] | None = None,
) -> Comparison:
    """Say by how much the first model's submissions are better than the second's, on the same images.

    Parameters
    ----------
    first, second
        A file, a folder of files, a submission, or several of these: one a subject.
    truths
        See `nsd_bench.scoring.score.score`.
    options
        The confidence of the intervals; nothing is drawn.
    tiers
        Which tiers; None: those that a submission has trials of.

    Returns
    -------
    comparison
        `comparison.save(path)` writes it, `comparison.to_frame()` gives a table.

    Raises
    ------
    SubmissionError
        If a submission is wrong: lists all that is; or both sides have no package in common.
    PackageError
        If a truth cannot be read, withholds responses, or holds NaN or infinity.
    """
    options = replace(options or ScoreOptions(), n_draws=0)
    sides = [
        [score_aligned(aligned, options, digest) for aligned, digest in align_all(side, truths, tiers)]
        for side in (first, second)
    ]
    found = compare_scores(sides[0], sides[1], options)
    if not found.subjects:
        raise SubmissionError(
            "the two submissions have no package in common",
            place=f"{_named(first)} and {_named(second)}",
            expected="predictions of the same package on both sides",
            fix="compare submissions for the same packages",
        )
    return found


def _named(side: Given) -> str:
    return str(side) if isinstance(side, str | os.PathLike) else "a submission"


def compare_scores(
    first: Sequence[SubjectScores], second: Sequence[SubjectScores], options: ScoreOptions
) -> Comparison:
    """Say by how much the first submission is better, per subject, tier, region and metric, and pooled.

    Values, and values without each image, are subtracted before anything else is done with them: what makes
    an image hard for both cancels. Intervals and p are those of `nsd_bench.scoring.jackknife`. Regions are
    many tests: `p_adjusted` controls the false discovery rate over the regions of a metric (Benjamini and
    Hochberg 1995, Journal of the Royal Statistical Society B 57, 289), all units together not among them.

    Parameters
    ----------
    first, second
        See `nsd_bench.scoring.score.score_subject`; subjects, tiers and regions that only one of them has are
        left out.
    options
        Only the confidence is used.

    Raises
    ------
    SubmissionError
        If a subject's scores are not over the same images.
    """
    by_package = {one.package: one for one in second}
    pairs = [(mine, by_package[mine.package]) for mine in first if mine.package in by_package]
    differences = [
        {key: difference(one, theirs.scores[key]) for key, one in mine.scores.items() if key in theirs.scores}
        for mine, theirs in pairs
    ]
    common = [key for found in differences[:1] for key in found if all(key in one for one in differences)]
    return Comparison(
        scorer=Comparer(confidence=options.confidence),
        first=tuple(Side(one.submission_sha256, one.card) for one in first),
        second=tuple(Side(one.submission_sha256, one.card) for one in second),
        subjects=tuple(
            ComparedSubject(
                mine.subject,
                mine.package,
                {tier: one.n_images for tier, one in mine.tiers.items()},
                _tiers({key: [one] for key, one in found.items()}, options.confidence),
            )
            for (mine, _), found in zip(pairs, differences, strict=True)
        ),
        pooled=_tiers(
            {key: [found[key] for found in differences] for key in common}, options.confidence, pooled=True
        ),
    )


def _tiers(
    differences: Mapping[Key, Sequence[Jackknife]], confidence: float, *, pooled: bool = False
) -> dict[str, tuple[RegionDifferences, ...]]:
    tiers: dict[str, dict[tuple[str, str], dict[str, Difference]]] = {}
    for (tier, atlas, roi, metric), subjects in differences.items():
        row = tiers.setdefault(tier, {}).setdefault((atlas, roi), {})
        row[metric] = _difference(metric, subjects, confidence, pooled=pooled)
    for rows in tiers.values():
        for metric in dict.fromkeys(metric for row in rows.values() for metric in row):
            _adjust([row for place, row in rows.items() if place[0] != "all" and metric in row], metric)
    return {
        tier: tuple(RegionDifferences(*place, differences=row) for place, row in rows.items())
        for tier, rows in tiers.items()
    }


def _difference(metric: str, subjects: Sequence[Jackknife], confidence: float, *, pooled: bool) -> Difference:
    found, n = fixed(subjects, confidence), len(subjects)
    one = Difference(
        found.value,
        found.interval,
        _reason(found),
        found.corrected,
        found.se,
        found.df,
        p=found.p,
        version=METRICS[metric].version,
        keys=_DIFFERENCE,
    )
    if not pooled:
        return one
    new = population(subjects, confidence)
    others = NewSubjects(new.se, new.df, new.interval, new.p, _reason(new), n, keys=_OF_NEW)
    return replace(one, n_subjects=n, new_subjects=others)


def _reason(found: Uncertainty) -> str | None:
    same = found.value == 0 and found.reason == NOTHING_CHANGES
    return "the same predictions" if same else found.reason


def _adjust(rows: Sequence[dict[str, Difference]], metric: str) -> None:
    """Add p adjusted for the number of regions to those that have p."""
    tested = [(row, row[metric].p) for row in rows if row[metric].p is not None]
    if not tested:
        return
    adjusted = stats.false_discovery_control([p for _, p in tested])
    for (row, _), p in zip(tested, adjusted, strict=True):
        row[metric] = replace(row[metric], p_adjusted=float(p), n_tests=len(tested))
