"""What the curated set keeps of what every subject saw."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from exporters.curated.labels import LabelRule
from exporters.curated.layout import Experiment
from exporters.curated.select import balance, first_of_classes, keep_first
from exporters.nsd.design import repeats_so_far
from exporters.nsd.layout import RUN_LENGTHS
from nsd_bench.errors import OptionError

__all__ = ["CurateOptions", "Selection", "select_trials"]


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
        See `exporters.curated.select.balance`.
    classes, per_class
        Keep these classes only, see `exporters.curated.select.first_of_classes`, and do not balance; None
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
class Selection:
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
        """List a subject's kept trials; `numbers` as from `Experiment.trial_numbers`."""
        shown = self.nsd_ids[row]
        table = numbers.assign(nsd_id=shown, repeat=repeats_so_far(shown), label=self.labels[row])
        kept: pd.DataFrame = table.loc[~self.dropped[row]]
        return kept.reset_index(drop=True)


def select_trials(
    nsd_ids: npt.NDArray[np.int64],
    labels: npt.NDArray[np.str_],
    experiment: Experiment,
    options: CurateOptions,
) -> Selection:
    """Decide which trials are kept; no betas are needed.

    Parameters
    ----------
    nsd_ids, labels : arrays of shape (n_subjects, n_trials)
        Rows in the order of `experiment.sessions`.
    experiment
        Sessions that each subject has.
    options
        What is wanted.

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
    max_trials = options.max_trials or experiment.common_trials
    if max_trials > experiment.common_trials:
        raise OptionError(
            f"max_trials = {max_trials} is more than every subject has",
            place="curate",
            expected=f"1 to {experiment.common_trials}, the trials of the subject with the fewest sessions",
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
    return Selection(tuple(experiment.sessions), nsd_ids, labels, dropped)
