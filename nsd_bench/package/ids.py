"""Align ids of trials and units: where some lie among others, and all that is wrong with them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import Issue, SubmissionError

__all__ = ["align_ids", "id_issues", "locate"]

_MOST_NAMED: Final = 3


def locate(
    wanted: npt.NDArray[Any], given: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Find ids among others, whatever the order of both.

    Parameters
    ----------
    wanted : array of shape (n_wanted,)
    given : array of shape (n_given,)
        Of ids that are there twice, the first counts.

    Returns
    -------
    positions : int64 array of shape (n_wanted,)
        Where each lies in `given`; anywhere if it does not.
    found : bool array of shape (n_wanted,)
        Whether it does.

    Examples
    --------
    >>> positions, found = locate(np.array([30, 10, 99]), np.array([10, 20, 30]))
    >>> positions[:2].tolist(), found.tolist()
    ([2, 0], [True, True, False])
    """
    if not given.size:
        return np.zeros(len(wanted), dtype=np.int64), np.zeros(len(wanted), dtype=bool)
    order = np.argsort(given, kind="stable")
    positions = order[np.minimum(np.searchsorted(given[order], wanted), len(given) - 1)].astype(np.int64)
    return positions, np.asarray(given[positions] == wanted)


def id_issues(
    name: str,
    given: npt.NDArray[Any],
    wanted: npt.NDArray[Any],
    known: npt.NDArray[Any] | None = None,
    remedy: str = "Predict them",
) -> Iterator[Issue]:
    """List what is wrong with ids: those that are there twice, are missing, or are unknown.

    Parameters
    ----------
    name
        What they are called.
    given, wanted : arrays of shape (n_given,) and (n_wanted,)
        Ids that are there, and those that have to be.
    known : array of shape (n_known,)
        Those that may be there; None: any may.
    remedy
        What to do about missing ones.
    """
    truths = wanted if known is None else known
    if given.dtype.kind != truths.dtype.kind:
        yield Issue(
            "error", name, f"is {given.dtype}, the truth's {truths.dtype}", "Take ids from the package"
        )
        return
    values, counts = np.unique(given, return_counts=True)
    unknown = given[:0] if known is None else np.setdiff1d(given, known)
    wrong = {
        "duplicated": (values[counts > 1], "Give each once"),
        "missing": (np.setdiff1d(wanted, given), remedy),
        "unknown": (unknown, "Remove them, or give the truth of the package they are of"),
    }
    for what, (ids, fix) in wrong.items():
        if ids.size:
            more = ", ..." if ids.size > _MOST_NAMED else ""
            named = ", ".join(str(value) for value in ids[:_MOST_NAMED]) + more
            yield Issue("error", name, f"{ids.size} of {len(wanted)} {what}: {named}", fix)


def align_ids(
    place: str, ids: Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]], *, expected: str, fix: str
) -> list[npt.NDArray[np.int64]]:
    """Return where wanted ids lie among given ones, of trials and units at once.

    Parameters
    ----------
    place
        What has the given ids, for errors.
    ids
        Name to given and wanted ids, in any order; others than those that are wanted may be given, too.
    expected, fix
        What should be there, and what to do, for errors.

    Returns
    -------
    positions
        For every name an int64 array of shape (n_wanted,).

    Raises
    ------
    SubmissionError
        If ids are missing or there twice; lists all of them at once.

    Examples
    --------
    >>> ids = {"unit_ids": (np.array([7, 8, 9]), np.array([9, 7]))}
    >>> align_ids("a model", ids, expected="all units", fix="predict them")[0].tolist()
    [2, 0]
    """
    issues = [issue for name, (given, wanted) in ids.items() for issue in id_issues(name, given, wanted)]
    if issues:
        listed = "; ".join(f"{issue.place}: {issue.problem}" for issue in issues)
        raise SubmissionError(listed, place=place, expected=expected, fix=fix)
    return [locate(wanted, given)[0] for given, wanted in ids.values()]
