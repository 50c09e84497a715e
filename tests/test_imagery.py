"""NSD-Imagery's index: trials, schema, three layouts, and what contradicts itself."""

from __future__ import annotations

import json
import re
import shutil
from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.io
from click.testing import CliRunner
from imagery_trees import BEHAVIOUR, BETAS, CUES, DESIGN, SHAPE, codes, make_folders, make_release

from exporters.imagery.build import Roots, build_index
from exporters.imagery.layout import CacheLayout, init_layout
from exporters.nsd import imagery
from exporters.nsd.imagery import ImageryLayout, imagery_trials, read_stimuli
from exporters.simulate.formats import write_mat
from exporters.simulate.imagery import simulate_imagery_cache
from nsd_bench.cli.imagery import imagery_command as command
from nsd_bench.errors import OptionError, OutputError, PackageError, SourceError
from nsd_bench.imagery import ImageryTrial, read_index, write_index
from nsd_bench.imagery.index import (
    COLUMNS,
    IndexNotFoundError,
    cache_root,
    relative_to_cache,
    schema_problem,
    trials_of,
)
from nsd_bench.imagery.trial import trial_id
from nsd_bench.imagery.volumes import read_volume_at

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
    for column in ("beta_path", "roi_mask_path", "target_image"):
        with pytest.raises(PackageError, match="holds the absolute path /data/betas"):
            write_index(tmp_path / "i", row().assign(**{column: "/data/betas"}))
    pq.write_table(pa.table({"trial_id": pa.array([1], pa.int32())}), tmp_path / "other")
    with pytest.raises(PackageError, match="column 'trial_id' is int32, not int64"):
        read_index(tmp_path / "other")
    (tmp_path / "text").write_text("no")
    assert "cannot be read" in str(schema_problem(tmp_path / "text"))


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


def refusal(root) -> str:
    with pytest.raises(SourceError) as raised:
        imagery_trials(ImageryLayout(root), 1)
    return str(raised.value).replace(str(root), "NSD")


FIX = "fetch NSD-Imagery's behaviour and design again; do not mix subjects or releases"


def test_a_sets_first_imagery_run_repeats_its_vision_run(release):
    """As NSD's do: neither trials nor onsets tell seeing from imagining."""
    root, runs = release
    for letter in "ABC":
        seen, imagined = runs[f"vis{letter}"], runs[f"img{letter}_1"]
        pd.testing.assert_frame_equal(seen.drop(columns="cue"), imagined.drop(columns="cue"))
        assert (imagined["cue"] == imagined["condition"]).all() and (seen["cue"] != seen["condition"]).any()
    file = scipy.io.loadmat(root / DESIGN)["stimulus"][0]
    np.testing.assert_array_equal(file[0][:, :6], file[2][:, 18:24])


def test_any_two_runs_that_are_swapped_are_named(own_release, monkeypatch):
    """By the model of the betas alone: designs of single runs may be missing. Files are read once."""
    for path in (own_release / DESIGN).parent.glob("*_dm.mat"):
        path.unlink()
    paths = {run: own_release / BEHAVIOUR.format(run) for run in BLOCKS}
    tables = {path: imagery._read_run(path, 1) for path in paths.values()}
    matrices = imagery.read_single_trial_designs(own_release / DESIGN, 12)
    monkeypatch.setattr(imagery, "_read_run", lambda path, subject: swapped[path])
    monkeypatch.setattr(imagery, "read_single_trial_designs", lambda path, n_runs: matrices)
    swapped = tables
    assert len(imagery_trials(ImageryLayout(own_release), 1)) == 720
    for one, other in combinations(paths, 2):
        numbers = [int(tables[paths[run]]["RUN"].iloc[0]) for run in (other, one)]
        pair = zip((one, other), numbers, strict=True)
        swapped = tables | {paths[run]: tables[paths[run]].assign(RUN=number) for run, number in pair}
        place = refusal(own_release).splitlines()[0]
        assert place.startswith((f"NSD/{BEHAVIOUR.format(one)}: ", f"NSD/{BEHAVIOUR.format(other)}: "))


