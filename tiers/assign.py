"""Assign every image or trial of a subject to a tier."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import TierError
from tiers.expressions import column_of, evaluate
from tiers.rules import NOT_EXPORTED, Rule, TierFile
from tiers.sampling import sample

__all__ = ["assign_tiers", "assign_trials"]


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
