"""`nsd-bench check`: what of NSD is there, what is damaged, and what can be made from it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from exporters.packages.root_check import check_root, read_listing
from nsd_bench.cli.check import check_command
from nsd_bench.errors import SourceError

BETAS = "nsddata_betas/ppdata/subj01"
PREPARED = "betas_fithrf_GLMdenoise_RR"
HDF5 = f"{BETAS}/func1pt8mm/{PREPARED}/betas_session02.hdf5"
NIFTI = f"{BETAS}/func1pt8mm/{PREPARED}/betas_session02.nii.gz"
MGH = f"{BETAS}/fsaverage/{PREPARED}/rh.betas_session02.mgh"
TABLE = "nsddata/ppdata/subj01/behav/responses.tsv"


def renew(root, name, content: bytes) -> None:
    (root / name).unlink()  # the tree is made of links
    (root / name).write_bytes(content)


def test_a_whole_tree(nsd_root):
    found = check_root(nsd_root, [1, 3])
    on_disk = sum(path.is_file() for path in nsd_root.rglob("*"))
    assert (found.n_files, found.damaged) == (on_disk, [])
    formats = {(one.subject, one.space, one.format): one for one in found.available}
    assert formats.keys() >= {(1, "func1pt8mm", "hdf5"), (3, "func1pt8mm", "nii.gz"), (1, "fsaverage", "mgh")}
    first = formats[1, "func1pt8mm", "hdf5"]
    assert (first.version, first.sessions, first.n_released) == (PREPARED, (1, 2), 40)
    assert {(one.recipe, one.n_missing) for one in found.needs} == {("default", 0), ("demo", 0)}


@pytest.mark.parametrize(
    ("name", "keep", "said"),
    [
        (HDF5, -1, "truncated file"),
        (HDF5, 100, "cannot be read"),
        (NIFTI, -1, "ends early, or holds other data than its header says"),
        (NIFTI, 200, ""),
        (MGH, -40, "ends early: "),
        (MGH, 100, ""),
        (TABLE, -70, ""),
        ("nsddata/experiments/nsd/nsd_expdesign.mat", -9, ""),
        ("nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz", -1, "ends early"),
        ("nsddata/ppdata/subj01/func1pt8mm/brainmask.nii.gz", 0, "is empty"),
    ],
)
def test_a_file_that_was_cut_is_named_and_does_not_count(nsd_copy, name, keep, said):
    renew(nsd_copy, name, (nsd_copy / name).read_bytes()[:keep])
    found = check_root(nsd_copy, [1, 3])
    assert [one.name for one in found.damaged] == [name]
    assert said in found.damaged[0].problem and "\n" not in found.damaged[0].problem
    needed = {one.subject for one in found.needs if one.recipe == "default" and one.n_missing}
    shared = "subj" not in name
    assert needed == ({1, 3} if shared else {1} if name not in (NIFTI, MGH) else set())


def test_a_session_of_one_hemisphere_is_none(nsd_copy):
    (nsd_copy / MGH).unlink()
    (one,) = (one for one in check_root(nsd_copy, [1]).available if one.space == "fsaverage")
    assert one.sessions == (1,)


def test_sizes_are_held_against_a_listing(nsd_copy, tmp_path):
    size = (nsd_copy / NIFTI).stat().st_size
    listing = tmp_path / "listing.txt"
    listing.write_text(
        "some words\n"
        f"2021-09-01 12:00:00 {size + 5:>10} {NIFTI}\n"
        f"2021-09-01 12:00:00 {(nsd_copy / HDF5).stat().st_size:>10} {HDF5}\n"
    )
    (damage,) = check_root(nsd_copy, [1], read_listing(listing)).damaged
    assert damage == replace(damage, name=NIFTI, problem=f"has {size:,} bytes, NSD's {size + 5:,}")
    listing.write_text("nothing of the kind\n")
    with pytest.raises(SourceError, match=r"listing\.txt: lists no file of NSD"):
        read_listing(listing)


def test_what_macos_puts_beside_every_file_is_no_file_of_nsd(nsd_copy):
    (nsd_copy / HDF5).with_name("._betas_session02.hdf5").write_bytes(b"\0\5\x16\7")
    assert not check_root(nsd_copy, [1]).damaged


def test_a_folder_without_nsd(tmp_path):
    with pytest.raises(SourceError, match=r"holds none of NSD's folders"):
        check_root(tmp_path)


def test_command(nsd_copy, tmp_path):
    root = nsd_copy.rename(tmp_path / "with blank")
    (root / HDF5).unlink()
    renew(root, NIFTI, (root / NIFTI).read_bytes()[:-1])
    out = tmp_path / "check.json"
    words = ["--nsd-root", str(root), "--subjects", "1,3", "--out", str(out)]
    run = CliRunner().invoke(check_command, words)
    assert run.exit_code == 1, run.output
    lines = run.output.splitlines()
    assert lines[0].endswith(" files of NSD, 1 damaged")
    assert f"  subj01  func1pt8mm  {PREPARED}  hdf5  1 of 40 sessions (without 2-40)" in lines
    assert "recipe default: subjects 3 can be exported" in lines
    assert any(
        line.startswith("  subj01 lacks 1 of ") and "about 1.0 GB, 0 minutes at 50 MB/s" in line
        for line in lines
    )
    assert (
        f"  To fetch these, run in NSD's root what this prints: "
        f"nsd-bench plan default --nsd-root '{root}' --missing --subjects 1"
    ) in lines
    written = json.loads(out.read_text())
    assert written["format"] == "nsd_bench.root_check/1"
    assert [one["name"] for one in written["damaged"]] == [NIFTI]
    assert "exists already" in str(CliRunner().invoke(check_command, words).exception)
    (root / NIFTI).unlink()
    assert CliRunner().invoke(check_command, [*words, "--force"]).exit_code == 0
