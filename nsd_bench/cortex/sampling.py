"""Look a volume up between voxels: shares of the eight voxels around each place, averaged over depths."""

from __future__ import annotations

from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

from nsd_bench.cortex.placing import NOWHERE
from nsd_bench.errors import OptionError, choices

__all__ = ["SAMPLINGS", "check_sampling", "nearest_units", "trilinear_weights"]

SAMPLINGS: Final = ("nearest", "trilinear")
"""How a volume is read at a place that is no voxel's centre."""


def check_sampling(sampling: str, n_depths: int = 1) -> None:
    """Refuse a way of reading that there is not.

    Raises
    ------
    OptionError
        If `sampling` is not one of `SAMPLINGS`, or there is no depth.
    """
    if sampling not in SAMPLINGS:
        raise OptionError(
            f"sampling = {sampling!r} is not known",
            place="flat map",
            expected=choices(sampling, SAMPLINGS),
            fix="give one of these",
        )
    if n_depths < 1:
        raise OptionError(
            f"{n_depths} depths are not possible",
            place="flat map",
            expected="1 or more",
            fix="give 32 as pycortex does, or 1 for the middle of cortex alone",
        )


def nearest_units(
    places: npt.NDArray[np.floating], shape: tuple[int, int, int], *, edge: bool = False
) -> npt.NDArray[np.int64]:
    """Return the voxel nearest to every place, `NOWHERE` outside the volume.

    Parameters
    ----------
    places : float array of shape (..., 3)
        In voxels, (x, y, z); NaN where there is none.
    shape
        Of the volume.
    edge
        Whether places outside get the outermost voxel.

    Returns
    -------
    units : int64 array of shape (...)
        Flat C-order indices.

    Examples
    --------
    >>> nearest_units(np.array([[0.6, 0, 2.2], [-0.6, 0, 0]]), (2, 3, 4)).tolist()
    [14, -1]
    """
    known = np.isfinite(places).all(axis=-1)
    voxels = np.where(known[..., None], places, 0).round().astype(np.int64)
    if not edge:
        known &= ((voxels >= 0) & (voxels < shape)).all(axis=-1)
    units = np.ravel_multi_index(tuple(np.moveaxis(voxels, -1, 0)), shape, mode="clip")
    return np.where(known, units, NOWHERE)


def trilinear_weights(places: npt.NDArray[np.floating], shape: tuple[int, int, int]) -> Any:
    """Weigh the eight voxels around every place, and average over depths.

    Parameters
    ----------
    places : float array of shape (n_vertices, n_depths, 3)
        In voxels, (x, y, z); NaN where there is none. Places beyond the outermost centres count as on them.
    shape
        Of the volume.

    Returns
    -------
    weights : sparse array of shape (n_vertices, n_voxels)
        Rows sum to 1, or to 0 where no depth has a place.

    Examples
    --------
    >>> weights = trilinear_weights(np.array([[[0.25, 0, 0], [0.75, 0, 0]]]), (2, 1, 1))
    >>> weights.toarray().tolist()
    [[0.5, 0.5]]
    """
    n_vertices, n_depths = places.shape[:2]
    known = np.isfinite(places).all(axis=2)
    per_vertex = 1 / np.maximum(known.sum(axis=1, keepdims=True), 1)
    axes = np.where(known, np.moveaxis(places, 2, 0), 0).reshape(3, -1)
    axes = np.stack([np.clip(axis, 0, n - 1) for axis, n in zip(axes, shape, strict=True)])
    low = axes.astype(np.int64)
    first = _first_in_cell(np.asarray(np.ravel_multi_index(tuple(low), shape)), n_depths)
    x, y, z = np.stack([1 - (axes - low), axes - low], axis=1)  # shares of the lower and the higher voxel
    x *= (known * per_vertex).ravel()
    weights, voxels = [], []
    for corner in product((0, 1), repeat=3):
        i, j, k = corner
        weights.append(np.add.reduceat(x[i] * y[j] * z[k], first))
        corners = low[:, first] + np.array(corner)[:, None]
        voxels.append(np.ravel_multi_index(tuple(corners), shape, mode="clip"))
    weight, voxel, row = np.concatenate(weights), np.concatenate(voxels), np.tile(first // n_depths, 8)
    some = weight > 0
    full = n_vertices, int(np.prod(shape))
    return sparse.csr_array((weight[some], (row[some], voxel[some])), shape=full)


def _first_in_cell(cells: npt.NDArray[np.int64], n_depths: int) -> npt.NDArray[np.int64]:
    """Find where runs of depths in one cell begin: neighbours share their eight voxels."""
    begins = np.ones(len(cells), dtype=bool)
    begins[1:] = cells[1:] != cells[:-1]
    begins[::n_depths] = True
    return np.flatnonzero(begins)