def test_runs_that_nothing_else_tells_apart_follow_nsds_order(own_release):
    """Two attention runs with the same trials in the same order."""
    for path in (own_release / DESIGN).parent.glob("*_dm.mat"):
        path.unlink()
    edit(own_release, "attA", lambda table: table.assign(RUN=5, CONDITION=list("HRVLPE") * 8))
    edit(own_release, "attB", lambda table: table.assign(RUN=2, CONDITION=list("WKBCDT") * 8))
    file = scipy.io.loadmat(own_release / DESIGN)
    matrix = np.zeros((480, 36))
    slot = np.arange(48)
    matrix[16 + 8 * slot, 6 + slot % 6] = matrix[19 + 8 * slot, 12 + slot % 6] = 1
    file["stimulus"][0, [1, 4]] = matrix, matrix
    write_mat(own_release / DESIGN, {"stimulus": file["stimulus"]})
    assert refusal(own_release) == (
        f"NSD/{BEHAVIOUR.format('attB')}: RUN is 2.\n"
        "  Expected: attA to be run 2, as for all subjects.\n"
        f"  What to do: {FIX}."
    )


@pytest.mark.parametrize(("one", "other"), [("visA", "visC"), ("imgA_1", "imgA_2"), ("attB", "attC")])
def test_swapped_numbers_of_runs_are_refused(own_release, one, other):
    numbers = {run: 1 + list(BLOCKS).index(run) for run in (one, other)}
    edit(own_release, one, lambda table: table.assign(RUN=numbers[other]))
    edit(own_release, other, lambda table: table.assign(RUN=numbers[one]))
    first, run = min((numbers[other], one), (numbers[one], other))
    lines = refusal(own_release).splitlines()
    assert re.fullmatch(
        rf"NSD/{BEHAVIOUR.format(run)}: trial \d+ is '\w', but column \d+ "
        rf"of matrix {first} of designmatrixGLMsingle\.mat was '\w' before\.",
        lines[0],
    )
    assert lines[1:] == [
        f"  Expected: the run that matrix {first} of designmatrixGLMsingle.mat is of, {run}, "
        "with its order of trials.",
        f"  What to do: {FIX}.",
    ]


def test_a_run_of_another_task_is_refused(own_release):
    edit(own_release, "visA", lambda table: table.assign(RUN=2))
    edit(own_release, "attA", lambda table: table.assign(RUN=1))
    assert refusal(own_release) == (
        f"NSD/{BEHAVIOUR.format('attA')}: matrix 1 of designmatrixGLMsingle.mat has 48 onsets in 6 columns.\n"
        "  Expected: 96 onsets in 12 columns, for attA.\n"
        f"  What to do: {FIX}."
    )


@pytest.mark.parametrize(("one", "other"), [("visA", "imgA_1"), ("imgA_1", "imgB_1"), ("visB", "imgC_2")])
def test_a_matrix_in_the_columns_of_another_run_is_refused(own_release, one, other):
    numbers = {run: 1 + list(BLOCKS).index(run) for run in (one, other)}
    edit(own_release, one, lambda table: table.assign(RUN=numbers[other]))
    edit(own_release, other, lambda table: table.assign(RUN=numbers[one]))
    columns = {"v": ("0 to 5", "vision"), "A": ("18 to 23", "imagery of set A")}
    columns |= {"B": ("24 to 29", "imagery of set B"), "C": ("30 to 35", "imagery of set C")}
    (has, of), (expected, wanted) = (columns[run[0 if run[0] == "v" else 3]] for run in (one, other))
    assert refusal(own_release) == (
        f"NSD/{BEHAVIOUR.format(other)}: matrix {numbers[one]} of designmatrixGLMsingle.mat has its onsets "
        f"in columns {has}, those of {of}.\n"
        f"  Expected: columns {expected}, those of {wanted}, for {other}.\n"
        f"  What to do: {FIX}."
    )


