"""Which vertices to draw: an atlas of NSD, the masks of the Algonauts challenge, or one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from xml.parsers.expat import ExpatError

import nibabel as nib
import numpy as np
import numpy.typing as npt

from exporters.nsd.layout import Layout
from exporters.nsd.rois import label_files, read_labels
from exporters.nsd.surfaces import HEMISPHERES, Surface, read_vertices
from exporters.nsd.volumes import broken_file
from nsd_bench.errors import SourceError

__all__ = ["mask_files", "read_mask_file", "read_roi", "roi_files"]

_ALGONAUTS: Final = "subj{subject:02}.{hemisphere}.all-vertices_fsaverage_space.npy"
_LFS = b"version https://git-lfs"
_SUFFIXES: Final = (".npy", ".mgh", ".mgz", ".gii")


def read_roi(layout: Layout, subject: int, roi: str, surface: Surface) -> npt.NDArray[np.bool_]:
    """Say which vertices of fsaverage to draw, shape (surface.n_units,).

    Parameters
    ----------
    roi
        See `exporters.flat.options.FlatOptions`.
    surface
        fsaverage as the betas have it.

    Raises
    ------
    SourceError
        If a mask is missing, not a mask, of another length, or empty.
    RecipeError
        If there is no such atlas.
    """
    if roi == "all":
        return np.ones(surface.n_units, dtype=bool)
    files = mask_files(subject, roi)
    if files is None:
        inside = read_labels(layout, subject, "fsaverage", roi, surface) > 0
    else:
        halves = zip(files, surface.n_vertices, strict=True)
        inside = np.concatenate([read_mask_file(path, n_vertices) for path, n_vertices in halves])
    if not inside.any():
        raise SourceError(
            "no vertex is inside",
            place=f"subj{subject:02}, region {roi!r}",
            expected="values above 0 for the vertices to draw",
            fix="give another region",
        )
    return inside


def roi_files(layout: Layout, subject: int, roi: str) -> list[Path]:
    """Return the files that `read_roi` reads.

    Raises
    ------
    RecipeError
        If there is no such atlas.
    """
    if roi == "all":
        return []
    return list(mask_files(subject, roi) or label_files(layout, subject, "fsaverage", roi))


def mask_files(subject: int, roi: str) -> tuple[Path, Path] | None:
    """Return the masks of both hemispheres; None where the region is an atlas of NSD.

    >>> mask_files(3, "lh.{subject:02}.npy,rh.{subject:02}.npy")[1].name
    'rh.03.npy'
    """
    if Path(roi).is_dir():
        names = [_ALGONAUTS.format(subject=subject, hemisphere=half) for half in HEMISPHERES]
        left, right = (Path(roi) / name for name in names)
        return left, right
    parts = [Path(part.strip().format(subject=subject)) for part in roi.split(",")]
    if len(parts) == 1 and parts[0].suffix not in _SUFFIXES:
        return None
    if len(parts) != 2:
        raise SourceError(
            f"{len(parts)} files",
            place=f"region {roi!r}",
            expected="two masks with a comma between them: left, right",
            fix="give one for each hemisphere",
        )
    return parts[0], parts[1]


def read_mask_file(path: Path, n_vertices: int) -> npt.NDArray[np.bool_]:
    """Read a mask of one hemisphere: .npy, .mgh, .mgz or .gii, above 0 inside.

    Raises
    ------
    SourceError
        If it is missing, a pointer of Git LFS, not readable, or of another length.
    """
    if not path.is_file():
        raise _not_a_mask(path, "there is no such file", n_vertices)
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise SourceError(
                "is a pointer of Git LFS, not the mask itself",
                place=str(path),
                expected=f"one value for each of {n_vertices} vertices",
                fix="run 'git lfs pull' in the folder that it was cloned to",
            )
    values = _READERS.get(path.suffix, _unknown)(path)
    if values.shape != (n_vertices,):
        raise _not_a_mask(path, f"has shape {values.shape}", n_vertices)
    if values.dtype.kind not in "buif":
        raise _not_a_mask(path, f"holds {values.dtype}", n_vertices)
    return np.asarray(values > 0)


def _read_npy(path: Path) -> npt.NDArray[Any]:
    try:
        values: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise broken_file(path, error) from error
    return values


def _read_mgh(path: Path) -> npt.NDArray[Any]:
    try:
        return read_vertices(path)
    except TypeError as error:  # nibabel's word for a header that ends early
        raise broken_file(path, error) from error


def _read_gifti(path: Path) -> npt.NDArray[Any]:
    try:
        values = nib.load(path).agg_data()  # type: ignore[attr-defined]
    except (nib.filebasedimages.ImageFileError, ExpatError, OSError, AttributeError) as error:
        raise broken_file(path, error) from error
    return np.asarray(values)


def _unknown(path: Path) -> npt.NDArray[Any]:
    raise SourceError(
        f"{path.suffix!r} files are not read as masks",
        place=str(path),
        expected=f"one of {', '.join(_SUFFIXES)}",
        fix="convert it, one value a vertex",
    )


_READERS = {".npy": _read_npy, ".mgh": _read_mgh, ".mgz": _read_mgh, ".gii": _read_gifti}


def _not_a_mask(path: Path, problem: str, n_vertices: int) -> SourceError:
    return SourceError(
        problem,
        place=f"mask {path}",
        expected=f"one value for each of {n_vertices} vertices, above 0 inside",
        fix="give a mask of fsaverage as the betas have it, one hemisphere a file",
    )
