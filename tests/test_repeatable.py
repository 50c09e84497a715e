"""One recipe, the same files of NSD: the same bytes, however the export was asked for."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from exports import export, recipe

from exporters.nsd.betas import FORMATS
from exporters.packages.export import export_packages
from exporters.packages.verify import rebuild_sample
from nsd_bench.cli import cli
from nsd_bench.package.read import Package
from nsd_bench.package.truth import Truth

REPO = Path(__file__).parents[1]
WITHOUT_METADATA = """
import importlib.metadata as metadata, sys
def version(name, found=metadata.version):
    if name == "nsd-bench":
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
import exporters
assert exporters.__file__.startswith(sys.argv.pop(1)), exporters.__file__
from nsd_bench.cli import main
main()
"""
"""The command line in a copy of the checkout that was never installed."""


def digests(folder: Path, package: str = "demo-subj01") -> dict[str, str]:
    """Return the digest of everything that an export of one package left, by name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in names.items()
        if name.startswith(package)
    }


@pytest.fixture(scope="module")
def alone(nsd_root, tmp_path_factory) -> Path:
    """Subject 1's package and what lies beside it, made by itself."""
    out = tmp_path_factory.mktemp("alone")
    export_cli(nsd_root, out, "--subjects", "1")
    return out


def export_cli(nsd_root: Path, out: Path, *options: str) -> None:
    arguments = ["export", "demo", "--nsd-root", str(nsd_root), "--out", str(out), "--quiet", *options]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output


def test_a_subject_has_the_same_bytes_with_others(nsd_root, alone, tmp_path, monkeypatch):
    """Other subjects, another order, sessions by number, two workers, another folder; zip and lock, too."""
    monkeypatch.chdir(nsd_root.parent)
    export_cli(Path(nsd_root.name), tmp_path, "--subjects", "3,1", "--workers", "2")
    expected = digests(alone)
    names = {f"demo-subj01{suffix}" for suffix in (".zip", ".lock.json", ".truth.npz", ".design.csv")}
    assert names < expected.keys()
    assert len(expected) > 3 * 1000
    assert digests(tmp_path) == expected
    export_cli(nsd_root, tmp_path / "listed", "--subjects", "1", "--sessions", "1,2", "--form", "folder")
    assert digests(tmp_path / "listed") == {k: v for k, v in expected.items() if not k.endswith(".zip")}


def test_a_checkout_that_is_not_installed_gives_the_same_bytes(nsd_root, alone, tmp_path):
    """In another language, time zone, umask and order of hashes."""
    checkout = tmp_path / "checkout"
    for room in ("nsd_bench", "exporters", "tiers"):
        shutil.copytree(REPO / room, checkout / room, ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {
        "PYTHONPATH": str(checkout),
        "PYTHONHASHSEED": "7",
        "PYTHONUTF8": "0",
        "LC_ALL": "C",
        "TZ": "Pacific/Chatham",
    }
    command = [sys.executable, "-c", WITHOUT_METADATA, str(checkout), "export", "demo", "--quiet"]
    options = ["--nsd-root", str(nsd_root), "--out", str(tmp_path / "out"), "--subjects", "1"]
    subprocess.run([*command, *options], check=True, env=environment, cwd=tmp_path, umask=0o077)
    assert digests(tmp_path / "out") == digests(alone)


def test_where_mask_and_tiers_lie_is_not_told(nsd_root, opened, tmp_path):
    """Nor what they are called; `verify` makes a sample again without them."""
    mask = np.zeros((11, 13, 9), dtype=np.uint8)  # the grid of the simulated NSD
    mask.flat[opened.units["unit_ids"][::3]] = 1
    tiers = Path(REPO / "tiers/shared1000.toml").read_text()
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / f"{name}.npy", mask)
        (tmp_path / name / "mine.toml").write_text(tiers)
        made = export(
            nsd_root,
            tmp_path / name / "out",
            units={"mask": str(tmp_path / name / f"{name}.npy")},
            tiers=str(tmp_path / name / "mine.toml"),
            sessions=(1,),
        )
    assert digests(tmp_path / "here/out") == digests(tmp_path / "there/out")
    digest = hashlib.sha256((tmp_path / "here/here.npy").read_bytes()).hexdigest()
    assert made.manifest["recipe"]["values"]["units"]["mask"] == f"sha256:{digest}"
    shutil.rmtree(tmp_path / "here")
    shutil.move(tmp_path / "there", tmp_path / "elsewhere")
    moved = Package(tmp_path / "elsewhere/out/demo-subj01")
    assert rebuild_sample(moved, nsd_root, 1.0).issues == []


