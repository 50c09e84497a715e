"""Features of torch networks: by layer, reduced, kept in float16, resumed after a kill, and shared."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from learnable import learnable_package
from torch import nn

from nsd_bench.cli.train import features_command as command
from nsd_bench.errors import ModelError, NsdBenchError, OptionError
from nsd_bench.models.extract import Reduction, as_maps, extract
from nsd_bench.models.feature_store import FeatureStore, image_digests
from nsd_bench.models.fwrf import fit_fwrf
from nsd_bench.models.linear import LinearModel, fit_features_ridge
from nsd_bench.models.networks import Network, load_network, read_weights
from nsd_bench.package import spec
from nsd_bench.package.read import Package

HERE = f"{__name__}:network"


def network(seed: int = 5) -> nn.Module:
    """What tests ask for by its import path."""
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential()
    module.add_module("conv", nn.Conv2d(3, 6, 3, padding=1))
    module.add_module("relu", nn.ReLU())
    module.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def not_a_network() -> str:
    return "text"


@pytest.fixture
def package(tmp_path) -> Package:
    return Package(learnable_package(tmp_path / "packages"))


@pytest.fixture
def net() -> Network:
    return load_network(HERE, pixels=16)


# -- networks -------------------------------------------------------------------------------------


def test_outputs_are_what_the_modules_give(net, package):
    images = package.images([0, 3, 9])
    conv, head = net.outputs(images, ["conv", "head.2"])
    x = net.prepare(images)
    np.testing.assert_array_equal(conv, net.module.conv(x))
    np.testing.assert_array_equal(head, net.module(x))
    assert not net.module.training
    assert not net.module.conv._forward_hooks


def test_images_are_resized_and_normalised():
    grey = np.full((2, 1, 8, 8), 255, dtype=np.uint8)
    x = Network(nn.Identity(), "n", pixels=4, mean=(0.5, 0, 1), std=(0.5, 2, 1)).prepare(grey)
    assert x.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(x[1, :, 2, 2], [1, 0.5, 0], atol=1e-6)
    rgb = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8), dtype=np.uint8)
    same = Network(nn.Identity(), "n", pixels=8, mean=(0, 0, 0), std=(1, 1, 1)).prepare(rgb)
    np.testing.assert_allclose(same[0], rgb[0] / 255, atol=1e-6)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_come_from_a_file(tmp_path, suffix):
    from safetensors.torch import save_file

    state = {f"module.{name}": value for name, value in network(seed=8).state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        save_file(state, path)
    loaded = load_network(HERE, path)
    expected = network(seed=8)
    for name, value in loaded.module.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name])
    assert loaded.card["sha256"] != load_network(HERE).card["sha256"]
    assert loaded.card["sha256"] == load_network(HERE, path).card["sha256"]


def test_weights_of_clip_hold_two_towers(tmp_path):
    state = {f"visual.{name}": value for name, value in network(seed=8).state_dict().items()}
    torch.save({**state, "logit_scale": torch.zeros(()), "text.weight": torch.zeros(2)}, tmp_path / "w.pt")
    expected = Network(network(seed=8), "n").card["sha256"]
    assert load_network(HERE, tmp_path / "w.pt").card["sha256"] == expected


def test_weights_that_are_code_are_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"conv.weight": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(ModelError, match="cannot be read"):
        read_weights(tmp_path / "trap.pt")
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_network(tmp_path):
    state = network().state_dict()
    del state["conv.bias"]
    state |= {"conv.weight": torch.zeros(2, 2), "extra": torch.zeros(1)}
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ModelError) as caught:
        load_network(HERE, tmp_path / "w.pt")
    assert str(caught.value) == (
        f"{tmp_path}/w.pt: belongs to another network: conv.bias is missing, extra is not the network's, "
        "conv.weight has shape (2, 2), not (6, 3, 3, 3).\n"
        "  Expected: a state dict of the network, as safetensors or as torch.save writes it.\n"
        "  What to do: give the file that belongs to --model."
    )
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(ModelError, match="holds no state dict"):
        load_network(HERE, tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "resnet50",
            "--model resnet50: cannot tell whose network 'resnet50' is.\n"
            "  Expected: one of 'timm:NAME', 'torchvision:NAME', 'open_clip:NAME', "
            "'package.module:callable'.\n"
            "  What to do: correct --model.",
        ),
        (
            "timm:resnet50",
            "--model timm:resnet50: timm:resnet50 has no weights, and none are downloaded here.\n"
            "  Expected: a file with weights.\n"
            "  What to do: give --weights FILE, or --untrained SEED.",
        ),
        (
            f"{__name__}:nothing",
            f"--model {__name__}:nothing: cannot be imported (module '{__name__}' has no attribute "
            "'nothing').\n"
            "  Expected: timm:NAME or torchvision:NAME or open_clip:NAME, or package.module:callable.\n"
            "  What to do: correct --model.",
        ),
        (
            f"{__name__}:not_a_network",
            f"--model {__name__}:not_a_network: returns a str.\n"
            "  Expected: a torch.nn.Module.\n"
            "  What to do: correct --model.",
        ),
    ],
)
def test_unknown_networks(name, text):
    with pytest.raises(OptionError) as caught:
        load_network(name)
    assert str(caught.value) == text


def test_library_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NsdBenchError) as caught:
        load_network("timm:resnet10t", untrained=0)
    assert str(caught.value) == (
        "networks: timm is not installed.\n"
        "  Expected: the extra with networks.\n"
        "  What to do: pip install 'nsd-bench[networks]'."
    )


@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (
            ModuleNotFoundError("No module named 'yaml'", name="yaml"),
            "ModuleNotFoundError: No module named 'yaml'",
        ),
        (RuntimeError("operator nms does not exist"), "RuntimeError: operator nms does not exist"),
        (OSError("undefined symbol"), "OSError: undefined symbol"),
    ],
)
def test_library_that_is_broken(monkeypatch, raised, text):
    def broken(name):
        raise raised

    monkeypatch.setattr("nsd_bench.models.networks.importlib.import_module", broken)
    with pytest.raises(NsdBenchError) as caught:
        load_network("timm:resnet10t", untrained=0)
    assert str(caught.value) == (
        f"networks: timm cannot be imported ({text}).\n"
        "  Expected: the extra with networks.\n"
        "  What to do: install torch and torchvision again, both from the same index."
    )


def needs_a_width(width):
    return nn.Linear(width, 1)


def test_a_callable_that_raises():
    with pytest.raises(OptionError) as caught:
        load_network(f"{__name__}:needs_a_width")
    assert str(caught.value) == (
        f"--model {__name__}:needs_a_width: raises TypeError: "
        "needs_a_width() missing 1 required positional argument: 'width'.\n"
        "  Expected: a function without arguments that returns a module.\n"
        "  What to do: correct --model."
    )


def test_images_that_the_network_cannot_take(package):
    small = Network(nn.Conv2d(3, 2, 5), "small", pixels=2)
    with pytest.raises(ModelError) as caught:
        small.outputs(package.images([0]), [])
    assert caught.value.problem.startswith(
        "cannot take images of 2 x 2 pixels, 1 at once (Calculated padded input size"
    )
    assert caught.value.fix == "give other --pixels, or a smaller --batch-size"


def test_a_folder_of_something_else_is_kept(net, package, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(ModelError) as caught:
        extract([package], net, ["conv"], folder)
    assert str(caught.value) == (
        f"{folder}: holds something else already, manifest.json for one.\n"
        "  Expected: a folder of features, or one that is empty or not there yet.\n"
        "  What to do: choose another folder."
    )
    assert [path.name for path in folder.iterdir()] == ["manifest.json"]


def test_unknown_layer(net, package):
    with pytest.raises(OptionError) as caught:
        net.outputs(package.images([0]), ["convs"])
    assert str(caught.value) == (
        f"network {HERE}: there is no layer 'convs'.\n"
        "  Expected: one of 'conv', 'relu', 'head', 'head.0', 'head.1', 'head.2' (did you mean 'conv'?).\n"
        "  What to do: list them with --list-layers, and correct --layers."
    )


class Forked(nn.Module):
    """One layer that gives a tuple, one that gives a dict, and one that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.table, self.idle = Pair(), Table(), nn.Identity()

    def forward(self, x):
        return self.table(self.pair(x)[0])


