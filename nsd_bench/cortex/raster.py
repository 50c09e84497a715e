"""Pixels of a flat map as NSD-Flat lays them: weighted means of the vertices near each, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.spatial import cKDTree

from nsd_bench.errors import OptionError, choices

__all__ = ["INTERPOLATIONS", "PixelGrid", "Raster", "gaussian_raster"]

INTERPOLATIONS: Final = ("nearest", "linear")
_FWHM_PER_SIGMA = 2.35482004503
_REACH = 3.0  # in sigma
_AT_ONCE = 32


@dataclass(frozen=True)
class PixelGrid:
    """Square pixels in rows from below, each row from the left.

    Parameters
    ----------
    pixel_mm
        Side of a pixel.
    left, bottom
        Edges of the lower left pixel, in mm.
    width, height
        Number of pixels.

    Examples
    --------
    >>> grid = PixelGrid.of_rect((-100, 100, -120, 95), 1.0)
    >>> grid.shape, grid.x_mm[0], grid.y_mm[0], grid.x_mm[-1], grid.y_mm[-1]
    ((215, 200), np.float64(-99.5), np.float64(-119.5), np.float64(99.5), np.float64(94.5))
    """

    pixel_mm: float
    left: float
    bottom: float
    width: int
    height: int

    @classmethod
    def of_rect(cls, rect: tuple[float, float, float, float], pixel_mm: float) -> PixelGrid:
        """Cover a rectangle, its lower left corner moved to a multiple of a pixel.

        Parameters
        ----------
        rect
            Left, right, bottom and top edge in mm.
        pixel_mm
            Side of a pixel; widths are rounded to whole pixels, halves to even ones.

        Raises
        ------
        OptionError
            If not a single pixel fits.
        """
        left, right, bottom, top = rect
        if pixel_mm <= 0 or min(right - left, top - bottom) <= pixel_mm / 2:
            raise OptionError(
                f"rectangle {rect} with pixels of {pixel_mm} mm has no pixel",
                place="grid",
                expected="left < right, bottom < top, and pixels that fit in",
                fix="correct the rectangle, which is left, right, bottom, top in mm",
            )
        width, height = (int(np.round(length / pixel_mm)) for length in (right - left, top - bottom))
        left, bottom = (float(pixel_mm * np.round(edge / pixel_mm)) for edge in (left, bottom))
        return cls(pixel_mm, left, bottom, width, height)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def n_pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def rect(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top edge in mm."""
        right, top = self.left + self.pixel_mm * self.width, self.bottom + self.pixel_mm * self.height
        return self.left, right, self.bottom, top

    @property
    def x_mm(self) -> npt.NDArray[np.float64]:
        """Centres of the columns, shape (width,)."""
        return self.left + self.pixel_mm * np.arange(0.5, self.width)

    @property
    def y_mm(self) -> npt.NDArray[np.float64]:
        """Centres of the rows, shape (height,)."""
        return self.bottom + self.pixel_mm * np.arange(0.5, self.height)

    def centres(self) -> npt.NDArray[np.float64]:
        """Return x and y of every pixel, shape (n_pixels, 2), row after row from below."""
        return np.stack(np.meshgrid(self.x_mm, self.y_mm), axis=-1).reshape(-1, 2)


