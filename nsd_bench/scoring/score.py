"""Score submissions: checked and aligned once, then sums over repeats, then sums over units, then scores."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from nsd_bench.errors import PackageError, SubmissionError
from nsd_bench.package import spec
from nsd_bench.package.matching import Given, Truths, TruthSource, submissions_of
from nsd_bench.package.storage import sha256_file
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth
from nsd_bench.scoring.align import Aligned, AlignedTier, align, is_partial
from nsd_bench.scoring.difficulty import Distances
from nsd_bench.scoring.legacy import known_legacy, legacy_values
from nsd_bench.scoring.options import ScoreOptions
from nsd_bench.scoring.regions import RegionSums
from nsd_bench.scoring.scores import Scores, SubjectScores, TierScores
from nsd_bench.scoring.tier import TierSums

__all__ = ["ScoreOptions", "align_all", "score", "score_aligned", "score_subject"]

_UNITS_AT_ONCE = 128
_AHEAD = 2


def score(
    submissions: Given,
    truths: TruthSource,
    options: ScoreOptions | None = None,
    *,
    tiers: Sequence[str] | None = None,
    distances: Mapping[str, Distances] | None = None,
    legacy: Iterable[str] = (),
    complete: bool = False,
) -> Scores:
    """Score one model's submissions, one a subject, against their truths.

    A submission whose card says `"partial": true` may leave out units; regions of which it does not predict
    all units then have no score.

    Parameters
    ----------
    submissions
        A file, a folder of files, a submission, or several of these; one file may be Sensorium's .csv.
    truths
        Open packages, or truth files: a file, a folder, an object, or several objects. They are found by the
        name of the package that a submission's card gives.
    options
        How uncertainty is computed, and whether identification, retrieval and RSA are scored, too.
    tiers
        Which tiers; None: those that a submission has trials of.
    distances
        Package to the distances of its test images from the nearest training image, as
        `nsd_bench.scoring.difficulty.read_audits` reads them; adds the ladder of difficulty. Not those of the
        train and validation tiers, which have none.
    legacy
        Names of scores of other benchmarks; "all" stands for all of them.
    complete
        Refuse what leaves out a package, a unit or a withheld tier, as a season does.

    Returns
    -------
    scores
        `scores.save(path)` writes them, `scores.to_frame()` gives a table.

    Raises
    ------
    SubmissionError
        If a submission is wrong, or not complete: lists all that is; or if two are of the same subject.
    PackageError
        If a truth cannot be read, withholds responses, or holds NaN or infinity.
    OptionError
        If a legacy score is unknown.

    Examples
    --------
    >>> scores = nsd_bench.score("submissions", "packages")  # doctest: +SKIP
    >>> scores.pooled["test"].region("prf-visualrois", "V1").scores["signed_ratio"].value  # doctest: +SKIP
    """
    options, names, distances = options or ScoreOptions(), known_legacy(legacy), distances or {}
    subjects, again = [], list[Aligned]()
    for aligned, digest in align_all(submissions, truths, tiers, complete=complete):
        known = distances.get(aligned.truth.package)
        subjects.append(score_aligned(aligned, options, digest, known))
        again += [aligned] if names else []
    scores = Scores.of(subjects, options)
    if names:
        again.sort(key=lambda one: one.truth.subject)
        scores = replace(scores, legacy=legacy_values(again, names))
    if complete:
        _refuse_unscored(scores)
    return scores


def score_subject(
    submission: Submission,
    truth: Truth,
    options: ScoreOptions | None = None,
    *,
    tiers: Sequence[str] | None = None,
    submission_sha256: str = "",
    distances: Distances | None = None,
) -> SubjectScores:
    """Score one subject's submission; `Scores.of` puts several together.

    Parameters
    ----------
    submission, truth
        Aligned by trial and unit ids; not modified.
    options, tiers, distances
        See `score`; the distances of this package.
    submission_sha256
        Digest of the submission's file, kept in the result.

    Raises
    ------
    SubmissionError
        If the submission is wrong; lists all issues. If the distances are another package's.
    PackageError
        If the truth holds NaN or infinity.
    """
    return score_aligned(
        align(submission, truth, tiers), options or ScoreOptions(), submission_sha256, distances
    )


def align_all(
    submissions: Given, truths: TruthSource, tiers: Sequence[str] | None = None, *, complete: bool = False
) -> Iterator[tuple[Aligned, str]]:
    """Find the truth of every submission, check both and put them side by side, one after the other.

    Parameters
    ----------
    submissions, truths, tiers, complete
        See `score`.

    Yields
    ------
    aligned, submission_sha256
        In the given order; the digest of the submission's file is empty if it was none.

    Raises
    ------
    SubmissionError, PackageError
        See `score`.
    """
    known, given = Truths(truths, tiers or ()), submissions_of(submissions)
    if complete and not _is_table(given[0][0]):  # a table is of the one truth that is given
        _refuse_incomplete([one for _, one in given], known.packages)
    for path, one in given:
        truth = known.of(one, path)
        if _is_table(path):  # has no room for a card; that it fits is seen by its ids
            one = replace(one, card=one.card | {"package": truth.package})
        withheld = [tier for tier in spec.WITHHELD_TIERS if complete and tier in truth.tier]
        yield align(one, truth, tiers or withheld or None), "" if path is None else sha256_file(path)


def _is_table(path: Path | None) -> bool:
    return path is not None and path.suffix == ".csv"


def score_aligned(
    aligned: Aligned,
    options: ScoreOptions,
    submission_sha256: str = "",
    distances: Distances | None = None,
) -> SubjectScores:
    """Score a submission that was checked and aligned.

    Parameters
    ----------
    aligned
        See `nsd_bench.scoring.align.align`.
    options, submission_sha256, distances
        See `score_subject`.

    Raises
    ------
    SubmissionError
        If the distances are another package's.
    PackageError
        If the truth holds NaN or infinity.
    """
    truth, warnings, parts = aligned.truth, list(aligned.warnings), dict[str, TierSums]()
    tiers, units = dict[str, TierScores](), dict[str, np.ndarray]()
    for tier in aligned.tiers:
        part = aligned.of_tier(tier)
        known = distances if tier in spec.WITHHELD_TIERS else None
        parts[tier] = sums = _sum_over_units(part, aligned, options, known)
        named = (replace(issue, place=f"{issue.place}, {tier}") for issue in sums.warnings())
        warnings += map(str, named)
        tiers[tier] = TierScores(
            n_trials=len(part.rows),
            n_images=len(part.k),
            n_images_repeated=int((part.k > 1).sum()),
            n_units=aligned.rois[0].n_units,
            n_units_predicted=len(truth.unit_ids),
            n_units_without_ceiling=int(np.isnan(truth.ncsnr).sum()),
            predictions_sha256=part.digest(),
            n_units_constant_responses=sums.n_constant_responses,
            rois=sums.regions(),
            difficulty=None if known is None else {"levels": sums.level_sizes(), "features": known.features},
        )
        units |= {f"{tier}/unit_ids": truth.unit_ids, f"{tier}/ncsnr": truth.ncsnr}
        units |= {f"{tier}/{name}": of.astype(np.float32) for name, of in sums.per_unit.items()}
    return SubjectScores(
        truth.subject,
        truth.package,
        truth.manifest_sha256,
        submission_sha256,
        aligned.submission.card,
        is_partial(aligned.submission),
        tuple(warnings),
        tiers=tiers,
        scores={(tier, *key): one for tier, sums in parts.items() for key, one in sums.scores().items()},
        difficulty={
            (tier, *key): one for tier, sums in parts.items() for key, one in sums.difficulty().items()
        },
        units=units,
    )


def _sum_over_units(
    part: AlignedTier, aligned: Aligned, options: ScoreOptions, distances: Distances | None
) -> TierSums:
    distance = None
    if distances is not None:
        trial_idx = part.truth.trial_idx[part.rows]
        distance = distances.of_images(part.truth.package, trial_idx, part.image)
    sums = TierSums(part, aligned.rois, options, distance)
    _refuse_broken(part)
    for block in _blocks(part, sums):
        sums.add(block)
    sums.finish(part.patterns() if options.patterns else None)
    return sums


def _blocks(part: AlignedTier, sums: TierSums) -> Iterator[RegionSums]:
    """Yield the sums of all units, a block at a time and in order; the next ones are made meanwhile."""

    def make(columns: slice) -> RegionSums:
        return sums.block(part.moments(columns), columns)

    n_units = len(part.unit)
    waiting: deque[Future[RegionSums]] = deque()
    with ThreadPoolExecutor(_AHEAD) as pool:  # numpy lets other threads run while it computes
        for start in range(0, n_units, _UNITS_AT_ONCE):
            waiting.append(pool.submit(make, slice(start, min(start + _UNITS_AT_ONCE, n_units))))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        for block in waiting:
            yield block.result()


def _refuse_broken(part: AlignedTier) -> None:
    truth = part.truth
    # A sum is finite only if all that is summed is; NaN and infinity need to be looked for only then.
    if np.isfinite(truth.responses.sum(axis=0, dtype=np.float64)).all():
        return
    broken = np.flatnonzero(~np.isfinite(truth.responses[part.rows]).all(axis=0))
    if broken.size:
        raise PackageError(
            f"responses of {broken.size} of {len(truth.unit_ids)} units are NaN or infinite, "
            f"first unit {truth.unit_ids[broken[0]]}",
            place=f"truth of {truth.package!r}",
            expected="a finite response for every trial and unit",
            fix="export the package again",
        )


def _refuse_incomplete(given: Sequence[Submission], packages: Sequence[str]) -> None:
    """Refuse submissions that do not cover a benchmark, before anything is scored.

    Trials and units that are missing, though no card says so, are refused when they are scored.
    """
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


def _refuse_unscored(scores: Scores) -> None:
    """Refuse scores of which a subject has no headline on a tier, which the mean would leave out."""
    problems = []
    for subject in scores.subjects:
        for tier, found in subject.tiers.items():
            row = next(row for row in found.rois if (row.atlas, row.roi) == ("all", "all"))
            headline = row.scores[scores.headline]
            if headline.value is None:
                problems.append(f"subj{subject.subject:02} has no score on {tier}: {headline.reason}")
    if problems:
        raise _incomplete(problems)


def _incomplete(problems: Sequence[str]) -> SubmissionError:
    return SubmissionError(
        "is not complete:\n" + "\n".join(f"    {problem}" for problem in problems),
        place="submission",
        expected="one submission for every package of the benchmark, each of all units and trials",
        fix="submit all of them together; what covers a part only is never ranked",
    )
