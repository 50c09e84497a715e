"""The table that tier rules ask: every trial of a package's sessions, and what is known of its image."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from nsd_bench.errors import TierError
from nsd_bench.inputs import reading
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.spec import DESIGN_SUFFIX

__all__ = ["image_table", "package_design", "read_design_table"]

_NEEDED = ("trial", "session", "nsd_id")
_KINDS = {"trial_idx": "iu", "session": "iu", "nsd_id": "iu", "tiers": "U"}
_OF_TRIAL = ("trial", "session", "run", "repeat", "tier")
_COUNTED = ("n_repeats", "first_session", "last_session", "sessions_total")


def read_design_table(path: Path) -> pd.DataFrame:
    """Read a design table.

    Parameters
    ----------
    path
        A .csv, such as exports write beside a package.

    Returns
    -------
    design
        One row per trial: `trial` (from 0), `session` (from 1), `nsd_id` (from 0), and whatever else rules
        may ask for, of the trial (`run`, `repeat`) or of its image (`shared1000`, `special515`, ...).

    Raises
    ------
    TierError
        If it cannot be read, lacks one of the first three, or has a trial twice.
    """
    with reading(path, partial(_not_a_design, path)):
        table = pd.read_csv(path)
    missing = [name for name in _NEEDED if name not in table]
    if missing:
        raise _not_a_design(path, f"lacks column {missing[0]!r}")
    odd = [name for name in _NEEDED if table[name].dtype.kind not in "iu"]
    if odd:
        raise _not_a_design(path, f"column {odd[0]!r} holds {table[odd[0]].dtype}, not whole numbers")
    if table["trial"].duplicated().any():
        raise _not_a_design(path, f"has trial {table['trial'][table['trial'].duplicated()].iloc[0]} twice")
    return table


def _not_a_design(path: Path, problem: str) -> TierError:
    return TierError(
        problem,
        place=str(path),
        expected="a table (CSV) with one row per trial and the columns " + ", ".join(_NEEDED),
        fix="give the design table that was written when the package was exported",
    )


def package_design(package: Package) -> pd.DataFrame:
    """Make the design table out of an open package's own trial table.

    Parameters
    ----------
    package
        Of kind "open".

    Returns
    -------
    design
        See `read_design_table`.

    Raises
    ------
    TierError
        If the package withholds what such a table says, or is not NSD's.
    """
    missing = [name for name in ("session", "nsd_id") if name not in package.trial_columns]
    if missing:
        raise TierError(
            f"the trial table has no column {missing[0]!r}, as the package is of kind {package.kind!r}",
            place=str(package.path),
            expected="session and nsd_id of every trial, for tier rules to ask",
            fix=f"give its design table with --design, or put it beside it as {package.name}{DESIGN_SUFFIX}",
        )
    n_trials = package.array(spec.trials_file("tiers")).size
    columns = {}
    for name in sorted({*package.trial_columns, "trial_idx"} - {"frame_image_id", "frame_image_class"}):
        values = columns[name] = package.array(spec.trials_file(name))
        kinds = _KINDS.get(name, "biufU")
        if values.shape != (n_trials,) or values.dtype.kind not in kinds or not values.dtype.isnative:
            raise TierError(
                f"holds {values.dtype} of shape {values.shape}",
                place=f"{package.path}, {spec.trials_file(name)}",
                expected=f"a value for each of {n_trials} trials, in the kind that the format has",
                fix="run 'nsd-bench validate' to list all that is wrong, then export the package again",
            )
    return pd.DataFrame(columns).drop(columns="tiers").rename(columns={"trial_idx": "trial"})


def image_table(design: pd.DataFrame) -> pd.DataFrame:
    """Describe the distinct images of a design: what rules by image may ask about.

    Parameters
    ----------
    design
        See `read_design_table`.

    Returns
    -------
    images
        One row per image, ascending by `nsd_id`: the design's image columns, and, counted here,
        `n_repeats`, `first_session`, `last_session` and `sessions_total`.

    Examples
    --------
    >>> design = pd.DataFrame({"trial": [0, 1, 2], "session": [1, 1, 2], "nsd_id": [9, 4, 9]})
    >>> image_table(design)[["nsd_id", "n_repeats", "first_session", "last_session"]].values.tolist()
    [[4, 1, 1, 1], [9, 2, 1, 2]]
    """
    of_image = [name for name in design if name not in {*_OF_TRIAL, *_COUNTED}]
    _, first = np.unique(design["nsd_id"], return_index=True)
    images = design.iloc[first][of_image].reset_index(drop=True)
    sessions = design.groupby("nsd_id")["session"]
    return images.assign(
        n_repeats=sessions.size().to_numpy(),
        first_session=sessions.min().to_numpy(),
        last_session=sessions.max().to_numpy(),
        sessions_total=design["session"].nunique(),
    )
