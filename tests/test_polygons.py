"""Polygons of regions: parts, holes and areas, by hand, by sums of triangles, and against shapely."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import Delaunay

from nsd_bench.cortex.geometry import boundary_rings, join_hemispheres, signed_area
from nsd_bench.cortex.polygons import Polygon, multi_polygon, region_polygons, triangle_polygons
from nsd_bench.cortex.surfaces import read_flat, read_mesh
from nsd_bench.errors import OptionError

SIDE = 5
POINTS = np.array([(x, y) for y in range(SIDE) for x in range(SIDE)], dtype=np.float64)
"""A chessboard of 4 x 4 squares; the square at (x, y) has its lower left corner there."""


def squares(*places: tuple[int, int]) -> np.ndarray:
    """Two triangles a square, counter-clockwise."""
    corners = [
        (x + SIDE * y, x + 1 + SIDE * y, x + 1 + SIDE * (y + 1), x + SIDE * (y + 1)) for x, y in places
    ]
    return np.array([one for a, b, c, d in corners for one in ((a, b, c), (a, c, d))])


ALL = [(x, y) for y in range(4) for x in range(4)]


def message(error) -> str:
    return str(error.value)


def mesh(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Random points, all their triangles turning the same way."""
    points = np.random.default_rng(seed).uniform(0, 30, (n, 2))
    triangles = Delaunay(points).simplices.astype(np.int64)
    clockwise = areas(points, triangles) < 0
    triangles[clockwise] = triangles[clockwise][:, ::-1]
    return points, triangles


def areas(points, triangles) -> np.ndarray:
    (x1, y1), (x2, y2) = np.diff(points[triangles], axis=1).transpose(1, 2, 0)
    return (x1 * y2 - x2 * y1) / 2


def corners(ring: np.ndarray) -> set[tuple[float, float]]:
    return set(map(tuple, ring.tolist()))


# by hand


def test_a_square_is_one_ring():
    (square,) = triangle_polygons(POINTS, squares((1, 2)))
    assert square.border.tolist() == [[1, 2], [2, 2], [2, 3], [1, 3], [1, 2]]
    assert (square.holes, square.area_mm2) == ((), 1)


def test_holes_run_clockwise_and_have_no_area():
    (frame,) = triangle_polygons(POINTS, squares(*set(ALL) - {(1, 1), (2, 1)}))
    (hole,) = frame.holes
    assert frame.area_mm2 == 14
    assert (signed_area(frame.border), signed_area(hole)) == (16, -2)
    assert corners(hole) == {(1, 1), (2, 1), (3, 1), (3, 2), (2, 2), (1, 2)}
    assert np.array_equal(hole[0], hole[-1])


def test_a_border_that_lies_beside_is_no_hole():
    """A ring of triangles whose inner border is folded out to the right: both borders turn one way."""
    outer = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    inner = np.array([[22.0, 0], [20, 0], [20, 2], [22, 2]])
    around = [(i, (i + 1) % 4) for i in range(4)]
    triangles = np.array([t for i, j in around for t in ((i, j, 4 + i), (j, 4 + j, 4 + i))])
    points = np.concatenate([outer, inner])
    found = triangle_polygons(points, triangles)
    assert [part.area_mm2 for part in found] == [100, 4]
    assert sum(map(signed_area, points[triangles])) == 104


def test_an_island_in_a_hole_is_a_part_of_its_own():
    points = np.concatenate([10 * POINTS - 15, POINTS[:7] + 1])  # the island lies in the square at (1, 1)
    island = squares((0, 0)) + len(POINTS)
    frame, inner = triangle_polygons(points, np.concatenate([squares(*set(ALL) - {(1, 1)}), island]))
    assert (frame.area_mm2, len(frame.holes), inner.area_mm2, inner.holes) == (1500, 1, 1, ())


def test_squares_that_touch_in_a_corner_are_two_parts():
    both = triangle_polygons(POINTS, squares((0, 0), (1, 1)))
    assert [part.border.tolist() for part in both] == [
        [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]],
        [[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]],
    ]


def test_two_parts_that_touch_twice_enclose_no_hole():
    ring_of_two = squares((0, 1), (0, 0), (1, 0)), squares((1, 2), (2, 2), (2, 1))
    found = triangle_polygons(POINTS, np.concatenate(ring_of_two))
    assert [(part.area_mm2, part.holes) for part in found] == [(3, ()), (3, ())]


