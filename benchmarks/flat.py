"""How fast a session becomes pictures, against the original NSD-Flat's loop over trials.

The flat map has fsaverage's 163,842 vertices a hemisphere: fsaverage5's triangles, each cut into 16. The
region is an ellipse of 39,548 vertices, about as many as the Algonauts 2023 masks have. Betas are noise, 750
trials, in files of NSD's format and size. The original, written down anew from its published code: read as
float64, transpose, z-score with scikit-learn, then for every trial a sparse product, mask, levels, PNG.
Photographs are measured apart: the original encodes one a trial, we one an image, and every image is shown
3 times. Every measurement is a process of its own, with the files in the page cache. Needs 1.2 GB of disk and
4 GB of memory.

    python benchmarks/flat.py [--folder DIR]
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

N_VERTICES, N_TRIALS, N_UNITS, N_PHOTOGRAPHS = 163_842, 750, 39_548, 90
RECT = (-100.0, 100.0, -120.0, 95.0)
HALVES = ("lh", "rh")


def cut_into_four(points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add the middle of every edge."""
    pairs = np.sort(
        np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1
    )
    edges, which = np.unique(pairs, axis=0, return_inverse=True)
    ab, bc, ca = which.reshape(3, -1) + len(points)
    a, b, c = triangles.T
    corners = np.concatenate(
        [np.stack(part, axis=1) for part in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    )
    return np.concatenate([points, points[edges].mean(axis=1)]), corners


def full_size_map():
    """Return a flat map with fsaverage's vertices; those that are left over are not on it."""
    from nsd_bench.cortex.geometry import join_hemispheres
    from nsd_bench.cortex.surfaces import read_flat

    coarse, meshes = read_flat("fsaverage5"), []
    n_left = coarse.n_vertices[0]
    for first, n in ((0, n_left), (n_left, coarse.n_vertices[1])):
        mine = (coarse.triangles >= first).all(axis=1) & (coarse.triangles < first + n).all(axis=1)
        mesh = coarse.points[first : first + n], coarse.triangles[mine] - first
        points, triangles = cut_into_four(*cut_into_four(*mesh))
        spare = np.zeros((N_VERTICES - len(points), 2)) + points[0]
        meshes.append((np.concatenate([points, spare]), triangles))
    return join_hemispheres(*meshes, "subdivided fsaverage5")


def region(flat) -> np.ndarray:
    """Take the vertices nearest to the middle of NSD-Flat's rectangle, in its proportions."""
    left, right, bottom, top = RECT
    x, y = ((flat.points - [(left + right) / 2, (bottom + top) / 2]) / [right - left, top - bottom]).T
    distance = np.where(flat.on_map, np.hypot(x, y), np.inf)
    inside = np.zeros(len(flat), dtype=bool)
    inside[np.argsort(distance, kind="stable")[:N_UNITS]] = True
    return inside


def write_betas(path: Path, seed: int) -> None:
    from nibabel.freesurfer.mghformat import MGHHeader

    from exporters.nsd.surfaces import MGH_DATA_OFFSET

    header = MGHHeader()
    header.set_data_shape((N_VERTICES, 1, 1, N_TRIALS))
    header.set_data_dtype(">f4")
    rng = np.random.default_rng(seed)
    with path.open("wb") as file:
        file.write(header.binaryblock.ljust(MGH_DATA_OFFSET, b"\0"))
        for _ in range(N_TRIALS):
            file.write(rng.normal(0.3, 2.0, N_VERTICES).astype(">f4").tobytes())


def warm(folder: Path) -> None:
    """Bring the files into the page cache, so that whoever is measured first pays nothing for the disk."""
    for half in HALVES:
        with (folder / f"{half}.mgh").open("rb") as file:
            while file.read(1 << 24):
                pass


def raster_and_patch():
    from nsd_bench.cortex.raster import PixelGrid, gaussian_raster

    flat = full_size_map()
    inside = region(flat)
    patch = flat.patch(inside)
    return gaussian_raster(patch.points, PixelGrid.of_rect(RECT, 1.0)), patch, inside


def original(folder: Path) -> tuple[float, list[bytes]]:
    import nibabel as nib
    from PIL import Image
    from scipy import sparse
    from sklearn.preprocessing import scale

    raster, _, inside = raster_and_patch()
    weights = sparse.csr_matrix(raster.weights)
    start = time.perf_counter()
    parts = []
    for half, mask in zip(HALVES, (inside[:N_VERTICES], inside[N_VERTICES:]), strict=True):
        betas = np.ascontiguousarray(np.squeeze(nib.load(folder / f"{half}.mgh").get_fdata()).T)
        parts.append(scale(betas[:, mask]).astype(np.float32))
    pngs = []
    for activity in np.concatenate(parts, axis=1):
        picture = (weights @ activity[:, None]).reshape(raster.grid.shape)
        picture = np.where(raster.mask, picture, 0.0)
        picture = (np.clip(picture, -2.5, 2.5) + 2.5) / 5
        stream = io.BytesIO()
        Image.fromarray(np.flipud((255 * picture).astype("uint8"))).save(stream, "PNG")
        pngs.append(stream.getvalue())
    return time.perf_counter() - start, pngs


def ours(folder: Path) -> tuple[float, list[bytes]]:
    from exporters.flat.pictures import Drawn, draw_session
    from exporters.nsd.surfaces import Surface

    raster, patch, _ = raster_and_patch()
    paths = folder / "lh.mgh", folder / "rh.mgh"
    start = time.perf_counter()
    surface = Surface((N_VERTICES, N_VERTICES), paths)
    draw_session(paths, patch.vertices, surface, raster, N_TRIALS, folder / "drawn.npz")
    return time.perf_counter() - start, Drawn.read(folder / "drawn.npz").pngs


def photographs(by_pillow: bool) -> float:
    """Return seconds to encode one photograph-like picture of 425 x 425."""
    from PIL import Image

    from exporters.flat.pictures import encode_png

    noise = np.random.default_rng(0).normal(size=(425, 425, 3)).cumsum(axis=0).cumsum(axis=1)
    picture = ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)
    start = time.perf_counter()
    for _ in range(N_PHOTOGRAPHS):
        if by_pillow:
            Image.fromarray(picture).save(io.BytesIO(), "PNG")
        else:
            encode_png(picture)
    return (time.perf_counter() - start) / N_PHOTOGRAPHS


