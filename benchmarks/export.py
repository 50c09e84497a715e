"""How fast a whole subject is exported, by stage, and against the usual way of preparing NSD.

Simulates one subject with NSD's own grid (81 x 104 x 83 x 750 a session) unless --nsd-root gives a tree,
takes 15,724 voxels, and exports them with images at 224 x 224 RGB: for 1 and all sessions, 1 and 2 workers.
The usual way, as public preparation code has it: load a session with nibabel as float64, mask, z-score, save.
Every measurement is a process of its own. Needs 6 GB of disk a session and 9 GB of memory.

    python benchmarks/export.py [--sessions 2] [--nsd-root DIR]
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

N_UNITS = 15_724
RECIPE = """
title = "Benchmark"
name = "benchmark"
kind = "track1"
subjects = [1]
sessions = {sessions}
[responses]
format = "{suffix}"
scale = "session_zscore"
[units]
mask = "{mask}"
"""
STAGES = {
    "read betas": ("exporters.packages.export", "read_responses"),
    "decode and write images": ("exporters.packages.build.PackageBuild", "_write_images"),
    "write responses and behaviour": (
        "exporters.packages.build.PackageBuild",
        "_write_responses_and_behaviour",
    ),
    "zip": ("nsd_bench.package.write", "write_zip"),
}


def make_mask(root: Path, path: Path) -> None:
    """Keep the first 15,724 voxels of nsdgeneral."""
    general = nib.load(root / "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz").get_fdata() == 1
    np.save(path, general & (np.cumsum(general).reshape(general.shape) <= N_UNITS))


def timed(
    seconds: dict[str, float], name: str, function: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    start = time.perf_counter()
    try:
        return function(*args, **kwargs)
    finally:
        seconds[name] = seconds.get(name, 0) + time.perf_counter() - start


def export(root: Path, mask: Path, suffix: str, n_sessions: int, workers: int) -> dict[str, float]:
    """Export and return seconds by stage."""
    from exporters.packages import export as package
    from exporters.packages.build import PackageBuild
    from exporters.packages.pool import Pool
    from exporters.packages.recipe import load_recipe
    from nsd_bench.package import write as writer

    seconds: dict[str, float] = {}
    for name, (owner, attribute) in STAGES.items():
        target = {"exporters.packages.export": package, "nsd_bench.package.write": writer}.get(
            owner, PackageBuild
        )
        original = getattr(target, attribute)
        if isinstance(target, type):
            setattr(target, attribute, lambda *a, _n=name, _f=original, **k: timed(seconds, _n, _f, *a, **k))
        else:
            setattr(target, attribute, partial(timed, seconds, name, original))
    with tempfile.TemporaryDirectory(dir=mask.parent) as folder:
        recipe = Path(folder) / "recipe.toml"
        sessions = list(range(1, n_sessions + 1))
        recipe.write_text(RECIPE.format(sessions=sessions, suffix=suffix, mask=mask))
        start = time.perf_counter()
        list(
            package.export_packages(
                load_recipe(str(recipe)),
                root,
                Path(folder) / "out",
                pool=Pool(workers),
                progress=False,
            )
        )
        seconds["all"] = time.perf_counter() - start
    return seconds


def usual_way(root: Path, mask: Path, suffix: str, n_sessions: int, workers: int) -> dict[str, float]:
    """Betas only: load all as float64, mask, z-score, save; no images, no tables."""
    inside = np.load(mask)
    folder = root / "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=mask.parent) as out:
        for session in range(1, n_sessions + 1):
            betas = nib.load(folder / f"betas_session{session:02}.nii.gz").get_fdata()[inside].T / 300
            z = (betas - betas.mean(axis=0)) / betas.std(axis=0)
            np.save(Path(out) / f"{session}.npy", z)
    return {"all": time.perf_counter() - start}


def measure(queue: Any, function: Callable[..., dict[str, float]], *arguments: Any) -> None:
    seconds = function(*arguments)
    peak_mb = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    queue.put((seconds, peak_mb))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sessions", type=int, default=2)
    parser.add_argument("--nsd-root", type=Path, help="a tree with subject 1, instead of simulating one")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as temporary:
        root = options.nsd_root or Path(temporary) / "nsd"
        if options.nsd_root is None:
            from exporters.simulate import simulate

            simulate(root, subjects=(1,), sessions=options.sessions, full_size=True)
        mask = Path(temporary) / "mask.npy"
        make_mask(root, mask)
        all_sessions = options.sessions
        runs = {
            f"nsd_bench, hdf5, {n} sessions, {workers} workers": (export, "hdf5", n, workers)
            for n, workers in ((1, 1), (all_sessions, 1), (all_sessions, 2))
        }
        runs |= {
            f"nsd_bench, nii.gz, {all_sessions} sessions, {workers} workers": (
                export,
                "nii.gz",
                all_sessions,
                workers,
            )
            for workers in (1, 2)
        }
        runs[f"usual way, nii.gz, {all_sessions} sessions, betas only"] = (
            usual_way,
            "nii.gz",
            all_sessions,
            1,
        )
        for name, (function, *arguments) in runs.items():
            queue = context.Queue()
            process = context.Process(target=measure, args=(queue, function, root, mask, *arguments))
            process.start()
            seconds, peak = queue.get()
            process.join()
            print(f"{name}: {seconds.pop('all'):.1f} s, {peak:.0f} MB peak")
            for stage, value in seconds.items():
                print(f"    {stage:<32}{value:>6.1f} s")


if __name__ == "__main__":
    main()
