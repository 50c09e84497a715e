"""Exports that are interrupted, killed or shared out: they end with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from exports import BESIDE, BETAS, export, recipe, replace

from exporters.packages import responses
from exporters.packages.export import export_packages
from exporters.packages.pool import Pool
from exporters.packages.work import resumable, work_folder
from nsd_bench.cli import cli
from nsd_bench.errors import NsdBenchError, OutputError, SourceError
from nsd_bench.package.read import Package


def test_interrupted_export_leaves_no_package_and_goes_on(nsd_root, tmp_path, monkeypatch, opened):
    """Interrupted behind the first session: it is not read again, and the bytes are the same."""
    read, seen = responses.read_betas, []

    def interrupted(paths, units, geometry):
        if seen:
            raise KeyboardInterrupt
        seen.append(paths)
        return read(paths, units, geometry)

    monkeypatch.setattr(responses, "read_betas", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(nsd_root, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".demo-subj01.work"]
    monkeypatch.setattr(responses, "read_betas", lambda *args: seen.append(args[0]) or read(*args))
    again = export(nsd_root, tmp_path)
    assert [paths[0].name for paths in seen] == ["betas_session01.nii.gz", "betas_session02.nii.gz"]
    assert again.manifest_sha256 == opened.manifest_sha256
    assert not (tmp_path / ".demo-subj01.work").exists()


def stopped_behind_the_first_session(root: Path, out: Path, monkeypatch, **changes) -> None:
    """Leave a work folder in which one session was read."""
    read, seen = responses.read_betas, []

    def interrupted(paths, units, geometry):
        if seen:
            raise KeyboardInterrupt
        seen.append(paths)
        return read(paths, units, geometry)

    with monkeypatch.context() as patch:
        patch.setattr(responses, "read_betas", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export(root, out, **changes)
    assert [path.name for path in (out / ".demo-subj01.work").glob("*.npy")] == ["session01.npy"]


def test_what_was_read_for_another_recipe_is_not_used(nsd_root, tmp_path, monkeypatch):
    left, right = ({"units": {"hemispheres": (side,)}} for side in ("lh", "rh"))
    stopped_behind_the_first_session(nsd_root, tmp_path / "out", monkeypatch, **left)
    resumed = export(nsd_root, tmp_path / "out", **right)
    fresh = export(nsd_root, tmp_path / "fresh", **right)
    assert resumed.manifest_sha256 == fresh.manifest_sha256


def test_a_source_file_that_changed_meanwhile_is_read_again(nsd_copy, tmp_path, monkeypatch):
    """The file has the same name and size: its date tells."""
    hdf5 = {"responses": {"format": "hdf5"}}
    stopped_behind_the_first_session(nsd_copy, tmp_path / "out", monkeypatch, **hdf5)
    path = nsd_copy / BETAS / "betas_session01.hdf5"
    size = path.stat().st_size
    replace(path, path.read_bytes())
    with h5py.File(path, "r+") as file:
        file["betas"][...] = np.roll(file["betas"][...], 1, axis=0)
    assert path.stat().st_size == size
    resumed = export(nsd_copy, tmp_path / "out", **hdf5)
    fresh = export(nsd_copy, tmp_path / "fresh", **hdf5)
    assert resumed.manifest_sha256 == fresh.manifest_sha256


def test_a_voxel_lost_in_the_first_session_only_is_dropped(nsd_copy, tmp_path):
    """Also in the last only: whichever session lacks it, the unit is in none."""
    hdf5 = {"responses": {"format": "hdf5"}}
    whole = export(nsd_copy, tmp_path / "whole", **hdf5)
    units = whole.units["unit_ids"].to_numpy()
    for session, unit in ((1, units[3]), (2, units[7])):
        path = nsd_copy / BETAS / f"betas_session0{session}.hdf5"
        replace(path, path.read_bytes())
        with h5py.File(path, "r+") as file:
            x, y, z = np.unravel_index(unit, file["betas"].shape[:0:-1])
            assert file["betas"][:, z, y, x].any()
            file["betas"][:, z, y, x] = 0
    package = export(nsd_copy, tmp_path / "out", **hdf5)
    lost = [units[3], units[7]]
    assert package.units["unit_ids"].tolist() == np.setdiff1d(units, lost).tolist()
    why = "no data in at least one session"
    dropped = whole.units_dropped.get(why, [])
    assert sorted(package.units_dropped[why]) == sorted([*dropped, *lost])
    kept = ~np.isin(units, lost)
    np.testing.assert_array_equal(package.responses([0, 9]), whole.responses([0, 9])[:, kept])


@pytest.mark.parametrize("moment", ["session", "images", "zip", "rename"])
def test_killed_export_ends_with_the_same_bytes(nsd_root, tmp_path, moment, track1):
    """SIGKILL at four moments; the command is simply run again."""
    script = tmp_path / "run.py"
    script.write_text(KILLED)
    arguments = [sys.executable, str(script), str(nsd_root), str(tmp_path / "out")]
    killed = subprocess.run([*arguments, moment], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    done = subprocess.run([*arguments, "never"], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    for suffix in (".zip", ".truth.npz", ".lock.json", "/manifest.json"):
        assert (tmp_path / f"out/demo-subj01{suffix}").read_bytes() == Path(
            f"{track1.path}{suffix}"
        ).read_bytes()
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"demo-subj01{suffix}" for suffix in ("", ".zip", *BESIDE)}


KILLED = """
import os, signal, sys
from pathlib import Path
from exporters.packages import build, export as package, responses
from exporters.packages.recipe import load_recipe
from nsd_bench.package import write

