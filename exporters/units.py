"""Choose the voxels of a package, and describe each of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from exporters.nsd.layout import Layout
from exporters.nsd.rois import labels_called, read_hemispheres, read_label_names, read_labels
from exporters.nsd.volumes import Grid, read_volume
from exporters.recipe import Recipe
from nsd_bench import spec
from nsd_bench.errors import RecipeError
from nsd_bench.writer import PackageWriter

__all__ = ["Units", "select_units", "write_units"]


@dataclass(frozen=True)
class Units:
    """Voxels, in the order in which they become columns of the responses.

    Parameters
    ----------
    ids : int64 array of shape (n_units,)
        Flat C-order indices of (x, y, z), ascending.
    hemispheres : str array of shape (n_units,)
        "lh", "rh", or "both" for an atlas without hemispheres.
    coordinates_mm : float32 array of shape (n_units, 3)
    ncsnr : float32 array of shape (n_units,)
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
        """Return the units for which `keep`, shape (n_units,), is true."""
        return replace(
            self,
            ids=self.ids[keep],
            hemispheres=self.hemispheres[keep],
            coordinates_mm=self.coordinates_mm[keep],
            ncsnr=self.ncsnr[keep],
            labels={atlas: labels[keep] for atlas, labels in self.labels.items()},
        )


def select_units(recipe: Recipe, layout: Layout, subject: int, grid: Grid) -> Units:
    """Select the voxels that a recipe names.

    Raises
    ------
    RecipeError
        If an atlas or ROI does not exist, or no voxel is left.
    """
    space, wanted = recipe.responses.space, recipe.units
    place = f"subj{subject:02}, atlas {wanted.atlas!r}"
    labels = read_labels(layout, subject, space, wanted.atlas, grid)
    names = read_label_names(layout.label_names(subject, wanted.atlas))
    inside = np.isin(labels, labels_called(wanted.rois, names, place))
    hemispheres = read_hemispheres(layout, subject, space, wanted.atlas, grid)
    if hemispheres is None:
        hemispheres = np.full(grid.shape, "both")
    inside &= np.isin(hemispheres, [*wanted.hemispheres, "both"])
    ids = np.flatnonzero(inside)
    if not ids.size:
        raise RecipeError(
            "no voxel is left",
            place=f"{place}, rois {list(wanted.rois)}, hemispheres {list(wanted.hemispheres)}",
            expected="at least one voxel",
            fix="name other regions in the recipe's [units]; not every subject has every region",
        )
    ncsnr = read_volume(layout.ncsnr(subject, space, recipe.responses.version), grid)
    return Units(
        ids=ids,
        hemispheres=hemispheres.ravel()[ids],
        coordinates_mm=grid.coordinates_mm(ids),
        ncsnr=ncsnr.ravel()[ids].astype(np.float32),
        labels={
            atlas: read_labels(layout, subject, space, atlas, grid).ravel()[ids] for atlas in wanted.labels
        },
        label_names={atlas: read_label_names(layout.label_names(subject, atlas)) for atlas in wanted.labels},
    )


def write_units(writer: PackageWriter, units: Units, subject: int, area: str) -> None:
    """Write the unit table; `area` is the atlas that fills Sensorium's column of that name."""
    zeros = np.zeros(len(units), dtype=np.int64)
    area_names = {**dict.fromkeys((-1, 0), "none"), **units.label_names[area]}
    columns: dict[str, npt.ArrayLike] = {
        "unit_ids": units.ids,
        "animal_ids": zeros + subject,
        "sessions": zeros + 1,
        "scan_idx": zeros,
        "area": np.array([area_names[label] for label in units.labels[area].tolist()]),
        "layer": units.hemispheres,
        "cell_motor_coordinates": units.coordinates_mm,
        "ncsnr": units.ncsnr,
        **{spec.roi_column(atlas): labels for atlas, labels in units.labels.items()},
    }
    for column, values in columns.items():
        writer.add_array(spec.neurons_file(column), values)
    writer.add_json(spec.ROI_NAMES, units.label_names)
