"""Measure loaders: trials per second from a folder, a zip and a packed twin, against Sensorium's own.

    python benchmarks/loaders.py [--folder DIR] [--n-trials 4000] [--batch-size 64] [--epochs 3] [--only A B]

Package A has uint8 images of 3 x 224 x 224 and 15,724 responses a trial, package B float32 images of
1 x 64 x 64 and 8,000 responses; 4,000 trials of each take 1.1 GB on disk three times. Every measurement runs
in a process of its own, on files that are in the page cache. The limit is gathering the same rows from one
array in memory and the same arithmetic, written plainly.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nsd_bench.outputs import array_to_bytes, write_zip
from nsd_bench.package import spec

KINDS = {
    "A": {"image": (3, 224, 224), "dtype": "uint8", "n_units": 15_724},
    "B": {"image": (1, 64, 64), "dtype": "float32", "n_units": 8_000},
}
Epoch = Callable[[], Iterator[int]]


def make(path: Path, kind: str, n_trials: int) -> None:
    """Write a package as folder, zip and packed twin."""
    from nsd_bench.loaders.opened import pack
    from nsd_bench.package.read import Package

    if path.exists():
        return
    rng = np.random.default_rng(0)
    sizes = KINDS[kind]
    n_units = sizes["n_units"]
    tables: dict[str, np.ndarray] = {
        spec.trials_file("tiers"): np.full(n_trials, "train"),
        spec.trials_file("trial_idx"): np.arange(n_trials),
        spec.trials_file("frame_image_id"): np.arange(n_trials),
        spec.trials_file("frame_image_class"): np.full(n_trials, "none"),
        spec.neurons_file("unit_ids"): np.arange(n_units),
        spec.neurons_file("area"): np.full(n_units, "V1"),
        spec.neurons_file("layer"): np.full(n_units, "lh"),
    }
    tables |= {
        spec.neurons_file(name): np.ones(n_units, int) for name in ("animal_ids", "sessions", "scan_idx")
    }
    for key, shape in (("images", ()), ("responses", (n_units,))):
        for statistic, value in (("mean", 110.0), ("std", 60.0), ("min", 0), ("max", 255), ("median", 110)):
            tables[spec.statistics_file(key, "all", statistic)] = np.full(shape, value, np.float32)
    for name, values in tables.items():
        _write(path / name, values)
    for trial in range(n_trials):
        image = rng.integers(0, 256, sizes["image"], dtype=np.uint8).astype(sizes["dtype"])
        _write(path / spec.data_file("images", trial), image)
        _write(path / spec.data_file("responses", trial), rng.random(n_units, dtype=np.float32))
    (path / spec.CONFIG).write_text('{"links": {}}')
    write_zip(path, path.with_name(f"{path.name}.zip"))
    pack(Package(path), path.parent)


def _write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(array_to_bytes(values))


# -- what is measured: each gives the number of trials of every batch ---------------------------


def ours(path: Path, batch_size: int, num_workers: int = 0, **options: Any) -> Epoch:
    import nsd_bench

    loader = nsd_bench.open(path).dataloaders(batch_size, num_workers=num_workers, **options)["train"][
        "1-1-1"
    ]

    def epoch() -> Iterator[int]:
        for batch in loader:
            yield len(batch.images)

    return epoch


def official(path: Path, batch_size: int, num_workers: int = 0, cache: bool = False) -> Epoch:
    import torch
    from torch.utils.data import DataLoader

    from nsd_bench.loaders.compatibility import neuralpredictors_module

    transforms = neuralpredictors_module("data.transforms")
    data = neuralpredictors_module("data.datasets").FileTreeDataset(
        str(path), "images", "responses", use_cache=cache
    )
    # Without this its batches cannot be pickled, and workers hang.
    neuralpredictors_module("data.datasets.base").DefaultDataPoint = data.data_point
    data.transforms.extend([transforms.NeuroNormalizer(data), transforms.ToTensor(cuda=False)])
    loader = DataLoader(
        data, batch_size, shuffle=True, num_workers=num_workers, generator=torch.Generator().manual_seed(0)
    )

    def epoch() -> Iterator[int]:
        for batch in loader:
            yield len(batch[0])

    return epoch


def limit(path: Path, batch_size: int, raw: bool = False, reused: bool = False) -> Epoch:
    """Gather rows of two arrays in memory; with `reused`, into the same memory each time."""
    from nsd_bench.package.read import Package

    package = Package(path)
    images, responses = package.images(slice(None)), package.responses(slice(None))
    mean, std, precision = np.float32(110), np.float32(60), package.precision
    out_images = np.empty((batch_size, *images.shape[1:]), np.float32)
    out_responses = np.empty((batch_size, responses.shape[1]), np.float32)

    def epoch() -> Iterator[int]:
        order = np.random.default_rng(0).permutation(len(images))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            if reused:
                x, y = out_images[: len(rows)], out_responses[: len(rows)]
                for position, row in enumerate(rows.tolist()):
                    np.subtract(images[row], mean, out=x[position], dtype=np.float32)
                    np.divide(x[position], std, out=x[position])
                    np.multiply(responses[row], precision, out=y[position])
            else:
                x = images[rows] if raw else np.subtract(images[rows], mean, dtype=np.float32)
                if not raw:
                    x /= std
                y = responses[rows]
                y *= precision
            yield len(x)

    return epoch


def zarr_reader(path: Path, batch_size: int) -> Epoch:
    """Read the packed twin with zarr, a batch at a time."""
    import zarr

    group = zarr.open_group(path, mode="r")
    images, responses = group["data/images"], group["data/responses"]

    def epoch() -> Iterator[int]:
        order = np.random.default_rng(0).permutation(images.shape[0])[:512]
        for start in range(0, len(order), batch_size):
            rows = np.sort(order[start : start + batch_size])
            x = (images.oindex[rows].astype(np.float32) - np.float32(110)) / np.float32(60)
            responses.oindex[rows]
            yield len(x)

    return epoch


def huggingface(path: Path, batch_size: int) -> Epoch:
    """Read Hugging Face's data set in numpy format, a batch at a time."""
    import nsd_bench

    data = nsd_bench.open(path).to_datasets("train").with_format("numpy")

    def epoch() -> Iterator[int]:
        order = np.random.default_rng(0).permutation(len(data))
        for start in range(0, len(order), batch_size):
            batch = data[order[start : start + batch_size].tolist()]
            x = (batch["images"].astype(np.float32) - np.float32(110)) / np.float32(60)
            yield len(x)

    return epoch