class Pair(nn.Module):
    def forward(self, x):
        return 2 * x, "second"


class Table(nn.Module):
    def forward(self, x):
        return {"x": x}


def test_layers_that_give_no_tensor(package):
    forked, images = Network(Forked(), "forked", 16), package.images([0])
    np.testing.assert_array_equal(forked.outputs(images, ["pair"])[0], 2 * forked.prepare(images))
    for layer, problem in (("table", "gave a dict"), ("idle", "was not used for these images")):
        with pytest.raises(ModelError) as caught:
            forked.outputs(images, [layer])
        assert str(caught.value) == (
            f"network forked, layer {layer}: {problem}.\n"
            "  Expected: a tensor, or a tuple that begins with one.\n"
            "  What to do: choose a layer that gives one."
        )


# -- reduction ------------------------------------------------------------------------------------


def test_tokens_become_maps():
    maps = torch.arange(2 * 5 * 3 * 3.0).reshape(2, 5, 3, 3)
    tokens = torch.cat([torch.full((2, 2, 5), -1.0), maps.flatten(2).transpose(1, 2)], dim=1)
    np.testing.assert_array_equal(as_maps(tokens), maps)


def test_grid_averages_over_cells():
    maps = torch.randn(2, 3, 4, 6)
    expected = maps.reshape(2, 3, 2, 2, 2, 3).mean(dim=(3, 5))
    np.testing.assert_allclose(Reduction(grid=2)(maps), expected, atol=1e-6)
    flat = torch.randn(2, 5)
    np.testing.assert_array_equal(Reduction(grid=2)(flat), flat)


