"""Read the folder of a FreeSurfer subject with nibabel, FreeSurfer itself not being needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.freesurfer.io import read_geometry, read_morph_data

from exporters.cortex.masks import named_regions
from exporters.nsd.rois import whole_labels
from exporters.nsd.surfaces import HEMISPHERES, read_vertices
from exporters.nsd.volumes import broken_file
from nsd_bench.errors import OptionError, SourceError, choices

__all__ = ["ATLASES", "FreeSurfer", "atlas_regions", "read_labels"]

_WHOLE: Final = "a FreeSurfer subject with surf/ and mri/T1.mgz"
_BUCKET: Final = "s3://natural-scenes-dataset/nsddata/freesurfer"
Mesh = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class FreeSurfer:
    """The folder of a subject, with surf/ and mri/.

    Parameters
    ----------
    path
        The folder, such as nsddata/freesurfer/subj01.
    """

    path: Path

    def surface(self, hemisphere: str, name: str) -> Mesh:
        """Read a surface: coordinates in mm as FreeSurfer has them, and triangles.

        Raises
        ------
        SourceError
            If there is none of that name, or it is damaged.
        """
        path = self.find(hemisphere, name)
        try:
            points, triangles = read_geometry(path)
        except (OSError, EOFError, ValueError) as error:
            raise broken_file(path, error) from error
        return points.astype(np.float64), triangles.astype(np.int64)

    def values(self, hemisphere: str, name: str, n_vertices: int) -> npt.NDArray[np.float64]:
        """Read one value a vertex, such as "curv", shape (n_vertices,).

        Raises
        ------
        SourceError
            If there is none of that name, it is damaged, or of another surface.
        """
        path = self.find(hemisphere, name)
        try:
            values = np.asarray(read_morph_data(path), dtype=np.float64)
        except (OSError, EOFError, ValueError) as error:
            raise broken_file(path, error) from error
        if values.shape != (n_vertices,):
            raise SourceError(
                f"has {len(values)} values",
                place=str(path),
                expected=f"{n_vertices}, one a vertex",
                fix="check that all files are of the same subject",
            )
        return values

    def has(self, hemisphere: str, name: str) -> bool:
        """Whether there is a file of that name in surf/."""
        return (self.path / "surf" / f"{hemisphere}.{name}").is_file()

    def find(self, hemisphere: str, name: str) -> Path:
        """Return the path of a file in surf/.

        Raises
        ------
        SourceError
            If there is none; names those that there are.
        """
        path = self.path / "surf" / f"{hemisphere}.{name}"
        if path.is_file():
            return path
        known = sorted(file.name.partition(".")[2] for file in path.parent.glob(f"{hemisphere}.*"))
        raise SourceError(
            f"no file {path}",
            place=str(self.path),
            expected=choices(name, known) if known else _WHOLE,
            fix=f"give another name (--white, --patch), or {self._fetch(path)}"
            if known
            else self._fetch(path),
        )

    def volume(self, name: str) -> Any:
        """Open a volume of mri/, such as "T1".

        Raises
        ------
        SourceError
            If it is missing or damaged.
        """
        path = self.path / "mri" / f"{name}.mgz"
        if not path.is_file():
            raise SourceError(f"no file {path}", place=str(self.path), expected=_WHOLE, fix=self._fetch(path))
        try:
            return nib.MGHImage.from_filename(path)
        except (nib.filebasedimages.ImageFileError, OSError, EOFError, ValueError) as error:
            raise broken_file(path, error) from error

    def _fetch(self, path: Path) -> str:
        if not self.path.is_dir():
            return "give the folder of the subject itself: there is no such folder"
        inside = path.relative_to(self.path).as_posix()
        return f"fetch it; NSD's is {_BUCKET}/{self.path.name}/{inside}"

    def to_scanner(self, volume: str = "T1") -> npt.NDArray[np.float64]:
        """Return the matrix from FreeSurfer's surface coordinates to those of the scanner, shape (4, 4)."""
        header = self.volume(volume)
        to_surface = header.header.get_vox2ras_tkr()
        return np.asarray(header.affine @ np.linalg.inv(to_surface), dtype=np.float64)


ATLASES: Final = ("prf-visualrois", "floc-places", "floc-bodies")
"""Those that are drawn by default."""


def read_labels(paths: Sequence[Path]) -> npt.NDArray[np.int16]:
    """Read one label a vertex, left hemisphere first.

    Raises
    ------
    SourceError
        If a file is damaged, or holds something else than labels.
    """
    return np.concatenate([whole_labels(read_vertices(path), path) for path in paths])


def atlas_regions(freesurfer: Path, atlases: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """Read the regions of several atlases.

    Parameters
    ----------
    freesurfer
        A subject's folder, with label/?h.ATLAS.mgz and label/ATLAS.mgz.ctab.
    atlases
        Names; a region that two of them have is that of the last.

    Returns
    -------
    regions
        Name to a bool array of shape (n_vertices,), left hemisphere first.

    Raises
    ------
    OptionError
        If a file of an atlas is missing.
    SourceError
        If one is damaged.
    """
    folder, regions = freesurfer / "label", dict[str, npt.NDArray[np.bool_]]()
    for atlas in atlases:
        names, *labels = (
            folder / file for file in (f"{atlas}.mgz.ctab", *(f"{side}.{atlas}.mgz" for side in HEMISPHERES))
        )
        missing = [path for path in (names, *labels) if not path.is_file()]
        if missing:
            known = sorted(path.name.removesuffix(".mgz.ctab") for path in folder.glob("*.mgz.ctab"))
            raise OptionError(
                f"there is no atlas {atlas!r}: no file {missing[0]}",
                place=str(freesurfer),
                expected=choices(atlas, known) if known else "a FreeSurfer folder of NSD's, with label/",
                fix="name one of these with --atlas, or fetch what 'nsd-bench cortex plan' lists",
            )
        regions |= named_regions(read_labels(labels), names)
    return regions
