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
from imagery_trees import BETAS, make_release, write_stim_info

from exporters.imagery import verify_cache
from exporters.imagery.build import Roots, build_index
from exporters.imagery.checksums import write_checksums
from exporters.imagery.verify import FAULTS
from exporters.simulate.imagery_cache import simulate_imagery_cache
from nsd_bench.cli.imagery import command
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
    ("betas_shape", lambda r: change_betas(r, lambda v: v[1:]), "is (3, 5, 3), other files of subj01 are"),
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
    assert {fault.name for fault in verify_cache(tmp_path)} == {"broken_betas"}


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
    assert bad.exit_code == 1 and f"{cache}: 3 faults\n" in bad.output
    assert "is not there any more; if that is meant, remove indices/imagery/checksums.sha256" in bad.output
    assert f"  missing_betas: {SESSION}: the index names it, and it is not there" in bad.output
    report = json.loads((cache / "found.json").read_text())
    assert not report["ok"] and {fault["name"] for fault in report["faults"]} == {"missing_betas", "checksum"}


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
