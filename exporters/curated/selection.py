"""Which trials are kept: as many of every subject, none without a label; and the options of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.curated.labels import LabelRule
from exporters.curated.sessions import Schedule
from exporters.nsd.design import repeats_so_far
from exporters.nsd.layout import RUN_LENGTHS
from nsd_bench.decoding.files import UNKNOWN
from nsd_bench.errors import OptionError, choices

__all__ = ["CurateOptions", "ChosenTrials", "balance", "first_of_classes", "keep_first", "select_trials"]


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


@dataclass(frozen=True)
class CurateOptions:
    """Which trials are kept, and how they are written.

    Parameters
    ----------
    rule
        Which label an image has.
    max_trials
        How many of the first trials of every subject count; None for as many as all subjects completed, which
        are 22,500 in NSD.
    donor, seed
        See `exporters.curated.selection.balance`.
    classes, per_class
        Keep these classes only, see `exporters.curated.selection.first_of_classes`, and do not balance; None
        keeps all.
    run_lengths
        Trials in each run of a session.
    zarr
        Whether to write zarr twins.
    """

    rule: LabelRule = field(default_factory=LabelRule)
    max_trials: int | None = None
    donor: str = "person"
    seed: int | None = None
    classes: tuple[str, ...] | None = None
    per_class: int | None = None
    run_lengths: tuple[int, ...] = RUN_LENGTHS
    zarr: bool = False


@dataclass(frozen=True)
class ChosenTrials:
    """What every subject saw, and what is kept of that.

    Parameters
    ----------
    subjects
        One per row.
    nsd_ids : int64 array of shape (n_subjects, n_trials)
    labels : str array of shape (n_subjects, n_trials)
        Of the trials for which there are betas; "unknown" of the others.
    dropped : bool array of shape (n_subjects, n_trials)
    """

    subjects: tuple[int, ...]
    nsd_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.str_]
    dropped: npt.NDArray[np.bool_]

    def kept(self, row: int, numbers: pd.DataFrame) -> pd.DataFrame:
        """List a subject's kept trials.

        Parameters
        ----------
        row
            Which of `subjects`.
        numbers
            See `exporters.curated.sessions.Schedule.trial_numbers`.

        Returns
        -------
        trials
            Rows of `numbers` with `nsd_id`, `repeat` (from 0) and `label`, in the order of showing.
        """
        shown = self.nsd_ids[row]
        table = numbers.assign(nsd_id=shown, repeat=repeats_so_far(shown), label=self.labels[row])
        kept: pd.DataFrame = table.loc[~self.dropped[row]]
        return kept.reset_index(drop=True)


def select_trials(
    nsd_ids: npt.NDArray[np.int64],
    labels: npt.NDArray[np.str_],
    schedule: Schedule,
    options: CurateOptions,
) -> ChosenTrials:
    """Decide which trials are kept; no betas are needed.

    Parameters
    ----------
    nsd_ids, labels : arrays of shape (n_subjects, n_trials)
        Rows in the order of `schedule.sessions`.
    schedule
        How many sessions each subject has.
    options
        How many trials are kept, and of which classes.

    Returns
    -------
    chosen
        What is kept, beside all that was planned.

    Raises
    ------
    OptionError
        If a subject has fewer trials than are wanted, or `per_class` is given without `classes`.
    """
    if options.per_class is not None and options.classes is None:
        raise OptionError(
            f"per_class = {options.per_class} without classes",
            place="curate",
            expected="the classes of which so many trials are kept",
            fix="name them with --classes, or leave out --per-class",
        )
    max_trials = options.max_trials or schedule.common_trials
    if max_trials > schedule.common_trials:
        raise OptionError(
            f"max_trials = {max_trials} is more than every subject has",
            place="curate",
            expected=f"1 to {schedule.common_trials}, the trials of the subject with the fewest sessions",
            fix="give a smaller --max-trials, or resample more sessions",
        )
    first = keep_first(labels, max_trials)
    if options.classes is None:
        dropped = balance(first, donor=options.donor, seed=options.seed)
    else:
        dropped = first_of_classes(first, nsd_ids, options.classes, per_class=options.per_class)
    if dropped.all():
        raise OptionError(
            "no trial is kept",
            place="curate",
            expected="trials whose pictures have objects in COCO",
            fix="give more --max-trials",
        )
    return ChosenTrials(tuple(schedule.sessions), nsd_ids, labels, dropped)
