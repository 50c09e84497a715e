"""What an export reads and writes, said before; what it made, verified after."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from exports import BESIDE, BETAS, export, recipe

from exporters.packages import remote
from exporters.packages.export import export_packages
from exporters.packages.plan import planned_files
from exporters.packages.remote import Bucket, fetch
from exporters.packages.verify import rebuild_sample
from nsd_bench.cli import cli
from nsd_bench.errors import PackageError, SourceError
from nsd_bench.package.lock import read_lock
from nsd_bench.package.read import Package
from nsd_bench.package.truth import Truth


def test_lock_has_every_digest(opened):
    lock = json.loads(Path(f"{opened.path}.lock.json").read_text())
    files = {file.relative_to(opened.path).as_posix() for file in opened.path.rglob("*") if file.is_file()}
    assert lock["files"].keys() == files - {"manifest.json", "checksums.sha256"}
    assert lock["manifest_sha256"] == opened.manifest_sha256
    assert lock["sha256"] == opened.manifest["checksums"]


def test_plan_lists_what_an_export_reads(nsd_copy, monkeypatch):
    """Every file that an export opens is in the plan; the plan itself opens none."""
    (nsd_copy / BETAS / "betas_session02.nii.gz").unlink()
    wanted = recipe(sessions=(1, 2))
    files = {file.name: file.n_bytes for file in planned_files(wanted, nsd_copy)}
    assert files[f"{BETAS}/betas_session02.nii.gz"] is None
    assert (
        files[f"{BETAS}/betas_session01.nii.gz"]
        == (nsd_copy / BETAS / "betas_session01.nii.gz").stat().st_size
    )
    result = CliRunner().invoke(
        cli,
        ["plan", "demo", "--nsd-root", str(nsd_copy), "--subjects", "1", "--sessions", "1,2", "--missing"],
    )
    name = f"{BETAS}/betas_session02.nii.gz"
    assert result.output == f"aws s3 cp --no-sign-request s3://natural-scenes-dataset/{name} {name}\n"


def test_plan_says_what_will_be_written(nsd_root, tmp_path):
    arguments = ["plan", "demo", "--nsd-root", str(nsd_root), "--subjects", "3", "--sessions", "1"]
    last = CliRunner().invoke(cli, arguments).output.splitlines()[-1]
    assert last.endswith(" files")
    bound = int(last.split()[0].replace(",", ""))
    (made,) = export_packages(
        recipe(sessions=(1,)).model_copy(update={"subjects": (3,)}), nsd_root, tmp_path, progress=False
    )
    written = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert made.path.parent == tmp_path
    assert written < bound < 10 * written


@pytest.mark.parametrize("space", ["func1pt8mm", "fsaverage"])
def test_plan_is_complete(nsd_root, tmp_path, space):
    wanted = recipe(sessions=(1,), responses={"space": space, "format": None})
    wanted = wanted.model_copy(update={"subjects": (3,)})
    planned = {file.name for file in planned_files(wanted, nsd_root)}
    (made,) = export_packages(wanted, nsd_root, tmp_path, progress=False)
    read = {name for names in Package(made.path).manifest["sources"] for name in names.split(" + ")}
    assert read == planned


def test_plan_of_all_sessions_is_what_an_export_would_read(nsd_root):
    """This NSD has two sessions of subject 1, as its responses.tsv says, and not forty."""
    names = [file.name for file in planned_files(recipe(), nsd_root) if "betas_session" in file.name]
    assert names == [f"{BETAS}/betas_session{session:02}.nii.gz" for session in (1, 2)]


def test_plan_of_everything_missing(tmp_path):
    result = CliRunner().invoke(cli, ["plan", "default", "--nsd-root", str(tmp_path), "--subjects", "all"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert sum("betas_session" in line for line in lines) == 284
    assert lines[-2].startswith("               0  bytes in 0 files; ")


@pytest.fixture
def bucket(nsd_root, monkeypatch, request):
    """An S3 server on this machine that anybody may read, with the beginnings of NSD in it."""
    pytest.importorskip("obstore")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    boto3 = pytest.importorskip("boto3")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-2"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)
    name = "toy-nsd-" + hashlib.sha256(request.node.name.encode()).hexdigest()[:8]
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "us-east-2"})

    def put(file: str) -> None:
        client.upload_file(str(nsd_root / file), name, file, ExtraArgs={"ACL": "public-read"})

    yield Bucket(f"s3://{name}", endpoint), put
    server.stop()


REMOTE = recipe(sessions=(1,)).model_copy(update={"subjects": (3,)})


@pytest.mark.filterwarnings("ignore")
def test_export_from_a_bucket_gives_the_same_bytes(bucket, nsd_root, tmp_path, monkeypatch):
    where, put = bucket
    monkeypatch.setattr(remote, "_BLOCK_BYTES", 1 << 30)  # the toy server reads whole files for every part
    names, arrived = [file.name for file in planned_files(REMOTE, nsd_root)], []
    for name in names:
        put(name)
    common = ["export", "demo", "--subjects", "3", "--sessions", "1", "--quiet"]
    remote_root = ["--nsd-root", where.url, "--endpoint", where.endpoint, "--cache", str(tmp_path / "cache")]
    for out, root in (("remote", remote_root), ("local", ["--nsd-root", str(nsd_root)])):
        result = CliRunner().invoke(cli, [*common, *root, "--out", str(tmp_path / out)])
        assert result.exit_code == 0, result.output
    zips = [(tmp_path / out / "demo-subj03.zip").read_bytes() for out in ("remote", "local")]
    assert zips[0] == zips[1]
    fetch(where, names, tmp_path / "cache", lambda *one: arrived.append(one))
    assert arrived == []  # nothing changed in the bucket


@pytest.mark.filterwarnings("ignore")
def test_fetching_goes_on_where_it_stopped(bucket, nsd_copy, tmp_path, monkeypatch):
    where, put = bucket
    monkeypatch.setattr(remote, "_BLOCK_BYTES", 10_000)
    name = f"{BETAS}/betas_session01.nii.gz"
    put(name)

    def stop(_: str, n: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(where, [name], tmp_path / "cache", stop)
    assert not (tmp_path / "cache" / name).exists()
    arrived = []
    fetch(where, [name], tmp_path / "cache", lambda _, n: arrived.append(n))
    assert sum(arrived) == (nsd_copy / name).stat().st_size - 10_000
    assert (tmp_path / "cache" / name).read_bytes() == (nsd_copy / name).read_bytes()
    (tmp_path / "cache" / name).write_bytes(b"cut off")
    fetch(where, [name], tmp_path / "cache", lambda _, n: None)
    assert (tmp_path / "cache" / name).read_bytes() == (nsd_copy / name).read_bytes()


@pytest.mark.filterwarnings("ignore")
def test_what_is_not_in_the_bucket_is_named(bucket, tmp_path):
    where, _ = bucket
    with pytest.raises(SourceError) as caught:
        fetch(where, ["nsddata/nothing"], tmp_path, lambda *_: None)
    assert str(caught.value) == (
        f"{where.url}/nsddata/nothing: is not in the bucket.\n"
        "  Expected: every file that 'nsd-bench plan' lists.\n"
        "  What to do: run the command again; it goes on where it stopped."
    )


def test_verify_by_lock(opened, tmp_path):
    lock = f"{opened.path}.lock.json"
    same = CliRunner().invoke(cli, ["verify", f"{opened.path}.zip", "--lock", lock])
    assert (same.exit_code, same.output.splitlines()[-1]) == (0, "the same")
    shutil.copytree(opened.path, tmp_path / "copy")
    np.save(tmp_path / "copy/data/responses/5.npy", opened.responses([5])[0] + 1)
    (tmp_path / "copy/meta/trials/run.npy").unlink()
    (tmp_path / "copy/data/extra").write_text("x")
    other = CliRunner().invoke(cli, ["verify", str(tmp_path / "copy"), "--lock", lock])
    assert other.exit_code == 1
    fix = "Export it again with the recipe, version and NSD release that the lock was made with."
    assert other.output.splitlines()[1:] == [
        f"  error: meta/trials/run.npy: is missing. {fix}",
        f"  error: data/extra: is not in the lock. {fix}",
        f"  error: data/responses/5.npy: differs from the lock. {fix}",
        "differs",
    ]


@pytest.mark.parametrize("scale", ["percent", "session_zscore"])
def test_verify_by_making_a_sample_again(nsd_root, tmp_path, scale):
    package = export(nsd_root, tmp_path, kind="track1", scale=scale)
    truth = Truth.read(f"{package.path}.truth.npz")
    made = rebuild_sample(package, nsd_root, 0.05, truth)
    assert made.issues == []
    assert made.n_responses == package.n_trials * round(0.05 * package.n_units)
    every = rebuild_sample(package, nsd_root, 1.0, truth)
    assert (every.issues, every.n_images) == ([], package.trials["frame_image_id"].nunique())
    row = int(package.rows("train")[3])
    np.save(package.path / f"data/responses/{row}.npy", package.responses([row])[0] + 1e-3)
    np.save(package.path / f"data/images/{row}.npy", package.images([row])[0] ^ 1)
    places = {issue.place for issue in rebuild_sample(Package(package.path), nsd_root, 1.0, truth).issues}
    assert f"data/responses/{row}.npy" in places
    assert f"data/images/{row}.npy" in places


def test_verify_needs_something_to_compare_with(opened):
    result = CliRunner().invoke(cli, ["verify", str(opened.path)])
    assert result.exit_code == 2
    assert "give --lock, --nsd-root, or both" in result.output
    wrong = CliRunner().invoke(cli, ["verify", str(opened.path), "--nsd-root", "x", "--sample", "much"])
    assert "'much' is neither like 1% nor like 0.01" in wrong.output


def test_not_a_lock(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(PackageError, match=r"x\.json: not a lock file \(it says no format\)"):
        read_lock(tmp_path / "x.json")


def test_one_failing_subject_does_not_stop_the_others(nsd_copy, tmp_path):
    (nsd_copy / BETAS / "betas_session01.nii.gz").unlink()
    arguments = ["export", "demo", "--nsd-root", str(nsd_copy), "--out", str(tmp_path / "out"), "--quiet"]
    result = CliRunner().invoke(cli, [*arguments, "--subjects", "1,3", "--kind", "open"])
    assert result.exit_code == 1
    assert f"{tmp_path}/out/demo-subj03: " in result.output
    assert "Error: demo-subj01 was not made: SourceError: subj01, session 1: no file " in result.output
    assert result.output.endswith("1 of 2 packages were not made\n")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"demo-subj03{suffix}" for suffix in ("", ".zip", *BESIDE)} - {"demo-subj03.truth.npz"}
