"""Surfaces as GIFTI files: read and write coordinates with triangles."""

from __future__ import annotations

from pathlib import Path
from xml.parsers.expat import ExpatError

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SourceError

__all__ = ["read_mesh", "read_scalars", "write_mesh"]

_POINTS, _TRIANGLES = "NIFTI_INTENT_POINTSET", "NIFTI_INTENT_TRIANGLE"


def read_mesh(path: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Read a surface.

    Returns
    -------
    points : float64 array of shape (n_vertices, 3)
        In mm.
    triangles : int64 array of shape (n_triangles, 3)
        Rows of `points`.

    Raises
    ------
    SourceError
        If the file is not a surface, or a triangle names a vertex that is not there.
    """
    points, triangles = (_array(path, intent) for intent in (_POINTS, _TRIANGLES))
    if points.ndim != 2 or points.shape[1:] != (3,) or triangles.ndim != 2 or triangles.shape[1:] != (3,):
        raise _broken(path, f"coordinates {points.shape}, triangles {triangles.shape}")
    if triangles.size and not 0 <= triangles.min() <= triangles.max() < len(points):
        raise _broken(path, f"triangles name vertices up to {triangles.max()} of {len(points)}")
    return points.astype(np.float64), triangles.astype(np.int64)


def read_scalars(path: Path) -> npt.NDArray[np.float64]:
    """Read one value a vertex, such as curvature, shape (n_vertices,).

    Raises
    ------
    SourceError
        If the file holds none.
    """
    return _array(path, None).astype(np.float64).reshape(-1)


def write_mesh(path: Path, points: npt.NDArray[np.floating], triangles: npt.NDArray[np.integer]) -> None:
    """Write a surface as GIFTI, the same bytes every time.

    Parameters
    ----------
    path
        Where; the folder exists.
    points : float array of shape (n_vertices, 3)
        In mm, written as float32.
    triangles : int array of shape (n_triangles, 3)
        Written as int32.
    """
    from nibabel.gifti.gifti import GiftiDataArray, GiftiImage

    arrays = [
        GiftiDataArray(points.astype(np.float32), _POINTS, datatype="NIFTI_TYPE_FLOAT32"),
        GiftiDataArray(triangles.astype(np.int32), _TRIANGLES, datatype="NIFTI_TYPE_INT32"),
    ]
    path.write_bytes(GiftiImage(darrays=arrays).to_bytes())


def _array(path: Path, intent: str | None) -> npt.NDArray[np.generic]:
    import nibabel as nib

    try:
        found = nib.load(path).agg_data(intent)  # type: ignore[attr-defined]
    except (nib.filebasedimages.ImageFileError, ExpatError, OSError, EOFError, AttributeError) as error:
        raise _broken(path, str(error) or type(error).__name__) from error
    if not isinstance(found, np.ndarray):
        raise _broken(path, f"holds no single {intent or 'array'}")
    return found


def _broken(path: Path, problem: str) -> SourceError:
    return SourceError(
        f"cannot be read as a surface ({problem})",
        place=str(path),
        expected="a GIFTI file with coordinates (n_vertices, 3) and triangles (n_triangles, 3)",
        fix="fetch or write the file again",
    )
