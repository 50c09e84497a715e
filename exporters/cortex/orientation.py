"""Which way up a flat map lies: FreeSurfer's patches come in two conventions, and no file says which."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SourceError, choices

__all__ = ["AXES", "oriented", "scores", "uprightness"]

AXES: Final = ("auto", "pycortex", "raw")
"""How axes of a patch become those of the map: found by looking, x = y and y = -x (pycortex), or as is."""
_LEAST: Final = 0.5  # maps that lie right reach 0.83 and more in both directions, turned ones 0.1


def uprightness(
    flat: npt.NDArray[np.floating], anatomy: npt.NDArray[np.floating], hemisphere: str
) -> tuple[float, float]:
    """Say how well a flat map lies as it should: front to the middle of the page, up to the top.

    Parameters
    ----------
    flat : float array of shape (n, 2 or 3)
        Vertices on the map, in mm.
    anatomy : float array of shape (n, 3)
        The same vertices in the head, in mm: right, anterior, superior.
    hemisphere
        "lh" lies on the left of the page with its front to the left, "rh" is its mirror image.

    Returns
    -------
    across, along
        Correlation of x with the front, and of y with the top; 1 is perfect, below 0.5 something is turned.

    Examples
    --------
    >>> corners = np.array([[0.0, 0, 0], [0, 10, 0], [0, 0, 10], [0, 10, 10]])
    >>> uprightness(corners[:, [1, 2]], corners, "rh")
    (1.0, 1.0)
    >>> uprightness(corners[:, [1, 2]], corners, "lh")
    (-1.0, 1.0)
    """
    front = -anatomy[:, 1] if hemisphere == "lh" else anatomy[:, 1]
    return _correlation(flat[:, 0], front), _correlation(flat[:, 1], anatomy[:, 2])


def _correlation(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return round(float(a @ b) / norm, 9) if norm else 0.0


def scores(
    patch: npt.NDArray[np.floating], anatomy: npt.NDArray[np.floating], hemisphere: str
) -> dict[str, float]:
    """Return the lower of both correlations of `uprightness` for each convention."""
    return {name: min(uprightness(_turned(patch, name), anatomy, hemisphere)) for name in ("pycortex", "raw")}


def oriented(
    patch: npt.NDArray[np.floating],
    anatomy: npt.NDArray[np.floating],
    hemisphere: str,
    *,
    axes: str = "auto",
    place: str = "patch",
) -> npt.NDArray[np.float64]:
    """Lay a patch as pycortex wants it.

    Parameters
    ----------
    patch : float array of shape (n, 3)
        As the file has it.
    anatomy, hemisphere
        See `uprightness`.
    axes
        One of `AXES`. NSD's own patches are "raw", most others "pycortex"
        (github.com/gallantlab/pycortex/issues/488).
    place
        Named in errors.

    Returns
    -------
    flat : float64 array of shape (n, 2)

    Raises
    ------
    SourceError
        If `axes` is unknown, or "auto" and neither convention fits.
    """
    if axes not in AXES:
        raise SourceError(
            f"axes = {axes!r} is not known",
            place=place,
            expected=choices(axes, AXES),
            fix="give one of these",
        )
    if axes == "auto":
        found = scores(patch, anatomy, hemisphere)
        axes = max(found, key=lambda name: found[name])
        if found[axes] < _LEAST:
            shown = ", ".join(f"{score:.2f} for {name!r}" for name, score in found.items())
            raise SourceError(
                f"it is not clear which way up the patch lies ({shown})",
                place=place,
                expected=f"a correlation with the anatomy of {_LEAST} or more in one convention",
                fix="look at the patch, and say --axes pycortex or --axes raw",
            )
    return _turned(patch, axes)


def _turned(patch: npt.NDArray[np.floating], axes: str) -> npt.NDArray[np.float64]:
    x, y = patch[:, 0].astype(np.float64), patch[:, 1].astype(np.float64)
    return np.stack([y, -x] if axes == "pycortex" else [x, y], axis=1)