@pytest.mark.parametrize(("one", "other"), [("imgA_1", "imgA_2"), ("imgB_2", "imgB_1"), ("attA", "attB")])
def test_swapped_files_are_refused_by_the_designs_of_their_names(own_release, one, other):
    """Everything but the files' names fits the model of the betas: seeing would be called imagining."""
    paths = [own_release / BEHAVIOUR.format(run) for run in (one, other)]
    tables = [path.read_bytes() for path in paths]
    for path, table in zip(paths, reversed(tables), strict=True):
        path.write_bytes(table)
    run = max(one, other, key=list(BLOCKS).index)  # now holds the earlier run
    assert f"of {run}_dm.mat was " in (text := refusal(own_release))
    assert text.splitlines()[1:] == [
        f"  Expected: the run that {run}_dm.mat is of, {run}, with its order of trials.",
        f"  What to do: {FIX}; {run}_dm.mat is checked only where it is there.",
    ]


def test_shuffled_trials_are_refused(own_release):
    columns = ["CONDITION", "CUE"]

    def shuffle(table):
        order = np.random.default_rng(1).permutation(48)
        return table.assign(**{name: table[name].to_numpy()[order] for name in columns})

    edit(own_release, "imgC_2", shuffle)
    assert "of matrix 12 of designmatrixGLMsingle.mat" in refusal(own_release)
    stimulus = scipy.io.loadmat(own_release / DESIGN)["stimulus"]
    stimulus[0, 11] = consistent_with(own_release, "imgC_2")
    write_mat(own_release / DESIGN, {"stimulus": stimulus})
    assert "of imgC_2_dm.mat" in refusal(own_release)


def consistent_with(root, run) -> np.ndarray:
    """Return a design in which the run's behaviour is right."""
    letters = pd.read_csv(root / BEHAVIOUR.format(run), sep="\t")["CONDITION"]
    matrix = np.zeros((240, 36))
    matrix[4 * np.arange(48), 30 + pd.factorize(letters)[0]] = 1
    return matrix


def test_own_designs_may_be_missing_boxcars_or_of_coarser_columns(own_release):
    before = imagery_trials(ImageryLayout(own_release), 1)
    path = (own_release / DESIGN).with_name("visB_dm.mat")
    dm = scipy.io.loadmat(path)["dm"]
    assert dm.shape == (240, 12) and scipy.io.loadmat(path)["condit_list"].shape == (12, 2)
    write_mat(path, {"dm": dm + np.roll(dm, 1, axis=0) + np.roll(dm, 2, axis=0)})
    pd.testing.assert_frame_equal(imagery_trials(ImageryLayout(own_release), 1), before)
    write_mat(path, {"dm": dm[:, :6] + dm[:, 6:]})
    pd.testing.assert_frame_equal(imagery_trials(ImageryLayout(own_release), 1), before)
    path.unlink()
    pd.testing.assert_frame_equal(imagery_trials(ImageryLayout(own_release), 1), before)


@pytest.mark.parametrize(
    ("run", "shape", "condit_list"), [("imgC_2", (240, 6), (6, 1)), ("attB", (480, 12), (12, 2))]
)
def test_own_designs_have_the_releases_shapes(release, run, shape, condit_list):
    file = scipy.io.loadmat((release[0] / DESIGN).with_name(f"{run}_dm.mat"))
    assert file["dm"].shape == shape and file["condit_list"].shape == condit_list
    assert set(np.unique(file["dm"])) == {0, 1} and file["dm"].sum() == 48 * (1 + run.startswith("att"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"dm": np.zeros((240, 6))}, "imgA_2_dm.mat has 0 onsets in 0 columns.\n  Expected: 48 onsets in 6"),
        ({"dm": np.array([["a"]], dtype=object)}, "'dm' is object of shape (1, 1)"),
        ({"design": np.zeros((240, 6))}, "has no variable 'dm'.\n  Expected: a MATLAB file with 'dm'."),
    ],
)
def test_broken_own_designs_are_refused(own_release, content, problem):
    write_mat((own_release / DESIGN).with_name("imgA_2_dm.mat"), content)
    assert problem in refusal(own_release)


