"""Turn a patch into a flat surface that has a place for every vertex of the hemisphere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from nsd_bench.errors import SourceError

__all__ = ["flat_surface", "largest_part"]


def flat_surface(
    vertices: npt.NDArray[np.int64],
    flat: npt.NDArray[np.floating],
    triangles: npt.NDArray[np.int64],
    n_vertices: int,
    place: str = "patch",
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Keep the triangles whose three corners are on the patch, and of those the largest connected part.

    Vertices that no triangle uses get 0, as pycortex wants it.

    Parameters
    ----------
    vertices : int64 array of shape (n,)
        Which vertices are on the patch.
    flat : float array of shape (n, 2)
        Where they lie.
    triangles : int64 array of shape (n_triangles, 3)
        Of the whole surface.
    n_vertices
        Of the whole surface.
    place
        Named in errors.

    Returns
    -------
    points : float64 array of shape (n_vertices, 3)
    triangles : int64 array of shape (n_kept, 3)

    Raises
    ------
    SourceError
        If no triangle remains.

    Examples
    --------
    >>> corners = np.array([[0, 1, 2], [1, 2, 3], [2, 3, 4]])
    >>> flat_surface(np.arange(1, 4), np.eye(3, 2), corners, 5)[1].tolist()
    [[1, 2, 3]]
    """
    points = np.zeros((n_vertices, 3))
    points[vertices, :2] = flat
    on_patch = np.zeros(n_vertices, dtype=bool)
    on_patch[vertices] = True
    kept = triangles[on_patch[triangles].all(axis=1)]
    if not len(kept):
        raise SourceError(
            f"none of {len(triangles)} triangles lies on the patch",
            place=place,
            expected="a patch of this surface",
            fix="check that patch and surface are of the same subject and hemisphere",
        )
    kept = largest_part(kept, n_vertices)
    used = np.zeros(n_vertices, dtype=bool)
    used[kept] = True
    points[~used] = 0
    return points, kept


def largest_part(triangles: npt.NDArray[np.int64], n_vertices: int) -> npt.NDArray[np.int64]:
    """Keep the triangles of the connected part that has most vertices.

    Examples
    --------
    >>> largest_part(np.array([[0, 1, 2], [3, 4, 5], [4, 5, 6]]), 7).tolist()
    [[3, 4, 5], [4, 5, 6]]
    """
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = sparse.coo_array((np.ones(len(pairs)), pairs.T), shape=(n_vertices, n_vertices))
    _, part = connected_components(graph, directed=False)
    largest = np.bincount(part).argmax()
    return np.asarray(triangles[part[triangles[:, 0]] == largest])
