"""NSD-Imagery's index: trials, schema, three layouts, and what contradicts itself."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.io
from click.testing import CliRunner
from imagery_trees import BEHAVIOUR, BETAS, CUES, DESIGN, SHAPE, codes, make_folders, make_release

from exporters.imagery.build import Roots, build_index
from exporters.imagery.layout import CacheLayout, init_layout
from exporters.nsd.imagery import ImageryLayout, imagery_trials, read_stimuli
from exporters.simulate.files import write_mat
from exporters.simulate.imagery_cache import simulate_imagery_cache
from nsd_bench.cli.imagery import command
from nsd_bench.errors import NsdBenchError, OptionError, OutputError, PackageError, SourceError
from nsd_bench.imagery import ImageryTrial, read_index, write_index
from nsd_bench.imagery.cache import cache_root, relative_to_cache
from nsd_bench.imagery.index import COLUMNS, IndexNotFoundError, schema_problem, trials_of
from nsd_bench.imagery.trial import trial_id
from nsd_bench.imagery.volumes import read_volume_at

pq = pytest.importorskip("pyarrow.parquet")
pa = pytest.importorskip("pyarrow")

BLOCKS = {
    "visA": (0, 48),
    "attA": (48, 144),
    "imgA_1": (144, 192),
    "visB": (192, 240),
    "attB": (240, 336),
    "imgB_1": (336, 384),
    "visC": (384, 432),
    "attC": (432, 528),
    "imgC_1": (528, 576),
    "imgA_2": (576, 624),
    "imgB_2": (624, 672),
    "imgC_2": (672, 720),
}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    root = tmp_path_factory.mktemp("release") / "nsd"
    return root, make_release(root)


@pytest.fixture
def own_release(release, tmp_path):
    shutil.copytree(release[0], tmp_path / "nsd")
    return tmp_path / "nsd"


def row(**changes) -> pd.DataFrame:
    trial = ImageryTrial(1_000_000, "subj01", 1, 0, "imagery", 5, "betas.nii.gz", **changes)
    return pd.DataFrame([trial.to_dict()])


def test_trial_has_the_guides_fields_and_comes_back():
    trial = ImageryTrial(7, "subj02", 1, 3, "perception", 9, coco_id=4, snr_estimate=0.5)
    assert list(trial.to_dict()) == [
        *("trial_id", "subject", "session", "trial_in_session", "condition", "nsd_id", "beta_path"),
        *("beta_index", "roi_mask_path", "coco_id", "repeat_index", "caption", "run_number", "is_valid"),
        "snr_estimate",
    ]
    assert ImageryTrial.from_dict({**trial.to_dict(), "stranger": 1}) == trial
    assert ImageryTrial(7, "subj02", 1, 3, "attention", None).is_valid


def test_unknown_condition_is_a_value_error():
    with pytest.raises(ValueError, match="there is no condition 'vision'") as raised:
        ImageryTrial(7, "subj02", 1, 3, "vision", 9)
    assert str(raised.value) == (
        "trial 7: there is no condition 'vision'.\n"
        "  Expected: one of 'perception', 'imagery', 'attention'.\n"
        "  What to do: correct the condition."
    )


def test_schema_is_the_guides(tmp_path):
    write_index(tmp_path / "i.parquet", row())
    found = pq.read_schema(tmp_path / "i.parquet")
    types = {"int64": pa.int64(), "int32": pa.int32(), "string": pa.string(), "bool": pa.bool_()}
    expected = [
        *(("trial_id", "int64"), ("subject", "string"), ("session", "int32"), ("trial_in_session", "int32")),
        *(("condition", "string"), ("nsd_id", "int32"), ("coco_id", "int32"), ("beta_path", "string")),
        *(("beta_index", "int32"), ("repeat_index", "int32"), ("is_valid", "bool")),
    ]
    assert [(name, types[kind]) for name, kind in expected] == list(
        zip(found.names[:11], found.types[:11], strict=True)
    )
    assert [field.name for field in list(found)[:11] if field.nullable] == ["nsd_id", "coco_id"]


def test_null_ids_survive_and_the_same_table_gives_the_same_bytes(tmp_path):
    table = pd.concat([row(), row(coco_id=8).assign(trial_id=2, nsd_id=None)], ignore_index=True)
    for name in "ab":
        write_index(tmp_path / name, table)
    back = read_index(tmp_path / "a")
    assert back["nsd_id"].tolist() == [5, pd.NA] and back["coco_id"].tolist() == [pd.NA, 8]
    assert str(back["nsd_id"].dtype) == "Int32" and str(back["session"].dtype) == "int32"
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert trials_of(back)[0] == ImageryTrial(1_000_000, "subj01", 1, 0, "imagery", 5, "betas.nii.gz")


def test_index_errors_name_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError) as missing:
        read_index(tmp_path / "none.parquet")
    assert isinstance(missing.value, IndexNotFoundError)
    assert "make it with 'nsd-bench imagery index'" in str(missing.value)
    with pytest.raises(PackageError, match="lacks the columns is_valid"):
        write_index(tmp_path / "i", row().drop(columns="is_valid"))
    with pytest.raises(PackageError, match="holds the absolute path /data/betas"):
        write_index(tmp_path / "i", row().assign(beta_path="/data/betas"))
    pq.write_table(pa.table({"trial_id": pa.array([1], pa.int32())}), tmp_path / "other")
    with pytest.raises(PackageError, match="column 'trial_id' is int32, not int64"):
        read_index(tmp_path / "other")
    (tmp_path / "text").write_text("no")
    assert "cannot be read" in str(schema_problem(tmp_path / "text"))


def test_missing_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(NsdBenchError, match=r"pip install 'nsd-bench\[imagery\]'"):
        write_index(tmp_path / "i", row())


def test_cache_root_argument_before_variable_before_default(monkeypatch):
    monkeypatch.delenv("NSD_CACHE_ROOT", raising=False)
    assert str(cache_root()) == "cache"
    monkeypatch.setenv("NSD_CACHE_ROOT", "/elsewhere")
    assert str(cache_root()) == "/elsewhere"
    assert str(cache_root("here")) == "here"


def test_paths_outside_the_cache_are_refused(tmp_path):
    inside = tmp_path / "cache"
    with pytest.raises(OptionError, match="lies outside the cache root"):
        relative_to_cache(tmp_path / "betas.nii.gz", inside)
    (tmp_path / "nsd").mkdir()
    inside.mkdir()
    (inside / "nsd").symlink_to(tmp_path / "nsd")
    assert relative_to_cache(inside / "nsd/betas.nii.gz", inside) == "nsd/betas.nii.gz"


def test_runs_lie_where_the_release_has_them(release):
    trials = imagery_trials(ImageryLayout(release[0]), 1)
    for name, (start, stop) in BLOCKS.items():
        assert set(trials["run_name"][start:stop]) == {name}
    assert len(trials) == 720
    assert trials["condition"].value_counts().to_dict() == {
        "imagery": 288,
        "attention": 288,
        "perception": 144,
    }
    assert trials["epoch"][48:52].tolist() == ["cue", "detection"] * 2


def test_every_row_is_what_its_beta_encodes(release):
    root, runs = release
    trials = imagery_trials(ImageryLayout(root), 1)
    task = trials["condition"].map({"perception": 1, "imagery": 2, "attention": 3}).to_numpy()
    task = task + (trials["epoch"] == "detection")
    assert (100 * task + trials["stimulus_number"]).tolist() == codes(runs).tolist()
    volume = read_volume_at(root / BETAS, 719)
    assert volume.shape == SHAPE
    np.testing.assert_allclose(volume[0, 0, :3] * 10, codes(runs)[719] + np.arange(3) / 30, rtol=1e-6)


def test_stimuli_count_from_zero_and_the_artwork_has_no_number(release):
    stimuli = read_stimuli(ImageryLayout(release[0]))
    assert "".join(stimuli["cue"]) == CUES
    assert stimuli["nsd_id"].dropna().tolist() == [28751, 30856, 53881, 61177, 65872]
    assert stimuli.loc[stimuli["cue"] == "T", "nsd_id"].isna().all()
    assert stimuli["stimulus_number"].tolist() == list(range(18))


def test_what_was_seen_is_the_condition_and_not_the_cue(release):
    seen = imagery_trials(ImageryLayout(release[0]), 1).query("condition == 'perception'")
    assert (seen["cue"] != seen["shown_cue"]).mean() == 0.5
    pairs = zip(seen["frame"], seen["target"], strict=True)
    assert all(frame.startswith(name.removesuffix(".png")) for frame, name in pairs)


def edit(root, run: str, change) -> None:
    path = root / BEHAVIOUR.format(run)
    table = pd.read_csv(path, sep="\t")
    change(table).to_csv(path, sep="\t", index=False)


@pytest.mark.parametrize(
    ("one", "other", "problem"),
    [
        ("visA", "imgA_1", r"trial \d+ is \('\w', ''\), design column \d+ was"),
        ("imgA_1", "imgB_1", r"trial \d+ is \('\w', ''\), design column \d+ was"),
        ("imgA_1", "imgA_2", r"trial \d+ is \('\w', ''\), design column \d+ was"),
        ("visA", "attA", "the design has 48 onsets in 6 columns"),
    ],
)
def test_swapped_runs_are_refused(own_release, one, other, problem):
    numbers = {run: 1 + list(BLOCKS).index(run) for run in (one, other)}
    edit(own_release, one, lambda table: table.assign(RUN=numbers[other]))
    edit(own_release, other, lambda table: table.assign(RUN=numbers[one]))
    with pytest.raises(SourceError, match=problem):
        imagery_trials(ImageryLayout(own_release), 1)


def test_shuffled_trials_are_refused(own_release):
    columns = ["CONDITION", "CUE"]

    def shuffle(table):
        order = np.random.default_rng(1).permutation(48)
        return table.assign(**{name: table[name].to_numpy()[order] for name in columns})

    edit(own_release, "imgC_2", shuffle)
    with pytest.raises(SourceError, match="RUN 12, trial") as raised:
        imagery_trials(ImageryLayout(own_release), 1)
    assert "the img run that design matrix 12 is of" in str(raised.value)


@pytest.mark.parametrize(
    ("run", "change", "problem"),
    [
        ("visB", lambda t: t.drop(columns="CUE"), "lacks the columns CUE"),
        ("visB", lambda t: t.iloc[:-1], "has 47 rows of 1 runs"),
        ("visB", lambda t: t.assign(RUN=1), "RUN holds 1 in visA, 1 in visB"),
        ("imgA_1", lambda t: t.assign(CUE="H"), "the cue is 'H', the condition"),
    ],
)
def test_broken_behaviour_is_refused(own_release, run, change, problem):
    edit(own_release, run, change)
    with pytest.raises(SourceError, match=problem):
        imagery_trials(ImageryLayout(own_release), 1)


def test_broken_design_is_refused(own_release):
    path = own_release / DESIGN
    matrices = scipy.io.loadmat(path)["stimulus"]
    write_mat(path, {"stimulus": matrices[:, :11]})
    with pytest.raises(SourceError, match="'stimulus' has 11 runs"):
        imagery_trials(ImageryLayout(own_release), 1)
    path.write_bytes(b"no")
    with pytest.raises(SourceError, match="cannot be read"):
        imagery_trials(ImageryLayout(own_release), 1)
    path.unlink()
    with pytest.raises(SourceError, match=r"designmatrixGLMsingle\.mat"):
        imagery_trials(ImageryLayout(own_release), 1)


def test_release_index_resolves_after_a_move(own_release, tmp_path_factory):
    built = build_index(Roots(own_release))
    assert built.layout == "release" and len(built.paths) == 2
    moved = tmp_path_factory.mktemp("moved") / "cache"
    own_release.rename(moved)
    table = read_index(moved / "indices/imagery/subj01.parquet")
    assert table["trial_id"].tolist() == [trial_id(1, number) for number in range(720)]
    assert table["repeat_index"].max() == 15
    seen = table[table["condition"] == "perception"]
    assert seen.groupby("stimulus").size().unique().tolist() == [8]
    assert (table["coco_id"] - table["nsd_id"]).dropna().unique().tolist() == [7]
    assert not any(name.startswith("/") for name in table["beta_path"])
    volume = read_volume_at(moved / table["beta_path"][144], int(table["beta_index"][144]))
    assert round(float(volume[0, 0, 0]) * 10) == 200 + table["stimulus_number"][144]
    assert set(table.loc[table["condition"] != "imagery", "vividness"].dropna()) == set()
    assert set(table.loc[table["condition"] == "imagery", "vividness"].dropna()) == {0.0, 1.0}
    assert (moved / table["target_image"].dropna().iloc[0]).is_file()


def test_folders_take_exactly_the_named_file(tmp_path):
    make_folders(tmp_path)
    table = build_index(Roots(tmp_path), dry_run=True).table
    assert len(table) == 20
    assert table["condition"].tolist() == ["perception", "imagery"] * 10
    assert table["run_number"].tolist() == [1] * 10 + [2] * 10
    assert table["repeat_index"].tolist()[:8] == [0, 0, 1, 1, 0, 0, 1, 1]
    assert read_volume_at(tmp_path / table["beta_path"][13], 0)[0, 0, 0] == 13
    (tmp_path / "subj02/imagery/run_02/t013.npy").rename(tmp_path / "subj02/imagery/run_02/t0130.npy")
    with pytest.raises(SourceError, match="trial 't013' has no file") as raised:
        build_index(Roots(tmp_path), dry_run=True)
    assert "t013.npy or t013.nii.gz" in str(raised.value)


def test_folders_report_broken_metadata(tmp_path):
    make_folders(tmp_path)
    path = tmp_path / "subj02/metadata.json"
    path.write_text('{"trials": []}')
    with pytest.raises(SourceError, match="lists no trial"):
        build_index(Roots(tmp_path))
    path.write_text("{}")
    with pytest.raises(SourceError, match="KeyError: 'trials'"):
        build_index(Roots(tmp_path))


@pytest.fixture
def cache(tmp_path):
    simulate_imagery_cache(tmp_path / "cache", subjects=(1, 3), seed=4)
    return tmp_path / "cache"


def test_cache_layout_numbers_trials_over_subjects(cache):
    built = build_index(Roots(cache))
    assert built.layout == "cache"
    assert [path.name for path in built.paths] == ["subj01.parquet", "subj03.parquet", "full_index.parquet"]
    full = read_index(built.paths[-1])
    assert len(full) == 2 * 2 * 6 * 6 and full["trial_id"].is_unique
    assert list(full.columns[:11]) == list(COLUMNS)
    counts = full.groupby(["subject", "condition", "nsd_id"])["repeat_index"].max()
    assert set(counts.xs("imagery", level="condition")) == {7}
    again = build_index(Roots(cache), force=True)
    assert built.paths[0].read_bytes() == again.paths[0].read_bytes()


def test_cache_layout_takes_both_names_of_session_files(cache):
    folder = cache / "nsd_imagery/betas/subj03"
    (folder / "imagery_betas_session02.nii.gz").rename(folder / "session02.nii.gz")
    (folder / "notes_session03.nii.gz").touch()
    assert [path.name for path in CacheLayout(cache).betas(3).values()] == [
        "imagery_betas_session01.nii.gz",
        "session02.nii.gz",
    ]
    (folder / "session02.nii.gz").unlink()
    with pytest.raises(SourceError, match="no nsd_imagery data of subj03, session 2"):
        build_index(Roots(cache))


def test_volumes_that_hold_nothing_are_not_valid(cache):
    import nibabel as nib

    path = cache / "nsd_imagery/betas/subj01/imagery_betas_session01.nii.gz"
    image = nib.load(path)
    values = image.get_fdata(dtype=np.float32)
    values[..., 3], values[..., 5], values[0, 0, 0, 7] = 2, np.nan, np.nan
    nib.save(nib.Nifti1Image(values, image.affine), path)
    table = build_index(Roots(cache), [1], dry_run=True).table
    assert table.index[~table["is_valid"]].tolist() == [3, 5]


def test_two_layouts_at_once_are_not_guessed(cache):
    make_folders(cache)
    with pytest.raises(OptionError, match="the layouts folders and cache are both there"):
        build_index(Roots(cache))
    assert build_index(Roots(cache), layout="folders").layout == "folders"


def run(*arguments: object):
    return CliRunner().invoke(command, [str(one) for one in arguments])


def test_init_layout_makes_folders_once(tmp_path):
    result = run("init-layout", "--cache-root", tmp_path)
    assert result.exit_code == 0 and "7 folders made" in result.output
    assert init_layout(tmp_path) == []
    assert (tmp_path / "nsd_imagery/metadata").is_dir() and (tmp_path / "indices/imagery").is_dir()


def test_index_command_writes_once_and_reports(cache):
    arguments = ("index", "--cache-root", cache, "--report-path", cache / "report.json")
    assert run(*arguments, "--dry-run").exit_code == 0
    assert not (cache / "indices").exists() and not (cache / "report.json").exists()
    result = run(*arguments, "--verbose")
    assert result.exit_code == 0 and "layout cache: 144 trials of subj01, subj03" in result.output
    report = json.loads((cache / "report.json").read_text())
    assert report["layout"] == "cache" and report["rows_with_nsd_id"] == 144
    assert report["condition_counts"] == {"imagery": 96, "perception": 48}
    again = run(*arguments)
    assert again.exit_code == 1 and isinstance(again.exception, OutputError)
    assert run(*arguments, "--force").exit_code == 0
    assert run("index", "--cache-root", cache, "--validate-only").output.endswith("cache: ok\n")


def test_index_command_takes_the_variable_and_one_output(cache, monkeypatch):
    monkeypatch.setenv("NSD_CACHE_ROOT", str(cache))
    assert run("index", "--subject", "3", "--output", cache / "one.parquet").exit_code == 0
    assert set(read_index(cache / "one.parquet")["subject"]) == {"subj03"}
    text = run("info", cache / "one.parquet").output
    assert "subj03 imagery: 48 trials, 6 stimuli, 8.0 repeats, 6 NSD images" in text


def test_missing_subjects_are_named(cache):
    result = run("index", "--subject", "subj07", "--cache-root", cache)
    assert result.exit_code == 1
    assert "no nsd_imagery data of subj07" in str(result.exception)
    assert "available subjects: subj01, subj03" in str(result.exception)
    empty = run("index", "--cache-root", cache / "nothing")
    assert "no nsd_imagery data of any subject" in str(empty.exception)
    assert run("index", "--subject", "subj11").exit_code == 2
