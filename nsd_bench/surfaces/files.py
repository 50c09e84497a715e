"""Read flat maps: from a pycortex subject, from a pair of GIFTI files, or nilearn's fsaverage5."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from xml.parsers.expat import ExpatError

import numpy as np

from nsd_bench.errors import NsdBenchError, SourceError
from nsd_bench.surfaces.geometry import FlatGeometry, Mesh, join_hemispheres

__all__ = ["FSAVERAGE5", "flat_files", "read_flat"]

FSAVERAGE5: Final = "fsaverage5"
_PYCORTEX = ("surfaces/flat_lh.gii", "surfaces/flat_rh.gii")
_NILEARN = ("datasets/data/fsaverage5/flat_left.gii.gz", "datasets/data/fsaverage5/flat_right.gii.gz")


def read_flat(source: str | os.PathLike[str]) -> FlatGeometry:
    """Read a flat map.

    Parameters
    ----------
    source
        Folder of a pycortex subject, two GIFTI files with a comma between them (left, right), or
        "fsaverage5", which nilearn brings along.

    Raises
    ------
    SourceError
        If a hemisphere is missing, or a file is not a surface.
    NsdBenchError
        If nilearn is needed and not installed.
    """
    left, right = flat_files(source)
    return join_hemispheres(_read_gifti(left), _read_gifti(right), str(source))


def flat_files(source: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the files of the left and the right hemisphere that `read_flat` reads.

    Raises
    ------
    SourceError, NsdBenchError
        As `read_flat`.
    """
    text = os.fspath(source)
    names: tuple[str, ...]
    if text == FSAVERAGE5:
        folder, names = _nilearn(), _NILEARN
    elif "," in text:
        folder, names = Path(), tuple(part.strip() for part in text.split(","))
    else:
        folder, names = Path(text), _PYCORTEX
    paths = [folder / name for name in names]
    if len(paths) != 2:
        raise _no_map(text, f"{len(paths)} files")
    for hemisphere, path in zip(("left", "right"), paths, strict=True):
        if not path.is_file():
            raise _no_map(text, f"there is no {hemisphere} hemisphere: no file {path}")
    return paths[0], paths[1]


def _no_map(place: str, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=f"flat map {place}",
        expected="the folder of a pycortex subject, LEFT.gii,RIGHT.gii, or fsaverage5",
        fix="give both hemispheres; cortex.download_subject('fsaverage') fetches the full fsaverage",
    )


def _nilearn() -> Path:
    found = find_spec("nilearn")
    if found is None or not found.submodule_search_locations:
        raise NsdBenchError(
            "nilearn is not installed",
            place=f"flat map {FSAVERAGE5}",
            expected="the extra that brings fsaverage5's flat map",
            fix="pip install 'nsd-bench[flat]', or give a pycortex subject or LEFT.gii,RIGHT.gii",
        )
    return Path(found.submodule_search_locations[0])


def _read_gifti(path: Path) -> Mesh:
    import nibabel as nib

    try:
        arrays = nib.load(path)
        coordinates = arrays.agg_data("NIFTI_INTENT_POINTSET")  # type: ignore[attr-defined]
        triangles = arrays.agg_data("NIFTI_INTENT_TRIANGLE")  # type: ignore[attr-defined]
    except (nib.filebasedimages.ImageFileError, ExpatError, OSError, EOFError, AttributeError) as error:
        raise _not_a_surface(path, str(error) or type(error).__name__) from error
    if not (isinstance(coordinates, np.ndarray) and isinstance(triangles, np.ndarray)):
        raise _not_a_surface(path, "holds no surface")
    return coordinates, triangles


def _not_a_surface(path: Path, problem: str) -> SourceError:
    return SourceError(
        f"cannot be read as a surface ({problem})",
        place=str(path),
        expected="a GIFTI file with coordinates and triangles",
        fix="give the flat surface itself, such as pycortex's flat_lh.gii",
    )