WAYS: dict[str, tuple[Callable[..., Epoch], str, dict[str, Any]]] = {
    "official, no cache": (official, "", {}),
    "official, cache": (official, "", {"cache": True}),
    "official, no cache, 2 workers": (official, "", {"num_workers": 2}),
    "folder": (ours, "", {}),
    "zip": (ours, ".zip", {}),
    "packed": (ours, ".packed", {}),
    "zip, uint8 images": (ours, ".zip", {"images": "uint8"}),
    "folder, 2 workers": (ours, "", {"num_workers": 2}),
    "zip, 2 workers": (ours, ".zip", {"num_workers": 2}),
    "packed, 2 workers": (ours, ".packed", {"num_workers": 2}),
    "limit": (limit, "", {}),
    "limit, uint8 images": (limit, "", {"raw": True}),
    "limit, memory used again": (limit, "", {"reused": True}),
    "zarr reads packed": (zarr_reader, ".packed", {}),
    "HF datasets": (huggingface, "", {}),
}


def measure(path: str, way: str, batch_size: int, epochs: int) -> None:
    """Print one way's seconds to open, trials per second of every epoch, and growth of memory, as JSON."""
    build, suffix, options = WAYS[way]
    begin = time.perf_counter()
    try:
        epoch = build(Path(path + suffix), batch_size, **options)
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": error.name}))
        return
    opened, before, rates = time.perf_counter() - begin, _resident_mb(), []
    for _ in range(epochs):
        start = time.perf_counter()
        n_trials = sum(epoch())
        rates.append(n_trials / (time.perf_counter() - start))
    print(json.dumps({"open_s": opened, "rates": rates, "growth_mb": _resident_mb() - before}))


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def run(path: Path, way: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one way several times, each in a new process, and keep the medians."""
    command = [sys.executable, __file__, "--measure", str(path), way]
    command += ["--batch-size", str(arguments.batch_size), "--epochs", str(arguments.epochs)]
    runs = []
    for _ in range(arguments.repeats):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    if "missing" in runs[0]:
        return {"missing": runs[0]["missing"]}
    return {
        "first": statistics.median(one["rates"][0] for one in runs),
        "later": statistics.median(statistics.median(one["rates"][1:]) for one in runs),
        "open_s": statistics.median(one["open_s"] for one in runs),
        "growth_mb": statistics.median(one["growth_mb"] for one in runs),
    }


def report(kind: str, found: dict[str, dict[str, Any]]) -> None:
    """Print a table and the ratios."""
    print(f"\nPackage {kind}: trials/s, medians")
    print(f"{'':32}{'first epoch':>12}{'later':>10}{'open, s':>9}{'growth, MB':>12}")
    for way, row in found.items():
        if "missing" in row:
            print(f"{way:32}not installed: {row['missing']}")
        else:
            print(
                f"{way:32}{row['first']:12,.0f}{row['later']:10,.0f}{row['open_s']:9.2f}{row['growth_mb']:12.0f}"
            )
    reference = found.get("official, no cache")
    for way in ("folder", "zip", "packed", "zip, uint8 images"):
        if way in found and reference:
            raw = ", uint8 images" if "uint8" in way else ""
            share = found[way]["later"] / found[f"limit{raw}"]["later"]
            ratio = found[way]["first"] / reference["first"]
            print(f"  {way}: first epoch {ratio:.1f} x official; later epochs {share:.2f} of the limit")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--n-trials", type=int, default=4000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(*arguments.measure, arguments.batch_size, arguments.epochs)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for kind in arguments.only:
            path = folder / f"{kind}{arguments.n_trials}"
            make(path, kind, arguments.n_trials)
            report(kind, {way: run(path, way, arguments) for way in arguments.ways})


if __name__ == "__main__":
    main()
