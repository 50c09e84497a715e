"""Read volumes, and name the file where that fails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt

from exporters.nsd.volumes import Grid, broken_file
from nsd_bench.decoding.volumes import VolumeFile, open_volumes

__all__ = ["each_volume", "grid_of", "opened"]


def opened(path: Path) -> VolumeFile:
    """Read a file's header.

    Raises
    ------
    SourceError
        If it is no NIfTI file.
    """
    try:
        return open_volumes(path)
    except (OSError, ValueError) as error:
        raise broken_file(path, error) from error


def each_volume(volumes: VolumeFile) -> Iterator[npt.NDArray[Any]]:
    """Yield a file's volumes, see `VolumeFile.__iter__`.

    Raises
    ------
    SourceError
        If it is damaged, or not as long as its header says.
    """
    try:
        yield from volumes
    except (OSError, EOFError, ValueError) as error:
        raise broken_file(volumes.path, error) from error


def grid_of(volumes: VolumeFile) -> Grid:
    """Return the grid of a file's volumes."""
    return Grid(volumes.shape, volumes.affine, volumes.path)