def test_projection_keeps_distances_and_is_the_same_every_time():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 3, 20, 20)).astype(np.float32))
    projected = Reduction(project=900)(x)
    assert projected.shape == (8, 900)
    ratio = torch.pdist(projected) / torch.pdist(x.flatten(1))
    assert (ratio - 1).abs().max() < 0.15
    np.testing.assert_array_equal(Reduction(project=900)(x), projected)
    assert (Reduction(project=900, seed=1)(x) != projected).any()


@pytest.mark.parametrize(
    ("reduction", "name"),
    [
        (Reduction(), ""),
        (Reduction(grid=4), ".grid4"),
        (Reduction(2, 512, 3), ".grid2.project512-seed3"),
    ],
)
def test_reductions_have_names(reduction, name):
    assert reduction.name == name


def test_wrong_reduction():
    with pytest.raises(OptionError) as caught:
        Reduction(grid=0)
    assert str(caught.value) == (
        "reduction of features: grid is 0.\n"
        "  Expected: a number of 1 or more, or none to keep everything.\n"
        "  What to do: correct --grid."
    )


# -- extraction and the store ---------------------------------------------------------------------


def test_features_are_those_of_the_network(net, package, tmp_path):
    store = extract([package], net, ["conv", "head.2"], tmp_path / "f", batch_size=7)
    images = package.images(package.rows("test")[::2])
    for name, expected in zip(store.names, net.outputs(images, ["conv", "head.2"]), strict=True):
        found = store.layer(name).read(image_digests(images))
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert len(store.layer("conv").row_of) == 60


def counting(net):
    """Return the network, and a list that grows by the number of images of every batch that it sees."""
    seen = []
    net.module.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    return seen


