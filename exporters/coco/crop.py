"""How NSD cropped a picture, and points, boxes, polygons and masks moved into that crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from skimage.transform import resize

from nsd_bench.errors import NsdBenchError, SourceError

__all__ = ["SIDE", "Crop", "CropBox", "clip_polygons", "mask_tools", "polygon_area"]

Corners = npt.NDArray[np.float64]
Lengths = npt.NDArray[np.int64]


def clip_polygons(
    corners: Corners, lengths: Lengths, low: tuple[float, float], high: tuple[float, float]
) -> tuple[Corners, Lengths]:
    """Keep the part of each polygon that lies in a rectangle.

    One side after another, all polygons at once (Sutherland and Hodgman 1974, "Reentrant polygon clipping",
    Communications of the ACM 17). What falls apart stays one polygon, its pieces joined along the side, which
    changes no area.

    Parameters
    ----------
    corners : float64 array of shape (n_corners, 2)
        x and y of all polygons, one polygon after the other; they may be concave.
    lengths : int64 array of shape (n_polygons,)
        How many corners each has.
    low, high
        The rectangle's smallest and largest x and y.

    Returns
    -------
    corners, lengths
        The same of what is left; a polygon outside has no corners, one that only touches may have some.

    Examples
    --------
    >>> triangle = np.array([[0.0, 0], [4, 0], [0, 4]])
    >>> corners, lengths = clip_polygons(triangle, np.array([3]), (1, 0), (9, 9))
    >>> corners.tolist(), lengths.tolist()
    ([[1.0, 0.0], [4.0, 0.0], [1.0, 3.0]], [3])
    """
    for axis in (0, 1):
        for sign, limit in ((1, low[axis]), (-1, high[axis])):
            depth = sign * (corners[:, axis] - limit)
            if depth.min(initial=0) < 0:
                corners, lengths = _cut(corners, lengths, depth)
                corners[:, axis] = sign * np.maximum(sign * corners[:, axis], sign * limit)
    return corners, lengths


def _cut(corners: Corners, lengths: Lengths, depth: npt.NDArray[np.float64]) -> tuple[Corners, Lengths]:
    """Cut along the line on which `depth`, a distance of each corner, is 0; below it nothing is kept."""
    before, inside = _before(lengths), depth >= 0
    crosses = inside != inside[before]
    step = np.where(crosses, depth[before] - depth, 1)
    share = np.where(crosses, depth[before] / step, 0)
    meeting = corners[before] + share[:, None] * (corners - corners[before])
    kept = np.stack([crosses, inside], axis=1)
    polygon = np.repeat(np.arange(len(lengths)), lengths)
    left = np.bincount(polygon, kept.sum(axis=1), len(lengths)).astype(np.int64)
    return np.stack([meeting, corners], axis=1)[kept], left


def _before(lengths: Lengths) -> npt.NDArray[np.int64]:
    """Return the row of the corner before each, the last before the first."""
    ends = np.cumsum(lengths)
    before = np.arange(-1, ends[-1] - 1) if len(ends) else np.arange(0)
    some = lengths > 0
    before[(ends - lengths)[some]] = ends[some] - 1
    return before


SIDE: Final = 425
"""Height and width of NSD's images in pixels."""

CropBox: TypeAlias = tuple[float, float, float, float]
"""Fractions of height and width that NSD cut away: top, bottom, left, right."""


