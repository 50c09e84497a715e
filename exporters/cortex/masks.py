"""Voxels of regions in a functional grid: the ribbon of cortex, and masks as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from exporters.nsd.rois import check_named, read_label_names
from nsd_bench.cortex.pixelwise import VolumeTransform, read_transform
from nsd_bench.cortex.store import PycortexSubject
from nsd_bench.cortex.surfaces import Cortex, read_cortex
from nsd_bench.errors import OptionError, SourceError, choices
from nsd_bench.outputs import new_folder

__all__ = [
    "SAMPLERS",
    "Ribbon",
    "choose_regions",
    "label_regions",
    "named_regions",
    "read_ribbon",
    "region_masks",
    "write_masks",
]

SAMPLERS: Final = ("cortical", "cortical-conservative", "cortical-liberal", "thin", "thick")
"""Which voxels are cortex, as pycortex's gm_sampler: those whose nearest vertex is as near as cortex is thick
there; those that a vertex half-way between white matter and pia lies in; those that a line from one to the
other meets; those within 2 mm, and within 8 mm, of half-way."""
_REACH_MM: Final = {"thin": 2.0, "thick": 8.0}
_N_ON_LINE: Final = 64
_RIDGE: Final = 1e-9  # pycortex's: it lets the matrix be inverted, and changes nothing else

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ribbon:
    """Cortex in a functional grid; see `read_ribbon`.

    Parameters
    ----------
    voxels : bool array of shape (X, Y, Z)
        Those that are cortex.
    nearest : int64 array of shape (X, Y, Z)
        The vertex that is nearest to each voxel.
    n_vertices
        Of the left and the right hemisphere.
    shares
        Sparse matrix, vertices by voxels: how much of a vertex lies in a voxel; None where voxels belong to
        their nearest vertex.
    transform
        From the surfaces to the grid.
    """

    voxels: Mask
    nearest: npt.NDArray[np.int64]
    n_vertices: tuple[int, int]
    shares: Any
    transform: VolumeTransform

    def masks(
        self,
        regions: Mapping[str, Mask],
        *,
        threshold: float = 0.5,
        keep_overlap: bool = False,
        split: bool = False,
    ) -> dict[str, Mask]:
        """Find the voxels of regions, as pycortex's ``get_roi_masks`` does.

        Parameters
        ----------
        regions
            Name to a bool array of shape (n_vertices,), left hemisphere first.
        threshold
            Of "cortical-conservative" and "cortical-liberal": more than this share of a voxel, 0 to 1, must
            belong to a region.
        keep_overlap
            Whether voxels of several regions belong to all of them instead of to none.
        split
            Whether to part every region into NAME_L and NAME_R.

        Returns
        -------
        masks
            Name to a bool array of shape (X, Y, Z).

        Raises
        ------
        OptionError
            If a region is of another surface.
        """
        for name, inside in regions.items():
            if inside.shape != (sum(self.n_vertices),):
                raise OptionError(
                    f"region {name!r} has shape {inside.shape}",
                    place=self.transform.source,
                    expected=f"({sum(self.n_vertices)},), one value a vertex, left hemisphere first",
                    fix="give labels of the subject's own surface",
                )
        found = self._whole(regions) if self.shares is None else self._shared(regions, threshold)
        if not keep_overlap:
            several = np.sum(list(found.values()), axis=0) > 1
            found = {name: mask & ~several for name, mask in found.items()}
        if not split:
            return found
        left = self.nearest < self.n_vertices[0]
        sides = {"L": left, "R": ~left}
        return {f"{name}_{side}": mask & half for name, mask in found.items() for side, half in sides.items()}

    def _whole(self, regions: Mapping[str, Mask]) -> dict[str, Mask]:
        return {name: inside[self.nearest] & self.voxels for name, inside in regions.items()}

    def _shared(self, regions: Mapping[str, Mask], threshold: float) -> dict[str, Mask]:
        """Find values of voxels whose means along the lines come closest to 1 inside and 0 elsewhere."""
        shares = self.shares[:, self.voxels.ravel()]
        solver = splu((shares.T @ shares + _RIDGE * sparse.eye(shares.shape[1])).tocsc())
        found = {}
        for name, inside in regions.items():
            mask = np.zeros(self.voxels.shape, dtype=bool)
            mask[self.voxels] = solver.solve(shares.T @ inside.astype(np.float64)) > threshold
            found[name] = mask
        return found


def read_ribbon(subject: PycortexSubject, name: str, sampler: str = "cortical") -> Ribbon:
    """Find the cortex of a subject in a functional grid, as pycortex's ``get_cortical_mask`` does.

    Parameters
    ----------
    subject, name
        The subject, and which of its transforms.
    sampler
        One of `SAMPLERS`.

    Raises
    ------
    OptionError
        If the sampler is unknown, or there is no such subject or transform.
    SourceError
        If white matter or pia is missing.
    """
    if sampler not in SAMPLERS:
        raise OptionError(
            f"sampler {sampler!r} is not known",
            place=str(subject.path),
            expected=choices(sampler, SAMPLERS),
            fix="give one of these",
        )
    cortex, transform = read_cortex(subject.require().path), read_transform(subject.require_transform(name))
    if np.isnan(cortex.middle_mm).all():
        raise SourceError(
            "white matter and pia are missing",
            place=str(subject.path),
            expected="surfaces/wm_lh.gii, pia_lh.gii and their right counterparts",
            fix="build the subject again with 'nsd-bench cortex build'",
        )
    distance_mm, nearest = _nearest_vertices(cortex, transform)
    shares = None
    if sampler.startswith("cortical-"):
        shares = _shares(cortex, transform, on_lines=sampler == "cortical-liberal")
        voxels = np.asarray(shares.sum(axis=0)).reshape(transform.shape) > 0
    elif sampler == "cortical":
        thickness_mm = np.linalg.norm(cortex.pial_mm - cortex.white_mm, axis=1)
        voxels = distance_mm <= thickness_mm[nearest]
    else:
        voxels = distance_mm < _REACH_MM[sampler]
    return Ribbon(voxels, nearest, cortex.flat.n_vertices, shares, transform)


def _nearest_vertices(
    cortex: Cortex, transform: VolumeTransform
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return how far every voxel is from the nearest vertex half-way through cortex, and which that is."""
    to_mm = np.linalg.inv(transform.to_voxel)
    voxels = np.indices(transform.shape).reshape(3, -1).T
    places = voxels @ to_mm[:3, :3].T + to_mm[:3, 3]
    distance, nearest = cKDTree(cortex.middle_mm).query(places)
    return distance.reshape(transform.shape), nearest.reshape(transform.shape).astype(np.int64)


