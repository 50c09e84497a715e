"""Decoders: fitted to a package, saved, loaded, and run on the imagery session by two ways that agree."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import packages
import pytest
import torch
from click.testing import CliRunner
from imagery_trees import SHAPE, codes, make_release
from packages import IMAGE_OF_TRIAL, N_UNITS, RESPONSES, UNIT_IDS, make_package
from sklearn.linear_model import Ridge

from exporters.imagery.build import Roots, build_index
from nsd_bench.cli.transfer import transfer_command as command
from nsd_bench.errors import ModelError, OptionError, PackageError, SubmissionError
from nsd_bench.imagery.dataset import FeatureCache
from nsd_bench.imagery.index import read_index
from nsd_bench.models.image_features import pixel_features
from nsd_bench.package.read import Package
from nsd_bench.package.spec import trials_file
from nsd_bench.transfer import TransferOptions
from nsd_bench.transfer.adapters import ResidualOptions, fit_residual
from nsd_bench.transfer.decoder_files import DECODERS, load_decoder, save_decoder, train_decoder
from nsd_bench.transfer.decoders import (
    PENALTIES,
    RidgeDecoder,
    RidgePath,
    TrainingData,
    fit_ridge,
    mean_cosine,
    training_data,
)
from nsd_bench.transfer.metrics import normalised
from nsd_bench.transfer.network_decoders import MlpOptions, fit_mlp, fit_two_stage
from nsd_bench.transfer.session import (
    TrialSelection,
    decode_trials,
    evaluate_checkpoint,
    evaluate_on_companion,
)
from nsd_bench.transfer.targets import ImageFeatures, KnownFeatures, read_features, source_of, targets_named

FEW = TransferOptions(n_draws=20)
FEATURES = np.random.default_rng(3).normal(size=(6, 4))
KNOWN = KnownFeatures("nsd_id", np.array([10, 11, 12, 13, 14, 20]), FEATURES, "/somewhere/clip.npz")


def data_of(n_units: int = 12, n_features: int = 7, noise: float = 1.0, seed: int = 0) -> TrainingData:
    """Return trials, two an image, whose responses hold the features of their images linearly."""
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(90), 2)
    features, mixing = rng.normal(size=(90, n_features)), rng.normal(size=(n_features, n_units))
    x = features[image] @ mixing + noise * rng.normal(size=(180, n_units))
    x, y = x - x[:120].mean(axis=0), features[image]
    shared = {
        "unit_ids": np.arange(n_units),
        "precision": np.ones(n_units, dtype=np.float32),
        "response_mean": np.linspace(-1, 1, n_units),
        "feature_mean": np.zeros(n_features),
        "feature_std": np.ones(n_features),
        "nsd_ids": np.arange(90),
    }
    card = {
        "kind": "decoder",
        "package": "made",
        "subject": 1,
        "features": "gabor",
        "responses": {"space": "func1pt8mm", "scale": "percent"},
    }
    return TrainingData(x[:120], y[:120], image[:120], x[120:], y[120:], shared, card)


def fitted(model_type: str):
    if model_type == "mlp":
        return fit_mlp(data_of(), options=MlpOptions(n_hidden=8, n_epochs=3))
    if model_type == "two_stage":
        return fit_two_stage(data_of(), options=ResidualOptions(n_hidden=5, n_steps=10))
    return fit_ridge(data_of())


def test_training_data_are_trials_of_train_with_the_features_of_their_images(tmp_path):
    package = Package(make_package(tmp_path))
    data = training_data(package, KNOWN)
    shown = IMAGE_OF_TRIAL[:6] - 10  # trials of the train tier, and rows of FEATURES
    mean, std = FEATURES[:5].mean(axis=0), FEATURES[:5].std(axis=0)
    np.testing.assert_allclose(data.y, (FEATURES[shown] - mean) / std, rtol=1e-5)
    np.testing.assert_allclose(data.y_validation, ((FEATURES[[5, 5]] - mean) / std), rtol=1e-5)
    scaled = RESPONSES * package.precision
    np.testing.assert_allclose(data.x, scaled[:6] - scaled[:6].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(data.x_validation, scaled[6:8] - scaled[:6].mean(axis=0), atol=1e-5)
    assert data.image.tolist() == shown.tolist()
    assert data.card["features"] == {"key": "nsd_id", "file": "clip.npz"}
    assert data.shared["nsd_ids"].tolist() == [10, 11, 12, 13, 14, 20]
    assert (data.card["n_train_trials"], data.card["n_train_images"], data.card["subject"]) == (6, 5, 2)


def test_every_image_needs_features_and_nothing_is_left_out_in_silence(tmp_path):
    package = Package(make_package(tmp_path))
    with pytest.raises(PackageError) as raised:
        training_data(package, replace(KNOWN, ids=np.array([10, 11, 12, 13, 99, 20])))
    assert str(raised.value) == (
        f"{package.path}: 1 of 6 images have no features.\n"
        "  Expected: finite features of every image of the train and validation tiers.\n"
        "  What to do: compute the features of all images that the subject saw."
    )
    with pytest.raises(PackageError, match="does not say the nsd_id of its images"):
        training_data(Package(make_package(tmp_path / "w", "track1")), KNOWN)


def test_ridge_is_sklearns_under_the_penalty_that_is_best_on_validation():
    data = data_of()
    decoder = fit_ridge(data)
    cosine = {}
    for penalty in PENALTIES:
        reference = Ridge(alpha=penalty, fit_intercept=False).fit(data.x, data.y)
        cosine[penalty] = mean_cosine(reference.predict(data.x_validation), data.y_validation)
        np.testing.assert_allclose(RidgePath(data.x, data.y).weight(penalty), reference.coef_.T, atol=1e-9)
    assert decoder.penalty == max(cosine, key=cosine.get)
    assert decoder.card["validation_cosine"] == pytest.approx(max(cosine.values()))
    few = Ridge(alpha=1.0, fit_intercept=False).fit(data.x[:5] - data.x[:5].mean(axis=0), data.y[:5])
    np.testing.assert_allclose(RidgePath(data.x[:5], data.y[:5]).weight(1.0), few.coef_.T, atol=1e-9)


def test_a_network_learns_and_the_best_epoch_is_kept():
    data = data_of(noise=0.3)
    decoder = fit_mlp(data, options=MlpOptions(n_hidden=64, dropout=0.1, n_epochs=40))
    assert decoder.card["validation_cosine"] > 0.8
    again = fit_mlp(data, options=MlpOptions(n_hidden=64, dropout=0.1, n_epochs=40))
    np.testing.assert_array_equal(decoder.enter_weight, again.enter_weight)
    decoded = decoder.decode(data.x_validation + decoder.response_mean)
    assert mean_cosine(decoded, data.y_validation) == pytest.approx(
        decoder.card["validation_cosine"], abs=1e-5
    )
    assert 1 <= decoder.card["epoch"] <= 40


def test_a_network_learns_on_every_device_that_torch_has_and_leaves_the_random_state():
    data, options = data_of(noise=0.3), MlpOptions(n_hidden=64, dropout=0.1, n_epochs=40)
    before = torch.get_rng_state()
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        decoder = fit_mlp(data, options=options, device=device)
        assert decoder.card["validation_cosine"] > 0.8
        again = fit_mlp(data, options=options, device=device)
        np.testing.assert_array_equal(decoder.enter_weight, again.enter_weight)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(OptionError, match="there is no device 'gpu' here"):
        fit_mlp(data, device="gpu")


def test_an_untrained_second_stage_is_ridge_alone():
    data = data_of()
    decoder = fit_two_stage(data, options=ResidualOptions(n_steps=0))
    first = fit_ridge(data)
    np.testing.assert_allclose(decoder.decode(data.x), normalised(first.decode(data.x)), atol=1e-12)
    assert decoder.card["validation_cosine"] == pytest.approx(decoder.card["first_stage_cosine"])
    trained = fit_two_stage(data, options=ResidualOptions(n_steps=30))
    assert not np.allclose(trained.decode(data.x), decoder.decode(data.x), atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [(MlpOptions, "dropout", 1), (MlpOptions, "n_epochs", 0), (ResidualOptions, "embedding", "mul")],
)
def test_options_of_decoders_are_checked(kind, name, value):
    with pytest.raises(OptionError, match=f"{name}={value!r}"):
        kind(**{name: value})


@pytest.mark.parametrize("embedding", ["add", "film"])
def test_layers_of_a_residual_adapter_are_the_adapter(embedding):
    rng = np.random.default_rng(0)
    x, y, condition = rng.normal(size=(20, 5)), rng.normal(size=(20, 5)), ["imagery", "perception"] * 10
    options = ResidualOptions(n_hidden=3, embedding=embedding, n_steps=20, learning_rate=0.1)
    adapter = fit_residual(x, y, condition, options)
    for name in ("imagery", "perception"):
        enter, enter_bias, leave, leave_bias = adapter.layers(name)
        one = normalised(x)
        by_hand = normalised(one + np.maximum(one @ enter + enter_bias, 0) @ leave + leave_bias)
        np.testing.assert_allclose(by_hand, adapter.transform(x, [name] * 20), atol=1e-12)


@pytest.mark.parametrize("model_type", DECODERS)
def test_checkpoints_come_back_and_have_the_same_bytes(model_type, tmp_path):
    decoder = fitted(model_type)
    for name in ("a", "b"):
        save_decoder(decoder, tmp_path / f"{name}.safetensors")
        assert load_decoder(tmp_path / f"{name}.safetensors", model_type).card == decoder.card
    for suffix in ("safetensors", "json"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    loaded = load_decoder(tmp_path / "a.safetensors")
    assert type(loaded) is DECODERS[model_type]
    x = np.random.default_rng(0).normal(size=(3, 12))
    np.testing.assert_array_equal(loaded.decode(x), decoder.decode(x))
    np.testing.assert_allclose(
        loaded.decode(x + loaded.response_mean), loaded.decode(x, centred=True), rtol=1e-5, atol=1e-6
    )


def test_other_checkpoints_are_refused_and_pointed_to_predictions(tmp_path):
    foreign = tmp_path / "model.ckpt"
    foreign.write_bytes(b"weights")
    with pytest.raises(ModelError) as raised:
        load_decoder(foreign)
    assert str(raised.value) == (
        f"{foreign}: is not a decoder that nsd-bench wrote.\n"
        "  Expected: NAME.safetensors and NAME.json of 'nsd-bench transfer train'.\n"
        "  What to do: predict the trials with its own code, and give the result as --predictions."
    )
    path = tmp_path / "d.safetensors"
    with pytest.raises(ModelError, match="there is no such model"):
        load_decoder(path)
    save_decoder(fitted("ridge"), path)
    with pytest.raises(ModelError, match=r"is a decoder of type 'ridge'[^E]+Expected: 'mlp'"):
        load_decoder(path, "mlp")
    head = json.loads((tmp_path / "d.json").read_text())
    encoder = head | {"card": {"kind": "linear"}}
    (tmp_path / "d.json").write_text(json.dumps(encoder))
    with pytest.raises(ModelError, match="is a model of kind 'linear', not a decoder"):
        load_decoder(path)
    (tmp_path / "d.json").write_text(json.dumps(head | {"tensors_sha256": "0"}))
    with pytest.raises(ModelError, match="its digest is not the one in its card"):
        load_decoder(path)
    (tmp_path / "d.json").write_text(json.dumps(head | {"card": {**head["card"], "model_type": "mlp"}}))
    with pytest.raises(ModelError, match=r"not a model \(TypeError: "):
        load_decoder(path)
    with pytest.raises(ModelError, match=r"it ends in '\.pt'"):
        save_decoder(fitted("ridge"), tmp_path / "d.pt")
    with pytest.raises(ModelError, match="the card cannot be written as JSON"):
        save_decoder(replace(fitted("ridge"), card={"cosine": float("nan")}), tmp_path / "n.safetensors")
    assert not (tmp_path / "n.safetensors").exists()


def test_arrays_that_contradict_each_other_are_refused():
    decoder = fitted("ridge")
    wrong = decoder.tensors() | {"feature_std": np.ones(8)}
    with pytest.raises(ValueError, match="12 units and 7 features beside arrays of other shapes"):
        RidgeDecoder.from_tensors(wrong, decoder.card)


def test_a_withheld_package_does_not_say_what_was_trained_on(tmp_path):
    data = training_data(Package(make_package(tmp_path, "track1")), targets_named("pixels"))
    decoder = fit_ridge(data)
    assert decoder.trained_on(np.array([10])) == {
        "nsd_ids": None,
        "reason": "the package that it was trained on does not say its images",
    }
    save_decoder(decoder, tmp_path / "d.safetensors")
    assert load_decoder(tmp_path / "d.safetensors").nsd_ids.shape == (0,)


def test_features_are_read_from_files_and_caches(tmp_path):
    cache = FeatureCache(tmp_path / "cache")
    for nsd_id in (7, 30, 5):
        cache.put(nsd_id, [nsd_id, 1.0])
    known = read_features(tmp_path / "cache")
    assert known.key == "nsd_id" and known.ids.tolist() == [5, 7, 30]
    assert known.features.tolist() == [[5, 1], [7, 1], [30, 1]]
    cache.put(8, [1.0])
    with pytest.raises(SubmissionError, match="holds 4 vectors of 2 lengths"):
        read_features(tmp_path / "cache")
    np.savez(tmp_path / "t.npz", nsd_id=[3, 3], features=np.eye(2))
    with pytest.raises(SubmissionError, match=r"holds features of shape \(2, 2\) of 1 stimuli"):
        read_features(tmp_path / "t.npz")
    assert targets_named("pixels").card == "pixels"
    np.savez(tmp_path / "u.npz", nsd_id=[3, 4], features=np.eye(2))
    assert targets_named(str(tmp_path / "u.npz")).card == {"key": "nsd_id", "file": "u.npz"}
    with pytest.raises(OptionError, match="features 'none' are empty"):
        targets_named("none")
    with pytest.raises(ModelError, match="there are no features 'clip'"):
        targets_named("clip")
    with pytest.raises(OptionError, match=r"trained on features of a file, 'u\.npz'"):
        source_of({"features": {"key": "nsd_id", "file": "u.npz"}}, "d.safetensors")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """Return a root whose betas encode task and stimulus, its index, and targets of all 18 stimuli."""
    root = tmp_path_factory.mktemp("release")
    runs = make_release(root)
    index = build_index(Roots(root)).paths[0]
    names = sorted(read_index(index)["stimulus"].unique())
    targets = KnownFeatures("stimulus", np.array(names), np.random.default_rng(0).normal(size=(18, N_UNITS)))
    return root, index, targets, codes(runs)


def identity_decoder(scale: str, subject: int = 1) -> RidgeDecoder:
    """Return a decoder that gives its units' responses, times 2, without a mean of 0.5."""
    return RidgeDecoder(
        unit_ids=UNIT_IDS,
        precision=np.full(N_UNITS, 2, dtype=np.float32),
        response_mean=np.full(N_UNITS, 0.5),
        feature_mean=np.zeros(N_UNITS),
        feature_std=np.ones(N_UNITS),
        nsd_ids=np.array([9, 12, 28751, 61177]),
        card={
            "model": "identity",
            "package": "made",
            "subject": subject,
            "features": "gabor",
            "responses": {"space": "func1pt8mm", "scale": scale},
        },
        weight=np.eye(N_UNITS),
    )


