"""A decoder's oracle and null: how far its repeats could take it, and what mixed-up labels give."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nsd_bench.errors import SubmissionError
from nsd_bench.transfer import TransferOptions, evaluate_decoder, evaluate_encoder
from nsd_bench.transfer.metrics import cosines, normalised, places, repeat_cosines, repeat_retrieval
from nsd_bench.transfer.page import transfer_figure, write_evaluation
from nsd_bench.transfer.results import text_of

FEW = TransferOptions(n_draws=50, retrieval_k=(1, 2))
STIMULI = pd.DataFrame({"stimulus": list("abcdefg"), "stimulus_type": ["A"] * 4 + ["B"] * 3})
MANY = pd.DataFrame({"stimulus": list("abcdefghijklmnopqr"), "stimulus_type": np.repeat(list("ABC"), 6)})
"""As many stimuli and sets as NSD-Imagery has."""


def session(
    noise: float, seed: int, *, bias: float = 0.0, stimuli: pd.DataFrame = STIMULI
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Return predictions of 4 seen and 6 imagined trials of every stimulus, targets, and the trials."""
    rng, n = np.random.default_rng(seed), len(stimuli)
    targets = rng.normal(size=(n, 20))
    code = np.concatenate([np.repeat(np.arange(n), 4), np.tile(np.arange(n), 6)])
    table = pd.DataFrame(
        {
            "trial_id": np.arange(len(code)),
            "condition": ["perception"] * (4 * n) + ["imagery"] * (6 * n),
            "stimulus": stimuli["stimulus"].to_numpy()[code],
        }
    )
    wrong = rng.normal(size=(n, 20))
    predictions = targets[code] + bias * wrong[code] + noise * rng.normal(size=(len(code), 20))
    return predictions, targets, table


@settings(max_examples=20)
@given(
    repeats=st.lists(st.integers(1, 4), min_size=2, max_size=4), k=st.integers(1, 3), seed=st.integers(0, 9)
)
def test_repeats_are_compared_with_other_trials_only(repeats, k, seed):
    rng = np.random.default_rng(seed)
    stimulus = rng.permutation(np.repeat(np.arange(len(repeats)) * 3, repeats))
    predictions = rng.normal(size=(len(stimulus), 5))
    one = normalised(predictions)
    cosine, hits = repeat_cosines(predictions, stimulus), repeat_retrieval(predictions, stimulus, [k])[k]
    for number, name in enumerate(np.unique(stimulus)):
        mine = np.flatnonzero(stimulus == name)
        if len(mine) < 2:
            assert np.isnan(cosine[number]) and np.isnan(hits[number])
            continue
        pairs = [one[i] @ one[j] for i in mine for j in mine if i != j]
        assert cosine[number] == pytest.approx(np.mean(pairs))
        found = []
        for trial in mine:
            others = [
                [i for i in np.flatnonzero(stimulus == other) if i != trial] for other in np.unique(stimulus)
            ]
            similar = cosines(one[[trial]], np.stack([one[rows].mean(axis=0) for rows in others]))
            found.append(places(similar)[0, number] <= k)
        assert hits[number] == pytest.approx(np.mean(found))


def test_the_oracle_is_what_no_target_can_exceed():
    predictions, _, table = session(3.0, 1)
    seen = (table["condition"] == "perception").to_numpy()
    code = table.loc[seen, "stimulus"].map(dict(zip("abcdefg", range(7), strict=True))).to_numpy()
    one = normalised(predictions[seen])
    # The best targets are the means of these very trials, which are in reach by overfitting alone.
    length = np.linalg.norm([one[code == number].mean(axis=0) for number in range(7)], axis=1)
    oracle = np.sqrt(repeat_cosines(predictions[seen], code).mean())
    assert 0 < oracle < length.mean()


