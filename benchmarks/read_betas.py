"""How fast one full-size session is read: ours, what people write themselves, and the limit.

Makes a session of NSD's size (81 x 104 x 83 voxels x 750 trials, int16, zero outside a brain of realistic
size, so that it compresses as NSD's files do) in both of NSD's formats, and reads 15,724 voxels of it. Every
measurement is a process of its own; medians of --repeats. Needs 3 GB of disk and 7 GB of memory.

    python benchmarks/read_betas.py [--repeats 3] [--folder DIR]
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
from isal import igzip

from exporters.nsd.betas import read_betas
from exporters.nsd.volumes import Grid

SHAPE, N_TRIALS, N_UNITS = (81, 104, 83), 750, 15_724
GRID = Grid(SHAPE, np.diag([1.8, 1.8, 1.8, 1.0]), Path("brainmask.nii.gz"))


def masks() -> tuple[np.ndarray, np.ndarray]:
    """A brain of 41 % of the grid, and units scattered in clusters at its back."""
    axes = [np.linspace(-1, 1, n) for n in SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = x**2 + y**2 + z**2
    brain = radius <= np.quantile(radius, 0.41)
    back = np.where(brain, y + 0.2 * np.sin(9 * x) * np.cos(7 * z), np.inf)
    return brain, np.sort(np.argsort(back, axis=None)[:N_UNITS])


def make_session(folder: Path) -> None:
    """Write the same numbers as .nii.gz and .hdf5."""
    brain, _ = masks()
    inside = np.flatnonzero(brain.ravel(order="F"))
    rng = np.random.default_rng(0)
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((*SHAPE, N_TRIALS))
    header.set_sform(GRID.affine, 1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    volume = np.zeros(brain.size, dtype=np.int16)
    session = np.zeros((N_TRIALS, brain.size), dtype=np.int16)
    with igzip.open(folder / "betas.nii.gz", "wb", compresslevel=2) as file:
        file.write(header.binaryblock + bytes(4))
        for trial in session:
            volume[inside] = np.rint(rng.normal(0, 600, len(inside)))
            trial[:] = volume
            file.write(volume.tobytes())
    with h5py.File(folder / "betas.hdf5", "w") as file:
        data = file.create_dataset("betas", (N_TRIALS, *SHAPE[::-1]), "i2", chunks=(N_TRIALS, 1, 1, 1))
        by_voxel = np.ascontiguousarray(session.T)
        for index, values in zip(np.ndindex(*SHAPE[::-1]), by_voxel, strict=True):
            data.id.write_direct_chunk((0, *index), values)


def ours(suffix: str) -> Callable[[Path, np.ndarray], np.ndarray]:
    return lambda path, units: read_betas([path], units, GRID).values


def get_fdata(path: Path, units: np.ndarray) -> np.ndarray:
    return nib.load(path).get_fdata().reshape(-1, N_TRIALS)[units].T


def slice_by_slice(path: Path, units: np.ndarray) -> np.ndarray:
    data = nib.load(path, keep_file_open=True).dataobj
    return np.stack([np.asarray(data[..., trial]).ravel()[units] for trial in range(N_TRIALS)])


def decompress_only(path: Path, units: np.ndarray) -> np.ndarray:
    buffer = bytearray(2 * GRID.n_units)
    with igzip.open(path, "rb") as file:
        while file.readinto(buffer):
            pass
    return np.zeros(0)


def whole_file(path: Path, units: np.ndarray) -> np.ndarray:
    with h5py.File(path) as file:
        return file["betas"][:].transpose(0, 3, 2, 1).reshape(N_TRIALS, -1)[:, units]


def slabs(path: Path, units: np.ndarray) -> np.ndarray:
    """The bounding box of the units, one x-plane after another."""
    x, y, z = np.unravel_index(units, SHAPE)
    out = np.empty((N_TRIALS, len(units)), dtype=np.int16)
    with h5py.File(path) as file:
        for plane in np.unique(x):
            here = x == plane
            ys, zs = y[here], z[here]
            box = file["betas"][:, zs.min() : zs.max() + 1, ys.min() : ys.max() + 1, plane]
            out[:, here] = box[:, zs - zs.min(), ys - ys.min()]
    return out


def read_bytes(path: Path, units: np.ndarray) -> np.ndarray:
    """The limit: as many random reads of 1,500 bytes as there are units."""
    with path.open("rb") as file:
        for unit in units.tolist():
            file.seek(2048 + unit * 1500)
            file.read(1500)
    return np.zeros(0)


METHODS: dict[str, dict[str, Callable[[Path, np.ndarray], np.ndarray]]] = {
    "nii.gz": {
        "nsd_bench": ours("nii.gz"),
        "limit: decompression alone (isal)": decompress_only,
        "nibabel, slice by slice": slice_by_slice,
        "nibabel, get_fdata": get_fdata,
    },
    "hdf5": {
        "nsd_bench": ours("hdf5"),
        "limit: as many reads of 1,500 bytes": read_bytes,
        "h5py, slabs": slabs,
        "h5py, whole file": whole_file,
    },
}


def measure(suffix: str, method: str, path: Path, units: np.ndarray, queue: multiprocessing.Queue) -> None:
    start = time.perf_counter()
    values = METHODS[suffix][method](path, units)
    seconds = time.perf_counter() - start
    # Not getrusage: its maximum is inherited from the parent process.
    status = Path("/proc/self/status").read_text()
    peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
    queue.put((seconds, peak_mb, int(values.astype(np.int64).sum()) if values.size else None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keeps the session here for the next run")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "betas.hdf5").is_file():
            make_session(folder)
        _, units = masks()
        for suffix, methods in METHODS.items():
            path = folder / f"betas.{suffix}"
            print(f"\n{path.name}: {path.stat().st_size / 1e6:.0f} MB, {N_UNITS} units x {N_TRIALS} trials")
            found: dict[str, list[tuple[float, float, int | None]]] = {method: [] for method in methods}
            for _ in range(options.repeats):  # in turns, so that noise hits all alike
                for method in methods:
                    queue = context.Queue()
                    process = context.Process(target=measure, args=(suffix, method, path, units, queue))
                    process.start()
                    found[method].append(queue.get())
                    process.join()
            sums = {result[2] for results in found.values() for result in results} - {None}
            if len(sums) != 1:
                raise SystemExit(f"the methods read different numbers: {sums}")
            base = statistics.median(result[0] for result in found["nsd_bench"])
            for method, results in found.items():
                seconds = statistics.median(result[0] for result in results)
                peak = statistics.median(result[1] for result in results)
                print(f"  {method:<38}{seconds:>8.2f} s {seconds / base:>7.2f} x {peak:>7.0f} MB peak")


if __name__ == "__main__":
    main()
