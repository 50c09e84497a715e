"""Exports on a real SLURM, where there is one: through Dask's job queue, and as a plain job array."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from exporters.packages.export import export_packages
from exporters.packages.pool import Pool
from exporters.packages.recipe import load_recipe


def slurm_answers() -> bool:
    if shutil.which("sinfo") is None:
        return False
    return subprocess.run(["sinfo", "--noheader"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(not slurm_answers(), reason="no SLURM answers here"),
]
COMMAND = [sys.executable, "-c", "from nsd_bench.cli import main; main()", "export", "demo", "--quiet"]


def alone(nsd_root: Path, out: Path) -> bytes:
    recipe = load_recipe("demo", subjects=(1,))
    (made,) = export_packages(recipe, nsd_root, out, forms=("zip",), progress=False)
    return made.path.read_bytes()


def test_dask_on_slurm_makes_the_same_bytes(nsd_root, tmp_path):
    jobqueue = pytest.importorskip("dask_jobqueue")
    options = {"cores": 1, "processes": 1, "memory": "2GB", "walltime": "00:05:00", "interface": "lo"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with jobqueue.SLURMCluster(
            **options,
            python=sys.executable,
            log_directory=str(tmp_path / "logs"),
            local_directory=str(tmp_path),
            scheduler_options={"dashboard_address": None},
        ) as cluster:
            cluster.scale(jobs=2)
            pool = Pool(scheduler=cluster.scheduler_address)
            recipe = load_recipe("demo", subjects=(1,))
            (made,) = export_packages(
                recipe, nsd_root, tmp_path / "out", forms=("zip",), pool=pool, progress=False
            )
    assert made.path.read_bytes() == alone(nsd_root, tmp_path / "alone")


def test_job_array_makes_the_same_bytes(nsd_root, tmp_path):
    out = tmp_path / "out"
    common = [*COMMAND, "--nsd-root", str(nsd_root), "--out", str(out), "--subjects", "1"]
    script = tmp_path / "job.sh"
    words = [f"'{word}'" for word in common]
    script.write_text(
        f"#!/bin/bash\n#SBATCH --array=1-2\n#SBATCH --output={tmp_path}/%a.log\n"
        f"{' '.join(words)} --only subj01:session0$SLURM_ARRAY_TASK_ID\n"
    )
    subprocess.run(["sbatch", "--wait", str(script)], check=True, capture_output=True, timeout=200)
    deadline = time.monotonic() + 20
    while len(list(out.glob(".demo-subj01.work/session*.npy"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    subprocess.run([*common, "--finish", "--form", "zip"], check=True, capture_output=True)
    assert (out / "demo-subj01.zip").read_bytes() == alone(nsd_root, tmp_path / "alone")