@dataclass(frozen=True)
class Raster:
    """A map from units to pixels: every pixel is a weighted mean of the units near it.

    Pictures have their lower row first, as y grows; see `upright`.

    Parameters
    ----------
    grid
        The pixels.
    points : float64 array of shape (n_units, 2)
        Where the units lie, in mm.
    weights : sparse array of shape (n_pixels, n_units)
        Rows sum to 1, or to 0 where no unit is near.
    density : float64 array of shape (height, width)
        Sum of the weights before they were scaled to 1: how much a pixel knows.
    """

    grid: PixelGrid
    points: npt.NDArray[np.float64]
    weights: Any
    density: npt.NDArray[np.float64]

    @cached_property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Pixels that have units near them, shape (height, width)."""
        return self.density > 0

    @property
    def n_units(self) -> int:
        """Number of units."""
        return len(self.points)

    def pictures(self, values: npt.NDArray[np.floating], *, fill: float = 0.0) -> npt.NDArray[np.float64]:
        """Draw what units hold.

        Parameters
        ----------
        values : float array of shape (n_units,) or (n_trials, n_units)
            One value a unit.
        fill
            Value of pixels outside the mask.

        Returns
        -------
        pictures : float64 array of shape (height, width) or (n_trials, height, width)

        Raises
        ------
        OptionError
            If there is not one value for every unit.

        Examples
        --------
        >>> raster = gaussian_raster(np.array([[0.5, 0.5], [2.5, 0.5]]), PixelGrid(1.0, 0.0, 0.0, 3, 1))
        >>> raster.pictures(np.array([[1.0, 3.0]]))[0].round(2).tolist()
        [[1.0, 2.0, 3.0]]
        """
        self._check(values.shape[-1:], (self.n_units,), values.ndim in (1, 2))
        rows = values.reshape(-1, self.n_units)
        pictures = np.full((len(rows), *self.grid.shape), fill, dtype=np.float64)
        pictures[:, self.mask] = self.pixels(rows)
        return pictures.reshape(*values.shape[:-1], *self.grid.shape)

    def pixels(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Draw only the pixels inside the mask.

        Parameters
        ----------
        values : float array of shape (n_trials, n_units)
            One value a unit.

        Returns
        -------
        pixels : float64 array of shape (n_trials, n_inside)
            Row after row from below, as `pictures[:, mask]`.

        Raises
        ------
        OptionError
            If there is not one value for every unit.
        """
        self._check(values.shape[-1:], (self.n_units,), values.ndim == 2)
        pixels = np.empty((len(values), self._inside.shape[0]))
        for start in range(0, len(values), _AT_ONCE):
            block = np.ascontiguousarray(values[start : start + _AT_ONCE].T)
            pixels[start : start + _AT_ONCE] = (self._inside @ block).T
        return pixels

    @cached_property
    def _inside(self) -> Any:
        return self.weights[self.mask.ravel()]

    def label_picture(self, labels: npt.NDArray[Any], *, fill: Any = 0) -> npt.NDArray[Any]:
        """Draw labels: every pixel gets the one that most of the weight has, the smallest among equals.

        Parameters
        ----------
        labels : int or bool array of shape (n_units,)
            One label a unit.
        fill
            Label of pixels outside the mask.

        Returns
        -------
        picture : array of shape (height, width), dtype of `labels`

        Raises
        ------
        OptionError
            If there is not one integer for every unit.
        """
        self._check(labels.shape, (self.n_units,), labels.dtype.kind in "iub")
        known, codes = np.unique(labels, return_inverse=True)
        one_hot = sparse.csr_array(
            (np.ones(len(codes)), (np.arange(len(codes)), codes)), shape=(len(codes), len(known))
        )
        shares = (self.weights @ one_hot).toarray()
        picture = known[shares.argmax(axis=1)].reshape(self.grid.shape)
        return np.where(self.mask, picture, np.asarray(fill, dtype=labels.dtype))

    def units(
        self,
        pictures: npt.NDArray[Any],
        *,
        interpolation: Literal["nearest", "linear"] = "nearest",
        border: Literal["clamp", "strict"] = "clamp",
    ) -> npt.NDArray[Any]:
        """Read what pictures show where the units lie; units outside the grid get 0.

        Parameters
        ----------
        pictures : array of shape (height, width) or (n_trials, height, width)
            Lower row first.
        interpolation
            Nearest pixel, or linear between the four pixel centres around a unit.
        border
            Units in the outer half of the outermost pixels lie beyond every pixel centre: "clamp" gives
            them the value at the edge, "strict" refuses them as the original NSD-Flat does.

        Returns
        -------
        values : array of shape (n_units,) or (n_trials, n_units)
            dtype of `pictures` for "nearest", else float64.

        Raises
        ------
        OptionError
            If the pictures are of another grid, or an option is unknown.
        """
        self._check(pictures.shape[-2:], self.grid.shape, pictures.ndim in (2, 3))
        if interpolation not in INTERPOLATIONS:
            raise OptionError(
                f"interpolation = {interpolation!r} is not known",
                place="units",
                expected=choices(interpolation, INTERPOLATIONS),
                fix="give one of these",
            )
        inside, places = self._places(border)
        flat = pictures.reshape(-1, self.grid.n_pixels)
        if interpolation == "nearest":
            column, row = np.rint(places).astype(np.int64).T
            found = flat[:, row * self.grid.width + column]
        else:
            found = (_linear(places, self.grid) @ flat.T).T
        values = np.zeros((len(flat), self.n_units), dtype=found.dtype)
        values[:, inside] = found
        return values.reshape(*pictures.shape[:-2], self.n_units)

    def _places(self, border: str) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """Say which units lie inside the grid, and where: column and row, whole numbers at pixel centres."""
        left, right, bottom, top = self.grid.rect
        x, y = self.points.T
        inside = (x >= left) & (x <= right) & (y >= bottom) & (y <= top)
        places = (self.points[inside] - (left, bottom)) / self.grid.pixel_mm - 0.5
        last = np.array([self.grid.width - 1, self.grid.height - 1])
        clamped = np.clip(places, 0, last)
        beyond = int((clamped != places).any(axis=1).sum())
        if border == "strict" and beyond:
            raise OptionError(
                f"{beyond} units lie beyond the outermost pixel centres",
                place="units, border = 'strict'",
                expected="every unit of the grid between pixel centres",
                fix="use border = 'clamp', or a larger grid",
            )
        return inside, clamped

    @staticmethod
    def _check(shape: tuple[int, ...], expected: tuple[int, ...], right: bool) -> None:
        if not right or shape != expected:
            raise OptionError(
                f"the last axes have shape {shape}",
                place="raster",
                expected=f"{expected}, trials before it if there are any, and integers for labels",
                fix="give arrays of the units and the grid that this raster was made for",
            )


