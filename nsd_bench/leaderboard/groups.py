"""Ranks as groups: entries that share a letter are not shown to differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scipy import stats

from nsd_bench.leaderboard.entries import IN_DISTRIBUTION, BoardKey, Entry
from nsd_bench.scoring.compare import Comparison, RegionDifferences
from nsd_bench.scoring.values import Score

__all__ = ["FALSE_DISCOVERY_RATE", "Comparisons", "Pair", "Rank", "letters", "ranking"]

FALSE_DISCOVERY_RATE: Final = 0.05


@dataclass(frozen=True)
class Pair:
    """What is known about the difference of two entries.

    Parameters
    ----------
    differs
        Whether the better one of them is shown to be better.
    p
        Of the paired comparison; None if there was none and the intervals decided.
    """

    differs: bool
    p: float | None


@dataclass(frozen=True)
class Rank:
    """Place of an entry among others.

    Parameters
    ----------
    best, worst
        1 + how many entries are shown to be better, and how many places are left above those that are
        shown to be worse.
    letters
        Groups that it is in; two entries that share a letter are not shown to differ.
    """

    best: int
    worst: int
    letters: str


class Comparisons:
    """Paired comparisons that `nsd-bench compare --out` wrote.

    Parameters
    ----------
    paths
        Their files.

    Raises
    ------
    SubmissionError
        If a file is not a comparison.
    """

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._found: dict[
            frozenset[tuple[str, ...]], Mapping[str, Mapping[str, Sequence[RegionDifferences]]]
        ] = {}
        self._paths: dict[frozenset[tuple[str, ...]], Path] = {}
        for path in paths:
            found = Comparison.load(path)
            sides = frozenset(
                tuple(sorted(one.submission_sha256 for one in side)) for side in (found.first, found.second)
            )
            self._found[sides] = {IN_DISTRIBUTION: found.pooled, **(found.regimes or {})}
            self._paths[sides] = path

    def unused(self, entries: Iterable[Entry]) -> list[Path]:
        """Return the files that compare a submission that is none of `entries`.

        Parameters
        ----------
        entries
            Those of a leaderboard.
        """
        known = {entry.submissions for entry in entries}
        return [path for sides, path in self._paths.items() if not sides <= known]

    def p(self, first: Entry, second: Entry, board: BoardKey) -> float | None:
        """Return p of the difference in the headline over all units, None where they were not compared.

        Parameters
        ----------
        first, second
            Two entries, in any order.
        board
            Regime and tier.
        """
        regime, tier = board
        regimes = self._found.get(frozenset((first.submissions, second.submissions)), {})
        rows = regimes.get(regime, {}).get(tier, ())
        known = (
            row.differences[first.headline]
            for row in rows
            if first.headline in row.differences and row.atlas == "all"
        )
        return next((one.p for one in known), None)


def ranking(
    scores: Sequence[Score], p_values: Mapping[tuple[int, int], float]
) -> tuple[list[Rank], dict[tuple[int, int], Pair]]:
    """Rank scores, best first, as groups that are not shown to differ.

    A pair with a p value differs if it is among the discoveries of Benjamini and Hochberg (1995, Journal
    of the Royal Statistical Society B 57, 289-300) at a rate of 0.05 over all such pairs. Any other pair
    differs if the intervals do not overlap. That is the weaker test: both submissions were scored on the
    same images, so that much of both intervals is common to them and cancels in a paired comparison.
    Where it claims a difference, a paired test would nearly always agree; where it claims
    none, a paired test may well find one.

    Parameters
    ----------
    scores
        Sorted, the highest first, each with a value.
    p_values
        (i, j) with i < j to p.

    Returns
    -------
    ranks
        Of every score, in the same order.
    pairs
        (i, j) with i < j to what is known about it.
    """
    paired = list(p_values)
    adjusted = stats.false_discovery_control([p_values[pair] for pair in paired]) if paired else []
    by_pair = dict(zip(paired, adjusted, strict=True))
    n = len(scores)
    pairs = {
        (i, j): (
            Pair(bool(by_pair[i, j] <= FALSE_DISCOVERY_RATE), p_values[i, j])
            if (i, j) in by_pair
            else Pair(_apart(scores[i], scores[j]), None)
        )
        for i in range(n)
        for j in range(i + 1, n)
    }
    differing = {pair for pair, found in pairs.items() if found.differs}
    ranks = [
        Rank(
            1 + sum((j, i) in differing for j in range(i)),
            n - sum((i, j) in differing for j in range(n)),
            own,
        )
        for i, own in enumerate(letters(n, differing))
    ]
    return ranks, pairs


def _apart(first: Score, second: Score) -> bool:
    """Whether two intervals share no point; a score without an interval is apart from none."""
    if first.interval is None or second.interval is None:
        return False
    return first.interval[0] > second.interval[1] or second.interval[0] > first.interval[1]


def letters(n: int, differing: Iterable[tuple[int, int]]) -> list[str]:
    """Give letters to items so that two share one exactly if they do not differ.

    Groups are split at every difference, and groups within others dropped: Piepho (2004), Journal of
    Computational and Graphical Statistics 13, 456-466.

    Parameters
    ----------
    n
        Number of items.
    differing
        Pairs of them, numbered from 0.

    Examples
    --------
    >>> letters(4, [(0, 2), (0, 3), (1, 3)])
    ['a', 'ab', 'bc', 'c']
    """
    groups = [frozenset(range(n))]
    for i, j in sorted(differing):
        split = [
            part for group in groups for part in ((group - {i}, group - {j}) if {i, j} <= group else (group,))
        ]
        groups = _maximal(split)
    ordered = sorted((sorted(group) for group in groups), key=lambda group: (group[:1], group))
    return ["".join(_letter(k) for k, group in enumerate(ordered) if i in group) for i in range(n)]


def _maximal(groups: Iterable[frozenset[int]]) -> list[frozenset[int]]:
    """Drop the groups that lie within others."""
    kept: list[frozenset[int]] = []
    for group in sorted(set(groups), key=lambda group: (-len(group), sorted(group))):
        if not any(group <= other for other in kept):
            kept.append(group)
    return kept


def _letter(number: int) -> str:
    """Name a group: a to z, then a1 to z1 and so on."""
    turn, place = divmod(number, 26)
    return chr(ord("a") + place) + (str(turn) if turn else "")
