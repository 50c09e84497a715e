"""Voxels of a vertex: looked up between white matter and pia."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import SourceError
from nsd_bench.surfaces.cortex import Cortex
from nsd_bench.surfaces.pixelwise import Transform
from nsd_bench.surfaces.placing import Placement
from nsd_bench.surfaces.sampling import check_sampling, nearest_units, trilinear_weights

__all__ = ["N_DEPTHS", "between", "vertexwise"]

N_DEPTHS: Final = 5
"""Places between white matter and pia at which a vertex looks for voxels."""


def between(n_depths: int) -> npt.NDArray[np.float64]:
    """Return shares of the way from white matter to pia, evenly spaced, neither end included.

    >>> between(3).tolist()
    [0.25, 0.5, 0.75]
    """
    return np.linspace(0, 1, n_depths + 2)[1:-1]


def vertexwise(
    cortex: Cortex,
    transform: Transform,
    shares: npt.NDArray[np.float64],
    *,
    sampling: str = "nearest",
    is_approximate: bool = False,
) -> Placement:
    """Find the voxels of every vertex at some depths.

    Parameters
    ----------
    cortex
        With white and pial surface.
    transform
        From these surfaces to the volume.
    shares : float64 array of shape (n_depths,)
        How far from white matter (0) to pia (1).
    sampling
        "nearest" voxel, or "trilinear".
    is_approximate
        Whether the transform is; pictures then say so.

    Raises
    ------
    SourceError
        If the surfaces are unknown.
    OptionError
        If there is no such sampling, or no depth.
    """
    check_sampling(sampling, len(shares))
    if np.isnan(cortex.middle_mm).all():
        raise SourceError(
            "white matter and pia are missing",
            place=cortex.flat.source,
            expected="fsaverage5, or a pycortex subject with surfaces wm and pia",
            fix="give such a surface",
        )
    layers = [cortex.white_mm * (1 - share) + cortex.pial_mm * share for share in shares]
    places = np.stack(layers, axis=1) @ transform.to_voxel[:3, :3].T + transform.to_voxel[:3, 3]
    units = nearest_units(places, transform.shape)
    places[units < 0] = np.nan
    weights = trilinear_weights(places, transform.shape) if sampling == "trilinear" else None
    return Placement(units, transform.shape, transform.source, transform.affine, is_approximate, weights)