def test_the_oracle_does_not_depend_on_the_number_of_repeats():
    rng = np.random.default_rng(0)
    direction = np.eye(8)[0]
    many = direction + rng.normal(size=(40_000, 8))
    few = np.sqrt(repeat_cosines(many, np.arange(40_000) // 2).mean())
    true = np.linalg.norm(normalised(many).mean(axis=0))
    assert few == pytest.approx(true, abs=0.01)


def test_share_is_the_way_from_null_to_oracle():
    predictions, targets, table = session(2.0, 0)
    found = evaluate_decoder(predictions, targets, table, STIMULI, FEW).metrics["conditions"]["imagery"]
    similarity = cosines(predictions[28:], targets).reshape(6, 7, 7).mean(axis=0)
    value = np.trace(similarity) / 7
    null = np.mean(
        [similarity[i, :4].mean() for i in range(4)] + [similarity[i, 4:].mean() for i in (4, 5, 6)]
    )
    oracle = np.sqrt(repeat_cosines(predictions[28:], np.tile(np.arange(7), 6)).mean())
    cosine = found["clip_cosine"]
    assert cosine["value"] == pytest.approx(value) and cosine["oracle"]["value"] == pytest.approx(oracle)
    assert cosine["share"]["value"] == pytest.approx((value - null) / (oracle - null))
    assert cosine["share"]["interval"] is None
    assert cosine["share"]["reason"] == "too few images: 7, and 10 are needed"
    assert found["oracle"]["clip_cosine"] == cosine["oracle"]["value"]
    assert list(found["oracle"]["retrieval"]) == ["1", "2"]


def test_intervals_leave_out_one_stimulus_after_another():
    predictions, targets, table = session(2.0, 0, stimuli=MANY)
    metrics = evaluate_decoder(predictions, targets, table, MANY, FEW).metrics
    similar = cosines(predictions, targets)
    seen, imagined = (
        similar[:72].reshape(18, 4, 18).mean(axis=1),
        similar[72:].reshape(6, 18, 18).mean(axis=0),
    )
    repeats = repeat_cosines(predictions[72:], np.tile(np.arange(18), 6))
    block = np.kron(np.eye(3), np.ones((6, 6)))

    def share(kept: np.ndarray) -> float:
        value = np.diag(imagined)[kept].mean()
        null = ((imagined * block).sum(axis=1) / 6)[kept].mean()
        return (value - null) / (np.sqrt(repeats[kept].mean()) - null)

    def gap(kept: np.ndarray) -> float:
        return (np.diag(imagined) - np.diag(seen))[kept].mean()

    found = {share: metrics["conditions"]["imagery"]["clip_cosine"]["share"], gap: metrics["transfer"]["gap"]}
    for of, score in found.items():
        without = np.array([of(np.delete(np.arange(18), left_out)) for left_out in range(18)])
        whole = of(np.arange(18))
        centre = 18 * whole - 17 * without.mean()
        half = stats.t.ppf(0.975, 17) * np.sqrt(17 / 18 * ((without - without.mean()) ** 2).sum())
        assert score["value"] == pytest.approx(whole)
        assert score["interval"] == pytest.approx([centre - half, centre + half])


def test_only_noise_costs_no_share_and_a_wrong_direction_does():
    def share(noise: float, bias: float) -> float:
        predictions, targets, table = session(noise, 3, bias=bias)
        metrics = evaluate_decoder(predictions, targets, table, STIMULI, FEW).metrics
        return metrics["conditions"]["imagery"]["clip_cosine"]["share"]["value"]

    assert share(1.5, 0) == pytest.approx(1, abs=0.1)
    assert share(0.01, 2) < 0.6


@pytest.mark.parametrize("gain", [0.5, 1.0])
def test_a_lower_gain_or_more_noise_does_not_lower_the_normalised_ratio(gain):
    ratios, inside = [], 0
    for seed in range(12):
        predictions, targets, table = session(1.0, seed, stimuli=MANY)
        imagined = (table["condition"] == "imagery").to_numpy()
        predictions[imagined] *= gain
        predictions[imagined] += np.random.default_rng(seed + 99).normal(size=(imagined.sum(), 20))
        transfer = evaluate_decoder(predictions, targets, table, MANY, FEW).metrics["transfer"]
        assert transfer["ratio"]["interval"][1] < 0.98
        low, high = transfer["normalised_ratio"]["interval"]
        inside += low <= 1 <= high
        ratios.append(transfer["normalised_ratio"]["value"])
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)
    assert inside >= 9  # of 12 intervals of 95 %, fewer contain the truth once in 2,000 times


def test_retrievals_null_is_what_relabelling_by_hand_gives():
    predictions, targets, table = session(4.0, 2)
    found = evaluate_decoder(predictions, targets, table, STIMULI, FEW).metrics["conditions"]["perception"]
    hit = (places(cosines(predictions[:28], targets)) <= 2).reshape(7, 4, 7).mean(axis=1)
    by_hand = [
        (sum(hit[i, j] for i, j in enumerate(first)) + sum(hit[4 + i, 4 + j] for i, j in enumerate(second)))
        / 7
        for first in permutations(range(4))
        for second in permutations(range(3))
    ]
    null = found["retrieval"]["2"]["null"]
    assert found["retrieval"]["2"]["value"] == pytest.approx(by_hand[0])
    assert null["mean"] == pytest.approx(np.mean(by_hand), abs=0.005)
    # 10,000 draws out of 24 x 6 relabellings; scores are multiples of 1 / 28.
    low, high = np.percentile(by_hand, [2.5, 97.5])
    assert null["interval"] == pytest.approx([low, high], abs=0.05)
    assert null["p_value"] == pytest.approx(np.mean(np.array(by_hand) >= by_hand[0] - 1e-12), abs=0.02)
    assert null["sets"]["A"]["n_relabelings"] == 24 and null["sets"]["B"]["n_relabelings"] == 6
    assert found["retrieval"]["2"]["chance"] == pytest.approx(2 / 7)


def test_without_repeats_there_is_no_oracle_and_that_is_not_0():
    predictions, targets, table = session(1.0, 0)
    first = np.r_[0:28:4, 28:35]
    metrics = evaluate_decoder(predictions[first], targets, table.iloc[first], STIMULI, FEW).metrics
    found = metrics["conditions"]["imagery"]
    assert found["oracle"] == {"available": False, "reason": "no stimulus has two trials"}
    assert found["clip_cosine"]["value"] is not None
    assert found["clip_cosine"]["share"]["reason"] == "the oracle is not above the null"
    ratio = metrics["transfer"]["normalised_ratio"]
    assert ratio["value"] is None and ratio["reason"] == "a condition has no oracle above 0"
    assert "diamond" in transfer_figure(metrics)


def test_readme_has_all_scores_between_null_and_oracle(tmp_path):
    predictions, targets, table = session(1.0, 0)
    found = evaluate_decoder(predictions, targets, table, STIMULI, FEW)
    write_evaluation(tmp_path / "a", found)
    text = (tmp_path / "a/README.md").read_text()
    for name in ("perception", "imagery"):
        retrieval = found.metrics["conditions"][name]["retrieval"]["2"]
        assert f"| {name} | retrieval at 2 | {text_of(retrieval)} | 0.286 |" in text
        assert f"{text_of(retrieval['oracle'])} | {text_of(retrieval['share'])} |" in text
    assert f"- normalised ratio: {text_of(found.metrics['transfer']['normalised_ratio'])}" in text
    assert "retrieval at 1" in (tmp_path / "a/transfer.svg").read_text()


def test_stimuli_that_are_missing_in_a_condition_are_not_part_of_it():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(7, 9))
    _, _, table = session(0, 0)
    code = table["stimulus"].map(dict(zip("abcdefg", range(7), strict=True))).to_numpy()
    responses = np.where((table["condition"] == "imagery").to_numpy()[:, None], 0.5, 1.0) * signal[code] + 3
    kept = ((table["condition"] == "perception") | ~table["stimulus"].isin(["a", "f"])).to_numpy()
    metrics = evaluate_encoder(signal, responses[kept], table[kept], STIMULI, FEW).metrics
    imagery = metrics["conditions"]["imagery"]
    assert imagery["n_stimuli"] == 5 and imagery["correlation"]["value"] == pytest.approx(1)
    assert imagery["oracle"]["correlation"] == pytest.approx(1)
    assert metrics["transfer"]["ratio"]["value"] == pytest.approx(0.5)
    assert imagery["null"]["sets"]["A"]["n_relabelings"] == 6
    only = (table["condition"] == "imagery").to_numpy() & table["stimulus"].isin(list("abcd")).to_numpy()
    alone = evaluate_encoder(signal, responses[only], table[only], STIMULI, FEW).metrics["conditions"][
        "imagery"
    ]
    assert list(alone["by_type"]) == ["A"]
    assert alone["oracle"] == {"available": False, "reason": "no perception trial to predict from"}


def test_a_stimulus_that_is_listed_twice_is_refused():
    predictions, targets, table = session(1.0, 0)
    twice = STIMULI.assign(stimulus=list("abcdefa"))
    with pytest.raises(SubmissionError) as raised:
        evaluate_decoder(predictions, targets, table, twice)
    assert str(raised.value) == (
        "transfer: 1 stimuli are listed twice.\n"
        "  Expected: every stimulus once.\n"
        "  What to do: give one row a stimulus."
    )
