"""The statistics that a package stores, and which trials they are the statistics of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import Issue, PackageError
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from tiers.audit.moments import Summary, merged

__all__ = ["ALL", "FIX", "Stored", "compared", "read_stored", "unions"]

ALL = "all trials"
FIX = "Apply the tiers again with 'nsd-bench tiers apply', or export the package again"
Name = tuple[str, str]
"""Group and statistic."""


@dataclass(frozen=True)
class Stored:
    """The statistics of one kind of data as they lie in the package.

    Parameters
    ----------
    values
        Group and statistic to a float64 array of shape (n_columns,).
    unchecked
        Group and statistic to why they cannot be compared.
    guess : float64 array of shape (n_guesses, n_columns)
        The distinct medians among them, for `tiers.audit.moments.summarise`.
    """

    values: dict[Name, npt.NDArray[np.float64]]
    unchecked: dict[Name, str]
    guess: npt.NDArray[np.float64]

    def fit(self, name: Name, summary: Summary) -> npt.NDArray[np.bool_]:
        """Say for every column whether a stored statistic is that of the summarised values.

        Parameters
        ----------
        name
            Group and statistic, of `values`.
        summary
            Of some trials.

        Returns
        -------
        fits : bool array of shape (n_columns,)
        """
        values, statistic = self.values[name], name[1]
        same = [np.array_equal(values, guess, equal_nan=True) for guess in self.guess]
        return summary.has(statistic, values, same.index(True) if statistic == "median" else 0)


def read_stored(package: Package, key: str) -> Stored:
    """Read the ten statistics of one kind of data; those that cannot be read say why.

    Parameters
    ----------
    package
        Whose statistics they are.
    key
        Kind of data, such as "responses".
    """
    n_columns = 1 if key == "images" else int(np.prod(package.trial_arrays(key).shape))
    values, unchecked = {}, {}
    for group in spec.STATISTICS_GROUPS:
        for statistic in spec.STATISTICS:
            try:
                array = package.statistic(key, statistic, group)
            except PackageError as error:
                missing = spec.statistics_file(key, group, statistic) not in package.store
                unchecked[group, statistic] = "missing" if missing else error.problem
                continue
            if array.size != n_columns or array.dtype.kind not in "buif":
                unchecked[group, statistic] = f"{array.dtype} of shape {array.shape}"
                continue
            values[group, statistic] = array.ravel().astype(np.float64)
    medians = [array for (_, statistic), array in values.items() if statistic == "median"]
    guess = np.unique(np.stack(medians), axis=0) if medians else np.zeros((1, n_columns))
    return Stored(values, unchecked, guess)


def unions(sums: Mapping[str, Summary]) -> dict[str, Summary]:
    """Merge the summaries of tiers: name of every union, the likeliest first, to its summary.

    Parameters
    ----------
    sums
        Tier to the summary of its trials.
    """
    tiers = [tier for tier in spec.TIERS if tier in sums]
    sets = [names for n in range(1, len(tiers) + 1) for names in combinations(tiers, n)]
    sets.sort(key=lambda names: "train" not in names)
    named = {names: ALL if len(names) == len(tiers) > 1 else " + ".join(names) for names in sets}
    return {name: merged(sums[tier] for tier in names) for names, name in named.items()}


def compared(
    package: Package, key: str, stored: Stored, sums: Mapping[str, Summary]
) -> tuple[list[Issue], dict[str, Any]]:
    """Compare stored statistics with those of the training trials.

    Parameters
    ----------
    package
        Whose statistics they are.
    key
        Kind of data, such as "responses".
    stored
        See `read_stored`.
    sums
        Tier to the summary of its trials, `train` among them.

    Returns
    -------
    issues
        An error for what is not a statistic of the training trials; it names the trials of which it is.
    said
        Every statistic, as "all/mean", to the unions of tiers that it fits, or to why it was not compared.
    """
    of = unions(sums)
    n_wrong = {name: int((~stored.fit(name, sums["train"])).sum()) for name in stored.values}
    fits = {
        name: [union for union, summary in of.items() if stored.fit(name, summary).all()]
        if wrong
        else ["train"]
        for name, wrong in n_wrong.items()
    }
    wrong = [name for name, n in n_wrong.items() if n]
    said: dict[str, Any] = {"/".join(name): unions for name, unions in fits.items()}
    said |= {"/".join(name): f"not checked: {why}" for name, why in stored.unchecked.items()}
    together = [union for union in of if wrong and all(union in fits[name] for name in wrong)]
    groups = [wrong] if together else [[name] for name in wrong]
    return [_issue(package, key, names, n_wrong, fits, together) for names in groups if names], said


def _issue(
    package: Package,
    key: str,
    names: list[Name],
    n_wrong: dict[Name, int],
    fits: dict[Name, list[str]],
    together: list[str],
) -> Issue:
    """Report statistics that fit the same trials, or one that does not."""
    several = len(names) > 1
    place = f"{spec.STATISTICS_FOLDER}{key}/" if several else spec.statistics_file(key, *names[0])
    what = (
        ", ".join("/".join(name) for name in names) + " are not those of"
        if several
        else (f"is not the {names[0][1]} over")
    )
    columns = {"images": ""}.get(key, f", for {max(n_wrong[name] for name in names)} columns")
    fit = together or fits[names[0]]
    hidden = [tier for tier in np.unique(package.tiers).tolist() if package.is_withheld(tier)]
    if fit:
        of = " or ".join(fit[:2])
    elif hidden and key != "images":
        of = f"no set of tiers that can be seen; {' and '.join(hidden)} are withheld"
    else:
        of = "no set of tiers"
    fits_what = f"{'they fit' if several else 'it fits'} {of}"
    return Issue("error", place, f"{what} the training trials{columns}: {fits_what}", FIX)
