"""Which trials are kept: as many of every subject, none without a label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from exporters.nsd.design import repeats_so_far
from nsd_bench.decoding.files import UNKNOWN
from nsd_bench.errors import OptionError, choices

__all__ = ["balance", "first_of_classes", "keep_first"]


def keep_first(labels: npt.NDArray[np.str_], max_trials: int | Sequence[int]) -> npt.NDArray[np.str_]:
    """Make all trials from `max_trials` on unknown.

    Parameters
    ----------
    labels : str array of shape (n_subjects, n_trials)
    max_trials
        One number for all subjects, or one for each.

    Returns
    -------
    labels : str array of shape (n_subjects, n_trials)

    Examples
    --------
    >>> keep_first(np.array([["cat", "dog", "cat"]]), 2).tolist()
    [['cat', 'dog', 'unknown']]
    """
    late = np.arange(labels.shape[1]) >= np.reshape(max_trials, (-1, 1))
    return np.where(late, UNKNOWN, labels)


def balance(
    labels: npt.NDArray[np.str_], *, donor: str = "person", seed: int | None = None
) -> npt.NDArray[np.bool_]:
    """Drop unknown trials, and so many of one class that all subjects keep equally many.

    The subject with the most unknown trials says how many all of them drop.

    Parameters
    ----------
    labels : str array of shape (n_subjects, n_trials)
    donor
        Class that gives the trials that are dropped beside the unknown ones.
    seed
        Which of them: None for the subject's first ones, as in the original set; a number for some at random.

    Returns
    -------
    dropped : bool array of shape (n_subjects, n_trials)

    Raises
    ------
    OptionError
        If there is no such class, or a subject has too few trials of it.

    Examples
    --------
    >>> balance(np.array([["unknown", "cat", "unknown"], ["person", "unknown", "cat"]])).astype(int).tolist()
    [[1, 0, 1], [1, 1, 0]]
    """
    dropped: npt.NDArray[np.bool_] = labels == UNKNOWN
    excess = dropped.sum(axis=1).max() - dropped.sum(axis=1)
    rng = None if seed is None else np.random.default_rng(seed)
    for row, n in enumerate(excess.tolist()):
        given = np.flatnonzero(labels[row] == donor)
        if n > len(given):
            raise _too_few(labels, donor, row, n, len(given))
        chosen = given[:n] if rng is None else rng.choice(given, n, replace=False)
        dropped[row, chosen] = True
    return dropped


def _too_few(labels: npt.NDArray[np.str_], donor: str, row: int, n: int, n_given: int) -> OptionError:
    known = np.setdiff1d(labels, [UNKNOWN])
    return OptionError(
        f"{n_given} trials show {donor!r}, and {n} would have to be dropped",
        place=f"row {row} of the labels",
        expected=f"a class with enough trials, {choices(donor, known)}",
        fix="give another --donor",
    )


def first_of_classes(
    labels: npt.NDArray[np.str_],
    nsd_ids: npt.NDArray[np.int64],
    classes: Sequence[str],
    *,
    per_class: int | None = None,
) -> npt.NDArray[np.bool_]:
    """Keep the first trials of each of some classes, each image the first time that it is shown.

    Parameters
    ----------
    labels : str array of shape (n_subjects, n_trials)
    nsd_ids : int64 array of shape (n_subjects, n_trials)
    classes
        That are kept.
    per_class
        Trials of each class and subject; None for as many as all of them have.

    Returns
    -------
    dropped : bool array of shape (n_subjects, n_trials)

    Raises
    ------
    OptionError
        If a subject has no trial, or fewer than `per_class`, of a class.

    Examples
    --------
    >>> words, images = np.array([["cat", "dog", "cat", "cat"]]), np.array([[5, 6, 5, 7]])
    >>> first_of_classes(words, images, ["cat"]).astype(int).tolist()
    [[0, 1, 1, 0]]
    """
    first = np.stack([repeats_so_far(row) == 0 for row in nsd_ids])
    kept = np.zeros(labels.shape, dtype=bool)
    found = {name: first & (labels == name) for name in classes}
    fewest = {name: int(of.sum(axis=1).min()) for name, of in found.items()}
    rarest = min(fewest, key=fewest.__getitem__)
    if fewest[rarest] < (per_class or 1):
        raise _too_rare(labels, rarest, fewest[rarest], per_class)
    n_kept = per_class or fewest[rarest]
    for of in found.values():
        kept |= of & (of.cumsum(axis=1) <= n_kept)
    return ~kept


def _too_rare(labels: npt.NDArray[np.str_], name: str, n: int, per_class: int | None) -> OptionError:
    there = np.setdiff1d(labels, [UNKNOWN])
    known = choices("" if name in there else name, there)
    return OptionError(
        f"a subject has {n} image{'' if n == 1 else 's'} of class {name!r}",
        place="labels",
        expected=f"{per_class or 'at least 1'} of every class that is asked for, {known}",
        fix="give a smaller --per-class, or other --classes",
    )