@dataclass(frozen=True)
class Crop:
    """A square of a picture, in pixels of the whole picture.

    Parameters
    ----------
    left, top, right, bottom
        Its borders, not rounded.
    side
        Its height and width, rounded.
    """

    left: float
    top: float
    right: float
    bottom: float
    side: int

    @classmethod
    def of(cls, box: CropBox, height: int, width: int, place: str) -> Crop:
        """Cut a picture as NSD's cropBox says.

        Parameters
        ----------
        box
            See `CropBox`.
        height, width
            Of the picture in pixels.
        place
            Which picture this is, for errors.

        Raises
        ------
        SourceError
            If what is left is not square to the pixel.

        Examples
        --------
        >>> Crop.of((0, 0, 0.125, 0.125), 480, 640, "nsd_id 7")
        Crop(left=80.0, top=0, right=560.0, bottom=480, side=480)
        """
        top, bottom, left, right = box
        x, y = (left * width, (1 - right) * width), (top * height, (1 - bottom) * height)
        shape = round(y[1] - y[0]), round(x[1] - x[0])
        if shape[0] != shape[1] or shape[0] <= 0:
            raise SourceError(
                f"the crop {box} of a picture of {height} x {width} pixels is {shape[0]} x {shape[1]}",
                place=place,
                expected="a square: cropBox is (top, bottom, left, right), as fractions that are cut away",
                fix="check that the stimulus table and COCO's files belong together, and fetch them again",
            )
        return cls(x[0], y[0], x[1], y[1], shape[0])

    def points(self, flat: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Move points into the square and scale them to NSD's image.

        Parameters
        ----------
        flat : array of shape (2 x n_points,)
            x and y in turn, in pixels of the whole picture.

        Returns
        -------
        moved : float64 array of shape (2 x n_points,)
            In pixels of NSD's image, 0 to 425, rounded to two decimals.

        Examples
        --------
        >>> crop = Crop.of((0, 0, 0.125, 0.125), 480, 640, "nsd_id 7")
        >>> crop.points([60, 100, 160, 150]).tolist()
        [0.0, 88.54, 70.83, 132.81]
        """
        corners = np.asarray(flat, dtype=np.float64).reshape(-1, 2)
        inside = np.clip(corners, (self.left, self.top), (self.right, self.bottom))
        scaled = (inside - (self.left, self.top)) * (SIDE / self.side)
        moved: npt.NDArray[np.float64] = np.round(scaled, 2).ravel()
        return moved

    def polygons(
        self, polygons: Sequence[npt.NDArray[np.float64]], *, legacy: bool = False
    ) -> list[npt.NDArray[np.float64]]:
        """Cut polygons along the square and scale them to NSD's image.

        Parameters
        ----------
        polygons
            Each of shape (2 x n_corners,): x and y in turn, in pixels of the whole picture.
        legacy
            Move corners instead of cutting, as NSD-Flat does.

        Returns
        -------
        moved
            As many, in pixels of NSD's image; one that lies outside has no corner.

        Examples
        --------
        >>> crop = Crop.of((0, 0, 0.125, 0.125), 480, 640, "nsd_id 7")
        >>> triangle = np.array([60.0, 0, 100, 0, 60, 40])
        >>> crop.polygons([triangle])[0].tolist(), crop.polygons([triangle], legacy=True)[0].tolist()
        ([0.0, 0.0, 17.71, 0.0, 0.0, 17.71], [0.0, 0.0, 17.71, 0.0, 0.0, 35.42])
        """
        if not polygons:
            return []
        corners = np.concatenate(polygons).reshape(-1, 2)
        lengths = np.array([len(polygon) // 2 for polygon in polygons])
        if not legacy:  # all at once, as there are many small ones
            corners, lengths = clip_polygons(
                corners, lengths, (self.left, self.top), (self.right, self.bottom)
            )
        moved, ends = self.points(corners), (2 * np.cumsum(lengths)).tolist()
        return [moved[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    def boxes(self, boxes: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Move boxes (x, y, width, height); one that lies outside is left with no width or no height.

        Parameters
        ----------
        boxes : array of shape (n_boxes, 4)
            In pixels of the whole picture.

        Returns
        -------
        moved : float64 array of shape (n_boxes, 4)
            In pixels of NSD's image, rounded to two decimals.

        Examples
        --------
        >>> Crop.of((0, 0, 0.125, 0.125), 480, 640, "nsd_id 7").boxes([[60, 100, 100, 50]]).tolist()
        [[0.0, 88.54, 70.83, 44.27]]
        """
        first, size = np.split(np.asarray(boxes, dtype=np.float64), 2, axis=1)
        corners = self.points(np.hstack([first, first + size])).reshape(-1, 4)
        begin, end = np.split(corners, 2, axis=1)
        return np.hstack([begin, np.round(end - begin, 2)])

    def mask(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Cut a mask of the whole picture, and scale it by taking the nearest pixel.

        Parameters
        ----------
        mask : uint8 array of shape (height, width)
            1 inside an object.

        Returns
        -------
        mask : uint8 array of shape (425, 425)
        """
        left, top = round(self.left), round(self.top)
        cut = mask[top : round(self.bottom), left : round(self.right)]
        rows, columns = (_nearest(n) for n in cut.shape)
        return cut[np.ix_(rows, columns)]


def _nearest(n: int) -> npt.NDArray[np.int64]:
    """Return which of `n` pixels lies nearest to each of NSD's, ties decided as scikit-image decides them."""
    nearest = resize(np.arange(n), (SIDE,), order=0, preserve_range=True)
    return np.asarray(nearest, dtype=np.int64)


def polygon_area(polygons: list[npt.NDArray[np.float64]], *, legacy: bool = False) -> int:
    """Count the pixels of NSD's image that an object covers.

    Parameters
    ----------
    polygons
        Its parts, each of shape (2 x n_corners,), in pixels of NSD's image.
    legacy
        Count the first part alone, as NSD-Flat does, which leaves out objects whose first part was cut away.

    Examples
    --------
    >>> polygon_area([np.array([0, 88.54, 70.83, 88.54, 70.83, 132.81, 0, 132.81])])
    3124
    """
    # pycocotools would take four numbers for a box; two corners have no area.
    outlines = [polygon for polygon in polygons[: 1 if legacy else None] if len(polygon) > 4]
    if not outlines:
        return 0
    tools = mask_tools()
    parts = tools.frPyObjects(outlines, SIDE, SIDE)
    return int(tools.area(tools.merge(parts) if len(parts) > 1 else parts[0]))


def mask_tools() -> Any:
    """Return `pycocotools.mask`.

    Raises
    ------
    NsdBenchError
        If pycocotools is not installed.
    """
    try:
        from pycocotools import mask  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ModuleNotFoundError as error:
        raise NsdBenchError(
            "pycocotools is not installed",
            place="COCO's outlines",
            expected="the extra that measures them",
            fix="pip install 'nsd-bench[coco]'",
        ) from error
    return mask
