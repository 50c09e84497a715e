"""How fast a session in MNI space comes from 1 mm to 3 mm grey matter: ours, nilearn, and the limit.

Makes a session of NSD's size (182 x 218 x 182 voxels x 750 trials, int16; waves and noise inside a brain, 0
outside, so that it compresses as NSD's files do), and writes its 3 mm file from it. Every measurement is a
process of its own; medians. nilearn needs 14 GB of memory and some minutes, and is measured once.

    python benchmarks/resample.py [--repeats 3] [--folder DIR] [--volumes 750] [--without-nilearn]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from exporters.curated.grey_matter import pinned_mask
from exporters.curated.nifti import new_volumes
from exporters.curated.resample import ResampleOptions, coarse_grid, make_resampling, resample_session
from exporters.nsd.volumes import Grid
from nsd_bench.decoding.volumes import open_volumes

SHAPE = (182, 218, 182)
AFFINE = np.eye(4)
AFFINE[:3, 3] = (-91, -126, -72)
GRID = Grid(SHAPE, AFFINE, Path("betas_session01.nii.gz"))


def make_session(path: Path, n_volumes: int) -> None:
    """Write waves and noise inside an ellipsoid of a fifth of the grid."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in SHAPE), indexing="ij")
    radius = sum(axis**2 for axis in axes)
    units = np.flatnonzero(radius <= np.quantile(radius, 0.2))
    waves = [(600 * np.sin(9 * axes[number].ravel()[units] + number)).astype(np.int16) for number in range(3)]
    noise = np.random.default_rng(0).normal(0, 300, len(units) + n_volumes).astype(np.int16)
    with new_volumes(path, SHAPE, AFFINE, units, n_volumes=n_volumes, dtype=np.int16) as writer:
        for trial in range(n_volumes):
            # Shifted noise is as hard to compress as new noise, and faster to make.
            writer.append(waves[trial % 3] + waves[(trial + 1) % 3] + noise[trial : trial + len(units)])


def ours(method: str) -> Callable[[Path, Path], None]:
    def resample(source: Path, target: Path) -> None:
        resampling = make_resampling(GRID, pinned_mask(coarse_grid(GRID)), method)
        resample_session(source, resampling, target, ResampleOptions(method))

    return resample


def decompress_only(source: Path, target: Path) -> None:
    for _ in open_volumes(source):
        pass


def nilearn(source: Path, target: Path) -> None:
    """As the original set was made; the mask is ours, so that all do the same."""
    import nibabel as nib
    from nilearn.image import resample_img
    from nilearn.maskers import NiftiMasker

    coarse = coarse_grid(GRID)
    mask = nib.Nifti1Image(pinned_mask(coarse).astype(np.uint8), coarse.affine)
    image = resample_img(nib.load(source), target_affine=np.diag((3, 3, 3)))
    masker = NiftiMasker(mask_img=mask)
    masker.inverse_transform(masker.fit_transform(image)).to_filename(target)


METHODS = {
    "nsd_bench, drago": ours("drago"),
    "nsd_bench, mean": ours("mean"),
    "limit: decompression alone (isal)": decompress_only,
    "nilearn, resample_img + NiftiMasker": nilearn,
}


def measure(method: str, source: Path, target: Path, queue: multiprocessing.Queue) -> None:
    start, cpu_start = time.perf_counter(), time.process_time()
    METHODS[method](source, target)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    # Not getrusage: its maximum is inherited from the parent process.
    status = Path("/proc/self/status").read_text()
    queue.put((seconds, cpu_seconds, int(status.split("VmHWM:")[1].split()[0]) / 1024))


def largest_difference(one: Path, other: Path) -> float:
    a, b = open_volumes(one), open_volumes(other)
    return max(float(np.abs(x * a.scale - y * b.scale).max()) for x, y in zip(a, b, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keeps the session here for the next run")
    parser.add_argument("--volumes", type=int, default=750)
    parser.add_argument("--without-nilearn", action="store_true")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        source = (options.folder or Path(temporary)) / "betas_session01.nii.gz"
        if not source.is_file():
            make_session(source, options.volumes)
        print(f"{source.stat().st_size / 1e6:.0f} MB, {options.volumes} volumes", flush=True)
        target = {method: Path(temporary) / f"{number}.nii.gz" for number, method in enumerate(METHODS)}
        found: dict[str, list[tuple[float, float, float]]] = {method: [] for method in METHODS}
        for repeat in range(options.repeats):  # in turns, so that noise hits all alike
            for method in METHODS:
                if "nilearn" in method and (repeat or options.without_nilearn):
                    continue
                queue = context.Queue()
                process = context.Process(target=measure, args=(method, source, target[method], queue))
                process.start()
                found[method].append(queue.get())
                process.join()
        base = statistics.median(seconds for seconds, *_ in found["nsd_bench, drago"])
        for method, results in found.items():
            if results:
                seconds, cpu, peak = (statistics.median(values) for values in zip(*results, strict=True))
                print(f"  {method:<38}{seconds:>8.1f} s {seconds / base:>7.2f} x", end="")
                print(f"{cpu:>8.1f} s of CPU {peak:>8.0f} MB peak")
        if not options.without_nilearn:
            names = "nsd_bench, drago", "nilearn, resample_img + NiftiMasker"
            difference = largest_difference(*(target[name] for name in names))
            print(f"  largest difference between nsd_bench and nilearn: {difference:g}")


if __name__ == "__main__":
    main()
