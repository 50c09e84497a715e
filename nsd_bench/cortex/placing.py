"""Which units each vertex shows: back into the full grid by their ids, then onto the surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

from nsd_bench.errors import OptionError, PackageError, choices

__all__ = [
    "NOWHERE",
    "SAMPLINGS",
    "Placement",
    "check_sampling",
    "misplaced",
    "nearest_units",
    "trilinear_weights",
]

NOWHERE: Final = -1
_TOLERANCE_MM = 0.01
_SPARSE: Final = ("data", "indices", "indptr")


@dataclass(frozen=True)
class Placement:
    """Which units each vertex of a flat map shows.

    Parameters
    ----------
    units : integer array of shape (n_vertices, n_depths)
        As `unit_ids` counts them in the full grid or on both surfaces, at some depths; `NOWHERE` for none.
    shape
        Of the full grid (X, Y, Z), or vertices of the left and the right surface.
    source
        What it was made from, named in errors.
    affine : float64 array of shape (4, 4)
        Voxel index to mm; None on surfaces, and where it is unknown.
    is_approximate
        Whether vertices were matched by their places in the brain, without a subject's own transform.
    weights : sparse array of shape (n_vertices, n_units of the full grid)
        How much of every unit a vertex shows, where that is not the mean of `units`; labels go by `units`.
    """

    units: npt.NDArray[np.integer]
    shape: tuple[int, ...]
    source: str
    affine: npt.NDArray[np.float64] | None = None
    is_approximate: bool = False
    weights: Any = None

    @property
    def n_units(self) -> int:
        """Number of units of the full grid, or of both surfaces."""
        return _n_units(self.shape)

    def check(self, unit_ids: npt.NDArray[np.int64], coordinates_mm: npt.NDArray[np.floating]) -> None:
        """Refuse units of another grid: another shape, or another handedness.

        Parameters
        ----------
        unit_ids : int64 array of shape (n_units,)
        coordinates_mm : float array of shape (n_units, 3)
            As the package has them; NaN on surfaces.

        Raises
        ------
        PackageError
            If an id is too large, or a voxel lies elsewhere on this grid than the package says.
        """
        problem = misplaced(unit_ids, coordinates_mm, self.shape, self.affine)
        if problem:
            raise PackageError(
                f"the package's units are of another grid: {problem}",
                place=self.source,
                expected=f"units of a grid or surface of shape {self.shape}",
                fix="give the transforms of the package's own subject and space",
            )

    def on_vertices(
        self,
        unit_ids: npt.NDArray[np.int64],
        values: npt.NDArray[np.floating],
        *,
        nanmean: bool = True,
    ) -> npt.NDArray[np.float64]:
        """Average the depths of every vertex.

        Parameters
        ----------
        unit_ids, values : arrays of shape (n_units,)
            Which units, and what they hold.
        nanmean
            Whether missing units, and those that hold NaN, are left out; otherwise a single one makes its
            vertex NaN. Depths outside the volume are always left out.

        Returns
        -------
        values : float64 array of shape (n_vertices,)
            NaN where a vertex shows no unit.

        Examples
        --------
        >>> placement = Placement(np.array([[0, 2], [2, -1], [1, 0]]), (3, 2), "toy")
        >>> ids, values = np.array([0, 2]), np.array([1.0, 4.0])
        >>> placement.on_vertices(ids, values).tolist()
        [2.5, 4.0, 1.0]
        >>> placement.on_vertices(ids, values, nanmean=False).tolist()
        [2.5, 4.0, nan]
        """
        full = np.full(self.n_units, np.nan)
        full[unit_ids] = values
        known = np.isfinite(full)
        full[~known] = 0
        weights = self._counts if self.weights is None else self.weights
        total, share = weights @ full, weights @ known.astype(np.float64)
        shown = share > 0
        if not nanmean:
            shown &= weights @ (~known).astype(np.float64) == 0
        return np.where(shown, total / np.where(shown, share, 1), np.nan)

    @cached_property
    def _counts(self) -> Any:
        """How many depths of every vertex show every unit, shape (n_vertices, n_units of the full grid).

        Neighbouring depths mostly lie in one unit, so that this is small where there are 32 of them.
        """
        n_vertices, n_depths = self.units.shape
        begins = np.ones(self.units.shape, dtype=bool)
        begins[:, 1:] = self.units[:, 1:] != self.units[:, :-1]
        first = np.flatnonzero(begins)
        run = np.diff(first, append=n_vertices * n_depths)
        vertex, depth = np.divmod(first, n_depths)
        unit = self.units[vertex, depth]
        somewhere = unit != NOWHERE
        places = vertex[somewhere], unit[somewhere]
        return sparse.csr_array((run[somewhere].astype(np.float64), places), (n_vertices, self.n_units))

    def labels_on_vertices(
        self, unit_ids: npt.NDArray[np.int64], labels: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.int64]:
        """Give every vertex the label that most of its depths have, shape (n_vertices,); 0 is none.

        Among equals it is the smallest.

        Parameters
        ----------
        unit_ids, labels : int arrays of shape (n_units,)
            Which units, and their labels; those below 1 count as none.
        """
        full = np.zeros(self.n_units, dtype=np.int64)
        full[unit_ids] = labels
        winner, most = np.zeros(len(self.units), dtype=np.int64), np.zeros(len(self.units))
        for label in np.unique(full[full > 0]):
            votes = self._counts @ (full == label).astype(np.float64)
            winner[votes > most] = label
            most = np.maximum(most, votes)
        return winner

    def arrays(self) -> dict[str, npt.ArrayLike]:
        """Return what `of_arrays` needs, for an .npz."""
        affine = np.zeros((0, 4)) if self.affine is None else self.affine
        return {
            "units": self.units,
            "shape": self.shape,
            "affine": affine,
            "is_approximate": self.is_approximate,
            "source": self.source,
            **({} if self.weights is None else {part: getattr(self.weights, part) for part in _SPARSE}),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Placement:
        """Make what `arrays` took apart.

        Parameters
        ----------
        arrays
            Name to array: what `arrays` returns.

        Raises
        ------
        ValueError
            If units lie outside the grid, or there is no place for each.
        KeyError
            If an array is missing.
        """
        affine = arrays["affine"]
        placement = cls(
            arrays["units"],
            tuple(arrays["shape"].tolist()),
            str(arrays["source"]),
            affine if len(affine) else None,
            bool(arrays["is_approximate"]),
        )
        units = placement.units
        if units.ndim != 2 or units.min(initial=0) < NOWHERE or units.max(initial=0) >= placement.n_units:
            problem = f"units of shape {units.shape} are not all among the {placement.n_units} of its grid"
            raise ValueError(problem)
        if not set(_SPARSE) <= set(arrays):
            return placement
        shape = len(placement.units), placement.n_units
        return replace(placement, weights=sparse.csr_array(tuple(arrays[part] for part in _SPARSE), shape))


def misplaced(
    unit_ids: npt.NDArray[np.int64],
    coordinates_mm: npt.NDArray[np.floating],
    shape: tuple[int, ...],
    affine: npt.NDArray[np.float64] | None,
) -> str:
    """Say what shows that units are not of a grid; "" if nothing does.

    Parameters
    ----------
    unit_ids : int64 array of shape (n_units,)
    coordinates_mm : float array of shape (n_units, 3)
        Where the package says they lie.
    shape
        Of the full grid (X, Y, Z), or vertices of the left and the right surface.
    affine : float64 array of shape (4, 4)
        Voxel index to mm; None on surfaces.

    Examples
    --------
    >>> misplaced(np.array([5]), np.array([[1.0, 0, 1]]), (2, 2, 2), np.eye(4))
    ''
    >>> misplaced(np.array([5]), np.array([[0.0, 0, 1]]), (2, 2, 2), np.eye(4))
    'unit 5 lies at [1.0, 0.0, 1.0] mm, where the package says [0.0, 0.0, 1.0]'
    """
    if unit_ids.max() >= _n_units(shape) or unit_ids.min() < 0:
        return f"unit {unit_ids.max()} is not one of {_n_units(shape)}"
    if affine is None:
        return ""
    here = np.column_stack(np.unravel_index(unit_ids, shape)) @ affine[:3, :3].T + affine[:3, 3]
    wrong = np.flatnonzero(np.abs(here - coordinates_mm).max(axis=1) > _TOLERANCE_MM)
    if not wrong.size:
        return ""
    there, place = (mm[wrong[0]].round(2).tolist() for mm in (coordinates_mm, here))
    return f"unit {unit_ids[wrong[0]]} lies at {place} mm, where the package says {there}"


def _n_units(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape) if len(shape) == 3 else sum(shape))


SAMPLINGS: Final = ("nearest", "trilinear")
"""How a volume is read at a place that is no voxel's centre."""


def check_sampling(sampling: str, n_depths: int = 1) -> None:
    """Refuse a way of reading that there is not.

    Parameters
    ----------
    sampling
        How a volume is read, one of `SAMPLINGS`.
    n_depths
        Number of places between white matter and pia.

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
