"""Put units on the vertices of a flat map: back into the full grid by their ids, then onto the surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import PackageError

__all__ = ["NOWHERE", "Placement"]

NOWHERE: Final = -1
_TOLERANCE_MM = 0.01


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
    """

    units: npt.NDArray[np.integer]
    shape: tuple[int, ...]
    source: str
    affine: npt.NDArray[np.float64] | None = None
    is_approximate: bool = False

    @property
    def n_units(self) -> int:
        """Number of units of the full grid, or of both surfaces."""
        return int(np.prod(self.shape) if len(self.shape) == 3 else sum(self.shape))

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
        if unit_ids.max() >= self.n_units or unit_ids.min() < 0:
            raise self._other_grid(f"unit {unit_ids.max()} is not one of {self.n_units}")
        if self.affine is None:
            return
        voxels = np.column_stack(np.unravel_index(unit_ids, self.shape))
        here = voxels @ self.affine[:3, :3].T + self.affine[:3, 3]
        wrong = np.flatnonzero(np.abs(here - coordinates_mm).max(axis=1) > _TOLERANCE_MM)
        if wrong.size:
            unit, there = unit_ids[wrong[0]], coordinates_mm[wrong[0]].round(2).tolist()
            place = here[wrong[0]].round(2).tolist()
            raise self._other_grid(f"unit {unit} lies at {place} mm, where the package says {there}")

    def _other_grid(self, problem: str) -> PackageError:
        return PackageError(
            f"the package's units are of another grid: {problem}",
            place=self.source,
            expected=f"units of a grid or surface of shape {self.shape}",
            fix="give the transforms of the package's own subject and space",
        )

    def on_vertices(
        self, unit_ids: npt.NDArray[np.int64], values: npt.NDArray[np.floating]
    ) -> npt.NDArray[np.float64]:
        """Average the depths of every vertex, missing ones left out.

        Parameters
        ----------
        unit_ids, values : arrays of shape (n_units,)
            Which units, and what they hold.

        Returns
        -------
        values : float64 array of shape (n_vertices,)
            NaN where a vertex shows no unit.

        Examples
        --------
        >>> placement = Placement(np.array([[0, 2], [2, -1], [1, 1]]), (3, 2), "toy")
        >>> placement.on_vertices(np.array([0, 2]), np.array([1.0, 4.0])).tolist()
        [2.5, 4.0, nan]
        """
        full = self._full(unit_ids, values.astype(np.float64), np.nan)
        known = np.isfinite(full)
        full[~known] = 0
        total, n_known = np.zeros(len(self.units)), np.zeros(len(self.units))
        for depth in self.units.T:  # one at a time: there may be millions of pixels, and 32 depths
            total += full[depth]
            n_known += known[depth]
        return np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan)

    def labels_on_vertices(
        self, unit_ids: npt.NDArray[np.int64], labels: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.int64]:
        """Give every vertex the label that most of its depths have, shape (n_vertices,); 0 is none.

        Among equals it is the smallest.
        """
        full = self._full(unit_ids, np.maximum(labels, 0).astype(np.int64), 0)
        winner, most = np.zeros((2, len(self.units)), dtype=np.int64)
        for label in np.unique(full[full > 0]):
            votes = np.zeros(len(self.units), dtype=np.int64)
            for depth in self.units.T:
                votes += full[depth] == label
            winner[votes > most] = label
            most = np.maximum(most, votes)
        return winner

    def _full(
        self, unit_ids: npt.NDArray[np.int64], values: npt.NDArray[Any], fill: float
    ) -> npt.NDArray[Any]:
        """Put values back into the full grid; the last entry is `NOWHERE`."""
        full = np.full(self.n_units + 1, fill, dtype=values.dtype)
        full[unit_ids] = values
        return full

    def arrays(self) -> dict[str, npt.ArrayLike]:
        """Return what `of_arrays` needs, for an .npz."""
        affine = np.zeros((0, 4)) if self.affine is None else self.affine
        return {
            "units": self.units,
            "shape": self.shape,
            "affine": affine,
            "is_approximate": self.is_approximate,
            "source": self.source,
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Placement:
        """Make what `arrays` took apart."""
        affine = arrays["affine"]
        return cls(
            arrays["units"],
            tuple(arrays["shape"].tolist()),
            str(arrays["source"]),
            affine if len(affine) else None,
            bool(arrays["is_approximate"]),
        )
