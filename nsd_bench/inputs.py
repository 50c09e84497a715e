"""Strangers' files: whatever goes wrong in reading one becomes one error that names it.

Nothing is waited for, and nothing swells beyond reason. Libraries raise what they like (nibabel alone has a
dozen kinds), so that no list of exceptions is ever whole: `reading` turns every one of them into ours.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from nsd_bench.errors import NsdBenchError

__all__ = ["MOST_BYTES", "cause", "is_file", "parse_json", "read_text", "reading", "refuse_special"]

MOST_BYTES: Final = 1 << 25
"""Of a text or JSON that is read whole: 32 MiB, three times the lock of 90,000 files."""
_MOST_DEPTH: Final = 500
_MOST_LETTERS: Final = 300
_SAY_NOTHING_ELSE: Final = (ValueError, OSError)
_KINDS: Final = {
    stat.S_ISFIFO: "it is a named pipe, not a file",
    stat.S_ISCHR: "it is a device, not a file",
    stat.S_ISBLK: "it is a device, not a file",
    stat.S_ISSOCK: "it is a socket, not a file",
}


@contextlib.contextmanager
def reading(
    path: str | os.PathLike[str], refusal: Callable[[str], NsdBenchError], what: str = "cannot be read"
) -> Iterator[None]:
    """Turn whatever a library raises in the block into one error of ours; errors of ours pass.

    Nothing is opened if the path is a pipe or a device, which could keep the reader waiting for ever.

    Parameters
    ----------
    path
        What is read.
    refusal
        Makes the error of what is wrong, a text: ``partial(SourceError, place=..., expected=..., fix=...)``.
    what
        Comes before the cause, which then stands in brackets; "": the cause alone.

    Raises
    ------
    NsdBenchError
        What `refusal` makes.

    Examples
    --------
    >>> from functools import partial
    >>> from nsd_bench.errors import SourceError
    >>> refusal = partial(SourceError, place="mask.nii.gz", expected="a whole file", fix="fetch it again")
    >>> with reading("mask.nii.gz", refusal):
    ...     raise KeyError("betas")
    Traceback (most recent call last):
    ...
    nsd_bench.errors.SourceError: mask.nii.gz: cannot be read (there is no 'betas' in it).
      Expected: a whole file.
      What to do: fetch it again.
    """
    try:
        refuse_special(path)
        yield
    except NsdBenchError:
        raise
    except Exception as error:
        raise refusal(f"{what} ({cause(error)})" if what else cause(error)) from error


def cause(error: BaseException) -> str:
    """Say in one line what went wrong, in words that do not name the paths that the message names anyway.

    Parameters
    ----------
    error
        What was raised.

    Examples
    --------
    >>> cause(FileNotFoundError(2, "No such file or directory", "a.npy")), cause(EOFError())
    ('No such file or directory', 'EOFError')
    >>> cause(AttributeError("'list' object has no attribute 'get'"))
    "AttributeError: 'list' object has no attribute 'get'"
    """
    if isinstance(error, MemoryError):
        return "it asks for more memory than there is"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "it is no text"
    if isinstance(error, KeyError) and error.args:
        return f"there is no {error.args[0]!r} in it"
    text = " ".join(str(getattr(error, "strerror", None) or error).split())[:_MOST_LETTERS]
    if "allow_pickle" in text:  # numpy would say how to unpickle it
        return "it is another kind of file, or holds Python objects, which only pickle could read"
    ours = isinstance(error, _SAY_NOTHING_ELSE) or type(error).__module__ != "builtins"
    return text if text and ours else f"{type(error).__name__}{': ' if text else ''}{text}"


def refuse_special(path: str | os.PathLike[str]) -> None:
    """Refuse pipes, devices and sockets, of which nobody knows when they end; what is not there passes.

    Parameters
    ----------
    path
        What is about to be opened.

    Raises
    ------
    OSError
        If `path` is one, or cannot be looked at: a loop of links, a name that is too long.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  # of each of 90,000 files of a package
    except (FileNotFoundError, NotADirectoryError):
        return
    for is_kind, problem in _KINDS.items():
        if is_kind(mode):
            raise OSError(errno.EINVAL, problem, os.fspath(path))


def is_file(path: Path) -> bool:
    """Whether there is a regular file, as `Path.is_file`; of a name that is too long there is none.

    Parameters
    ----------
    path
        Where to look.
    """
    try:
        return path.is_file()
    except OSError:
        return False


def read_text(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a file that is no larger than a text can be.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ValueError
        If it is larger than `MOST_BYTES`.
    OSError
        If it cannot be read, or is a pipe or a device.
    """
    refuse_special(path)
    with Path(path).open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    _refuse_large(len(content))
    return content


def _refuse_large(n_bytes: int) -> None:
    if n_bytes > MOST_BYTES:
        problem = f"it is larger than {MOST_BYTES >> 20} MiB"
        raise ValueError(problem)


def parse_json(text: bytes | memoryview | str) -> Any:
    """Parse JSON that others wrote, strictly: what our own writers could never write is refused.

    Parameters
    ----------
    text
        JSON in UTF-8, UTF-16 or UTF-32, or decoded.

    Raises
    ------
    ValueError
        If it is no JSON, larger than `MOST_BYTES`, nested deeper than 500 levels, or holds NaN, an infinity,
        or a number that float64 cannot hold.

    Examples
    --------
    >>> parse_json(b'{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    >>> parse_json("[" * 2000 + "]" * 2000)
    Traceback (most recent call last):
    ...
    ValueError: it is nested too deep
    >>> parse_json('{"gpu_hours": 1e999}')
    Traceback (most recent call last):
    ...
    ValueError: it holds Infinity, which is not JSON
    """
    _refuse_large(len(text))
    try:
        content = json.loads(bytes(text) if isinstance(text, memoryview) else text)
    except json.JSONDecodeError as error:
        problem = f"it is no JSON, or cut off at line {error.lineno}"
        raise ValueError(problem) from None
    except (UnicodeDecodeError, RecursionError, MemoryError) as error:
        raise ValueError(cause(error)) from None
    layer, depth = [content], 0
    while layer:
        if depth > _MOST_DEPTH:
            problem = "it is nested too deep"
            raise ValueError(problem)
        for value in layer:
            if isinstance(value, float) and not math.isfinite(value):
                problem = f"it holds {json.dumps(value)}, which is not JSON"
                raise ValueError(problem)
        inside = (
            value.values() if isinstance(value, dict) else value
            for value in layer
            if isinstance(value, dict | list)
        )
        layer = [value for values in inside for value in values]
        depth += 1
    return content