def test_an_epoch_in_the_others_column_is_refused(own_release):
    path = (own_release / DESIGN).with_name("attC_dm.mat")
    dm = scipy.io.loadmat(path)["dm"]
    seconds = np.flatnonzero(dm.any(axis=1))[-2:]  # the last trial's cue and detection
    dm[seconds] = np.roll(dm[seconds], 6, axis=1)
    write_mat(path, {"dm": dm})
    text = refusal(own_release)
    assert re.search(
        r"trial 48 has its cue in column \d+ of attC_dm\.mat, where others have detections\.", text
    )


def test_attention_designs_stand_for_condition_or_cue(own_release):
    before = imagery_trials(ImageryLayout(own_release), 1)
    edit(own_release, "attA", lambda table: table.assign(CONDITION=list("HRVLPE") * 8))
    pd.testing.assert_frame_equal(imagery_trials(ImageryLayout(own_release), 1), before)
    edit(own_release, "attA", lambda table: table.assign(CONDITION=table["CUE"], CUE=list("HRVLPE") * 8))
    after = imagery_trials(ImageryLayout(own_release), 1)
    assert after["cue"][48:56].tolist() == list("HHRRVVLL")  # attended to is what the cue says
    edit(own_release, "attA", lambda table: table.assign(CONDITION=table["CUE"]))
    assert "of matrix 2 of designmatrixGLMsingle.mat was" in refusal(own_release)


def test_spelling_of_columns_does_not_matter(own_release):
    before = imagery_trials(ImageryLayout(own_release), 1)

    def respell(table):
        padded = table.assign(**{name: " " + table[name] + " " for name in ("CONDITION", "CUE", "FRAMEFILE")})
        return padded.iloc[:, ::-1].rename(columns=lambda name: f" {name.capitalize()}")

    for run in ("visA", "imgB_2", "attC"):
        edit(own_release, run, respell)
    pd.testing.assert_frame_equal(imagery_trials(ImageryLayout(own_release), 1), before)


