"""Apply a tier file: every image, or trial, gets the tier of the first rule that takes it.

Rules that take some of many choose by the hash of numbers: the same on every machine.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import TierError
from tiers.expressions import column_of, evaluate
from tiers.rules import NOT_EXPORTED, Rule, TierFile

__all__ = ["assign_tiers", "assign_trials", "sample"]

Indices = npt.NDArray[np.int64]


def assign_tiers(tier_file: TierFile, images: pd.DataFrame, place: str = "") -> npt.NDArray[np.str_]:
    """Give every image the tier of the first rule that takes it.

    Parameters
    ----------
    tier_file
        The rules.
    images
        One row per image that the subject saw: `nsd_id` and whatever columns the rules name.
    place
        Whose images these are, for errors.

    Returns
    -------
    tiers : str array of shape (len(images),)
        Tier of every image; "none" where an image is to be left out.

    Raises
    ------
    TierError
        If a rule cannot be evaluated, an image is taken by no rule, or a tier stays empty.

    Examples
    --------
    >>> rules = (Rule(tier="test", where="shared1000"), Rule(tier="train"))
    >>> images = pd.DataFrame({"nsd_id": [5, 9], "shared1000": [True, False]})
    >>> assign_tiers(TierFile(title="t", source="s", rules=rules), images).tolist()
    ['test', 'train']
    """
    return _assign(tier_file, images, "nsd_id", place)


def assign_trials(
    tier_file: TierFile, trials: pd.DataFrame, images: pd.DataFrame, place: str = ""
) -> npt.NDArray[np.str_]:
    """Give every trial the tier of its image, or, where the file is by trial, a tier of its own.

    Parameters
    ----------
    tier_file
        The rules.
    trials
        One row per trial: `nsd_id`, and for tiers by trial `trial` (the number that sampling hashes) and
        whatever other columns the rules name.
    images
        See `assign_tiers`; rows ascend by `nsd_id`.
    place
        Whose trials these are, for errors.

    Returns
    -------
    tiers : str array of shape (len(trials),)

    Raises
    ------
    TierError
        As `assign_tiers`.

    Examples
    --------
    >>> rules = (Rule(tier="test", where="session > 1"), Rule(tier="train"))
    >>> trials = pd.DataFrame({"trial": [0, 1], "nsd_id": [7, 7], "session": [1, 2]})
    >>> images = pd.DataFrame({"nsd_id": [7]})
    >>> assign_trials(TierFile(title="t", source="s", rules=rules, by="trial"), trials, images).tolist()
    ['train', 'test']
    """
    rows = np.searchsorted(images["nsd_id"], trials["nsd_id"])
    if tier_file.by == "image":
        return assign_tiers(tier_file, images, place)[rows]
    of_image = images.drop(columns=[name for name in images if name in trials]).iloc[rows]
    table = pd.concat([trials.reset_index(drop=True), of_image.reset_index(drop=True)], axis=1)
    return _assign(tier_file, table, "trial", place)


def _assign(tier_file: TierFile, table: pd.DataFrame, hashed: str, place: str) -> npt.NDArray[np.str_]:
    here, what = f"{place}, tiers {tier_file.name!r}".lstrip(", "), tier_file.by
    tiers = np.full(len(table), "", dtype="<U10")
    numbers = table[hashed].to_numpy()
    for number, rule in enumerate(tier_file.rules, start=1):
        free = (tiers == "") & evaluate(rule.where, table, f"{here}, rule {number}")
        tiers[_taken(rule, tier_file.seed, free, numbers, table, f"{here}, rule {number}")] = rule.tier
    left = tiers == ""
    if left.any():
        raise TierError(
            f"no rule takes {left.sum()} of {len(tiers)} {what}s, {hashed} {numbers[left][0]} first",
            place=here,
            expected=f"every {what} in a tier, or in 'none'",
            fix="add a last rule without 'where'",
        )
    for tier in dict.fromkeys(rule.tier for rule in tier_file.rules if rule.tier != NOT_EXPORTED):
        if tier not in tiers:
            raise TierError(
                f"tier {tier!r} is empty: none of {len(tiers)} {what}s is taken by its rules",
                place=here,
                expected=f"at least one {what} in every tier",
                fix="export more sessions, or change the rules",
            )
    return tiers


def _taken(
    rule: Rule,
    seed: int,
    free: npt.NDArray[np.bool_],
    numbers: npt.NDArray[np.int64],
    table: pd.DataFrame,
    place: str,
) -> npt.NDArray[np.int64]:
    candidates = np.flatnonzero(free)
    if rule.fraction is None and rule.n is None:
        return candidates
    column = rule.stratify_by or rule.balance_over
    groups = None if column is None else column_of(column, table, place)[candidates]
    chosen = sample(
        numbers[candidates],
        seed + rule.seed,
        fraction=rule.fraction,
        n=rule.n,
        groups=groups,
        balanced=rule.balance_over is not None,
    )
    return candidates[chosen]


def sample(
    numbers: Indices,
    seed: int,
    *,
    fraction: float | None = None,
    n: int | None = None,
    groups: npt.NDArray[Any] | None = None,
    balanced: bool = False,
) -> Indices:
    """Choose among numbers by their hashes.

    Without groups, `fraction` takes every number whose hash, spread over [0, 1), is below it: whether a
    number is taken does not depend on which others there are. `n`, and whatever has groups, takes those
    with the smallest hashes.

    Parameters
    ----------
    numbers : int64 array of shape (n_candidates,)
        nsd_ids or trial numbers.
    seed
        Hashed together with each number.
    fraction, n
        How many; one of the two.
    groups : array of shape (n_candidates,)
        What `fraction` is taken of group by group, and what `n` is shared out over in proportion.
    balanced
        Take equally many of each group instead: `n`, as far as the smallest group has so many, or
        `fraction` of the smallest.

    Returns
    -------
    chosen : int64 array
        Positions in `numbers`.

    Examples
    --------
    >>> sample(np.arange(10), seed=0, n=3).tolist()
    [7, 4, 9]
    >>> groups = np.array(["cat"] * 6 + ["dog"] * 4)
    >>> groups[sample(np.arange(10), seed=0, n=5, groups=groups)].tolist()
    ['cat', 'cat', 'cat', 'dog', 'dog']
    """
    keys = np.array([_uniform(seed, int(number)) for number in numbers], dtype=np.float64)
    order = np.argsort(keys, kind="stable")
    if groups is None:
        return order[:n] if fraction is None else order[: np.searchsorted(keys[order], fraction)]
    _, codes, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    wanted = _sizes(sizes, fraction, n, balanced)
    return np.concatenate(
        [order[codes[order] == code][:size] for code, size in enumerate(wanted.tolist())]
        or [np.empty(0, dtype=np.int64)]
    )


def _sizes(sizes: Indices, fraction: float | None, n: int | None, balanced: bool) -> Indices:
    """Say how many to take of each group."""
    if balanced:
        smallest = int(sizes.min()) if sizes.size else 0
        each = min(n or 0, smallest) if fraction is None else round(fraction * smallest)
        return np.full(len(sizes), each, dtype=np.int64)
    if fraction is not None:
        return np.array([round(fraction * size) for size in sizes.tolist()], dtype=np.int64)
    exact = sizes * min(1.0, (n or 0) / max(1, int(sizes.sum())))
    shares = np.floor(exact).astype(np.int64)
    # What rounding left over goes to the groups that lost most by it.
    rest = min(n or 0, int(sizes.sum())) - int(shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[:rest]] += 1
    return np.asarray(shares, dtype=np.int64)


def _uniform(seed: int, number: int) -> float:
    digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
