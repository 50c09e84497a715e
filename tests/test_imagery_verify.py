"""Every fault of an imagery cache is found, and called by its name."""

from __future__ import annotations

import json

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from imagery_trees import BETAS, SHAPE, make_folders, make_release, write_stim_info

from exporters.imagery import verify_cache
from exporters.imagery.build import Roots, build_index, summary
from exporters.imagery.layout import write_checksums
from exporters.imagery.verify import FAULTS
from exporters.simulate.imagery import simulate_imagery_cache
from nsd_bench.cli.imagery import imagery_command as command
from nsd_bench.errors import PackageError, SourceError
from nsd_bench.imagery import read_index, write_index

SESSION = "nsd_imagery/betas/subj01/imagery_betas_session02.nii.gz"
INDEX = "indices/imagery/subj01.parquet"
FULL = "indices/imagery/full_index.parquet"
SESSIONS = "nsd_imagery/metadata/subject_sessions.json"
MANIFEST = "nsd_imagery/metadata/trial_manifest_subj01.csv"


@pytest.fixture
def cache(tmp_path):
    root = tmp_path / "cache"
    simulate_imagery_cache(root, subjects=(1,), n_images=3, shape=(4, 5, 3), seed=2)
    build_index(Roots(root))
    write_stim_info(root / "nsd_hdf5/nsd_stim_info_merged.csv")
    stimuli = pd.read_csv(root / "nsd_imagery/stimuli/imagery_stimuli_info.csv")
    stimuli.assign(coco_id=stimuli["nsd_id"] + 7).to_csv(
        root / "nsd_imagery/stimuli/imagery_stimuli_info.csv", index=False
    )
    build_index(Roots(root), force=True)
    with h5py.File(root / "nsd_hdf5/nsd_stimuli.hdf5", "w") as file:
        brick = file.create_dataset("imgBrick", (73_000, 4, 4, 3), "u1", chunks=(1, 4, 4, 3))
        for nsd_id in stimuli["nsd_id"]:
            brick[nsd_id] = 9
    return root


def change_index(root, change) -> None:
    table = change(read_index(root / INDEX))
    write_index(root / INDEX, table)


def change_betas(root, change) -> None:
    image = nib.load(root / SESSION)
    nib.save(nib.Nifti1Image(change(image.get_fdata(dtype=np.float32)), image.affine), root / SESSION)


def at(column: str, row: int, value):
    def change(table):
        table = table.copy()
        table.loc[row, column] = value
        return table

    return change


def constant(values):
    values[..., 4] = 1
    return values


def absolute_path(root):
    table = pq.read_table(root / INDEX)
    paths = [f"{root}/{name}" for name in table.column("beta_path").to_pylist()]
    place = table.column_names.index("beta_path")
    pq.write_table(table.set_column(place, table.schema.field(place), [paths]), root / INDEX)


def other_type(root):
    table = pq.read_table(root / INDEX)
    pq.write_table(table.set_column(0, "trial_id", [table.column(0).cast(pa.int32())]), root / INDEX)


def mirrored_betas(root):
    image = nib.load(root / SESSION)
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = image.shape[0] - 1
    nib.save(nib.Nifti1Image(image.get_fdata()[::-1], image.affine @ turn), root / SESSION)


def mask(shape, side=1):
    """Give every trial a mask: on another grid, mirrored, or none at all."""

    def inject(root):
        affine = nib.load(root / SESSION).affine @ np.diag([side, 1.0, 1, 1])
        if shape is None:
            (root / "mask.nii.gz").write_bytes(b"no")
        else:
            nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), affine), root / "mask.nii.gz")
        change_index(root, lambda table: table.assign(roi_mask_path="mask.nii.gz"))

    return inject


def other_manifest(column, value):
    def inject(root):
        table = pd.read_csv(root / MANIFEST)
        first = table.sort_values(["session", "trial_in_session"]).index[0]
        table.loc[first, column] = value
        table.to_csv(root / MANIFEST, index=False)

    return inject


def shifted_betas(root):
    """The volumes of a session, each taken for the next trial's; as many volumes as rows."""
    change_index(root, lambda t: t.assign(beta_index=(t["beta_index"] + 1) % 18))