@pytest.mark.parametrize(
    ("run", "change", "problem"),
    [
        (
            "visB",
            lambda t: t.drop(columns=["CUE", "RUN"]),
            "lacks the columns RUN, CUE; it has SUBJECT, SESSION, TRIAL",
        ),
        ("visB", lambda t: t.assign(cue=t["CUE"]), "has more than once the column CUE; it has SUBJECT"),
        ("visB", lambda t: t.assign(RUN="b"), "row 1: RUN is 'b'"),
        ("visB", lambda t: t.assign(RUN=np.nan), "RUN holds no number"),
        ("visB", lambda t: t.assign(RUN=4.5), "row 1: RUN is '4.5'"),
        ("visB", lambda t: t.assign(BUTTON="left"), "row 1: BUTTON is 'left'"),
        ("visB", lambda t: t.assign(BUTTON=3), "BUTTON is 3"),
        ("visB", lambda t: t.assign(SUBJECT=2), "is of subject 2"),
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


def test_another_file_of_betas_is_one_subjects(own_release):
    other = own_release / BETAS.replace("subj01", "subj02")
    other.parent.mkdir(parents=True)
    shutil.copy(own_release / BETAS, other)
    with pytest.raises(OptionError) as raised:
        build_index(Roots(own_release, beta_path=other))
    assert str(raised.value) == (
        "--beta-path: one file of betas, and 2 subjects.\n"
        "  Expected: one subject.\n"
        "  What to do: name it, for example --subject 1."
    )
    table = build_index(Roots(own_release, beta_path=other), [1], dry_run=True).table
    assert set(table["beta_path"]) == {BETAS.replace("subj01", "subj02")}


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


def test_folders_say_the_condition_and_files_do_not(tmp_path):
    make_folders(tmp_path)
    path = tmp_path / "subj02/metadata.json"
    trials = json.loads(path.read_text())["trials"]
    (tmp_path / "subj02/imagery/run_01/t001.npy").rename(
        tmp_path / "subj02/imagery/run_01/perception_t001.npy"
    )
    trials[1]["trial_id"] = "perception_t001"
    trials[2] |= {"condition": "attention", "session": 4, "run_number": 7}
    path.write_text(json.dumps({"trials": trials}))
    table = build_index(Roots(tmp_path), dry_run=True).table
    assert table["condition"].tolist()[:4] == ["perception", "imagery", "attention", "imagery"]
    assert table.loc[2, ["session", "run_number", "trial_in_session"]].tolist() == [4, 7, 0]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"trial_id": "t003"}, "lists the trial 't003' more than once"),
        ({"nsd_id": 3}, "entry 20 has no trial_id"),
        ("t020", "entry 20 has no trial_id"),
        ({"trial_id": "t020", "condition": "vision"}, "entry 20 has the condition 'vision'"),
        ({"trial_id": "t020", "nsd_id": "three"}, "entry 20 has the nsd_id 'three'"),
    ],
)
def test_folders_refuse_wrong_entries(tmp_path, entry, problem):
    make_folders(tmp_path)
    path = tmp_path / "subj02/metadata.json"
    trials = json.loads(path.read_text())["trials"]
    path.write_text(json.dumps({"trials": [*trials, entry]}))
    with pytest.raises(SourceError) as raised:
        build_index(Roots(tmp_path))
    assert str(raised.value) == (
        f'{path}: {problem}.\n  Expected: {{"trials": [{{"trial_id": ...}}, ...]}}.\n'
        "  What to do: correct the file; docs/imagery.md describes the layout."
    )


def test_a_trial_with_two_files_is_refused(tmp_path):
    make_folders(tmp_path)
    shutil.copy(tmp_path / "subj02/imagery/run_01/t003.npy", tmp_path / "subj02/perception/run_01")
    with pytest.raises(SourceError) as raised:
        build_index(Roots(tmp_path))
    assert str(raised.value).startswith(
        f"{tmp_path / 'subj02'}: trial 't003' has two files, imagery/run_01/t003.npy and "
        "perception/run_01/t003.npy.\n"
    )


def test_folders_report_broken_metadata(tmp_path):
    make_folders(tmp_path)
    path = tmp_path / "subj02/metadata.json"
    path.write_text('{"trials": []}')
    with pytest.raises(SourceError, match="lists no trial"):
        build_index(Roots(tmp_path))
    path.write_text("{}")
    with pytest.raises(SourceError, match="there is no 'trials' in it"):
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


def test_stimuli_that_are_no_images_have_names_or_no_repeats(cache):
    path = cache / "nsd_imagery/metadata/trial_manifest_subj01.csv"
    manifest = pd.read_csv(path).astype({"nsd_id": "Int64"})
    bars = manifest["nsd_id"] == manifest["nsd_id"].min()
    manifest.loc[bars, "nsd_id"] = pd.NA
    manifest.to_csv(path, index=False)
    rows = build_index(Roots(cache), [1], dry_run=True, snr=True).table
    assert rows.loc[bars, "repeat_index"].eq(0).all() and rows.loc[bars, "stimulus"].isna().all()
    manifest.assign(stimulus=np.where(bars, "A-H", None)).to_csv(path, index=False)
    named = build_index(Roots(cache), [1], dry_run=True, snr=True).table
    seen = named[bars].groupby("condition")["repeat_index"].max()
    assert seen.to_dict() == {"imagery": 7, "perception": 3} and set(named.loc[bars, "stimulus"]) == {"A-H"}
    pd.testing.assert_series_equal(named.loc[~bars, "stimulus"], rows.loc[~bars, "stimulus"])
    assert (named["snr_estimate"] != rows["snr_estimate"]).all()


