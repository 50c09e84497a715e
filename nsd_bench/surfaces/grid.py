"""Pixels on a plane: how many, how large, and where their centres lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import OptionError

__all__ = ["Grid"]


@dataclass(frozen=True)
class Grid:
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
    >>> grid = Grid.of_rect((-100, 100, -120, 95), 1.0)
    >>> grid.shape, grid.x_mm[0], grid.y_mm[0], grid.x_mm[-1], grid.y_mm[-1]
    ((215, 200), np.float64(-99.5), np.float64(-119.5), np.float64(99.5), np.float64(94.5))
    """

    pixel_mm: float
    left: float
    bottom: float
    width: int
    height: int

    @classmethod
    def of_rect(cls, rect: tuple[float, float, float, float], pixel_mm: float) -> Grid:
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

    @classmethod
    def around(cls, points: npt.NDArray[np.floating], pixel_mm: float, padding: float = 4) -> Grid:
        """Cover all points and some pixels more on every side."""
        (left, bottom), (right, top) = points.min(axis=0), points.max(axis=0)
        margin = padding * pixel_mm
        return cls.of_rect((left - margin, right + margin, bottom - margin, top + margin), pixel_mm)

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