def test_betas_of_an_index_are_scaled_as_the_decoders_package(release):
    root, index, _, code = release
    table = read_index(index)
    chosen = table[table["condition"] == "imagery"].iloc[[5, 200, 17]].reset_index(drop=True)
    betas = (30 * code[:, None] + np.arange(np.prod(SHAPE)) % 7)[:, UNIT_IDS] / 300
    rows = chosen["beta_index"].to_numpy()
    found = decode_trials(identity_decoder("percent"), index, chosen, root)
    np.testing.assert_allclose(found, betas[rows] * 2 - 0.5, rtol=1e-5)
    seen = betas[(table["condition"] == "perception").to_numpy()]
    expected = (betas - seen.mean(axis=0)) / seen.std(axis=0, ddof=1)
    found = decode_trials(identity_decoder("session_zscore"), index, chosen, root)
    np.testing.assert_allclose(found, expected[rows] * 2 - 0.5, rtol=1e-4)
    for zscore, column in (("condition", "condition"), ("run", "run_number")):
        for trial, row in enumerate(rows):
            block = betas[(table[column] == table[column][row]).to_numpy()]
            own = (betas[row] - block.mean(axis=0)) / block.std(axis=0, ddof=1)
            found = decode_trials(identity_decoder("percent"), index, chosen, root, zscore)
            np.testing.assert_allclose(found[trial], own, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_is_evaluated_on_an_index(release):
    root, index, targets, _ = release
    found = evaluate_checkpoint(
        identity_decoder("percent"), index, targets, TrialSelection(["imagery"]), FEW, cache_root=root
    ).metrics
    assert found["model"] == "identity" and found["conditions"]["imagery"]["n_trials"] == 288
    assert not found["conditions"]["perception"]["available"]
    assert found["trained_on"] == {"nsd_ids": [28751, 61177]}
    assert found["decoder"]["subject"] == 1 and found["zscore"] == "package"
    with pytest.raises(OptionError, match="has no valid trial of subj05 of perception or imagery"):
        evaluate_checkpoint(identity_decoder("percent", subject=5), index, targets, cache_root=root)
    short = replace(targets, features=targets.features[:, :3])
    with pytest.raises(ModelError, match="decodes 5 features, and the targets have 3"):
        evaluate_checkpoint(identity_decoder("percent"), index, short, cache_root=root)


def test_units_that_are_not_in_the_volumes_are_refused(release):
    root, index, targets, _ = release
    decoder = identity_decoder("percent")
    outside = replace(decoder, unit_ids=UNIT_IDS + 100)
    with pytest.raises(ModelError, match="units are up to 177, and the index holds other volumes"):
        evaluate_checkpoint(outside, index, targets, cache_root=root)
    card = {**decoder.card, "responses": {"space": "fsaverage", "scale": "percent"}}
    with pytest.raises(ModelError, match="units are in space 'fsaverage'"):
        evaluate_checkpoint(replace(decoder, card=card), index, targets, cache_root=root)


@pytest.fixture
def companion(tmp_path, monkeypatch) -> Package:
    """Return the package by hand with its trials in tiers vision and imagery."""
    monkeypatch.setattr(packages, "IMAGE_OF_TRIAL", np.array([10, 11, 12] * 4))
    folder = make_package(tmp_path / "companion", name="tiny-imagery")
    np.save(folder / trials_file("tiers"), np.array(["vision"] * 6 + ["imagery"] * 6))
    return Package(folder)


def test_companions_are_decoded_in_the_scale_of_the_core(companion):
    decoder = identity_decoder("percent", subject=2)
    source = replace(KNOWN, features=np.random.default_rng(1).normal(size=(6, N_UNITS)))
    found = evaluate_on_companion(decoder, companion, source, options=FEW)
    assert found.metrics["n_targets"] == 3 and found.metrics["package"] == "tiny-imagery"
    assert found.metrics["trained_on"] == {"nsd_ids": [12]}
    rows = np.flatnonzero(companion.tiers == "vision")
    targets = normalised(source.features[[0, 1, 2, 0, 1, 2]])
    seen = found.per_trial[found.per_trial["condition"] == "perception"]
    assert len(rows) == 6
    by_hand = normalised(companion.standardised_responses(rows) - 0.5)
    np.testing.assert_allclose(seen["clip_cosine"], (by_hand * targets).sum(axis=1), rtol=1e-4)
    evaluation = evaluate_on_companion(decoder, companion, source, ["imagery"], FEW, zscore="condition")
    values = companion.responses(np.flatnonzero(companion.tiers == "imagery"))
    alone = normalised((values - values.mean(axis=0)) / values.std(axis=0, ddof=1))
    np.testing.assert_allclose(
        evaluation.per_trial["clip_cosine"], (alone * targets).sum(axis=1), rtol=1e-3, atol=1e-5
    )
    imagined = evaluation.metrics
    assert not imagined["conditions"]["perception"]["available"] and imagined["zscore"] == "condition"
    with pytest.raises(PackageError, match="there is no trial of attention"):
        evaluate_on_companion(decoder, companion, source, ["attention"])
    with pytest.raises(OptionError, match="it is not known in which run a trial was"):
        evaluate_on_companion(decoder, companion, source, zscore="run")
    with pytest.raises(ModelError, match="decodes 5 units that are not those of tiny-imagery"):
        evaluate_on_companion(replace(decoder, unit_ids=UNIT_IDS + 1), companion, source)


def test_commands_train_and_decode_on_both_ways(release, companion, tmp_path, monkeypatch):
    monkeypatch.undo()
    root, index, targets, _ = release
    core = make_package(tmp_path)
    np.savez(tmp_path / "clip.npz", nsd_id=KNOWN.ids, features=FEATURES)
    np.savez(tmp_path / "t.npz", stimulus=targets.ids, features=targets.features[:, :4])

    def run(*arguments: object) -> str:
        done = CliRunner().invoke(command, [str(one) for one in arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    path = tmp_path / "d.safetensors"
    trained = run("train", core, "--features", tmp_path / "clip.npz", "--out", path)
    assert trained.startswith(f"{path}: ridge, cosine ")
    few = ("--output-dir",)
    run(
        "decode",
        "--package",
        companion.path,
        "--checkpoint",
        path,
        "--targets",
        tmp_path / "clip.npz",
        *few,
        tmp_path / "a",
    )
    assert json.loads((tmp_path / "a/metrics.json").read_text())["model"] == "clip.npz-ridge"
    other = replace(
        load_decoder(path),
        card={
            **load_decoder(path).card,
            "subject": 1,
            "responses": {"space": "func1pt8mm", "scale": "percent"},
        },
    )
    save_decoder(other, tmp_path / "one.safetensors")
    of_index = (
        "--index",
        index,
        "--cache-root",
        root,
        "--targets",
        tmp_path / "t.npz",
        "--checkpoint",
        tmp_path / "one.safetensors",
    )
    dry = run(
        "decode", *of_index, "--model-type", "ridge", "--split", "train", "--dry-run", *few, tmp_path / "b"
    )
    assert "imagery: clip_cosine" in dry and not (tmp_path / "b").exists()
    run("decode", *of_index, "--mode", "imagery", "--zscore", "run", "--model", "mine", *few, tmp_path / "b")
    assert json.loads((tmp_path / "b/metrics.json").read_text())["model"] == "mine"
    run("train", core, "--features", "pixels", "--model-type", "two_stage", "--out", path, "--force")
    on_companion = ("--package", companion.path, "--checkpoint", path)
    run("decode", *on_companion, *few, tmp_path / "c")
    assert "- targets that were seen in training: 10, 11, 12" in (tmp_path / "c/README.md").read_text()
    run("decode", *on_companion, "--adapter", "residual", "--adapter-embedding", "add", *few, tmp_path / "e")
    run("decode", *on_companion, "--adapter", "linear", "--adapter-penalty", "1e12", *few, tmp_path / "f")
    plain, adapted, unchanged = (
        json.loads((tmp_path / name / "metrics.json").read_text())["transfer"]["gap"]["value"]
        for name in "cef"
    )
    assert unchanged == pytest.approx(plain, abs=1e-9) and adapted != pytest.approx(plain, abs=1e-3)


def test_train_puts_the_network_on_a_device_and_nothing_else(tmp_path):
    core, out = make_package(tmp_path), tmp_path / "d.safetensors"

    def train(model_type: str, device: str):
        kind = ["--model-type", model_type, "--features", "pixels", "--device", device]
        return CliRunner().invoke(command, ["train", str(core), *kind, "--out", str(out)])

    refused = train("ridge", "cpu")
    assert refused.exit_code == 2 and "--device belongs to --model-type mlp" in refused.output
    assert isinstance(train("mlp", "gpu").exception, OptionError)
    assert not out.exists()
    assert train("mlp", "cpu").exit_code == 0 and load_decoder(out).card["model_type"] == "mlp"
    same = train_decoder(Package(core), "mlp", "pixels", device="cpu")
    np.testing.assert_array_equal(same.enter_weight, load_decoder(out).enter_weight)
    with pytest.raises(OptionError, match="device 'cpu' was given for 'ridge'"):
        train_decoder(Package(core), "ridge", device="cpu")
    with pytest.raises(OptionError, match="there is no type of decoder 'rigde'"):
        train_decoder(Package(core), "rigde")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "give either --index or --package"),
        (("--index", "i", "--package", "p"), "give either --index or --package"),
        (("--index", "i"), "give either --checkpoint or --predictions"),
        (("--package", "p", "--predictions", "q"), "--predictions and --split belong to --index"),
        (("--package", "p", "--checkpoint", "c", "--split", "val"), "--predictions and --split belong to"),
        (("--index", "i", "--checkpoint", "c"), "--index needs --targets"),
    ],
)
def test_options_that_exclude_each_other_are_refused(arguments, problem, tmp_path):
    done = CliRunner().invoke(command, ["decode", *arguments, "--output-dir", str(tmp_path / "x")])
    assert done.exit_code == 2 and problem in done.output


def test_image_features_are_computed_once_an_image(tmp_path):
    package = Package(make_package(tmp_path))
    seen = []

    def counted(images):
        seen.append(len(images))
        return pixel_features(images)

    features, which = ImageFeatures(counted).of_rows(package, np.arange(8))
    assert seen == [6] and which.tolist() == [0, 0, 1, 2, 3, 4, 5, 5]
    np.testing.assert_allclose(features[which], pixel_features(package.images(np.arange(8))))
