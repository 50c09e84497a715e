"""Transfer from seeing to imagining: planted gains come back, nulls and intervals mean what they say."""

from __future__ import annotations

import json
from functools import partial
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from nsd_bench.errors import OutputError, SubmissionError
from nsd_bench.transfer import TransferOptions, evaluate_decoder, evaluate_encoder, write_evaluation
from nsd_bench.transfer.adapters import LinearAdapter, adapted_out_of_sample, fit_linear
from nsd_bench.transfer.metrics import (
    Null,
    cosines,
    legacy_retrieval,
    normalised,
    places,
    relabelled,
    relabelling_null,
)

FEW = TransferOptions(n_draws=200)
SETS = ["simple"] * 6 + ["complex"] * 6
STIMULI = pd.DataFrame({"stimulus": [f"s{k}" for k in range(12)], "stimulus_type": SETS})


def trials_of(repeats: dict[str, int]) -> pd.DataFrame:
    parts = [
        pd.DataFrame({"condition": name, "stimulus": np.repeat(STIMULI["stimulus"], n)})
        for name, n in repeats.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.assign(trial_id=np.arange(len(table)))


TABLE = trials_of({"perception": 8, "attention": 2, "imagery": 16})


def session(gain: float, seed: int, noise: float = 1.0, n_units: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return responses with a gain of imagery, and the noiseless signal of the 12 stimuli."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(12, n_units))
    size = TABLE["condition"].map({"perception": 1.0, "attention": 0.3, "imagery": gain}).to_numpy()
    code = TABLE["stimulus"].str[1:].astype(int).to_numpy()
    offset = TABLE["condition"].map({"perception": 0.0, "attention": 5.0, "imagery": -3.0}).to_numpy()
    responses = size[:, None] * signal[code] + noise * rng.normal(size=(len(TABLE), n_units))
    return responses + offset[:, None], signal


@pytest.mark.parametrize("gain", [0.0, 0.4, 1.0])
def test_the_interval_of_the_gap_contains_the_truth(gain):
    inside = {"gap": 0, "ratio": 0}
    for seed in range(20):
        responses, signal = session(gain, seed)
        found = evaluate_encoder(signal, responses, TABLE, STIMULI, FEW).metrics["transfer"]
        for name, truth in (("gap", gain - 1), ("ratio", gain)):
            low, high = found[name]["interval"]
            inside[name] += low <= truth <= high
    # Of 20 intervals of 95 %, fewer than 16 contain the truth once in 400 times.
    assert min(inside.values()) >= 16


def test_noiseless_responses_give_the_gain_itself():
    responses, signal = session(0.5, 3, noise=0)
    metrics = evaluate_encoder(2 * signal + 7, responses, TABLE, STIMULI, FEW).metrics
    assert metrics["transfer"]["ratio"]["value"] == pytest.approx(0.5)
    assert metrics["transfer"]["gap"]["value"] == pytest.approx(-0.25)  # predictions are twice the signal
    for name in ("perception", "imagery"):
        found = metrics["conditions"][name]
        assert found["correlation"]["value"] == pytest.approx(1)
        assert found["oracle"]["correlation"] == pytest.approx(1)
        assert found["null"]["sets"]["simple"] == {"n_relabelings": 720, "p_value": pytest.approx(1 / 720)}
    assert metrics["n_trials_left_out"] == 24


def test_correlation_is_the_mean_over_sets_and_units_of_pearsons_r():
    responses, signal = session(0.6, 1)
    metrics = evaluate_encoder(signal, responses, TABLE, STIMULI, FEW).metrics
    imagined = (TABLE["condition"] == "imagery").to_numpy()
    means = pd.DataFrame(responses[imagined]).groupby(TABLE.loc[imagined, "stimulus"].to_numpy()).mean()
    means = means.loc[STIMULI["stimulus"]].to_numpy()
    r = [
        np.mean([np.corrcoef(means[part, unit], signal[part, unit])[0, 1] for unit in range(40)])
        for part in (slice(0, 6), slice(6, 12))
    ]
    assert metrics["conditions"]["imagery"]["correlation"]["value"] == pytest.approx(np.mean(r))
    by_type = metrics["conditions"]["imagery"]["by_type"]
    assert by_type["simple"]["correlation"]["value"] == pytest.approx(r[0])


def test_encoders_null_is_what_relabelling_by_hand_gives():
    responses, signal = session(0.05, 1, n_units=4)
    metrics = evaluate_encoder(signal, responses, TABLE, STIMULI, FEW).metrics
    imagined = (TABLE["condition"] == "imagery").to_numpy()
    simple = [
        responses[imagined & (TABLE["stimulus"] == name).to_numpy()].mean(axis=0)
        for name in STIMULI["stimulus"][:6]
    ]
    by_hand = [
        np.mean([np.corrcoef(np.array(simple)[:, u], signal[list(labels), u])[0, 1] for u in range(4)])
        for labels in permutations(range(6))
    ]
    found = metrics["conditions"]["imagery"]
    assert found["by_type"]["simple"]["correlation"]["value"] == pytest.approx(by_hand[0])
    expected = np.mean(np.array(by_hand) >= by_hand[0] - 1e-12)
    assert 0.001 < expected < 0.999
    assert found["null"]["sets"]["simple"] == {"n_relabelings": 720, "p_value": pytest.approx(expected)}


def test_random_predictions_are_within_their_null():
    p_values = []
    for seed in range(20):
        responses, _ = session(0.6, seed, n_units=10)
        guess = np.random.default_rng(100 + seed).normal(size=(12, 10))
        found = evaluate_encoder(guess, responses, TABLE, STIMULI, TransferOptions(n_draws=2)).metrics
        p_values.append(found["conditions"]["imagery"]["null"]["p_value"])
    assert 0.2 < np.mean(p_values) < 0.8 and min(p_values) > 0.001


def test_missing_conditions_are_missing_and_not_0():
    responses, signal = session(0.6, 1)
    seen = (TABLE["condition"] == "perception").to_numpy()
    metrics = evaluate_encoder(signal, responses[seen], TABLE[seen], STIMULI, FEW).metrics
    assert metrics["conditions"]["imagery"] == {
        "available": False,
        "reason": "no imagery trial of a stimulus that was predicted",
    }
    assert not metrics["transfer"]["available"]
    assert metrics["conditions"]["perception"]["available"]
    decoded = evaluate_decoder(responses[seen], signal, TABLE[seen], STIMULI, FEW).metrics
    assert not decoded["transfer"]["available"] and "no imagery trial" in decoded["transfer"]["reason"]


def test_shuffled_trials_change_nothing():
    responses, signal = session(0.6, 1)
    order = np.random.default_rng(0).permutation(len(TABLE))
    first = evaluate_encoder(signal, responses, TABLE, STIMULI, FEW).metrics
    again = evaluate_encoder(signal, responses[order], TABLE.iloc[order], STIMULI, FEW).metrics
    for name in ("perception", "imagery"):
        one, other = (found["conditions"][name]["correlation"]["value"] for found in (first, again))
        assert one == pytest.approx(other)


def test_wrong_shapes_are_refused():
    responses, signal = session(0.6, 1)
    with pytest.raises(SubmissionError, match=r"predictions \(11, 40\)"):
        evaluate_encoder(signal[:11], responses, TABLE, STIMULI)
    with pytest.raises(SubmissionError, match="not all finite"):
        evaluate_encoder(signal * np.nan, responses, TABLE, STIMULI)
    with pytest.raises(SubmissionError, match=r"predictions have shape \(3, 40\)"):
        evaluate_decoder(responses[:3], signal, TABLE, STIMULI)
    with pytest.raises(SubmissionError, match="none of 12 stimuli has a target"):
        evaluate_decoder(responses, signal * np.nan, TABLE, STIMULI)
    with pytest.raises(SubmissionError, match="312 predictions are not finite"):
        evaluate_decoder(responses * np.nan, signal, TABLE, STIMULI)


def decoded(noise: dict[str, float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.normal(size=(12, 30))
    code = TABLE["stimulus"].str[1:].astype(int).to_numpy()
    spread = TABLE["condition"].map({"attention": 0.0, **noise}).to_numpy()
    return targets[code] + spread[:, None] * rng.normal(size=(len(TABLE), 30)), targets


def test_perfect_decoders_reach_1_at_every_rank():
    predictions, targets = decoded({"perception": 0, "imagery": 0})
    metrics = evaluate_decoder(predictions * 3, targets, TABLE, STIMULI).metrics
    for name in ("perception", "imagery"):
        found = metrics["conditions"][name]
        assert found["clip_cosine"]["value"] == pytest.approx(1) and found["clip_cosine"]["std"] < 1e-12
        assert [found["retrieval"][k]["value"] for k in ("1", "5", "10")] == [1, 1, 1]
        # The earlier rule takes the 7 or 15 other trials of the same stimulus for wrong answers.
        assert found["legacy_retrieval"]["1"] == pytest.approx({"perception": 1 / 8, "imagery": 1 / 16}[name])
    assert metrics["transfer"]["gap"]["value"] == pytest.approx(0)
    assert metrics["transfer"]["n_pairs"] == 12


def test_random_decoders_are_at_chance():
    rng, code = np.random.default_rng(0), np.tile(np.arange(20), 100)
    place = places(cosines(rng.normal(size=(2000, 16)), rng.normal(size=(20, 16))))[np.arange(2000), code]
    assert (place <= 1).mean() == pytest.approx(1 / 20, abs=0.02)
    assert (place <= 5).mean() == pytest.approx(5 / 20, abs=0.04)


def test_constant_decoders_retrieve_nothing_for_free():
    assert (places(np.full((6, 3), 0.5)) == 3).all()


def test_gap_is_negative_where_imagery_is_decoded_worse():
    predictions, targets = decoded({"perception": 0.5, "imagery": 2.0})
    evaluation = evaluate_decoder(predictions, targets, TABLE, STIMULI)
    transfer = evaluation.metrics["transfer"]
    assert transfer["gap"]["interval"][1] < 0 and transfer["gap"]["median"] < 0
    assert transfer["ratio"]["value"] == pytest.approx(
        transfer["cross_domain"]["value"] / transfer["within_domain"]["value"]
    )
    frame = evaluation.per_trial
    means = frame.groupby("condition")["clip_cosine"].mean()
    assert transfer["gap"]["value"] == pytest.approx(means["imagery"] - means["perception"])
    assert list(frame.columns[:6]) == [
        *("trial_id", "stimulus_type", "condition", "clip_cosine", "has_image", "has_text")
    ]
    pair = transfer["by_pair"]["s3"]
    assert pair["gap"] == pytest.approx(pair["imagery"] - pair["perception"])


def test_trials_without_target_are_left_out_and_not_scored_0():
    predictions, targets = decoded({"perception": 0, "imagery": 0})
    targets[[2, 9]] = np.nan
    metrics = evaluate_decoder(predictions, targets, TABLE, STIMULI).metrics
    assert metrics["n_targets"] == 10 and metrics["n_trials_left_out"] == 24 + 2 * (8 + 16)
    assert metrics["conditions"]["imagery"]["clip_cosine"]["mean"] == pytest.approx(1)
    assert metrics["conditions"]["imagery"]["n_stimuli"] == 10


@pytest.mark.parametrize("kind", ["linear", "shrunk", "residual"])
def test_an_identity_adapter_changes_no_metric(kind):
    predictions, targets = decoded({"perception": 0.5, "imagery": 1.0})
    code, condition = TABLE["stimulus"].str[1:].astype(int).to_numpy(), TABLE["condition"].tolist()
    if kind == "residual":
        pytest.importorskip("torch")
        from nsd_bench.transfer.adapters import ResidualOptions, fit_residual

        adapter = fit_residual(predictions, targets[code], condition, ResidualOptions(n_steps=0))
    elif kind == "shrunk":
        adapter = fit_linear(predictions, targets[code], condition, penalty=1e12)
    else:
        adapter = LinearAdapter.identity(30)
    plain = evaluate_decoder(predictions, targets, TABLE, STIMULI, FEW)
    adapted = evaluate_decoder(adapter.transform(predictions, condition), targets, TABLE, STIMULI, FEW)
    assert json.dumps(_rounded(plain.metrics)) == json.dumps(_rounded(adapted.metrics))


def rotated() -> tuple[np.ndarray, np.ndarray]:
    """Return decoded features that imagery turns, by the same rotation for every stimulus, and targets."""
    rng = np.random.default_rng(4)
    targets = rng.normal(size=(12, 6))
    code, imagined = TABLE["stimulus"].str[1:].astype(int).to_numpy(), TABLE["condition"] == "imagery"
    predictions = targets[code] + 0.1 * rng.normal(size=(len(TABLE), 6))
    predictions[imagined] += 2 * np.ones(6)
    return predictions, targets


@pytest.mark.parametrize("embedding", ["linear", "add", "film"])
def test_adapters_learn_what_imagery_adds_from_other_stimuli(embedding):
    predictions, targets = rotated()
    fit = partial(fit_linear, penalty=0.1)
    if embedding != "linear":
        pytest.importorskip("torch")
        from nsd_bench.transfer.adapters import ResidualOptions, fit_residual

        options = ResidualOptions(embedding=embedding, n_steps=150, learning_rate=1e-2)
        fit = partial(fit_residual, options=options)
    before = predictions.copy()
    code = TABLE["stimulus"].str[1:].astype(int).to_numpy()
    adapted = adapted_out_of_sample(predictions, targets[code], TABLE, fit)
    np.testing.assert_array_equal(predictions, before)
    np.testing.assert_allclose(np.linalg.norm(adapted, axis=1), 1, rtol=1e-5)
    plain, better = (
        evaluate_decoder(one, targets, TABLE, STIMULI, FEW).metrics["transfer"]["gap"]["value"]
        for one in (predictions, adapted)
    )
    assert plain < -0.3 and better > plain / 2


def test_linear_adapters_are_ridge_towards_the_identity():
    rng = np.random.default_rng(0)
    x, y = normalised(rng.normal(size=(20, 3))), normalised(rng.normal(size=(20, 3)))
    condition = ["a", "b"] * 10
    adapter = fit_linear(x, y, condition, penalty=2.0)
    inputs = np.c_[x, np.tile(np.eye(2), (10, 1))]
    ridge = Ridge(alpha=2.0, fit_intercept=False).fit(inputs, y - x)
    np.testing.assert_allclose(adapter.weight, np.eye(3) + ridge.coef_.T[:3])
    np.testing.assert_allclose([adapter.offsets["a"], adapter.offsets["b"]], ridge.coef_.T[3:])


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 9) if isinstance(value, float) else value


def reference_retrieval(predictions: np.ndarray, targets: np.ndarray, k: int) -> float:
    """Count, trial by trial, how many trials' targets are nearer than the trial's own."""
    hits = 0
    for number, one in enumerate(predictions):
        similar = [one @ other / np.linalg.norm(one) / np.linalg.norm(other) for other in targets]
        nearest = sorted(range(len(targets)), key=lambda j: -similar[j])[:k]
        hits += number in nearest
    return hits / len(predictions)


@settings(max_examples=25)
@given(n=st.integers(2, 12), k=st.integers(1, 5), seed=st.integers(0, 50))
def test_legacy_rule_is_the_earlier_codes(n, k, seed):
    rng = np.random.default_rng(seed)
    predictions, targets = rng.normal(size=(n, 4)), rng.normal(size=(n, 4))
    found = legacy_retrieval(predictions, targets, [k])[k]
    assert found == pytest.approx(reference_retrieval(predictions, targets, k))


def test_relabellings_are_all_720():
    matrix = np.random.default_rng(0).normal(size=(6, 6))
    scores = relabelled(matrix, np.random.default_rng(0))
    by_hand = [sum(matrix[i, j] for i, j in enumerate(labels)) for labels in permutations(range(6))]
    np.testing.assert_allclose(scores, by_hand)
    assert len(scores) == 720
    assert len(relabelled(np.eye(9), np.random.default_rng(0))) == 10_001


def test_null_is_the_mean_over_sets():
    null = relabelling_null(np.diag([1.0, 1, 1, 3, 3, 3]), ["a", "a", "a", "b", "b", "b"], seed=0)
    assert null.value == pytest.approx(2)
    assert null.json(0.95)["mean"] == pytest.approx(2 / 3, abs=0.02)
    assert null.json(0.95)["p_value"] == pytest.approx(1 / 36, abs=0.005)


@pytest.mark.parametrize(("draws", "expected"), [([0.0, 1, 2], 1 / 4), ([4.0, 5, 0], 3 / 4), ([5.0] * 3, 1)])
def test_p_of_drawn_relabellings_counts_the_right_one(draws, expected):
    """Phipson and Smyth 2010: of draws that never reach the score p is 1 / (1 + n_draws), and never 0."""
    assert Null(4.0, {}, np.array(draws)).json(0.95)["p_value"] == expected


def test_files_of_an_evaluation_are_whole_and_the_same_every_time(tmp_path):
    responses, signal = session(0.5, 0)
    evaluation = evaluate_encoder(signal, responses, TABLE, STIMULI, FEW, model="mine")
    for name in ("a", "b"):
        write_evaluation(tmp_path / name, evaluation)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["README.md", "metrics.json", "per_trial.csv", "transfer.svg"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert json.loads((tmp_path / "a/metrics.json").read_text()) == evaluation.metrics
    assert len(pd.read_csv(tmp_path / "a/per_trial.csv")) == 288
    assert "mine" in (tmp_path / "a/transfer.svg").read_text()
    assert "| imagery | 192 | 12 |" in (tmp_path / "a/README.md").read_text()
    with pytest.raises(OutputError, match="exists already"):
        write_evaluation(tmp_path / "a", evaluation)


def test_files_say_what_is_missing(tmp_path):
    responses, signal = session(0.5, 0)
    seen = (TABLE["condition"] == "perception").to_numpy()
    write_evaluation(tmp_path / "a", evaluate_encoder(signal, responses[seen], TABLE[seen], STIMULI, FEW))
    text = (tmp_path / "a/README.md").read_text()
    assert "| imagery | missing: no imagery trial" in text and "No transfer: no imagery trial" in text
    assert "missing" in (tmp_path / "a/transfer.svg").read_text()
