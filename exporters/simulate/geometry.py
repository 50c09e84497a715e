"""The shape of a simulated brain: two hemispheres that fill an ellipsoid, as spheres, folded and flat.

Places lie in a box from -1 to 1 along x (right), y (front) and z (up), whose ball is the brain. A direction
is a unit vector from the middle of a hemisphere, and at the same time a point of FreeSurfer's sphere. Where a
function takes a hemisphere's own frame, x points to the other hemisphere.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

__all__ = [
    "fibonacci_sphere",
    "flattened",
    "folds",
    "icosphere",
    "on_medial_wall",
    "own_frame",
    "place",
    "seen_from",
]

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

_MIDDLE: Final = 0.45
"""Of a hemisphere: its distance from the plane between both."""
_CENTRE: Final = np.array([-_MIDDLE, 0, 0])
_WALL: Final = np.array([0.85, 0.4, -0.3]) / np.linalg.norm([0.85, 0.4, -0.3])
"""Middle of the medial wall, which is not cortex, as on fsaverage's sphere."""
_WALL_COSINE: Final = float(np.cos(np.deg2rad(40)))
_N_WAVES, _WAVE_NUMBER = 24, 13.0


def own_frame(points: Array, hemisphere: str) -> Array:
    """Turn places or directions in the head into the hemisphere's own frame, or back.

    Parameters
    ----------
    points : float64 array of shape (n, 3)
    hemisphere
        "lh" or "rh".

    Returns
    -------
    turned : float64 array of shape (n, 3)
        The same ones for "lh"; for "rh", x with the other sign.
    """
    mirrored: Array = points * (1 if hemisphere == "lh" else -1, 1, 1)
    return mirrored


def seen_from(places: Array) -> tuple[Array, Array]:
    """Return direction and depth of places in their hemisphere's own frame.

    Parameters
    ----------
    places : float64 array of shape (n, 3)
        In the own frame: the hemisphere's x is negative.

    Returns
    -------
    directions : float64 array of shape (n, 3)
    depth : float64 array of shape (n,)
        0 in the middle of the hemisphere, 1 on its surface.
    """
    from_middle = places - _CENTRE
    distance = np.linalg.norm(from_middle, axis=1)
    directions = from_middle / np.where(distance > 0, distance, 1)[:, None]
    return directions, distance / _reach(directions)


def place(directions: Array, depth: Array | float) -> Array:
    """Return the places of directions at depths, in the own frame: the inverse of `seen_from`.

    Parameters
    ----------
    directions : float64 array of shape (n, 3)
        Unit vectors from the middle of the hemisphere.
    depth : float64 array of shape (n,), or a number
        0 in the middle, 1 on the surface.

    Returns
    -------
    places : float64 array of shape (n, 3)

    Examples
    --------
    >>> place(np.array([[1.0, 0, 0], [-1, 0, 0]]), 1.0).round(9).tolist()
    [[0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]
    """
    places: Array = directions * (_reach(directions) * depth)[:, None] + _CENTRE
    return places


def _reach(directions: Array) -> Array:
    """How far the surface of the hemisphere is from its middle: the ball, or the plane between both."""
    x = directions[:, 0]
    ball = _MIDDLE * x + np.sqrt((_MIDDLE * x) ** 2 + 1 - _MIDDLE**2)
    plane = np.divide(_MIDDLE, x, out=np.full(len(x), np.inf), where=x > 0)
    reach: Array = np.minimum(ball, plane)
    return reach


def on_medial_wall(directions: Array) -> npt.NDArray[np.bool_]:
    """Say which directions, in the own frame, lead to where the hemispheres are joined.

    Parameters
    ----------
    directions : float64 array of shape (n, 3)
        In the own frame.

    Returns
    -------
    on_wall : bool array of shape (n,)
    """
    return np.asarray(directions @ _WALL > _WALL_COSINE)


def folds(directions: Array, rng: np.random.Generator) -> Array:
    """Draw gyri and sulci: smooth values from -1, the crown of a gyrus, to 1, the bottom of a sulcus.

    Parameters
    ----------
    directions : float64 array of shape (n, 3)
        Where values are wanted.
    rng
        Draws the waves that they are sums of.

    Returns
    -------
    values : float64 array of shape (n,)
    """
    waves = rng.normal(size=(3, _N_WAVES))
    waves *= _WAVE_NUMBER / np.linalg.norm(waves, axis=0)
    summed = np.sin(directions @ waves + rng.uniform(0, 2 * np.pi, _N_WAVES)).sum(axis=1)
    values: Array = np.tanh(2 * summed / np.sqrt(_N_WAVES))
    return values


