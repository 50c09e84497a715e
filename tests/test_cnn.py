"""The `cnn` baseline: its network, and its training through the real commands, killed and shared out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from learnable import learnable_package

from nsd_bench.cli.train import train_command as train
from nsd_bench.errors import ModelError, NsdBenchError, OptionError
from nsd_bench.models.zoo import load_model, save_model
from nsd_bench.package.read import Package

pytest.importorskip("neuralpredictors")

from nsd_bench.models.cnn import fit_cnn, fit_cnns, fit_linear_cnn
from nsd_bench.models.cnn_module import READOUTS, Architecture, CnnModule
from nsd_bench.models.schedules import LOSSES

SMALL = {"epochs": 3, "batch_size": 10, "hidden_channels": 4, "layers": 2, "progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Package:
    return Package(learnable_package(tmp_path_factory.mktemp("one")))


@pytest.fixture(scope="module")
def subjects(tmp_path_factory) -> list[Package]:
    folder = tmp_path_factory.mktemp("two")
    return [Package(learnable_package(folder, subject=subject)) for subject in (2, 3)]


def module(architecture: Architecture, image_shape=(1, 16, 12)) -> CnnModule:
    torch.manual_seed(0)
    means = {"a": torch.arange(3.0), "b": torch.arange(2.0)}
    return CnnModule(architecture, image_shape, means, image_mean=100.0, image_std=50.0)


def same(one, two) -> bool:
    tensors = one.tensors(), two.tensors()
    return tensors[0].keys() == tensors[1].keys() and all(
        np.array_equal(tensors[0][name], tensors[1][name]) for name in tensors[0]
    )


# -- the network ----------------------------------------------------------------------------------


def test_factorized_readout_is_mask_times_features():
    net = module(Architecture(layers=2, hidden_channels=4)).eval()
    images = torch.randint(0, 256, (5, 1, 16, 12), dtype=torch.uint8)
    features = net.core((images - 100.0) / 50)
    readout = net.readouts["a"]
    mask = readout.spatial / (readout.spatial.square().sum(dim=(1, 2), keepdim=True).sqrt() + 1e-6)
    expected = torch.einsum("nchw,uhw,uc->nu", features, mask, readout.features) + readout.bias
    torch.testing.assert_close(net(images, "a"), expected)
    assert net(images, "b").shape == (5, 2)


def test_gaussian_readout_samples_while_it_trains_only():
    net = module(Architecture(readout="gaussian", layers=2, hidden_channels=4, batch_norm=False))
    images = torch.randint(0, 256, (5, 1, 16, 12), dtype=torch.uint8)
    assert not torch.equal(net(images, "a"), net(images, "a"))
    net.eval()
    assert torch.equal(net(images, "a"), net(images, "a"))


@pytest.mark.parametrize("readout", READOUTS)
def test_training_starts_from_the_mean_response(readout):
    net = module(Architecture(readout=readout)).eval()
    assert net.readouts["a"].bias.tolist() == [0, 1, 2]


def test_pixels_are_folded_into_channels():
    net = module(Architecture(fold=4), (3, 17, 12))
    assert net.core.features[0].conv.in_channels == 3 * 16
    assert net(torch.zeros(2, 3, 17, 12, dtype=torch.uint8), "a").shape == (2, 3)


@pytest.mark.parametrize("readout", READOUTS)
def test_penalties(readout):
    net = module(Architecture(readout=readout, readout_penalty=2.0, input_penalty=0.5))
    own = net.readouts["a"]
    expected = 2 * own.regularizer() / 3 + 0.5 * net.core.laplace()
    torch.testing.assert_close(net.regularizer("a"), expected)
    assert module(Architecture()).regularizer("a") == 0


def test_images_that_are_too_small():
    with pytest.raises(OptionError) as caught:
        module(Architecture(fold=16), (1, 15, 15))
    assert str(caught.value) == (
        "cnn: images of 15 x 15 pixels are too small.\n"
        "  Expected: at least one cell left after all layers.\n"
        "  What to do: give smaller kernels, a smaller stride or fold, or fewer layers."
    )


@pytest.mark.parametrize(
    ("name", "value", "problem", "expected"),
    [
        ("readout", "gauss", "readout='gauss'", "one of 'factorized', 'gaussian'"),
        ("layers", 0, "layers=0", "a whole number of 1 or more"),
        ("fold", 1.5, "fold=1.5", "a whole number of 1 or more, or null"),
        ("linear", 1, "linear=1", "true or false"),
        ("readout_penalty", -1, "readout_penalty=-1", "a number of 0 or more"),
        ("init_sigma", 0, "init_sigma=0", "a number of 1e-06 or more"),
    ],
)
def test_impossible_architectures(name, value, problem, expected):
    with pytest.raises(OptionError) as caught:
        Architecture(**{name: value})
    assert str(caught.value).startswith(f"cnn: {problem}.\n  Expected: {expected}")


def test_without_neuralpredictors(monkeypatch):
    monkeypatch.setitem(sys.modules, "neuralpredictors.layers.cores", None)
    with pytest.raises(NsdBenchError) as caught:
        module(Architecture())
    assert str(caught.value) == (
        "cnn: neuralpredictors is not installed.\n"
        "  Expected: the extra that has its core and readouts.\n"
        "  What to do: pip install 'nsd-bench[sensorium]'."
    )


# -- fitting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("readout", READOUTS)
def test_the_seed_decides_everything(package, readout):
    one, two, other = (fit_cnn(package, seed=seed, readout=readout, **SMALL) for seed in (0, 0, 1))
    assert same(one, two)
    assert one.card == two.card
    assert not same(one, other)


@pytest.mark.parametrize("readout", READOUTS)
def test_both_readouts_learn(package, readout):
    options = SMALL | {"epochs": 15, "learning_rate": 0.02}
    model = fit_cnn(package, readout=readout, **options)
    rows = package.rows("test")
    r = np.corrcoef(model.predict_rows(package, rows)[:, 0], package.responses(rows)[:, 0])[0, 1]
    assert r > 0.8


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("loss", LOSSES)
def test_mixed_precision_and_every_loss(package, readout, loss):
    model = fit_cnn(package, readout=readout, loss=loss, precision="bfloat16", **SMALL)
    predicted = model.predict(package.images([0, 1]))
    assert predicted.dtype == np.float32
    assert np.isfinite(predicted).all()
    assert (model.card["training"]["precision"], model.card["training"]["loss"]) == ("bfloat16", loss)


def test_card_says_how_it_was_trained(package):
    model = fit_cnn(package, **SMALL)
    card = model.card
    assert card["architecture"] == asdict(Architecture(hidden_channels=4, layers=2))
    assert (card["training"]["epochs"], card["seed"], card["processes"]) == (3, 0, 1)
    assert (card["epochs"], card["selected_on"]) == (3, "validation")
    curve = card["validation_r_by_epoch"]
    assert (len(curve), len(card["loss_by_epoch"])) == (3, 3)
    assert card["best_epoch"] == int(np.argmax(curve))
    weights = [tensor for name, tensor in model.tensors().items() if "num_batches" not in name]
    assert card["parameters"] < sum(tensor.size for tensor in weights)


def test_a_linear_network_is_linear(package):
    images = package.images([0, 30, 60]).astype(np.float32)
    mixed = images[0] + images[1] - images[2]
    for fit, is_linear in ((fit_linear_cnn, True), (fit_cnn, False)):
        model = fit(package, **SMALL)
        a, b, c, of_mixed = model.predict(np.stack([*images, mixed]))
        assert np.allclose(of_mixed, a + b - c, atol=1e-3) is is_linear


def test_a_nonlinearity_is_learnt_where_there_is_one(tmp_path):
    """Every other image is a negative: contrast is no longer linear in the image."""
    folder = learnable_package(tmp_path)
    for row in range(120):
        file = folder / f"data/images/{row}.npy"
        if row // 2 % 2:
            np.save(file, 254 - np.load(file).clip(0, 254))
    package = Package(folder)
    rows = package.rows("test")
    r = {}
    for fit in (fit_cnn, fit_linear_cnn):
        model = fit(package, **SMALL | {"epochs": 40, "learning_rate": 0.02, "hidden_channels": 8})
        r[fit] = np.corrcoef(model.predict_rows(package, rows)[:, 0], package.responses(rows)[:, 0])[0, 1]
    assert r[fit_cnn] > 0.7
    assert r[fit_cnn] > r[fit_linear_cnn] + 0.3


def test_subjects_share_a_core_and_have_their_own_readouts(subjects, tmp_path):
    one, two = (model.tensors() for model in fit_cnns(subjects, **SMALL))
    for name in one:
        is_shared = name.startswith(("core.", "image_"))
        assert np.array_equal(one[name], two[name]) == (is_shared or name == "unit_ids"), name
    alone = fit_cnn(subjects[0], **SMALL).tensors()
    assert not np.array_equal(
        alone["core.features.layer0.conv.weight"], one["core.features.layer0.conv.weight"]
    )


def test_train_together_command(subjects, tmp_path):
    settings = [
        f"--option={name}={SMALL[name]}" for name in ("epochs", "batch_size", "hidden_channels", "layers")
    ]
    paths = [str(package.path) for package in subjects]
    logs = ["--logs", str(tmp_path / "logs")] if find_spec("tensorboard") else []
    out = tmp_path / "models"
    arguments = ["--baseline", "cnn", "--together", "--device", "cpu", *settings, *logs, "--out", str(out)]
    done = CliRunner().invoke(train, [*paths, *arguments])
    assert done.exit_code == 0, done.output
    expected = fit_cnns(subjects, **SMALL)
    for package, model in zip(subjects, expected, strict=True):
        assert same(load_model(out / f"{package.name}.cnn.safetensors"), model)
    assert not list(out.glob("*.pt"))
    assert len(list(tmp_path.glob("logs/tiny-subj02.cnn/events*"))) == len(logs) // 2


def test_packages_that_do_not_go_together(subjects, tmp_path):
    with pytest.raises(ModelError) as caught:
        fit_cnns([subjects[0], subjects[0]], **SMALL)
    assert str(caught.value) == (
        f"{subjects[0].path}: has data key '2-1-0', as tiny-subj02 has.\n"
        "  Expected: one package for each subject, session and scan.\n"
        "  What to do: give one of the two."
    )
    other = learnable_package(tmp_path, subject=4)
    for file in (other / "data/images").iterdir():
        np.save(file, np.load(file)[:, :12])
    with pytest.raises(ModelError) as caught:
        fit_cnns([subjects[0], Package(other)], **SMALL)
    assert str(caught.value) == (
        f"{other}: has images of shape (1, 12, 16).\n"
        "  Expected: (1, 16, 16), as tiny-subj02 has: one core sees the images of all.\n"
        "  What to do: export the packages with one recipe, or train on each alone."
    )


def test_images_of_another_shape(package):
    with pytest.raises(ModelError) as caught:
        fit_cnn(package, **SMALL).predict(np.zeros((2, 3, 16, 16), np.uint8))
    assert str(caught.value) == (
        "model trained on tiny-subj02: images of shape 3 x 16 x 16.\n"
        "  Expected: 1 x 16 x 16 (channels x height x width).\n"
        "  What to do: predict a package of the recipe that it was trained on."
    )


def test_unknown_option(package):
    with pytest.raises(OptionError) as caught:
        fit_cnn(package, epoch=3)
    assert str(caught.value) == (
        "cnn: there is no option 'epoch'.\n"
        "  Expected: the nearest of 27 known names: 'epochs'.\n"
        "  What to do: leave it out, or give one of these."
    )


def test_weights_that_do_not_fit_the_card(package, tmp_path):
    model = fit_cnn(package, **SMALL)
    model.card["architecture"]["layers"] = 3
    save_model(model, tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=r"not a model \(size mismatch for readouts"):
        load_model(tmp_path / "m.safetensors")


# -- the real commands ----------------------------------------------------------------------------


def command(package: Path, out: Path, **options) -> list[str]:
    settings = [f"--option={name}={json.dumps(value)}" for name, value in options.items()]
    start = "import torch; torch.set_num_threads(1); from nsd_bench.cli import main; main()"
    arguments = ["train", str(package), "--baseline", "cnn", "--device", "cpu", "--out", str(out)]
    return [sys.executable, "-c", start, *arguments, *settings]


LONG = {"epochs": 60, "patience": None, "batch_size": 10, "hidden_channels": 4, "layers": 2}


@pytest.fixture
def one_thread():
    """What processes compute that were started here: sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_killed_and_resumed_it_gives_the_same_model(package, tmp_path, one_thread):
    """SIGKILL in the middle of an epoch; the same command again; the same curve and bytes as without."""
    checkpoint = tmp_path / "tiny-subj02.cnn.checkpoint.pt"
    again = command(package.path, tmp_path, **LONG)
    with subprocess.Popen(again, stderr=subprocess.DEVNULL) as process:
        while not checkpoint.exists() and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert 0 < len(torch.load(checkpoint, weights_only=True)["state"]["epochs"]) < LONG["epochs"]
    assert not list(tmp_path.glob("*.safetensors"))
    subprocess.run(again, check=True, capture_output=True)
    save_model(fit_cnn(package, device="cpu", progress=False, **LONG), tmp_path / "whole.safetensors")
    for suffix in ("safetensors", "json"):
        resumed, whole = (tmp_path / f"{name}.{suffix}" for name in ("tiny-subj02.cnn", "whole"))
        assert resumed.read_bytes() == whole.read_bytes()
    assert not checkpoint.exists()


def test_two_processes_give_what_one_gives(package, tmp_path):
    """Without batch normalisation up to rounding; with it, each process normalises by its own half."""
    options = LONG | {"epochs": 6, "batch_norm": False, "learning_rate": 0.01}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*launcher, "--no-python", *command(package.path, tmp_path, **options)],
        check=True,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    two = load_model(tmp_path / "tiny-subj02.cnn.safetensors")
    one = fit_cnn(package, device="cpu", progress=False, **options)
    assert (one.card["processes"], two.card["processes"]) == (1, 2)
    assert one.card["best_epoch"] == two.card["best_epoch"]
    images = package.images(package.rows("test"))
    np.testing.assert_allclose(two.predict(images), one.predict(images), atol=2e-4)
    names = ["tiny-subj02.cnn.json", "tiny-subj02.cnn.safetensors"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
