"""What NSD-Imagery and NSD-synthetic have in common: where their betas lie, and tables of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from exporters.nsd.layout import SURFACES
from nsd_bench.errors import SourceError
from nsd_bench.inputs import reading

__all__ = ["extra_betas", "read_texts"]


def extra_betas(
    root: Path, session: str, subject: int, space: str, version: str, suffix: str
) -> tuple[Path, ...]:
    """Return where a session's betas lie: one file, or one of each hemisphere's surface.

    Parameters
    ----------
    root
        NSD's root.
    session
        "nsdimagery" or "nsdsynthetic".
    subject
        1 to 8.
    space, version, suffix
        As in the core experiment: "fsaverage", "betas_fithrf", "mgh".

    Examples
    --------
    >>> first, second = extra_betas(Path("NSD"), "nsdimagery", 3, "fsaverage", "betas_fithrf", "mgh")
    >>> first.as_posix()
    'NSD/nsddata_betas/ppdata/subj03/fsaverage/nsdimagerybetas_fithrf/lh.betas_nsdimagery.mgh'
    """
    folder = root / f"nsddata_betas/ppdata/subj{subject:02}/{space}/{session}{version}"
    heads = ("lh.", "rh.") if space in SURFACES else ("",)
    return tuple(folder / f"{head}betas_{session}.{suffix}" for head in heads)


def read_texts(
    path: Path,
    columns: Sequence[str],
    fix: str,
    *,
    sep: str = ",",
    spellings: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read some columns of a table as text, "" where a cell is empty.

    The order of columns, the case of their names, and blanks around names and cells do not matter: how the
    release spells them is known from other people's code only.

    Parameters
    ----------
    path
        The table.
    columns
        Names of the columns that are wanted.
    fix
        What a user is to do if they cannot be read.
    sep
        What stands between cells.
    spellings
        Another name to the one of `columns` that it is taken for; None for no others.

    Returns
    -------
    table
        With `columns`, spelt and ordered as they are given.

    Raises
    ------
    SourceError
        If the table cannot be read, or a column is missing or there twice.
    """
    expected = "a table with the columns " + ", ".join(columns)
    with reading(path, partial(SourceError, place=str(path), expected=expected, fix=fix)):
        table = pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False)
    found = [str(name).strip() for name in table.columns]
    known = {other.casefold(): name.casefold() for other, name in (spellings or {}).items()}
    folded = [known.get(name.casefold(), name.casefold()) for name in found]
    for problem, wrong in {
        "lacks": [name for name in columns if folded.count(name.casefold()) == 0],
        "has more than once": [name for name in columns if folded.count(name.casefold()) > 1],
    }.items():
        if wrong:
            text = f"{problem} {_counted(wrong)}; it has {', '.join(found) or 'none'}"
            raise SourceError(text, place=str(path), expected=expected, fix=fix)
    places = [folded.index(name.casefold()) for name in columns]
    return pd.DataFrame(
        {name: table.iloc[:, place].str.strip() for name, place in zip(columns, places, strict=True)}
    )


def _counted(names: Sequence[str]) -> str:
    return f"the column{'s' if len(names) > 1 else ''} {', '.join(names)}"