def _shares(cortex: Cortex, transform: VolumeTransform, *, on_lines: bool) -> Any:
    """Say which part of every vertex lies in which voxel.

    Of a line from white matter to pia 64 points count; without lines, the point half-way, of vertices that
    are on the map.
    """
    outer, inner = (_in_voxels(places, transform) for places in (cortex.pial_mm, cortex.white_mm))
    if not on_lines:
        middle = _in_voxels(cortex.middle_mm, transform)
        middle[~cortex.flat.on_map] = np.nan
        return _nearest_voxels(middle, transform.shape)
    depths = np.linspace(0, 1, _N_ON_LINE + 2)[1:-1]
    parts = (_nearest_voxels(inner * t + outer * (1 - t), transform.shape) for t in depths)
    return sum(parts, start=sparse.csr_array((len(inner), int(np.prod(transform.shape))))) / _N_ON_LINE


def _in_voxels(places: npt.NDArray[np.float64], transform: VolumeTransform) -> npt.NDArray[np.float64]:
    matrix = transform.to_voxel
    voxels: npt.NDArray[np.float64] = places @ matrix[:3, :3].T + matrix[:3, 3]
    return voxels


def _nearest_voxels(places: npt.NDArray[np.float64], shape: tuple[int, int, int]) -> Any:
    # pycortex takes places up to half a voxel beyond the last one's edge for that one.
    inside = np.flatnonzero(((places > -0.5) & (places < np.array(shape) + 0.5)).all(axis=1))
    voxels = np.ravel_multi_index(tuple(places[inside].round().astype(np.int64).T), shape, mode="clip")
    return sparse.csr_array((np.ones(len(inside)), (inside, voxels)), (len(places), int(np.prod(shape))))


def label_regions(labels: npt.NDArray[np.integer], names: Mapping[int, str]) -> dict[str, Mask]:
    """Turn labels of vertices into regions, those of one name into one.

    Parameters
    ----------
    labels : integer array of any shape
        Of vertices or voxels.
    names
        Label to name; other labels are no region.

    Returns
    -------
    regions
        Name to a bool array of the shape of `labels`, in the order of labels.

    Examples
    --------
    >>> label_regions(np.array([2, 0, 2]), {1: "V1", 2: "V2"})["V2"].tolist()
    [True, False, True]
    """
    regions: dict[str, Mask] = {}
    for label, name in sorted(names.items()):
        regions[name] = regions.get(name, False) | (labels == label)
    return regions


def named_regions(labels: npt.NDArray[np.integer], table: Path) -> dict[str, Mask]:
    """Turn labels of vertices into regions, by a .ctab file that names all of them.

    Parameters
    ----------
    labels : integer array of shape (n_vertices,)
        Left hemisphere first; those below 1 are no region.
    table
        FreeSurfer's .ctab file with their names.

    Returns
    -------
    regions
        Name to a bool array of shape (n_vertices,).

    Raises
    ------
    SourceError
        If the file is damaged, or a label has no name.
    """
    names = read_label_names(table)
    check_named(labels, names, str(table), "these files")
    return label_regions(labels, names)