def test_a_recipe_and_the_options_that_change_it_are_one(nsd_root, tmp_path):
    """Said in the file, with a comment, or on the command line, or by default: the manifest says the same."""
    text = (REPO / "exporters/recipes/demo.toml").read_text()
    said = text.replace("[1, 2]", "[3]\nsessions = [1]").replace('"track1"', '"open"')
    (tmp_path / "said.toml").write_text(
        "# Mine.\n" + said.replace('"nii.gz"', f'"{FORMATS["func1pt8mm"][0]}"')
    )
    (tmp_path / "asked.toml").write_text(text.replace('format = "nii.gz"\n', ""))
    root = ["--nsd-root", str(nsd_root), "--form", "folder", "--quiet"]
    for name, options in {"said": [], "asked": ["--kind", "open", "--subjects", "3"]}.items():
        arguments = ["export", str(tmp_path / f"{name}.toml"), *root, *options, "--out", str(tmp_path / name)]
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
    made = digests(tmp_path / "said", "demo-subj03")
    assert made and made == digests(tmp_path / "asked", "demo-subj03")


def test_what_was_read_for_others_is_used(nsd_root, tmp_path, monkeypatch):
    """An export that was interrupted goes on when it is started for more subjects."""
    from exporters.packages import export as package

    wanted = recipe(subjects=(1,))
    work = package.work_folder(tmp_path, "demo-subj01")
    package.export_sessions(wanted, nsd_root, tmp_path, [(1, 1)], progress=False)
    read = (work / "session01.npy").stat().st_ino
    package.export_sessions(
        wanted.model_copy(update={"subjects": (1, 3)}), nsd_root, tmp_path, [(1, 2)], progress=False
    )
    assert (work / "session01.npy").stat().st_ino == read


def test_a_manifest_of_before_can_be_verified(nsd_root, tmp_path):
    """It named all subjects of the recipe, "all" sessions, and tiers by path."""
    package = export(nsd_root, tmp_path, kind="track1", sessions=(1,), subjects=(3,))
    manifest = json.loads((package.path / "manifest.json").read_text())
    manifest["recipe"] = {
        "text": 'title = "t"',
        "values": manifest["recipe"]["values"]
        | {"subjects": [1, 2, 3], "sessions": "all", "tiers": "/gone/mine.toml"},
    }
    manifest["units_dropped"] = {"why": "no data in at least one session", "unit_ids": [5]}
    (package.path / "manifest.json").write_text(json.dumps(manifest))
    old = Package(package.path)
    assert old.units_dropped == {"no data in at least one session": [5]}
    truth = Truth.read(f"{package.path}.truth.npz")
    assert rebuild_sample(old, nsd_root, 0.05, truth).issues == []


def test_units_that_are_not_reliable_are_called_so(nsd_root, tmp_path):
    wanted = recipe(units={"ncsnr_min": 0.6})
    (made,) = export_packages(wanted, nsd_root, tmp_path, forms=("folder",), progress=False)
    package = Package(made.path)
    why = "ncsnr below 0.6 on training trials"
    no_data, unreliable = package.units_dropped.values()
    assert list(made.n_units_dropped) == ["no data in at least one session", why]
    assert made.n_units_dropped[why] == len(unreliable) > 0
    assert not {*unreliable, *no_data} & set(package.units["unit_ids"])
    n_train = len(package.rows("train"))
    assert package.manifest["fitted"]["ncsnr_min"] == (
        f"0.6 at least, of ncsnr estimated on the {n_train} trials of the train tier of this package, by the "
        "images that have two or more of them"
    )
    said = CliRunner().invoke(cli, ["info", str(made.path)]).output
    assert f"{len(unreliable)} with {why}\n" in said
    text = Path(REPO / "exporters/recipes/demo.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("[units]\n", "[units]\nncsnr_min = 0.6\n"))
    arguments = ["export", str(tmp_path / "mine.toml"), "--nsd-root", str(nsd_root), "--quiet"]
    output = CliRunner().invoke(cli, [*arguments, "--subjects", "1", "--out", str(tmp_path / "cli")]).output
    expected = f"(dropped: {len(no_data)} with no data in at least one session, {len(unreliable)} with {why})"
    assert expected in output


@pytest.mark.parametrize("name", ["manifest.json", "checksums.sha256"])
def test_verify_that_finds_any_difference_exits_1(opened, tmp_path, name):
    copy = tmp_path / "copy"
    shutil.copytree(opened.path, copy)
    (copy / name).write_bytes((copy / name).read_bytes() + b"\n")
    result = CliRunner().invoke(cli, ["verify", str(copy), "--lock", f"{opened.path}.lock.json"])
    assert result.exit_code == 1
    assert result.output.splitlines()[1:] == [
        f"  error: {name}: differs from the lock, though the data and tables are the same. Compare its "
        "'recipe', 'tiers', 'exporter' and 'sources' with those of the package that was locked.",
        "differs",
    ]