def test_a_hole_that_touches_the_border_is_a_hole():
    around = squares(*set(ALL) - {(0, 0), (1, 1)})  # (0, 0) is missing at the corner, (1, 1) touches it
    (found,) = triangle_polygons(POINTS, around)
    assert (signed_area(found.border), [signed_area(hole) for hole in found.holes]) == (15, [-1])
    assert len(corners(found.border)) == len(found.border) - 1


def test_triangles_that_turn_clockwise_give_the_same_polygons():
    around = squares(*set(ALL) - {(1, 1)})
    (one,), (other,) = (triangle_polygons(POINTS, part) for part in (around, around[:, ::-1]))
    assert corners(one.border) == corners(other.border)
    assert (signed_area(one.border), signed_area(other.border)) == (16, 16)
    assert one.area_mm2 == other.area_mm2 == 15


def test_nothing_has_no_border():
    assert boundary_rings(np.zeros((0, 3), dtype=np.int64)) == []
    assert triangle_polygons(POINTS, np.zeros((0, 3), dtype=np.int64)) == []


@pytest.mark.parametrize(
    ("triangles", "edge"), [([[0, 1, 6], [0, 1, 7]], "0 to 1"), ([[0, 1, 6], [1, 6, 0]], "0 to 1")]
)
def test_triangles_that_are_no_surface_are_refused(triangles, edge):
    with pytest.raises(OptionError) as error:
        triangle_polygons(POINTS, np.array(triangles))
    assert message(error) == (
        f"triangles: the edge from vertex {edge} has 2 triangles on one side.\n"
        "  Expected: a surface: every triangle once, all turning the same way.\n"
        "  What to do: give the triangles of the flat map itself."
    )


# regions of a flat map

FLAT = join_hemispheres((POINTS, squares(*ALL)), (POINTS, squares(*ALL)), "two boards")


def test_a_mask_and_indices_say_the_same_of_both_hemispheres():
    inside = np.zeros(50, dtype=bool)
    inside[[0, 1, 5, 6, 30, 31, 36]] = True  # a square on the left, half a one on the right
    by_mask = region_polygons(FLAT, inside=inside)
    by_index = region_polygons(FLAT, vertices=np.flatnonzero(inside)[::-1])
    assert [part.area_mm2 for part in by_mask] == [1, 0.5]
    assert [part.border.tolist() for part in by_mask] == [part.border.tolist() for part in by_index]


@pytest.mark.parametrize(
    ("given_", "word"),
    [({}, "neither"), ({"inside": np.zeros(50, dtype=bool), "vertices": np.array([1])}, "both")],
)
def test_a_region_is_given_one_way(given_, word):
    with pytest.raises(OptionError) as error:
        region_polygons(FLAT, **given_)
    assert message(error) == (
        f"region: {word} of inside and vertices are given.\n"
        "  Expected: one of the two.\n"
        "  What to do: give inside, a mask of all vertices, or vertices, the indices of some."
    )


def test_regions_of_another_surface_are_refused():
    with pytest.raises(OptionError, match=r"the mask is bool of shape \(49,\)"):
        region_polygons(FLAT, inside=np.zeros(49, dtype=bool))
    with pytest.raises(OptionError, match="there is no vertex 50"):
        region_polygons(FLAT, vertices=np.array([3, 50]))


def test_whole_triangles_leave_a_single_vertex_out_and_halfway_does_not():
    alone = {"vertices": np.array([12])}  # the middle of the left board
    assert region_polygons(FLAT, **alone) == []
    (found,) = region_polygons(FLAT, **alone, border="halfway")
    x, y = POINTS[12] - (6, 0)  # the left hemisphere ends at -2
    assert found.area_mm2 == 0.75
    assert {(x + 0.5, y), (x, y + 0.5), (x - 0.5, y), (x, y - 0.5)} < corners(found.border)


@given(st.integers(0, 200), st.floats(0.1, 0.9))
def test_halfway_borders_divide_the_map(seed, share):
    points, triangles = mesh(seed % 5)
    inside = np.random.default_rng(seed).random(len(points)) < share
    flat = join_hemispheres((points, triangles), (points, triangles))
    both = np.concatenate([inside, inside])
    measured = [
        sum(part.area_mm2 for part in region_polygons(flat, inside=mask, border="halfway"))
        for mask in (both, ~both)
    ]
    assert sum(measured) == pytest.approx(2 * areas(points, triangles).sum())


