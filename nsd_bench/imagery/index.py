"""The index of imagery trials: a Parquet file with 11 fixed columns, and others behind them."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, Final

import pandas as pd

from nsd_bench.errors import NsdBenchError, OptionError, PackageError
from nsd_bench.imagery.trial import ImageryTrial
from nsd_bench.inputs import cause, reading, refuse_special
from nsd_bench.outputs import new_file

__all__ = [
    "CACHE_VARIABLE",
    "COLUMNS",
    "EXTRA_COLUMNS",
    "INDEX_FOLDER",
    "PATH_COLUMNS",
    "IndexNotFoundError",
    "absolute_paths",
    "cache_root",
    "full_index",
    "index_schema",
    "read_index",
    "relative_to_cache",
    "schema_problem",
    "subject_index",
    "trials_of",
    "write_index",
]

COLUMNS: Final = {
    "trial_id": "int64",
    "subject": "string",
    "session": "int32",
    "trial_in_session": "int32",
    "condition": "string",
    "nsd_id": "int32",
    "coco_id": "int32",
    "beta_path": "string",
    "beta_index": "int32",
    "repeat_index": "int32",
    "is_valid": "bool",
}
"""The 11 columns of every index, in this order; `nsd_id` and `coco_id` may be null."""
EXTRA_COLUMNS: Final = {
    "run_number": "int32",
    "roi_mask_path": "string",
    "caption": "string",
    "snr_estimate": "float64",
    "stimulus": "string",
    "stimulus_type": "string",
    "stimulus_number": "int32",
    "epoch": "string",
    "cue": "string",
    "vividness": "float64",
    "confidence": "float64",
    "target_image": "string",
    "source_trial_id": "string",
}
"""Columns that may follow; all may be null. `stimulus` says what was seen or imagined, NSD image or not."""
PATH_COLUMNS: Final = ("beta_path", "roi_mask_path", "target_image")
"""Columns with paths, all relative to the cache root."""
_NULLABLE: Final = ("nsd_id", "coco_id", *EXTRA_COLUMNS)


class IndexNotFoundError(NsdBenchError, FileNotFoundError):
    """There is no index where one was asked for."""


def index_schema(extra: tuple[str, ...] = ()) -> Any:
    """Return the Arrow schema of an index: the 11 columns, then those of `extra`.

    Parameters
    ----------
    extra
        Keys of `EXTRA_COLUMNS`, in their order.
    """
    import pyarrow as pa

    types = {"string": pa.string(), "int64": pa.int64(), "int32": pa.int32(), "bool": pa.bool_()}
    types["float64"] = pa.float64()
    wanted = {**COLUMNS, **{name: EXTRA_COLUMNS[name] for name in extra}}
    return pa.schema([pa.field(name, types[kind], name in _NULLABLE) for name, kind in wanted.items()])


def write_index(path: Path, table: pd.DataFrame) -> None:
    """Write an index; it appears whole or not at all, and the same table gives the same bytes.

    Parameters
    ----------
    path
        Of the Parquet file.
    table
        Has the columns of `COLUMNS`, and any of `EXTRA_COLUMNS`; others are not written.

    Raises
    ------
    PackageError
        If a column is missing, or holds an absolute path.
    OutputError
        If the disk is full or the folder cannot be written to.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise _not_an_index(path, f"lacks the columns {', '.join(missing)}")
    if absolute := absolute_paths(table):
        raise _not_an_index(path, f"holds the absolute path {absolute[0]}")
    schema = index_schema(tuple(name for name in EXTRA_COLUMNS if name in table))
    columns = [
        pa.array([None if pd.isna(value) else value for value in table[field.name].tolist()], field.type)
        for field in schema
    ]
    with new_file(path) as file:
        pq.write_table(pa.Table.from_arrays(columns, schema=schema), file)


def schema_problem(path: Path) -> str | None:
    """Say what is wrong with the columns of an index, None if nothing is.

    Parameters
    ----------
    path
        A Parquet file.
    """
    import pyarrow.parquet as pq

    try:
        refuse_special(path)
        found = pq.read_schema(path)
    except Exception as error:  # of pyarrow, whose errors have no base of their own
        return f"cannot be read ({cause(error)})"
    expected = index_schema()
    for number, field in enumerate(expected):
        if number >= len(found) or found.names[number] != field.name:
            return f"column {number} is not {field.name!r}"
        if found.types[number] != field.type:
            return f"column {field.name!r} is {found.types[number]}, not {field.type}"
    return None


