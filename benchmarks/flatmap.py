"""Time of a figure of fsaverage5 at 1024 rows: this project's own rasteriser against pycortex's.

Run: python benchmarks/flatmap.py
"""

from __future__ import annotations

import io
import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np

from nsd_bench.cortex.canvas import make_canvas, nudged
from nsd_bench.cortex.figure import Scale, draw_values, folds
from nsd_bench.cortex.pixelwise import VolumeTransform, pixelwise
from nsd_bench.cortex.placing import SAMPLINGS
from nsd_bench.cortex.store import temporary_store
from nsd_bench.cortex.surfaces import Cortex, read_cortex

HEIGHT = 1024


def seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def own(cortex: Cortex, values: np.ndarray) -> dict[str, list[float]]:
    canvases: list[Any] = []

    def draw() -> bytes:
        if not canvases:
            canvases.append(make_canvas(cortex.flat, HEIGHT))
        scale = Scale("RdBu_r", -2, 2)
        return draw_values(
            canvases[0], values, scale, title="t", label="l", background=folds(cortex.curvature)
        )

    figure = [seconds(draw), seconds(draw)]
    canvases.clear()

    def picture() -> Any:
        if not canvases:
            canvases.append(make_canvas(cortex.flat, HEIGHT))
        return canvases[0].picture(values)

    return {"figure": figure, "vertex picture": [seconds(picture), seconds(picture)]}


def own_volume(cortex: Cortex, transform: VolumeTransform, volume: np.ndarray, sampling: str) -> list[float]:
    made: list[Any] = []

    def picture() -> Any:
        if not made:
            made.extend(pixelwise(make_canvas(cortex.flat, HEIGHT), cortex, transform, sampling=sampling))
        canvas, placement = made
        return canvas.picture(placement.on_vertices(np.arange(volume.size), volume.ravel()))

    return [seconds(picture), seconds(picture)]


def pycortexs(
    cortex: Cortex, values: np.ndarray, transform: VolumeTransform, volume: np.ndarray
) -> dict[str, list[float]]:
    import nibabel as nib

    with temporary_store() as (pycortex, store), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder, n_left = store / "fs5", cortex.flat.n_vertices[0]
        for name in ("surfaces", "transforms/four", "surface-info", "anatomicals"):
            (folder / name).mkdir(parents=True)
        flat = np.column_stack([nudged(cortex.flat), np.zeros(len(cortex.flat))])
        flat[~cortex.flat.on_map] = 0
        is_left = cortex.flat.triangles[:, 0] < n_left
        for kind, points in (("flat", flat), ("wm", cortex.white_mm), ("pia", cortex.pial_mm)):
            for side, inside, part in (("lh", is_left, slice(n_left)), ("rh", ~is_left, slice(n_left, None))):
                polys = (cortex.flat.triangles[inside] - (part.start or 0)).astype(np.int32)
                file = str(folder / f"surfaces/{kind}_{side}.gii")
                pycortex.formats.write_gii(file, pts=points[part].astype(np.float32), polys=polys)
        curvature = -cortex.curvature
        np.savez(folder / "surface-info/curvature.npz", left=curvature[:n_left], right=curvature[n_left:])
        matrix = transform.to_voxel.tolist()
        (folder / "transforms/four/matrices.xfm").write_text(json.dumps({"coord": matrix, "magnet": matrix}))
        reference = nib.Nifti1Image(np.zeros(transform.shape, np.float32), transform.affine)
        nib.save(reference, folder / "transforms/four/reference.nii.gz")
        vertex = pycortex.Vertex(values, "fs5", vmin=-2, vmax=2, cmap="RdBu_r")
        voxels = pycortex.Volume(volume.T, "fs5", "four")

        def draw(**options: Any) -> None:
            figure = pycortex.quickflat.make_figure(
                vertex, height=HEIGHT, with_rois=False, with_curvature=True, **options
            )
            figure.savefig(io.BytesIO(), format="png", dpi=100)

        def picture(shown: Any, sampler: str = "nearest") -> None:
            pycortex.quickflat.make_flatmap_image(shown, height=HEIGHT, sampler=sampler)

        return {
            "vertex picture": [seconds(lambda: picture(vertex)) for _ in range(2)],
            **{
                f"volume, {name}": [seconds(partial(picture, voxels, name)) for _ in range(2)]
                for name in SAMPLINGS
            },
            "figure": [seconds(lambda: draw(recache=True)), seconds(draw)],
        }


def main() -> None:
    mpl.use("Agg")
    cortex = read_cortex("fsaverage5")
    rng = np.random.default_rng(0)
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = -78, -112, -70
    transform = VolumeTransform(np.linalg.inv(affine), (40, 52, 44), affine, "4 mm")
    values, volume = rng.normal(size=len(cortex.flat)), rng.normal(size=transform.shape)
    ours = own(cortex, values)
    ours |= {f"volume, {name}": own_volume(cortex, transform, volume, name) for name in SAMPLINGS}
    theirs = pycortexs(cortex, values, transform, volume)
    print(f"{'seconds at ' + str(HEIGHT) + ' rows':24}{'own':>9}{'again':>9}{'pycortex':>10}{'again':>9}")
    for name, (other, other_again) in theirs.items():
        first, again = ours[name]
        print(f"{name:24}{first:9.2f}{again:9.2f}{other:10.2f}{other_again:9.2f}")


if __name__ == "__main__":
    main()