def test_images_are_extracted_once_and_shared_over_packages(net, package, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(package.path, other)
    seen = counting(net)
    extract([package, Package(other)], net, ["head"], tmp_path / "f")
    assert sum(seen) == 60
    extract([package], net, ["head"], tmp_path / "f")
    assert sum(seen) == 60
    extract([package], net, ["head", "conv"], tmp_path / "f")
    assert sum(seen) == 120


@pytest.mark.parametrize("cut", ["features", "digests", "batch"])
def test_resumed_after_a_kill(net, package, tmp_path, monkeypatch, cut):
    whole = extract([package], net, ["conv"], tmp_path / "whole", batch_size=10)
    out = tmp_path / "killed"

    class Killed(Exception):
        pass

    def outputs(*arguments, left=[3], whole=Network.outputs):  # noqa: B006 counts down over calls
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return whole(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Network, "outputs", outputs)
        extract([package], net, ["conv"], out, batch_size=10)
    values, images = (out / "layers" / f"conv.{kind}" for kind in ("float16", "images"))
    if cut == "features":  # killed while it wrote features
        values.write_bytes(values.read_bytes() + b"12345")
    if cut == "digests":  # killed while it wrote digests
        images.write_bytes(images.read_bytes()[:-40])
    seen = counting(net)
    extract([package], net, ["conv"], out, batch_size=10)
    assert sum(seen) == {"features": 30, "digests": 32, "batch": 30}[cut]
    pixels = package.images(package.rows("validation")[::2])
    np.testing.assert_array_equal(
        FeatureStore(out).layer("conv").read(image_digests(pixels)),
        whole.layer("conv").read(image_digests(pixels)),
    )
    assert values.stat().st_size == 60 * 2 * 6 * 16 * 16
    assert images.stat().st_size == 60 * 32


def test_a_store_is_of_one_network(net, package, tmp_path):
    extract([package], net, ["head"], tmp_path / "f")
    there, new = net.card["pixels"], 8
    with pytest.raises(ModelError) as caught:
        extract([package], load_network(HERE, pixels=new), ["head"], tmp_path / "f")
    assert str(caught.value) == (
        f"{tmp_path}/f: holds features of another network: pixels differ.\n"
        f"  Expected: pixels {there}, not {new}.\n"
        "  What to do: choose another folder: one is for one network with its weights."
    )


def test_one_process_at_a_time(net, package, tmp_path):
    store = extract([package], net, ["head"], tmp_path / "f")
    with store.writing(), pytest.raises(ModelError) as caught:
        extract([package], net, ["conv"], tmp_path / "f")
    assert str(caught.value) == (
        f"{tmp_path}/f: another process is adding to it.\n"
        "  Expected: one process at a time.\n"
        "  What to do: wait for it, or choose another folder."
    )


@pytest.mark.parametrize("value", [1e6, np.nan])
def test_values_that_float16_cannot_hold(net, package, tmp_path, value):
    with torch.no_grad():
        net.module.conv.bias.fill_(value)
    with pytest.raises(ModelError) as caught:
        extract([package], net, ["conv"], tmp_path / "f")
    assert str(caught.value).startswith("layer conv: holds values up to ")
    assert str(caught.value).endswith(
        "  Expected: finite values within 65504, which float16 can hold.\n"
        "  What to do: take a layer behind a normalisation, or check the weights."
    )
    assert not FeatureStore(tmp_path / "f").layer("conv").row_of


def test_missing_layers_and_images(net, package, tmp_path):
    store = extract([package], net, ["head"], tmp_path / "f")
    with pytest.raises(ModelError) as caught:
        store.layer("conv")
    assert str(caught.value) == (
        f"{tmp_path}/f: there is no layer 'conv'.\n"
        "  Expected: one of 'head'.\n"
        "  What to do: ask for one of these, or run 'nsd-bench features' with this layer."
    )
    with pytest.raises(ModelError) as caught:
        store.layer("head").read([b"x" * 32, next(iter(store.layer("head").row_of))])
    assert str(caught.value) == (
        f"{tmp_path}/f/layers/head.float16: there are no features of 1 of 2 images.\n"
        "  Expected: features of every image of the package.\n"
        "  What to do: run 'nsd-bench features' on this package; it adds what is missing."
    )


def test_not_a_store(tmp_path):
    (tmp_path / "features.json").write_text("[]")
    with pytest.raises(ModelError) as caught:
        FeatureStore(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/features.json: is not a JSON object.\n"
        "  Expected: a folder that 'nsd-bench features' wrote.\n"
        "  What to do: check the path, or extract the features again."
    )
    (tmp_path / "features.json").write_text('{"format": "other"}')
    with pytest.raises(ModelError, match="has format 'other'"):
        FeatureStore(tmp_path)
    with pytest.raises(ModelError, match=r"cannot be read \(No such file or directory\)"):
        FeatureStore(tmp_path / "nowhere")


def test_digests_tell_images_apart():
    images = np.zeros((3, 1, 2, 3), dtype=np.uint8)
    images[1, 0, 1, 2] = 1
    digests = image_digests(images)
    assert digests[0] == digests[2] != digests[1]
    assert image_digests(images.reshape(3, 1, 3, 2))[0] != digests[0]


# -- models on features ---------------------------------------------------------------------------


def test_features_ridge_learns_and_is_found_again(net, package, tmp_path):
    extract([package], net, ["conv", "head"], tmp_path / "f", reduction=Reduction(grid=4))
    model = fit_features_ridge(package, features=tmp_path / "f")
    rows = package.rows("test")[::2]
    predicted = model.predict(package.images(rows))
    assert np.corrcoef(predicted[:, 0], package.responses(rows)[:, 0])[0, 1] > 0.85
    assert model.card["features"]["layers"] == ["conv.grid4", "head.grid4"]
    assert model.weights.shape == (6 * 16 + 4, 5)
    card = json.loads(json.dumps(model.card))
    again = LinearModel.from_tensors(model.tensors(), card)
    np.testing.assert_array_equal(again.predict(package.images(rows)), predicted)
    for layers in (["head.grid4"], "head.grid4"):
        assert fit_features_ridge(package, features=tmp_path / "f", layers=layers).weights.shape == (4, 5)


def test_a_model_refuses_features_of_another_network(net, package, tmp_path):
    extract([package], net, ["head"], tmp_path / "f")
    model = fit_features_ridge(package, features=tmp_path / "f")
    shutil.rmtree(tmp_path / "f")
    torch.save(network(seed=9).state_dict(), tmp_path / "w.pt")
    extract([package], load_network(HERE, tmp_path / "w.pt", pixels=16), ["head"], tmp_path / "f")
    with pytest.raises(ModelError, match="Expected: features of the model's network, digest"):
        LinearModel.from_tensors(model.tensors(), model.card)


def test_receptive_fields_on_maps_of_two_sizes(package, tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    extract([package], Network(module, "n", 16), ["1", "2"], tmp_path / "f")
    model = fit_fwrf(package, features=tmp_path / "f", n_places=2, sizes=[0.2])
    assert model.weights.shape == (8, 5)
    assert model.card["features"]["layers"] == ["1", "2"]


def test_layers_without_places_have_no_receptive_fields(net, package, tmp_path):
    extract([package], net, ["head"], tmp_path / "f")
    with pytest.raises(ModelError, match=r"layer 'head' has shape \(4,\): it is not made of maps"):
        fit_fwrf(package, features=tmp_path / "f")


# -- timm and torchvision, as far as they run here ------------------------------------------------


@pytest.fixture(scope="module")
def torchvision():
    """Beside a torch of another build it can be imported only once its operators are declared."""
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    try:
        yield import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        yield import_module("torchvision")
        library._destroy()


def test_networks_of_timm(torchvision, package):
    pytest.importorskip("timm")
    net = load_network("timm:vit_tiny_patch16_224", untrained=1)
    assert (net.pixels, net.mean) == (224, (0.5, 0.5, 0.5))
    maps = Reduction(grid=2)(net.outputs(package.images([0]), ["blocks.0"])[0])
    assert maps.shape == (1, 192, 2, 2)
    assert net.card["sha256"] == load_network("timm:vit_tiny_patch16_224", untrained=1).card["sha256"]
    assert net.card["sha256"] != load_network("timm:vit_tiny_patch16_224", untrained=2).card["sha256"]
    with pytest.raises(OptionError, match="timm has no 'vit_tinny'"):
        load_network("timm:vit_tinny", untrained=1)


def test_networks_of_torchvision(torchvision, package):
    net = load_network("torchvision:squeezenet1_1", untrained=1, pixels=64)
    assert net.outputs(package.images([0]), ["features"])[0].shape == (1, 512, 3, 3)
    with pytest.raises(OptionError, match="torchvision has no 'alexnett'"):
        load_network("torchvision:alexnett", untrained=1)


# -- the command ----------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_command(package, tmp_path):
    options = ["--model", HERE, "--layers", "conv,head", "--grid", 2, "--pixels", 16, "--out", tmp_path / "f"]
    result = run(package.path.parent, *options)
    assert result.exit_code == 0, result.output
    expected = f"{tmp_path}/f: conv.grid2, 60 images x 6 x 2 x 2\n{tmp_path}/f: head.grid2, 60 images x 4\n"
    assert result.stdout == expected
    assert run(package.path, *options).stdout == expected


def test_command_trains_and_predicts_on_features(package, tmp_path):
    """From images to a submission, all by commands."""
    from nsd_bench.cli.train import train_command as train
    from nsd_bench.models.zoo import load_model

    store, out = tmp_path / "f", tmp_path / "models"
    run(package.path, "--model", HERE, "--layers", "conv", "--pixels", 16, "--grid", 4, "--out", store)
    options = ["--baseline", "features-ridge", "--option", f"features={store}", "--out", str(out)]
    trained = CliRunner().invoke(train, [str(package.path), *options])
    assert trained.exit_code == 0, trained.output
    model = load_model(out / f"{package.name}.features-ridge.safetensors")
    submission = model.submission(package)
    assert submission.predictions.shape == (20, 5)
    assert submission.card["features"]["network"] == HERE


def test_command_lists_layers():
    result = run("--model", HERE, "--list-layers")
    assert result.output.split() == ["conv", "relu", "head", "head.0", "head.1", "head.2"]


def test_command_says_what_it_needs(package):
    result = run(package.path, "--model", HERE, "--layers", "conv")
    assert result.exit_code == 2
    assert "PACKAGES, --layers and --out are needed, or --list-layers." in result.output


def test_no_response_is_read(net, package, tmp_path):
    for file in (package.path / "data" / "responses").iterdir():
        file.unlink()
    extract([Package(package.path)], net, ["head"], tmp_path / "f")
    assert not (package.path / spec.data_file("responses", 0)).exists()