def read_index(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read an index; integers that may be null are pandas' Int32.

    Parameters
    ----------
    path
        A Parquet file of 'nsd-bench imagery index'.

    Raises
    ------
    IndexNotFoundError
        If there is none; it is a FileNotFoundError, too.
    PackageError
        If it lacks one of the 11 columns, or has it in another type.
    """
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise IndexNotFoundError(
            "there is no imagery index",
            place=str(path),
            expected="a Parquet file with a row a trial",
            fix="make it with 'nsd-bench imagery index'",
        )
    problem = schema_problem(path)
    if problem:
        raise _not_an_index(path, problem)
    with reading(path, partial(_not_an_index, path)):
        return _frame(pq.read_table(path))


def _frame(table: Any) -> pd.DataFrame:
    kinds = {"int32": "Int32", "string": "object", "float64": "float64"}
    columns = {}
    for name in table.column_names:
        values = table.column(name).to_pylist()
        kind = {**COLUMNS, **EXTRA_COLUMNS}.get(name)
        dtype = kinds[kind] if kind is not None and name in _NULLABLE else (kind or None)
        columns[name] = pd.Series(values, dtype="object" if dtype == "string" else dtype)
    return pd.DataFrame(columns)


def absolute_paths(table: pd.DataFrame) -> list[str]:
    """Return the paths of an index that are absolute, which would break when the cache moves.

    Parameters
    ----------
    table
        An index.

    Examples
    --------
    >>> absolute_paths(pd.DataFrame({"beta_path": ["a.hdf5", "/a.hdf5"], "target_image": [None, "/b.png"]}))
    ['/a.hdf5', '/b.png']
    """
    paths = [path for name in PATH_COLUMNS if name in table for path in table[name].dropna().unique()]
    return [str(path) for path in paths if Path(path).is_absolute()]


def trials_of(table: pd.DataFrame) -> list[ImageryTrial]:
    """Return the rows of an index as trials.

    Parameters
    ----------
    table
        An index.
    """
    known = table[[name for name in ImageryTrial.__dataclass_fields__ if name in table]]
    rows = known.astype(object).where(known.notna(), None).to_dict("records")
    return [ImageryTrial.from_dict({str(name): value for name, value in row.items()}) for row in rows]


def _not_an_index(path: Path, problem: str) -> PackageError:
    return PackageError(
        problem,
        place=str(path),
        expected="the columns " + ", ".join(COLUMNS) + ", paths relative to the cache root",
        fix="make the index again with 'nsd-bench imagery index --force'",
    )


CACHE_VARIABLE: Final = "NSD_CACHE_ROOT"
INDEX_FOLDER: Final = "indices/imagery"


def cache_root(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the cache root: the one given, else `$NSD_CACHE_ROOT`, else `cache`.

    Parameters
    ----------
    given
        A folder; None for the others.

    Examples
    --------
    >>> cache_root("here").as_posix()
    'here'
    """
    return Path(given or os.environ.get(CACHE_VARIABLE) or "cache")


def subject_index(root: Path, subject: int) -> Path:
    """Return where the index of one subject lies.

    Parameters
    ----------
    root
        The cache root.
    subject
        1 to 8.

    Examples
    --------
    >>> subject_index(Path("cache"), 3).as_posix()
    'cache/indices/imagery/subj03.parquet'
    """
    return root / INDEX_FOLDER / f"subj{subject:02}.parquet"


def full_index(root: Path) -> Path:
    """Return where the index of all subjects lies.

    Parameters
    ----------
    root
        The cache root.
    """
    return root / INDEX_FOLDER / "full_index.parquet"


def relative_to_cache(path: Path, root: Path) -> str:
    """Return a path as an index has it: POSIX, relative to the cache root.

    Links are not followed, so that data may lie elsewhere and be linked into the cache.

    Parameters
    ----------
    path
        Of a file below the cache root.
    root
        The cache root.

    Raises
    ------
    OptionError
        If the file does not lie below the cache root.
    """
    here, base = Path(os.path.abspath(path)), Path(os.path.abspath(root))  # noqa: PTH100 - keeps links
    if not here.is_relative_to(base):
        raise OptionError(
            f"{path} lies outside the cache root",
            place=str(root),
            expected="files below the cache root, since an index holds relative paths only",
            fix=f"give a cache root that holds them, or link their folder into it: ln -s FOLDER {root}/",
        )
    return here.relative_to(base).as_posix()