root, out, moment = sys.argv[1:]

def kill_at(name, module, function, call):
    original, calls = getattr(module, function), []
    def wrapped(*args, **kwargs):
        calls.append(None)
        if moment == name and len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)
    setattr(module, function, wrapped)

if __name__ == "__main__":
    kill_at("session", responses, "read_betas", 2)
    kill_at("images", build, "resize", 50)
    kill_at("zip", write, "write_zip", 1)
    rename = Path.rename
    def counted(self, target):
        if moment == "rename" and Path(target).name == "demo-subj01.zip":
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)
    Path.rename = counted
    wanted = load_recipe("demo", subjects=(1,), kind="track1")
    wanted = wanted.model_copy(
        update={"responses": wanted.responses.model_copy(update={"scale": "percent"})}
    )
    list(package.export_packages(wanted, Path(root), Path(out), progress=False))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_the_bytes(nsd_root, tmp_path, opened, workers):
    (made,) = export_packages(recipe(), nsd_root, tmp_path, pool=Pool(workers), progress=False)
    assert Package(made.path).manifest_sha256 == opened.manifest_sha256


def test_errors_of_workers_arrive_whole(nsd_copy, tmp_path):
    path = nsd_copy / BETAS / "betas_session02.nii.gz"
    replace(path, path.read_bytes()[:-20_000])
    with pytest.raises(SourceError, match=r"betas_session02\.nii\.gz: cannot be read whole"):
        list(export_packages(recipe(), nsd_copy, tmp_path / "out", pool=Pool(2), progress=False))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_job_array_makes_the_same_bytes(nsd_root, tmp_path, track1):
    """Two jobs at the same time, each with a session of its own, and one that finishes."""
    common = ["export", "demo", "--nsd-root", str(nsd_root), "--out", str(tmp_path / "out"), "--quiet"]
    common += ["--subjects", "1", "--kind", "track1"]
    early = CliRunner().invoke(cli, [*common, "--finish"])
    assert str(early.exception).startswith(
        f"{tmp_path}/out: 2 sessions are not read yet: subj01:session01, subj01:session02.\n"
    )
    command = [sys.executable, "-c", "from nsd_bench.cli import main; main()", *common]
    jobs = [subprocess.Popen([*command, "--only", f"subj01:session0{n}"]) for n in (1, 2)]
    assert [job.wait() for job in jobs] == [0, 0]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".demo-subj01.work"]
    finished = CliRunner().invoke(cli, [*common, "--finish"])
    assert finished.exit_code == 0, finished.output
    alone = CliRunner().invoke(cli, [*common[:5], str(tmp_path / "alone"), *common[6:]])
    assert alone.exit_code == 0, alone.output
    zips = [(tmp_path / where / "demo-subj01.zip").read_bytes() for where in ("out", "alone")]
    assert zips[0] == zips[1]


def test_only_names_a_session_of_the_recipe(nsd_root, tmp_path):
    common = ["export", "demo", "--nsd-root", str(nsd_root), "--out", str(tmp_path), "--subjects", "1"]
    wrong = CliRunner().invoke(cli, [*common, "--only", "subj01:session05", "--quiet"])
    assert str(wrong.exception).startswith(
        "--only: session 5 of subj01 is not in the recipe.\n  Expected: one"
    )
    other = CliRunner().invoke(cli, [*common, "--only", "subj02:session01", "--quiet"])
    assert str(other.exception).startswith("--only: subj02 is not in the recipe.\n")
    unread = CliRunner().invoke(cli, [*common, "--only", "1:7"])
    assert "'1:7' is not like subj01:session07" in unread.output


def test_dask_makes_the_same_bytes_though_a_worker_is_killed(nsd_root, tmp_path, opened):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    )
    with warnings.catch_warnings(), cluster, distributed.Client(cluster) as client:
        warnings.simplefilter("ignore")
        victim = next(iter(client.run(os.getpid).values()))
        timer = threading.Timer(0.05, os.kill, (victim, signal.SIGKILL))
        timer.start()
        pool = Pool(scheduler=cluster.scheduler_address)
        (made,) = export_packages(recipe(), nsd_root, tmp_path, pool=pool, progress=False)
        timer.join()
    assert Package(made.path).manifest_sha256 == opened.manifest_sha256


def test_no_scheduler(nsd_root, tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(NsdBenchError, match="scheduler nowhere: does not answer"):
        list(
            export_packages(
                recipe(), nsd_root, tmp_path / "out", pool=Pool(scheduler="nowhere"), progress=False
            )
        )


def test_two_exports_of_a_package_do_not_mix(nsd_root, tmp_path):
    with (
        resumable(work_folder(tmp_path, "demo-subj01"), "held"),
        pytest.raises(OutputError, match="another process is making this package"),
    ):
        export(nsd_root, tmp_path)


def test_work_for_another_export_is_not_used(tmp_path):
    folder = work_folder(tmp_path, "p")
    for identity, kept in (("a", False), ("a", True), ("b", False)):
        with pytest.raises(KeyboardInterrupt), resumable(folder, identity):
            assert (folder / "session01.npy").exists() == kept
            (folder / "session01.npy").touch()
            raise KeyboardInterrupt