def gaussian_raster(points: npt.NDArray[np.float64], grid: PixelGrid, *, fwhm: float = 1.0) -> Raster:
    """Make pixels Gaussian-weighted means of the units within three standard deviations.

    Weights and reach are those of NSD-Flat (github.com/clane9/NSD-Flat, `resample.Resampler`).

    Parameters
    ----------
    points : float64 array of shape (n_units, 2)
        Where the units lie, in mm.
    grid
        The pixels.
    fwhm
        Full width at half maximum, in pixels.

    Returns
    -------
    raster

    Raises
    ------
    OptionError
        If no unit is near any pixel.
    """
    sigma = grid.pixel_mm * fwhm / _FWHM_PER_SIGMA
    near = cKDTree(grid.centres()).sparse_distance_matrix(
        cKDTree(points), _REACH * sigma, output_type="ndarray"
    )
    if len(near) == 0:
        raise OptionError(
            f"none of {len(points)} units is near a pixel",
            place=f"grid {grid.rect}",
            expected="units within the grid",
            fix="choose another region, or another rectangle",
        )
    kernel = np.exp(-0.5 * (near["v"] / sigma) ** 2)
    weights = sparse.csr_array((kernel, (near["i"], near["j"])), shape=(grid.n_pixels, len(points)))
    weights.sort_indices()  # sums in one order, whatever order the tree gave
    density = weights.sum(axis=1)
    weights.data /= np.repeat(density, np.diff(weights.indptr))
    return Raster(grid, points, weights, density.reshape(grid.shape))


def _linear(places: npt.NDArray[np.float64], grid: PixelGrid) -> Any:
    """Weigh the four pixels around each place: sparse, of shape (n_places, n_pixels)."""
    last = np.array([grid.width - 1, grid.height - 1])
    low = places.astype(np.int64)
    high, share = np.minimum(low + 1, last), places - low
    weights, pixels = [], []
    for column, across in ((low[:, 0], 1 - share[:, 0]), (high[:, 0], share[:, 0])):
        for row, along in ((low[:, 1], 1 - share[:, 1]), (high[:, 1], share[:, 1])):
            weights.append(across * along)
            pixels.append(row * grid.width + column)
    place = np.tile(np.arange(len(places)), 4)
    shape = (len(places), grid.n_pixels)
    return sparse.csr_array((np.concatenate(weights), (place, np.concatenate(pixels))), shape=shape)