@pytest.mark.parametrize(
    ("file", "column", "value", "problem"),
    [
        ("metadata/trial_manifest_subj01.csv", "nsd_id", "x", "holds the nsd_id 'x'"),
        ("metadata/trial_manifest_subj01.csv", "session", 1.5, "holds the session"),
        ("metadata/trial_manifest_subj01.csv", "condition", "vision", "holds the condition 'vision'"),
        ("stimuli/imagery_stimuli_info.csv", "coco_id", "x", "holds the coco_id 'x'"),
        ("stimuli/imagery_stimuli_info.csv", "nsd_id", 5, "lists the nsd_id 5 more than once"),
    ],
)
def test_wrong_cells_of_manifests_are_refused(cache, file, column, value, problem):
    path = cache / "nsd_imagery" / file
    table = pd.read_csv(path).astype({column: object})
    table.loc[[2, 4], column] = value
    table.to_csv(path, index=False)
    with pytest.raises(SourceError, match=problem) as raised:
        build_index(Roots(cache))
    assert str(raised.value).startswith(f"{path}: ")


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
    (tmp_path / "nsd_hdf5").mkdir()
    result = run("init-layout", "--cache-root", tmp_path)
    assert result.exit_code == 0 and "6 folders made" in result.output
    assert init_layout(tmp_path) == []
    assert (tmp_path / "nsd_imagery/metadata").is_dir() and (tmp_path / "indices/imagery").is_dir()


def test_a_cache_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert str(run("init-layout", "--cache-root", tmp_path / "file").exception) == (
        f"{tmp_path / 'file/nsd_imagery/betas'}: cannot be made (Not a directory).\n"
        "  Expected: a cache root that is a folder, or can become one.\n"
        "  What to do: give another --cache-root, or set NSD_CACHE_ROOT."
    )


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
    assert "give --force to replace it, or --output FILE to write elsewhere" in str(again.exception)
    assert run(*arguments, "--force").exit_code == 0
    assert run("index", "--cache-root", cache, "--validate-only").output.endswith("cache: ok\n")


def test_index_command_takes_the_variable_and_one_output(cache, monkeypatch):
    monkeypatch.setenv("NSD_CACHE_ROOT", str(cache))
    assert run("index", "--subject", "3", "--output", cache / "one.parquet").exit_code == 0
    assert set(read_index(cache / "one.parquet")["subject"]) == {"subj03"}
    text = run("info", cache / "one.parquet").output
    assert "subj03 imagery: 48 trials, 6 stimuli, 8.0 repeats, 6 NSD images" in text


def test_info_counts_an_attention_trial_once(own_release):
    built = build_index(Roots(own_release))
    lines = run("info", built.paths[0]).output.splitlines()
    assert [line.split(", ")[2] for line in lines[1:]] == ["8.0 repeats", "16.0 repeats", "8.0 repeats"]
    assert lines[1].startswith(
        "  subj01 attention: 288 trials, 18 stimuli, 8.0 repeats, 5 NSD images, complex"
    )


def test_missing_subjects_are_named(cache):
    result = run("index", "--subject", "subj07", "--cache-root", cache)
    assert result.exit_code == 1
    assert "no nsd_imagery data of subj07" in str(result.exception)
    assert "available subjects: subj01, subj03" in str(result.exception)
    empty = run("index", "--cache-root", cache / "nothing")
    assert str(empty.exception) == (
        f"{cache / 'nothing'}: no nsd_imagery data of any subject.\n"
        "  Expected: nsddata/experiments/nsdimagery (NSD's release), "
        "nsd_imagery/metadata/trial_manifest_subjNN.csv (a cache) or subjNN/metadata.json (folders).\n"
        "  What to do: fetch the subject's NSD-Imagery, or correct --subject, --data-root or --cache-root."
    )
    assert run("index", "--subject", "subj11").exit_code == 2