def choose_regions(
    regions: Mapping[str, Mask], wanted: Sequence[str], place: str, *, skip_missing: bool = False
) -> dict[str, Mask]:
    """Take the regions that are wanted, all if none is named.

    Parameters
    ----------
    regions
        Name to a bool array of shape (n_vertices,).
    wanted
        Names.
    place
        Named in errors.
    skip_missing
        Whether to leave out what there is not.

    Raises
    ------
    OptionError
        If a region is missing, or none is left.

    Examples
    --------
    >>> regions = {"V1": np.array([True, False]), "V2": np.array([False, True])}
    >>> list(choose_regions(regions, ["V2", "V9"], "drawing", skip_missing=True))
    ['V2']
    """
    missing = [name for name in wanted if name not in regions]
    found = {name: regions[name] for name in wanted or regions if name in regions}
    if found and (skip_missing or not missing):
        return found
    raise OptionError(
        f"there is no region {missing[0]!r}" if missing else "there is no region",
        place=place,
        expected=choices(missing[0] if missing else "", regions) if regions else "a region that is drawn",
        fix="correct the name, or draw it with 'nsd-bench cortex outlines'; --skip-missing leaves it out",
    )


def region_masks(
    subject: PycortexSubject,
    transform: str,
    regions: Mapping[str, Mask],
    out: Path,
    *,
    wanted: Sequence[str] = (),
    place: str = "regions",
    sampler: str = "cortical",
    threshold: float | None = None,
    split: bool = False,
    keep_overlap: bool = False,
    skip_missing: bool = False,
    skip_empty: bool = False,
    with_cortex: bool = False,
) -> dict[str, int]:
    """Write which voxels of a functional grid belong to regions, as `nsd-bench cortex masks` does.

    Parameters
    ----------
    subject, transform
        The subject, and which of its transforms leads to the grid.
    regions
        Name to a bool array of shape (n_vertices,), left hemisphere first: what
        `nsd_bench.cortex.overlays.drawn_vertices` or `named_regions` returns.
    out
        New folder for NAME.nii.gz.
    wanted
        Names of the regions to write; all if none is named.
    place
        Where the regions come from, named in errors.
    sampler
        Which voxels are cortex, one of `SAMPLERS`.
    threshold
        Of "cortical-conservative" and "cortical-liberal", see `Ribbon.masks`; None is 0.5.
    split
        Whether to part every region into NAME_L and NAME_R.
    keep_overlap
        Whether voxels of several regions belong to all of them instead of to none.
    skip_missing, skip_empty
        Whether to leave out regions that there are not, and those without a voxel.
    with_cortex
        Whether to write cortex.nii.gz as well: all voxels that are cortex.

    Returns
    -------
    n_voxels
        File name to number of voxels.

    Raises
    ------
    OptionError
        If there is no such subject, transform, sampler or region, a region is empty or called "cortex" beside
        `with_cortex`, or a threshold is given that changes nothing.
    SourceError
        If the subject lacks white matter or pia.
    OutputError
        If `out` is there already.
    """
    ribbon = read_ribbon(subject, transform, sampler)
    if threshold is not None and ribbon.shares is None:
        raise OptionError(
            f"threshold = {threshold} changes nothing with sampler {sampler!r}",
            place=str(subject.path),
            expected="cortical-conservative or cortical-liberal",
            fix="choose one of these, or leave the threshold out",
        )
    found = ribbon.masks(
        choose_regions(regions, wanted, place, skip_missing=skip_missing),
        threshold=0.5 if threshold is None else threshold,
        keep_overlap=keep_overlap,
        split=split,
    )
    if with_cortex and "cortex" in found:
        raise OptionError(
            "a region is named cortex, as the mask of all of it is",
            place=place,
            expected="another name",
            fix="leave --cortex out, or name the region differently",
        )
    whole = {"cortex": ribbon.voxels} if with_cortex else {}
    return write_masks(out, ribbon, found | whole, skip_empty=skip_empty)


def write_masks(
    out: Path, ribbon: Ribbon, masks: Mapping[str, Mask], *, skip_empty: bool = False
) -> dict[str, int]:
    """Write every mask as NAME.nii.gz, uint8 on the ribbon's grid.

    Parameters
    ----------
    out
        New folder.
    ribbon
        Whose grid it is.
    masks
        Name to a bool array of shape (X, Y, Z).
    skip_empty
        Whether to leave out those that hold no voxel.

    Returns
    -------
    n_voxels
        File name to number of voxels, of those that were written.

    Raises
    ------
    OptionError
        If a mask is empty and `skip_empty` is false, or all are.
    OutputError
        If `out` is there already.
    """
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    empty = [name for name, count in counts.items() if not count]
    if len(empty) == len(counts) or (empty and not skip_empty):
        raise OptionError(
            f"{empty[0]!r} has no voxel ({len(empty)} of {len(counts)} masks are empty)",
            place=ribbon.transform.source,
            expected="regions that lie in the grid, and voxels that belong to one region alone",
            fix="look at the drawing and the transform; --skip-empty leaves empty ones out",
        )
    files = {name: f"{name.replace('/', '-')}.nii.gz" for name, count in counts.items() if count}
    with new_folder(out) as folder:
        for name, file in files.items():
            image = nib.Nifti1Image(masks[name].astype(np.uint8), ribbon.transform.affine)
            nib.save(image, folder / file)
    return {file: counts[name] for name, file in files.items()}
