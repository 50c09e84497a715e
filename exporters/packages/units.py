"""Choose the voxels or vertices of a package, and describe each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.nsd.layout import Layout
from exporters.nsd.rois import label_files, labels_called, read_atlas, read_hemispheres
from exporters.nsd.surfaces import Surface, read_mgh_header, read_vertices
from exporters.nsd.volumes import Grid, read_grid, read_volume
from exporters.packages.recipe import Recipe
from nsd_bench.errors import RecipeError, SourceError
from nsd_bench.inputs import reading
from nsd_bench.package import spec
from nsd_bench.package.storage import read_npy

__all__ = ["Units", "read_geometry", "select_units", "unit_files", "unit_table"]


@dataclass(frozen=True)
class Units:
    """Voxels or vertices, in the order in which they become columns of the responses.

    Parameters
    ----------
    ids : int64 array of shape (n_units,)
        Ascending: flat C-order indices of (x, y, z), or vertices, the right ones after all left ones.
    hemispheres : str array of shape (n_units,)
        "lh", "rh", or "both" where NSD does not say.
    coordinates_mm : float32 array of shape (n_units, 3)
        NaN on surfaces.
    ncsnr : float32 array of shape (n_units,)
        As NSD gives it; NaN where it gives none.
    labels
        Atlas to an int16 array of shape (n_units,): 0 or less where unlabelled.
    label_names
        Atlas to label to name.
    """

    ids: npt.NDArray[np.int64]
    hemispheres: npt.NDArray[np.str_]
    coordinates_mm: npt.NDArray[np.float32]
    ncsnr: npt.NDArray[np.float32]
    labels: dict[str, npt.NDArray[np.int16]]
    label_names: dict[str, dict[int, str]]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, keep: npt.NDArray[np.bool_]) -> Units:
        """Return the units for which `keep`, shape (n_units,), is true.

        Parameters
        ----------
        keep
            bool array of shape (n_units,).
        """
        return replace(
            self,
            ids=self.ids[keep],
            hemispheres=self.hemispheres[keep],
            coordinates_mm=self.coordinates_mm[keep],
            ncsnr=self.ncsnr[keep],
            labels={atlas: labels[keep] for atlas, labels in self.labels.items()},
        )


def read_geometry(
    recipe: Recipe, layout: Layout, subject: int, first_session: tuple[Path, ...]
) -> Grid | Surface:
    """Read what the units of the recipe's space lie on: a voxel grid, or two surfaces.

    Parameters
    ----------
    first_session
        Betas, from whose header the grid is read in MNI space, where NSD has no brain mask.
    recipe
        What the package contains.
    layout
        Where NSD's files lie.
    subject
        1 to 8.
    """
    space = recipe.responses.space
    if space == "MNI":
        return read_grid(first_session[0])
    ncsnr = layout.ncsnr(subject, space, recipe.responses.version)
    if len(ncsnr) == 1:
        return read_grid(layout.brainmask(subject, space))
    left, right = (int(read_mgh_header(path).get_data_shape()[0]) for path in ncsnr)
    return Surface((left, right), (ncsnr[0], ncsnr[1]))


def unit_files(recipe: Recipe, layout: Layout, subject: int) -> list[Path]:
    """Return NSD's files that say which units there are: regions, their names, ncsnr.

    Parameters
    ----------
    recipe
        What the package contains.
    layout
        Where NSD's files lie.
    subject
        1 to 8.

    Raises
    ------
    RecipeError
        If an atlas does not exist.
    """
    space, wanted = recipe.responses.space, recipe.units
    atlases = [] if wanted.mask else [wanted.atlas]
    files = list(layout.ncsnr(subject, space, recipe.responses.version))
    for atlas in dict.fromkeys((*atlases, *wanted.labels)):
        files += [*label_files(layout, subject, space, atlas), layout.label_names(subject, atlas)]
    halves = [layout.roi(subject, space, atlas, half) for atlas in atlases for half in ("lh", "rh")]
    return files + [path for path in halves if path.is_file()]


def select_units(recipe: Recipe, layout: Layout, subject: int, geometry: Grid | Surface) -> Units:
    """Select the units that a recipe names.

    Parameters
    ----------
    recipe
        What the package contains.
    layout
        Where NSD's files lie.
    subject
        1 to 8.
    geometry
        What the units lie on.

    Raises
    ------
    RecipeError
        If an atlas or ROI does not exist, or no unit is left.
    """
    space, wanted = recipe.responses.space, recipe.units
    inside, hemispheres = _inside(recipe, layout, subject, geometry)
    inside &= np.isin(hemispheres, [*wanted.hemispheres, "both"])
    ids = np.flatnonzero(inside)
    if not ids.size:
        raise RecipeError(
            "no unit is left",
            place=f"subj{subject:02}, {_selection(recipe)}, hemispheres {list(wanted.hemispheres)}",
            expected="at least one voxel or vertex",
            fix="name other regions in the recipe's [units]; not every subject has every region",
        )
    atlases = {atlas: read_atlas(layout, subject, space, atlas, geometry) for atlas in wanted.labels}
    return Units(
        ids=ids,
        hemispheres=hemispheres[ids],
        coordinates_mm=geometry.coordinates_mm(ids),
        ncsnr=_read_ncsnr(layout.ncsnr(subject, space, recipe.responses.version), geometry)[ids],
        labels={atlas: labels[ids] for atlas, (labels, _) in atlases.items()},
        label_names={atlas: names for atlas, (_, names) in atlases.items()},
    )


def _selection(recipe: Recipe) -> str:
    wanted = recipe.units
    return f"mask {wanted.mask}" if wanted.mask else f"atlas {wanted.atlas!r}, rois {list(wanted.rois)}"


def _inside(
    recipe: Recipe, layout: Layout, subject: int, geometry: Grid | Surface
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.str_]]:
    space, wanted = recipe.responses.space, recipe.units
    if wanted.mask:
        hemispheres = (
            read_hemispheres(layout, subject, space, "", geometry)
            if isinstance(geometry, Surface)
            else np.full(geometry.n_units, "both")
        )
        return _read_mask(Path(wanted.mask), geometry), hemispheres
    labels, names = read_atlas(layout, subject, space, wanted.atlas, geometry)
    chosen = labels_called(wanted.rois, names, f"subj{subject:02}, atlas {wanted.atlas!r}")
    return np.isin(labels, chosen), read_hemispheres(layout, subject, space, wanted.atlas, geometry)


def _read_mask(path: Path, geometry: Grid | Surface) -> npt.NDArray[np.bool_]:
    """Read one's own choice, above 0 inside: a NIfTI volume of the grid, or an array.

    A volume says itself where its voxels lie. An array does not: it must have the grid's shape, or a number a
    vertex, and is refused where two axes are equally long, since nothing would show that they are swapped.
    """
    shape = geometry.shape if isinstance(geometry, Grid) else (geometry.n_units,)
    if isinstance(geometry, Grid) and path.suffix != ".npy":
        mask = read_volume(path, geometry)
    else:
        mask = _read_array(path, shape)
    inside = np.asarray(mask > 0).ravel()
    if not inside.any():
        raise _not_a_mask(path, "is nowhere above 0", shape)
    return inside


def _read_array(path: Path, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if path.suffix != ".npy":
        raise _not_a_mask(path, "is not a .npy file", shape)
    with reading(path, lambda problem: _not_a_mask(path, problem, shape)):
        values = read_npy(path)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "buif":
        raise _not_a_mask(path, f"holds {getattr(values, 'dtype', 'several arrays')}", shape)
    if values.shape != shape:
        hint = ", the order of axes of NSD's .hdf5 files: transpose it" if values.shape == shape[::-1] else ""
        raise _not_a_mask(path, f"has shape {values.shape}{hint}", shape)
    if len(set(shape)) < len(shape):
        raise _not_a_mask(path, "cannot show the order of its axes, two of which are equally long", shape)
    return values


def _not_a_mask(path: Path, problem: str, shape: tuple[int, ...]) -> RecipeError:
    expected = f"a .npy of shape {shape}, the left hemisphere first"
    if len(shape) > 1:
        axes = "x from the left, y from the back, z from below"
        expected = f"a .nii.gz of the grid, or a .npy of shape {shape}: {axes}"
    return RecipeError(
        problem,
        place=f"mask {path}",
        expected=f"{expected}; above 0 inside",
        fix="correct 'mask' in the recipe's [units]",
    )


def _read_ncsnr(paths: tuple[Path, ...], geometry: Grid | Surface) -> npt.NDArray[np.float32]:
    if not paths:
        return np.full(geometry.n_units, np.nan, dtype=np.float32)
    if isinstance(geometry, Grid):
        ncsnr = read_volume(paths[0], geometry).ravel()
    else:
        ncsnr = np.concatenate([read_vertices(path) for path in paths])
    if (ncsnr < 0).any() or np.isinf(ncsnr).any():
        raise SourceError(
            f"holds {ncsnr[(ncsnr < 0) | np.isinf(ncsnr)][0]:g}",
            place=" and ".join(map(str, paths)),
            expected="the ratio of two standard deviations: 0 or more, NaN where there is no data",
            fix="fetch the file again",
        )
    return ncsnr.astype(np.float32)


def unit_table(units: Units, subject: int, area: str) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of a package's unit table, each with a row per unit.

    Parameters
    ----------
    units
        The units, in the order of the columns of the responses.
    subject
        1 to 8.
    area
        Atlas whose names fill Sensorium's column `area`; "" for none.
    """
    zeros = np.zeros(len(units), dtype=np.int64)
    return {
        "unit_ids": units.ids,
        "animal_ids": zeros + subject,
        "sessions": zeros + 1,
        "scan_idx": zeros,
        "area": _names(units, area) if area else np.full(len(units), "none"),
        "layer": units.hemispheres,
        "cell_motor_coordinates": units.coordinates_mm,
        "ncsnr": units.ncsnr,
        **{spec.roi_column(atlas): labels for atlas, labels in units.labels.items()},
    }


def _names(units: Units, atlas: str) -> npt.NDArray[np.str_]:
    names = units.label_names[atlas]
    return np.array([names.get(label, "none") for label in units.labels[atlas].tolist()])