@given(st.integers(0, 200), st.floats(0.2, 1))
def test_areas_are_those_of_the_triangles(seed, share):
    points, triangles = mesh(seed % 5)
    kept = triangles[np.random.default_rng(seed).random(len(triangles)) < share]
    found = triangle_polygons(points, kept)
    assert sum(part.area_mm2 for part in found) == pytest.approx(areas(points, kept).sum())
    rings = [ring for part in found for ring in (part.border, *part.holes)]
    assert all(len(corners(ring)) == len(ring) - 1 for ring in rings)
    assert all(signed_area(part.border) > 0 > max(map(signed_area, part.holes), default=-1) for part in found)


# simplified


def test_a_simplified_border_keeps_within_the_tolerance():
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    points = np.concatenate([[[0, 0]], 20 * np.stack([np.cos(angles), np.sin(angles)], axis=1)])
    fan = np.array([(0, 1 + i, 1 + (i + 1) % 200) for i in range(200)])
    (whole,), (simple,) = (triangle_polygons(points, fan, tolerance_mm=mm) for mm in (0, 0.5))
    assert len(whole.border) == 201
    assert 8 < len(simple.border) < 30
    assert corners(simple.border) < corners(whole.border)
    middles = (simple.border[1:] + simple.border[:-1]) / 2
    assert (np.hypot(*middles.T) >= 19.5).all()
    assert 0 < whole.area_mm2 - simple.area_mm2 < 0.5 * 2 * np.pi * 20


def test_what_a_tolerance_leaves_without_area_is_left_out():
    around = squares(*set(ALL) - {(1, 1)})
    assert triangle_polygons(POINTS, around, tolerance_mm=1.5)[0].holes == ()
    assert triangle_polygons(POINTS, around, tolerance_mm=9) == []


# GeoJSON


def test_geojson_is_always_a_multi_polygon_of_closed_rings():
    assert multi_polygon([]) == {"type": "MultiPolygon", "coordinates": []}
    ring = np.array([[0.0, 0], [3, 0], [0, 3], [0, 0]])
    hole = np.array([[1.0, 1], [1, 1.5], [1.5, 1], [1, 1]])
    assert multi_polygon([Polygon(ring, (hole,))]) == {
        "type": "MultiPolygon",
        "coordinates": [[ring.tolist(), hole.tolist()]],
    }


# the originals


@pytest.fixture(scope="module")
def fsaverage5():
    pytest.importorskip("nilearn")
    return read_flat("fsaverage5")


@pytest.fixture(scope="module")
def posterior() -> np.ndarray:
    """Vertices more than 60 mm behind the middle: the probe on which the original's numbers were taken."""
    from cortex_trees import bundled

    return np.concatenate([read_mesh(bundled(f"white_{side}"))[0] for side in ("left", "right")])[:, 1] < -60


def test_the_originals_numbers_on_fsaverage5(fsaverage5, posterior):
    patch = fsaverage5.patch(posterior)
    assert (posterior.sum(), len(patch.points), len(patch.triangles)) == (3454, 3442, 6484)
    found = region_polygons(fsaverage5, inside=posterior)
    assert len(found) == 2
    area = sum(part.area_mm2 for part in found)
    assert area == pytest.approx(22233.19, abs=0.005)
    assert area == pytest.approx(patch.area_mm2)


def test_shapely_unites_the_same(fsaverage5, posterior):
    shapely = pytest.importorskip("shapely")
    rng = np.random.default_rng(0)
    for inside in (posterior, fsaverage5.on_map, rng.random(len(fsaverage5)) < 0.7):
        for border, mm in (("whole", 0.0), ("halfway", 0.0), ("whole", 0.2)):
            found = region_polygons(fsaverage5, inside=inside, border=border, tolerance_mm=mm)
            ours = shapely.geometry.shape(multi_polygon(found))
            assert ours.is_valid
            if (border, mm) == ("whole", 0):
                triangles = fsaverage5.triangles[inside[fsaverage5.triangles].all(axis=1)]
                union = shapely.union_all(shapely.polygons(fsaverage5.points[triangles]))
                assert ours.symmetric_difference(union).area == 0
                assert len(ours.geoms) == len(union.geoms)
                assert sum(len(part.interiors) for part in ours.geoms) == sum(
                    len(part.interiors) for part in union.geoms
                )