def without_column(name):
    return lambda root: pd.read_csv(root / name).iloc[:, 1:].to_csv(root / name, index=False)


def without_image(root):
    with h5py.File(root / "nsd_hdf5/nsd_stimuli.hdf5", "r+") as file:
        file["imgBrick"][read_index(root / INDEX)["nsd_id"][0]] = 0


def unlisted_session(root):
    (root / SESSIONS).write_text('{"subj01": [1, 2, 3]}')


def other_condition(root):
    """Write what `write_index` takes, and no trial has."""
    change_index(root, at("condition", 3, "vision"))


def write(name, text):
    return lambda root: (root / name).write_text(text)


def changed_after_checksums(root):
    write_checksums(root)
    change_betas(root, lambda values: values * 2)


FAULTY = [
    ("missing_index", lambda root: (root / INDEX).unlink(), "holds no subjNN.parquet"),
    ("index_schema", other_type, "column 'trial_id' is int32, not int64"),
    ("index_schema", lambda r: (r / FULL).write_bytes(b"no"), "full_index.parquet: cannot be read"),
    ("full_index", lambda r: change_index(r, at("repeat_index", 4, 9)), "beside it (36 rows, the others 36)"),
    ("full_index", lambda r: change_index(r, lambda t: t.iloc[:-1]), "(36 rows, the others 35)"),
    ("condition", other_condition, "'vision' is none of perception, imagery, attention"),
    ("absolute_path", absolute_path, SESSION),
    ("missing_mask", lambda r: change_index(r, at("roi_mask_path", 0, "m.nii.gz")), "m.nii.gz: the index"),
    ("duplicate_trial_id", lambda r: change_index(r, at("trial_id", 4, 1_000_000)), "more than once"),
    ("duplicate_beta", lambda r: change_index(r, at("beta_index", 4, 5)), "volume 5 belongs to more than"),
    ("missing_betas", lambda r: (r / SESSION).unlink(), "it is not there"),
    ("missing_betas", unlisted_session, "subject_sessions.json lists it"),
    ("broken_betas", lambda r: (r / SESSION).write_bytes(b"no"), "cannot be read"),
    ("betas_not_4d", lambda r: change_betas(r, lambda v: v[..., 0]), "has shape (4, 5, 3)"),
    (
        "betas_shape",
        lambda r: change_betas(r, lambda v: v[1:]),
        "has shape (3, 5, 3), imagery_betas_session01",
    ),
    ("betas_shape", mirrored_betas, "lies elsewhere: its first voxel is at [2.7, "),
    ("mask_grid", mask((4, 5, 4)), "has shape (4, 5, 3), mask.nii.gz (4, 5, 4)"),
    ("mask_grid", mask((4, 5, 3), -1), "session02.nii.gz lies elsewhere: its first voxel is at [-2.7, "),
    ("mask_grid", mask(None), "session02.nii.gz cannot be read whole"),
    (
        "manifest",
        other_manifest("condition", "imagery"),
        "condition is 'perception', its tables say 'imagery'",
    ),
    ("manifest", other_manifest("nsd_id", 5), "trial 1000000: nsd_id is "),
    (
        "manifest",
        lambda r: change_index(r, at("repeat_index", 4, 9)),
        "trial 1000004: repeat_index is 9, its",
    ),
    (
        "manifest",
        lambda r: change_index(r, lambda t: t.iloc[:-1]),
        "the index has 35 trials, its tables have 36",
    ),
    ("manifest", shifted_betas, "beta_index is 1, its tables say 0 (36 trials)"),
    ("volume_count", lambda r: change_index(r, lambda t: t.iloc[:-1]), "has 18 volumes, the index 17 rows"),
    ("beta_index_range", lambda r: change_index(r, at("beta_index", 0, 18)), "a trial is number 18"),
    ("invalid_not_flagged", lambda r: change_betas(r, constant), "volume 4 is constant"),
    ("missing_column", without_column(MANIFEST), "lacks the columns trial_id"),
    (
        "missing_column",
        without_column("nsd_imagery/stimuli/imagery_stimuli_info.csv"),
        "lacks the columns nsd_id",
    ),
    ("missing_column", write(MANIFEST, ""), "cannot be read"),
    ("broken_metadata", write(SESSIONS, "[1]"), "subject_sessions.json: cannot be read"),
    ("broken_metadata", write(SESSIONS, '{"one": [1]}'), "subject_sessions.json: cannot be read"),
    ("broken_metadata", write("nsd_hdf5/nsd_stim_info_merged.csv", "a"), "merged.csv: cannot be read"),
    ("broken_metadata", write("nsd_hdf5/nsd_stimuli.hdf5", "a"), "nsd_stimuli.hdf5: cannot be read"),
    ("nsd_id_range", lambda r: change_index(r, at("nsd_id", 0, 73_000)), "is outside 0 to 72999"),
    ("nsd_id_not_presented", write("nsd_imagery/stimuli/presented_image_ids.txt", "1\n"), "is not in pres"),
    ("nsd_id_without_image", without_image, "has no such image"),
    ("coco_id", lambda r: change_index(r, at("coco_id", 0, 1)), "coco_id is 1, nsd_stim_info_merged.csv has"),
    ("checksum", changed_after_checksums, "does not have the digest"),
]


