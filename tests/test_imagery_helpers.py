"""The data set over an index, and the helpers that compare seeing with imagining."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imagery_trees import codes, make_folders, make_release
from scipy import stats
from scipy.ndimage import gaussian_filter

from exporters.imagery.build import Roots, build_index
from exporters.simulate.formats import write_hdf5_betas, write_nifti
from exporters.simulate.imagery import simulate_imagery_cache
from nsd_bench.errors import OptionError, PackageError
from nsd_bench.imagery import ImageryDataset
from nsd_bench.imagery.dataset import FeatureCache
from nsd_bench.imagery.index import read_index
from nsd_bench.imagery.pairing import (
    common_subjects,
    pair_conditions,
    shared_stimuli,
    split_by_run,
    split_by_stimulus,
)
from nsd_bench.imagery.preprocessing import GUIDE_FWHM_MM, Chain, Mask, Smoothing, ZScore
from nsd_bench.imagery.reliability import (
    mean_repeats,
    normalised_ratio,
    pooled_ncsnr,
    reliability,
    reliability_by_condition,
    repeat_index,
    snr,
    spearman_brown,
)
from nsd_bench.imagery.responses import by_stimulus, load_responses, zscored
from nsd_bench.imagery.volumes import n_volumes, read_volume_at
from nsd_bench.package.statistics import ncsnr_on
from nsd_bench.transfer import evaluate_encoder

MASK = np.zeros((5, 6, 4), dtype=bool)
MASK[1:3, 2, :3] = True


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    root = tmp_path_factory.mktemp("release")
    runs = make_release(root)
    return root, build_index(Roots(root)).paths[0], codes(runs)


def dataset(release, **options) -> ImageryDataset:
    return ImageryDataset(release[1], cache_root=release[0], **options)


def test_samples_have_the_guides_keys(release):
    data = dataset(release, condition="imagery")
    assert len(data) == 288
    sample = data[3]
    assert list(sample) == [
        *("voxels", "condition", "stimulus_type", "target_image", "target_text", "meta", "trial_id"),
        *("nsd_id", "nsdId", "pair_id", "vividness", "confidence", "split"),
    ]
    assert sample["voxels"].dtype == np.float32 and sample["voxels"].shape == (5, 6, 4)
    assert sample["condition"] == "imagery" and sample["meta"]["trial_id"] == sample["trial_id"] == 1_000_147
    assert sample["nsd_id"] is None and sample["nsdId"] is None and sample["confidence"] is None
    assert sample["pair_id"].startswith("A-") and sample["target_image"].is_file()
    complex_ids = {one["nsd_id"] for one in dataset(release, stimulus_type_filter="complex", limit=48)}
    assert complex_ids == {None, 28751, 30856, 53881, 61177, 65872}


def test_betas_encode_task_and_stimulus_and_averages_recover_them(release):
    code = release[2]
    data = dataset(release, preprocessor=Mask(MASK))
    values = load_responses(data) * 10
    assert values.shape == (720, 6)
    offset = (np.flatnonzero(MASK) % 7) / 30
    np.testing.assert_allclose(values, code[:, None] + offset, rtol=1e-5)
    for task, condition in ((100, "perception"), (200, "imagery")):
        means = by_stimulus(values, data.table, condition)
        assert means.shape == (18, 1, 6)
        np.testing.assert_allclose(means[:, 0], task + np.arange(18)[:, None] + offset, rtol=1e-5)
        for number, kind in enumerate(("simple", "complex", "concepts")):
            part = by_stimulus(values, data.table, condition, kind)
            np.testing.assert_array_equal(part, means[6 * number : 6 * number + 6])
    nested = by_stimulus(values, data.table, "imagery", "complex", average=False)
    assert nested.shape == (6, 16, 6)
    np.testing.assert_allclose(nested.std(axis=1), 0, atol=1e-4)
    with pytest.raises(OptionError, match="no trial has condition 'vision'"):
        by_stimulus(values, data.table, "vision")


def test_a_simulated_cache_gives_its_stated_gain_back(tmp_path):
    root = tmp_path / "cache"
    simulate_imagery_cache(root, subjects=(3,), gain=0.7, noise=0.8, seed=1)
    index = build_index(Roots(root)).paths[0]
    data = ImageryDataset(index, cache_root=root)
    with np.load(tmp_path / "cache.answer/subj03.imagery.npz") as truth:
        stimuli = pd.DataFrame({"stimulus": [f"nsd-{one}" for one in truth["nsd_ids"]]})
        found = evaluate_encoder(
            truth["signals"], load_responses(data), data.table, stimuli.assign(stimulus_type="complex")
        ).metrics["transfer"]
    for name, stated in (("ratio", 0.7), ("gap", -0.3)):
        low, high = found[name]["interval"]
        assert low <= stated <= high and high - low < 0.2


def test_nested_trials_are_padded_with_zeros(release):
    table = pd.DataFrame(
        {"condition": "imagery", "stimulus_type": "simple", "stimulus_number": [4, 4, 2, 4, 2]}
    )
    nested = by_stimulus(np.arange(1.0, 6, dtype=np.float32)[:, None], table, "imagery", average=False)
    assert nested[..., 0].tolist() == [[3, 5, 0], [1, 2, 4]]


@settings(max_examples=20)
@given(n_workers=st.integers(1, 7), seed=st.integers(0, 5), limit=st.integers(1, 720))
def test_workers_share_all_trials_once(release, n_workers, seed, limit):
    data = dataset(release, shuffle=True, seed=seed, limit=limit)
    shares = [data.shard(rank, n_workers).table["trial_id"].tolist() for rank in range(n_workers)]
    together = sorted(number for share in shares for number in share)
    assert together == sorted(data.table["trial_id"]) and len(set(together)) == limit


def test_torch_workers_share_all_trials_once(release):
    torch = pytest.importorskip("torch")
    data = dataset(release, condition="perception", preprocessor=Mask(MASK))
    loader = torch.utils.data.DataLoader(
        data, batch_size=None, num_workers=2, multiprocessing_context="fork", collate_fn=lambda one: one
    )
    samples = list(loader)
    assert [one["trial_id"] for one in samples] == data.table["trial_id"].tolist()
    np.testing.assert_array_equal(np.stack([one["voxels"] for one in samples]), load_responses(data))


def test_shuffling_is_the_same_everywhere_and_filters_leave_the_rest_out(release):
    first, again = (dataset(release, shuffle=True, seed=3).table for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert first["trial_id"].tolist() != dataset(release).table["trial_id"].tolist()
    part = dataset(release, subject="subj01", session=1, stimulus_type_filter="concepts", split_filter="test")
    assert set(part.table["stimulus_type"]) == {"concepts"} and set(part.table["split"]) == {"test"}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"subject": "subj02"}, "no trial has subject 'subj02'"),
        ({"condition": "vision"}, "no trial has condition 'vision'"),
        ({"session": 4}, "no trial has session 4"),
        ({"split_filter": "validation"}, "there is no split 'validation'"),
    ],
)
def test_wrong_filters_name_what_there_is(release, options, problem):
    with pytest.raises(OptionError, match=problem):
        dataset(release, **options)


def test_unreadable_trials_stop_or_are_counted(tmp_path):
    make_folders(tmp_path)
    index = build_index(Roots(tmp_path)).paths[0]
    (tmp_path / "subj02/imagery/run_01/t003.npy").unlink()
    data = ImageryDataset(index, cache_root=tmp_path, on_error="skip")
    assert len(list(data)) == 19 and data.n_skipped == 1
    with pytest.raises(PackageError, match="there is no such file"):
        list(ImageryDataset(index, cache_root=tmp_path))
    with pytest.raises(OptionError, match="there is no worker 3 of 3"):
        data.shard(3, 3)


def test_volumes_have_numbers(release, tmp_path):
    np.save(tmp_path / "one.npy", np.arange(24.0).reshape(2, 3, 4))
    assert n_volumes(tmp_path / "one.npy") == 1
    with pytest.raises(PackageError, match="has 1 volumes, not number 1"):
        read_volume_at(tmp_path / "one.npy", 1)
    (tmp_path / "bad.nii.gz").write_bytes(b"no")
    with pytest.raises(PackageError, match="cannot be read"):
        read_volume_at(tmp_path / "bad.nii.gz", 0)


def test_hdf5_and_nifti_give_the_same(tmp_path):
    betas = np.random.default_rng(0).integers(-900, 900, (60, 7)).astype(np.int16)
    write_nifti(tmp_path / "b.nii.gz", betas, (3, 4, 5))
    write_hdf5_betas(tmp_path / "b.hdf5", betas, (3, 4, 5))
    for index in (0, 6, 2):
        expected = betas[:, index].reshape(3, 4, 5) / np.float32(300)
        np.testing.assert_array_equal(read_volume_at(tmp_path / "b.hdf5", index), expected)
        np.testing.assert_array_equal(read_volume_at(tmp_path / "b.nii.gz", index), expected)


def test_hdf5_is_read_once_and_again_when_it_changes(tmp_path, monkeypatch):
    betas = np.random.default_rng(0).integers(1, 900, (60, 5)).astype(np.int16)
    path, opened, real = tmp_path / "b.hdf5", [], h5py.File
    write_hdf5_betas(path, betas, (3, 4, 5))
    monkeypatch.setattr(h5py, "File", lambda *given: opened.append(given) or real(*given))
    for index in range(5):
        read_volume_at(path, index)
    assert len(opened) == 2  # its shape, and its values
    path.unlink()
    write_hdf5_betas(path, betas[:, :4] + 1, (3, 4, 5))
    changed = (betas[:, 3] + 1) / np.float32(300)
    np.testing.assert_array_equal(read_volume_at(path, 3).ravel(), changed.astype(np.float32))
    with pytest.raises(PackageError, match="has 4 volumes, not number 4"):
        read_volume_at(path, 4)


def test_preprocessing_differs_by_condition(release):
    steps = {name: Smoothing(fwhm) for name, fwhm in GUIDE_FWHM_MM.items()}
    raw, smooth = dataset(release), dataset(release, preprocessor=steps)
    for number, fwhm in ((0, 3.0), (150, 5.0), (60, None)):
        volume = raw[number]["voxels"]
        sigma = fwhm / 1.8 / 2.3548200450309493 if fwhm else 0
        expected = gaussian_filter(volume, sigma, mode="nearest") if fwhm else volume
        np.testing.assert_allclose(smooth[number]["voxels"], expected, rtol=1e-5)
    chain = Chain([Smoothing(0), Mask(MASK)])
    np.testing.assert_array_equal(dataset(release, preprocessor=chain)[5]["voxels"], raw[5]["voxels"][MASK])
    with pytest.raises(OptionError, match="the mask has shape"):
        dataset(release, preprocessor=Mask(MASK[1:]))[0]


def test_zscore_is_fitted_on_some_trials_and_given_to_others(release):
    seen = load_responses(dataset(release, condition="perception", preprocessor=Mask(MASK)))
    steps = {"imagery": Chain([Mask(MASK), ZScore.fitted(seen)]), "perception": Mask(MASK)}
    both = dataset(release, preprocessor=steps)
    raw = dataset(release, preprocessor=Mask(MASK))
    expected = (raw[150]["voxels"] - seen.mean(axis=0)) / (seen.std(axis=0, ddof=1) + 1e-6)
    np.testing.assert_allclose(both[150]["voxels"], expected, rtol=1e-4)
    assert both[150]["voxels"].dtype == np.float32
    np.testing.assert_array_equal(both[3]["voxels"], raw[3]["voxels"])
    with pytest.raises(OptionError) as raised:
        dataset(release, preprocessor=ZScore.fitted(seen))[0]
    assert str(raised.value) == (
        "preprocessor: the z-score has shape (6,), a volume (5, 6, 4).\n"
        "  Expected: the voxels that the z-score was fitted on.\n"
        "  What to do: fit it behind the same mask."
    )


def test_zscores_are_those_of_their_block(release):
    data = dataset(release)
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, (720, 4)).astype(np.float32)
    before = values.copy()
    by_run = zscored(values, data.table, "run")
    run = data.table["run_number"] == 5
    block = values[run].astype(np.float64)
    np.testing.assert_allclose(
        by_run[run], (block - block.mean(0)) / (block.std(0, ddof=1) + 1e-6), rtol=1e-4, atol=1e-6
    )
    fitted = zscored(values, data.table, "perception_train")
    train = ((data.table["condition"] == "perception") & (data.table["split"] == "train")).to_numpy()
    np.testing.assert_allclose(fitted[train].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(fitted[train].std(axis=0, ddof=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(zscored(values, data.table, None), before)
    np.testing.assert_array_equal(values, before)
    with pytest.raises(OptionError, match="there is no zscore 'session'"):
        zscored(values, data.table, "session")
    with pytest.raises(OptionError, match="1 trials to fit the z-score on"):
        zscored(values[:1], data.table[:1], "run")


def test_features_are_shared_by_both_conditions(release, tmp_path):
    cache, computed = FeatureCache(tmp_path / "clip"), []

    def features(nsd_id):
        computed.append(nsd_id)
        return [nsd_id, 1.0]

    ids = dataset(release).table["nsd_id"].dropna()
    assert cache.fill(ids, features) == 5 and cache.fill(ids, features) == 0 and len(computed) == 5
    seen, imagined = (
        dataset(release, condition=name, clip_cache=cache, stimulus_type_filter="complex", limit=60)
        for name in ("perception", "imagery")
    )
    by_id = [
        {one["nsd_id"]: one["clip_target"] for one in data if one["nsd_id"]} for data in (seen, imagined)
    ]
    assert by_id[0].keys() == by_id[1].keys()
    for nsd_id, vector in by_id[0].items():
        np.testing.assert_array_equal(vector, by_id[1][nsd_id])
    assert dataset(release, condition="imagery", clip_cache=cache)[0]["clip_target"] is None
    with pytest.raises(PackageError, match="cannot be read"):
        cache.get(12)
    np.save(tmp_path / "clip/12.npy", np.eye(2))
    with pytest.raises(PackageError, match="is float64 of shape"):
        cache.get(12)


def index_of(condition: str, nsd_ids: list, first: int = 0) -> pd.DataFrame:
    ids = pd.array(nsd_ids, dtype="Int32")
    numbers = np.arange(first, first + len(nsd_ids))
    return pd.DataFrame({"trial_id": numbers, "subject": "subj01", "condition": condition, "nsd_id": ids})


@settings(max_examples=40)
@given(
    seen=st.lists(st.one_of(st.none(), st.integers(0, 6)), min_size=1, max_size=12),
    imagined=st.lists(st.one_of(st.none(), st.integers(0, 6)), min_size=1, max_size=12),
)
def test_pairs_share_their_image(seen, imagined):
    pairs = pair_conditions(index_of("perception", seen), index_of("imagery", imagined, 100))
    expected = [
        (i, 100 + j)
        for i, one in enumerate(seen)
        for j, other in enumerate(imagined)
        if one is not None and one == other
    ]
    found = list(zip(pairs["trial_id_perception"], pairs["trial_id_imagery"], strict=True))
    assert sorted(found) == sorted(expected)


def test_coinciding_trial_ids_are_warned_of():
    with pytest.warns(UserWarning, match="2 trial_ids occur in both indices"):
        pairs = pair_conditions(index_of("perception", [3, 4]), index_of("imagery", [4, 3]))
    assert (pairs["trial_id_perception"] != pairs["trial_id_imagery"]).all()


def test_subjects_in_common():
    first, second = index_of("perception", [1]), index_of("imagery", [1])
    assert common_subjects(first, second) == ["subj01"]
    with pytest.raises(OptionError, match="no subject is in all indices") as raised:
        common_subjects(first, second.assign(subject="subj02"))
    assert "they hold subj01; subj02" in str(raised.value)


def test_shared_stimuli_count_images_and_not_trials():
    shared = shared_stimuli(index_of("perception", [1, 1, 2, 3, None]), index_of("imagery", [1, 3, 3, 9]))
    assert (shared.n_shared, shared.n_perception_only, shared.n_imagery_only) == (2, 1, 1)
    assert shared.perception["nsd_id"].tolist() == [1, 1, 3] and len(shared.imagery) == 3


def test_repeats_are_counted_as_they_are(release):
    table = read_index(release[1])
    real = table[table["condition"] != "attention"]
    np.testing.assert_array_equal(repeat_index(real), real["repeat_index"])
    assert mean_repeats(real[real["condition"] == "perception"]) == 8
    assert mean_repeats(real[real["condition"] == "imagery"]) == 16
    off_by_one = (real["repeat_index"] > 0).groupby([real["condition"], real["stimulus"]]).sum().mean()
    assert off_by_one == 11  # what counting rows above 0 gives: one less than the mean of 8 and 16


def icc1(values: np.ndarray) -> float:
    """Shrout and Fleiss' ICC(1), targets in rows, by scipy's one-way analysis of variance."""
    k = values.shape[1]
    f = stats.f_oneway(*values).statistic
    return (f - 1) / (f + k - 1)


def test_reliability_is_the_intraclass_correlation():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(5, 1)) + rng.normal(size=(5, 4))
    stimulus = np.repeat(np.arange(5), 4)
    expected = icc1(values)
    assert reliability(values.reshape(-1, 1), stimulus)[0] == pytest.approx(expected)
    assert reliability(values.reshape(-1, 1), stimulus, 4)[0] == pytest.approx(spearman_brown(expected, 4))
    assert snr(values.reshape(-1, 1), stimulus)[0] == pytest.approx(max(0, expected / (1 - expected)))


def test_reliability_does_not_depend_on_the_number_of_repeats():
    rng = np.random.default_rng(2)
    signal = rng.normal(size=(18, 400))
    tables, values = [], []
    for condition, repeats in (("perception", 8), ("imagery", 16)):
        stimulus = np.repeat(np.arange(18), repeats)
        values.append(0.7 * signal[stimulus] + rng.normal(size=(len(stimulus), 400)))
        tables.append(pd.DataFrame({"condition": condition, "stimulus": stimulus}))
    summary = reliability_by_condition(np.concatenate(values), pd.concat(tables, ignore_index=True), 8)
    assert summary["mean_repeats"].to_dict() == {"perception": 8, "imagery": 16}
    expected = spearman_brown(0.49 / 1.49, 8)
    np.testing.assert_allclose(summary["reliability"], expected, atol=0.03)
    np.testing.assert_allclose(summary["snr"], 0.49, atol=0.06)


def test_pooled_ncsnr_is_the_exporters_on_one_session():
    rng = np.random.default_rng(3)
    stimulus = np.repeat(np.arange(9), [2, 2, 2, 4, 4, 8, 8, 10, 10])
    values = rng.normal(size=(9, 5))[stimulus] + rng.normal(size=(50, 5)) + 3
    np.testing.assert_allclose(pooled_ncsnr(values, stimulus), ncsnr_on([values], stimulus))
    groups = [values[stimulus == one, 0] for one in range(9)]
    noise = sum(((one - one.mean()) ** 2).sum() for one in groups) / (50 - 9)
    expected = np.sqrt(max(0, values[:, 0].var(ddof=1) - noise) / noise)
    assert pooled_ncsnr(values, stimulus)[0] == pytest.approx(expected)


def test_unrepeated_stimuli_have_no_reliability():
    with pytest.raises(OptionError, match="3 stimuli with 3 trials"):
        reliability(np.eye(3), np.arange(3))


def test_ratios_are_normalised_or_refused():
    with pytest.raises(OptionError, match="ceilings 0 and 1"):
        normalised_ratio(0.1, 0.2, imagery_ceiling=0, perception_ceiling=1)
    assert normalised_ratio(0.3, 0.6, imagery_ceiling=0.5, perception_ceiling=1) == pytest.approx(1)


def test_splits_keep_runs_or_stimuli_together(release):
    table = read_index(release[1])
    by_run = pd.Series(split_by_run(table)).groupby(table["run_number"]).nunique()
    assert by_run.tolist() == [1] * 12
    runs = table.assign(split=split_by_run(table)).groupby("split")["run_number"].nunique()
    assert runs.to_dict() == {"train": 9, "val": 1, "test": 2}
    split = pd.Series(split_by_stimulus(table))
    assert split.groupby(table["stimulus"]).nunique().tolist() == [1] * 18
    assert split.value_counts().index[0] == "train" and set(split) == {"train", "val", "test"}
    with pytest.raises(OptionError, match="the index has no column 'stimulus'"):
        split_by_stimulus(table.drop(columns="stimulus"))