def apart(function, *arguments):
    """Call in a process of its own; return what it returns, and its peak memory in GB."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (function, arguments))


def _measured(function, arguments):
    result = function(*arguments)
    return result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def pixels(png: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png))).astype(int)


def main(folder: Path) -> None:
    for seed, half in enumerate(HALVES):
        if not (folder / f"{half}.mgh").is_file():
            write_betas(folder / f"{half}.mgh", seed)
    warm(folder)
    raster, _, _ = raster_and_patch()
    print(f"{raster.n_units} vertices, {raster.mask.sum()} pixels, {raster.weights.nnz} weights")
    ((slow, theirs), slow_gb), ((fast, mine), fast_gb) = apart(original, folder), apart(ours, folder)
    different = [(pixels(a) != pixels(b)).mean() for a, b in zip(theirs, mine, strict=True)]
    largest = max(np.abs(pixels(a) - pixels(b)).max() for a, b in zip(theirs, mine, strict=True))
    (usual, _), (low, _) = apart(photographs, True), apart(photographs, False)
    whole = slow + N_TRIALS * usual, fast + N_TRIALS / 3 * low
    print(f"pixels that differ: {np.mean(different):.2e}, by {largest} level at most")
    print("| a session of 750 trials | original | ours | times |\n|---|---|---|---|")
    print(f"| activity, s | {slow:.1f} | {fast:.1f} | {slow / fast:.1f} |")
    print(f"| photographs, s | {N_TRIALS * usual:.1f} | {N_TRIALS / 3 * low:.1f} | {3 * usual / low:.1f} |")
    print(f"| both, s | {whole[0]:.1f} | {whole[1]:.1f} | {whole[0] / whole[1]:.1f} |")
    print(f"| peak memory, GB | {slow_gb:.1f} | {fast_gb:.1f} | |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="where betas are kept; a temporary folder by default")
    given = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        main(given or Path(temporary))