def flattened(directions: Array) -> Array:
    """Lay directions flat: seen from outside, the front to the left.

    Lambert's azimuthal projection, which keeps areas, opposite the medial wall.

    Parameters
    ----------
    directions : float64 array of shape (n, 3)
        In the own frame.

    Returns
    -------
    points : float64 array of shape (n, 2)
        On a disk of radius 2.

    Examples
    --------
    >>> front, back, top = flattened(np.array([[-1.0, 0.5, 0], [-1, -0.5, 0], [-1, 0, 1]]))
    >>> bool(front[0] < back[0]), bool(top[1] > back[1])
    (True, True)
    """
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    right = np.cross((0, 0, 1), _WALL)
    right /= -np.linalg.norm(right)
    up = np.cross(right, _WALL)
    up *= np.sign(up[2])
    scale = np.sqrt(2 / np.maximum(1 - unit @ _WALL, 1e-9))
    return np.stack([unit @ right * scale, unit @ up * scale], axis=1)


def fibonacci_sphere(n_vertices: int) -> tuple[Array, Indices]:
    """Spread vertices evenly over a sphere: directions, and triangles whose front is outside.

    Parameters
    ----------
    n_vertices
        How many vertices.

    Returns
    -------
    points : float64 array of shape (n_vertices, 3)
    triangles : int64 array of shape (2 x n_vertices - 4, 3)

    Examples
    --------
    >>> points, triangles = fibonacci_sphere(50)
    >>> points.shape, triangles.shape
    ((50, 3), (96, 3))
    """
    number = np.arange(n_vertices) + 0.5
    z = 1 - 2 * number / n_vertices
    angle = np.pi * (1 + np.sqrt(5)) * number
    radius = np.sqrt(1 - z**2)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)
    triangles = ConvexHull(points).simplices.astype(np.int64)
    a, b, c = points[triangles].transpose(1, 0, 2)
    inward = (np.cross(b - a, c - a) * a).sum(axis=1) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return points, triangles


# The icosahedron as FreeSurfer counts its vertices and faces.
_CORNERS: Final = np.array(
    [
        (0, 0, 1),
        *((np.cos(a) * 2, np.sin(a) * 2, 1) for a in np.deg2rad([-72, 0, 72, 144, 216])),
        *((np.cos(a) * 2, np.sin(a) * 2, -1) for a in np.deg2rad([252, 324, 36, 108, 180])),
        (0, 0, -1),
    ]
)
_FACES: Final = np.array(
    [
        *((0, 4, 3), (0, 5, 4), (0, 1, 5), (0, 2, 1), (0, 3, 2), (3, 8, 2), (3, 9, 8), (3, 4, 9)),
        *((4, 10, 9), (4, 5, 10), (5, 6, 10), (5, 1, 6), (1, 7, 6), (1, 2, 7), (2, 8, 7), (8, 9, 11)),
        *((9, 10, 11), (10, 6, 11), (6, 7, 11), (7, 8, 11)),
    ]
)


def icosphere(n_vertices: int) -> Array:
    """Return the sphere of fsaverage, in FreeSurfer's order of vertices: 12, 42, 162, 642, ... 163842.

    Parameters
    ----------
    n_vertices
        12, 42, 162, 642, ... 163,842.

    Returns
    -------
    points : float64 array of shape (n_vertices, 3)
        Unit vectors.

    Examples
    --------
    >>> icosphere(42).shape
    (42, 3)
    """
    points: Array = _CORNERS / np.linalg.norm(_CORNERS, axis=1, keepdims=True)
    faces = _FACES
    while len(points) < n_vertices:
        pairs, middle_of = _edges(faces)
        (a, b, c), (ab, bc, ca) = faces.T, len(points) + middle_of.T
        inner = np.stack([ab, b, bc, ca, ab, bc, ca, bc, c], axis=1).reshape(-1, 3)
        faces = np.concatenate([np.stack([a, ab, ca], axis=1), inner])
        middles = points[pairs].sum(axis=1)
        points = np.concatenate([points, middles / np.linalg.norm(middles, axis=1, keepdims=True)])
    return points


def _edges(faces: Indices) -> tuple[Indices, Indices]:
    """Return the edges in the order in which faces name them, and which are the three of each face."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    pairs, first, which = np.unique(edges, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return pairs[order], np.argsort(order)[which].reshape(-1, 3)
