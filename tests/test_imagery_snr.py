"""The signal-to-noise ratio of an index: one pass over the betas, the same numbers as on arrays."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from imagery_trees import BETAS, SHAPE, make_folders, make_release
from sklearn.feature_selection import f_classif

from exporters.imagery.build import Roots, build_index, with_snr
from exporters.simulate.formats import write_nifti
from exporters.simulate.imagery import simulate_imagery_cache
from nsd_bench.cli.imagery import imagery_command as command
from nsd_bench.errors import OptionError, SourceError
from nsd_bench.imagery import ImageryDataset, read_index
from nsd_bench.imagery.index import trials_of
from nsd_bench.imagery.reliability import StimulusSums, snr
from nsd_bench.imagery.responses import load_responses

NSDGENERAL = "nsddata/ppdata/subj01/func1pt8mm/roi/nsdgeneral.nii.gz"
N_VOXELS = int(np.prod(SHAPE))


def sums_of(values: np.ndarray, stimulus: np.ndarray) -> StimulusSums:
    sums = StimulusSums()
    for one, row in zip(stimulus.tolist(), values, strict=True):
        sums.add(one, row)
    return sums


def test_signal_and_noise_are_those_of_an_analysis_of_variance():
    rng = np.random.default_rng(0)
    stimulus = np.repeat(np.arange(5), [2, 3, 3, 4, 7])
    order = rng.permutation(len(stimulus))
    values = (rng.normal(size=(5, 4))[stimulus] + rng.normal(size=(19, 4)) + 1e4)[order]
    sums = sums_of(values, stimulus[order])
    signal, noise = sums.variances()
    groups = [values[stimulus[order] == one] for one in range(5)]
    within = sum(((group - group.mean(axis=0)) ** 2).sum(axis=0) for group in groups) / (19 - 5)
    np.testing.assert_allclose(noise, within, rtol=1e-9)
    per_stimulus = (19 - sum(len(group) ** 2 for group in groups) / 19) / 4
    f_values = f_classif(values - 1e4, stimulus[order])[0]
    np.testing.assert_allclose(signal, (f_values - 1) * within / per_stimulus, rtol=1e-7)
    np.testing.assert_array_equal(sums.snr(), snr(values, stimulus[order]))


def test_constant_units_have_no_ratio_and_nothing_is_changed():
    values = np.array([[3.0, 1.0], [3.0, 2.0], [3.0, 4.0], [3.0, 3.0]])
    before = values.copy()
    sums = sums_of(values, np.array(["a", "a", "b", "b"]))
    np.testing.assert_array_equal(sums.snr(), [np.nan, (4.0 - 0.5) / 2 / 0.5])
    np.testing.assert_array_equal(values, before)


def test_sums_without_repeats_say_so():
    sums = StimulusSums()
    sums.add("a", np.ones(2))
    sums.add("a", np.ones(2))
    assert not sums.has_repeats
    with pytest.raises(OptionError, match="1 stimuli with 2 trials"):
        sums.snr()
    sums.add("b", np.ones(2))
    assert sums.has_repeats


@pytest.fixture
def release(tmp_path):
    """A release whose betas are noise around their code, and a mask of 20 voxels."""
    runs = make_release(tmp_path)
    assert len(runs) == 12
    rng = np.random.default_rng(3)
    table = build_index(Roots(tmp_path), dry_run=True).table
    signal = rng.normal(size=(18, N_VOXELS))
    gain = table["condition"].map({"perception": 1, "imagery": 0.5, "attention": 0}).to_numpy()
    betas = gain[:, None] * signal[table["stimulus_number"]] + rng.normal(size=(720, N_VOXELS))
    betas[:, 7] = 0
    write_nifti(tmp_path / BETAS, np.rint(300 * betas.T).astype(np.int16), SHAPE, tr_s=1)
    write_nifti(tmp_path / NSDGENERAL, (np.arange(N_VOXELS) < 20).astype(np.float64) * 2 - 1, SHAPE, tr_s=1)
    return tmp_path


def test_estimates_are_medians_over_the_mask_by_condition_and_epoch(release):
    before = build_index(Roots(release), dry_run=True).table
    table = build_index(Roots(release), dry_run=True, snr=True).table
    pd.testing.assert_frame_equal(table.drop(columns="snr_estimate"), before)
    assert set(table["roi_mask_path"]) == {NSDGENERAL}
    build_index(Roots(release))
    data = ImageryDataset(release / "indices/imagery/subj01.parquet", cache_root=release)
    values = load_responses(data)[:, :20]
    for (condition, epoch), rows in table.groupby(["condition", table["epoch"].fillna("")]).groups.items():
        expected = np.nanmedian(snr(values[rows], table.loc[rows, "stimulus"].to_numpy()))
        found = table.loc[rows, "snr_estimate"].unique()
        assert found == pytest.approx([expected]), (condition, epoch)
    by_condition = table.groupby("condition")["snr_estimate"].first()
    assert by_condition["perception"] == pytest.approx(1, rel=0.3)
    assert by_condition["imagery"] == pytest.approx(0.25, rel=0.4)
    assert by_condition["attention"] < 0.1


def test_without_a_mask_all_voxels_that_vary_count_and_invalid_trials_do_not(release):
    (release / NSDGENERAL).unlink()
    rows = build_index(Roots(release), dry_run=True).table
    assert rows["roi_mask_path"].isna().all()
    whole = with_snr(rows, release)["snr_estimate"]
    assert whole.notna().all()
    rows.loc[0, "is_valid"] = False
    others = with_snr(rows, release)["snr_estimate"]
    assert ((others != whole) == (rows["condition"] == "perception")).all()


def test_a_simulated_cache_gives_its_stated_ratios(tmp_path):
    root = tmp_path / "cache"
    simulate_imagery_cache(root, subjects=(2, 3), n_images=30, gain=0.5, noise=0.4, seed=2)
    built = build_index(Roots(root), snr=True)
    found = read_index(built.paths[0]).groupby("condition")["snr_estimate"].unique()
    assert found["perception"] == pytest.approx([1 / 0.16], rel=0.2)
    assert found["imagery"] == pytest.approx([0.25 / 0.16], rel=0.2)
    assert all(trial.snr_estimate for trial in trials_of(read_index(built.paths[1])))
    assert built.report()["rows_with_snr_estimate"] == len(built.table)


def test_stimuli_without_repeats_have_no_estimate(tmp_path):
    make_folders(tmp_path)
    path = tmp_path / "subj02/metadata.json"
    trials = json.loads(path.read_text())["trials"]
    path.write_text(json.dumps({"trials": [{**one, "nsd_id": n} for n, one in enumerate(trials)]}))
    built = build_index(Roots(tmp_path), dry_run=True, snr=True)
    assert built.table["snr_estimate"].isna().all() and built.report()["rows_with_snr_estimate"] == 0


def test_masks_that_do_not_fit_are_refused(release):
    write_nifti(release / NSDGENERAL, np.ones(24), (2, 3, 4))
    with pytest.raises(SourceError) as raised:
        build_index(Roots(release), snr=True)
    assert str(raised.value) == (
        f"{release / BETAS}: has shape {SHAPE}, nsdgeneral.nii.gz (2, 3, 4).\n"
        f"  Expected: the grid of {release / NSDGENERAL}.\n"
        "  What to do: check that both files are of the same subject and space, and fetch them again."
    )
    assert not (release / "indices").exists()
    (release / NSDGENERAL).write_bytes(b"no")
    with pytest.raises(SourceError, match=r"nsdgeneral\.nii\.gz: cannot be read"):
        build_index(Roots(release), snr=True)


def test_grids_that_differ_are_refused(tmp_path):
    make_folders(tmp_path)
    np.save(tmp_path / "subj02/imagery/run_02/t019.npy", np.ones((2, 3, 5)) * np.arange(5))
    with pytest.raises(SourceError, match=r"has shape \(2, 3, 5\), other betas \(2, 3, 4\)"):
        build_index(Roots(tmp_path), snr=True)


def test_the_command_fills_the_column_when_asked(tmp_path):
    root = tmp_path / "cache"
    simulate_imagery_cache(root, subjects=(1,), n_images=4)
    run = CliRunner().invoke
    plain = run(command, ["index", "--cache-root", str(root)])
    assert plain.exit_code == 0 and "signal-to-noise" not in plain.output
    assert "snr_estimate" not in read_index(root / "indices/imagery/subj01.parquet")
    asked = run(command, ["index", "--cache-root", str(root), "--snr", "--force"])
    table = read_index(root / "indices/imagery/subj01.parquet")
    means = {name: part["snr_estimate"].iloc[0] for name, part in table.groupby("condition")}
    expected = f"signal-to-noise ratio: imagery {means['imagery']:.3f}, perception {means['perception']:.3f}"
    assert asked.exit_code == 0 and expected in asked.output