def test_a_whole_cache_has_no_fault(cache):
    assert verify_cache(cache) == []


def test_the_release_has_no_fault_and_its_truncation_is_found(tmp_path):
    make_release(tmp_path)
    build_index(Roots(tmp_path))
    assert verify_cache(tmp_path) == []
    data = (tmp_path / BETAS).read_bytes()
    (tmp_path / BETAS).write_bytes(data[: len(data) // 2])
    assert {fault.name for fault in verify_cache(tmp_path)} == {"broken_betas", "manifest"}


def test_the_releases_index_is_compared_with_its_behaviour_and_design(tmp_path):
    make_release(tmp_path)
    build_index(Roots(tmp_path))
    table = read_index(tmp_path / INDEX)
    seen, imagined = table["condition"] == "perception", table["run_number"] == 3
    swapped = table.assign(condition=table["condition"].mask(imagined, "perception").mask(seen, "imagery"))
    write_index(tmp_path / INDEX, swapped)
    write_index(tmp_path / FULL, swapped)
    (fault,) = verify_cache(tmp_path)
    assert str(fault) == (
        "manifest: subj01, trial 1000000: condition is 'imagery', its tables say 'perception' (192 trials)"
    )
    (tmp_path / "nsddata/bdata/nsdimagery/nsdimagery_subj01_visA.tsv").unlink()
    (fault,) = verify_cache(tmp_path)
    assert fault.name == "manifest" and "no file" in fault.problem


def test_an_index_of_folders_is_compared_with_its_metadata(tmp_path):
    make_folders(tmp_path / "own")
    build_index(Roots(tmp_path, data=tmp_path / "own"))
    assert verify_cache(tmp_path) == []
    path = tmp_path / "own/subj02/metadata.json"
    path.write_text(path.read_text().replace("a picture of 3", "a picture of 4"))
    (fault,) = verify_cache(tmp_path)
    assert fault.problem == "caption is 'a picture of 3', its tables say 'a picture of 4' (1 trials)"


def write_mask(root, space, affine, shape=SHAPE):
    path = root / f"nsddata/ppdata/subj01/{space}/roi/nsdgeneral.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones(shape, np.uint8), affine), path)
    return path.relative_to(root).as_posix()


@pytest.mark.parametrize("suffix", ["nii.gz", "hdf5"])
def test_betas_of_another_space_have_the_mask_of_that_space(tmp_path, suffix):
    make_release(tmp_path)
    image = nib.load(tmp_path / BETAS)
    fine = write_mask(tmp_path, "func1mm", np.eye(4), (6, 7, 5))
    coarse = write_mask(tmp_path, "func1pt8mm", image.affine)
    values = np.random.default_rng(0).integers(1, 900, (6, 7, 5, 720), dtype=np.int16)
    path = tmp_path / f"nsddata_betas/other/betas_nsdimagery.{suffix}"
    path.parent.mkdir()
    if suffix == "hdf5":
        with h5py.File(path, "w") as file:
            file["betas"] = values.T
    else:
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    assert set(build_index(Roots(tmp_path), dry_run=True).table["roi_mask_path"]) == {coarse}
    built = build_index(Roots(tmp_path, beta_path=path), [1])
    assert set(built.table["roi_mask_path"]) == {fine}
    assert verify_cache(tmp_path) == []
    (tmp_path / fine).unlink()
    built = build_index(Roots(tmp_path, beta_path=path), [1], dry_run=True)
    assert built.table["roi_mask_path"].isna().all()
    assert f"no mask on the grid of nsddata_betas/other/betas_nsdimagery.{suffix}" in summary(built)


def test_a_mask_that_does_not_lie_where_the_releases_betas_do_is_refused(tmp_path):
    make_release(tmp_path)
    affine = nib.load(tmp_path / BETAS).affine
    write_mask(tmp_path, "func1pt8mm", affine @ np.diag([-1.0, 1, 1, 1]))
    with pytest.raises(SourceError, match="lies elsewhere") as raised:
        build_index(Roots(tmp_path))
    assert raised.value.expected.endswith("func1pt8mm/roi/nsdgeneral.nii.gz")


def test_betas_that_were_never_written_are_broken(tmp_path):
    make_release(tmp_path)
    values = np.asanyarray(nib.load(tmp_path / BETAS).dataobj)
    (tmp_path / BETAS).unlink()
    path = tmp_path / BETAS.replace("nii.gz", "hdf5")
    with h5py.File(path, "w") as file:
        betas = file.create_dataset("betas", values.T.shape, "<i2", chunks=(720, 1, 1, 1))
        betas[:, :, :, :4] = values.T[:, :, :, :4]
    with pytest.raises(PackageError, match=r"\(24 of 120 chunks were never written\)"):
        build_index(Roots(tmp_path))


@pytest.mark.parametrize(("name", "inject", "text"), FAULTY)
def test_one_fault_is_found_by_name(cache, name, inject, text):
    inject(cache)
    found = verify_cache(cache)
    assert name in {fault.name for fault in found}
    assert any(text in str(fault) for fault in found if fault.name == name)


def test_every_fault_has_a_test():
    assert {name for name, _, _ in FAULTY} == FAULTS.keys()


def test_command_lists_faults_and_exits_with_1(cache):
    runner, arguments = CliRunner(), ["verify", "--cache-root", str(cache)]
    good = runner.invoke(command, [*arguments, "--write-checksums"])
    assert good.exit_code == 0 and good.output.endswith("ok\nchecksums of 4 files\n")
    (cache / SESSION).unlink()
    bad = runner.invoke(command, [*arguments, "--report-path", str(cache / "found.json")])
    assert bad.exit_code == 1 and f"{cache}: 4 faults\n" in bad.output
    assert "is not there any more; if that is meant, remove indices/imagery/checksums.sha256" in bad.output
    assert f"  missing_betas: {SESSION}: the index names it, and it is not there" in bad.output
    report = json.loads((cache / "found.json").read_text())
    names = {fault["name"] for fault in report["faults"]}
    assert not report["ok"] and names == {"missing_betas", "manifest", "checksum"}


def test_a_table_that_is_not_there_is_not_left_out(cache):
    arguments = ["verify", "--cache-root", str(cache), "--stim-info", "nothing.csv"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert "Invalid value for '--stim-info': File 'nothing.csv' does not exist." in result.output


def test_a_report_replaces_nothing_but_a_report(cache):
    mine = cache / "mine.json"
    mine.write_text("{}")
    arguments = ["verify", "--cache-root", str(cache), "--report-path"]
    result = CliRunner().invoke(command, [*arguments, str(mine)])
    assert str(result.exception) == (
        f"{mine}: exists already and is no report; nothing was written.\n"
        "  Expected: a path where nothing lies yet, or an earlier report.\n"
        "  What to do: give another --report-path."
    )
    assert mine.read_text() == "{}"
    for _ in range(2):
        assert CliRunner().invoke(command, [*arguments, str(cache / "report.json")]).exit_code == 0
