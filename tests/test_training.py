"""The training loop: what it minimises, when it stops, and that a killed one goes on as if it had not."""

from __future__ import annotations

import math
import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learnable import N_TRAIN, N_VALIDATION, learnable_package
from scipy import stats
from torch import nn

from nsd_bench.errors import ModelError, NsdBenchError, OptionError
from nsd_bench.models.distributed import Processes, is_first_process, processes
from nsd_bench.models.progress import Progress
from nsd_bench.models.schedules import LOSSES, EarlyStopping, learning_rate_factor, unit_correlation
from nsd_bench.models.training import Trainer, read_checkpoint, train_network, write_checkpoint
from nsd_bench.models.training_loaders import training_loaders
from nsd_bench.models.training_options import TrainingOptions, read_device
from nsd_bench.package.read import Package

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)
OPTIONS = TrainingOptions(epochs=4, batch_size=8, learning_rate=0.02, patience=None)


class Contrast(nn.Module):
    """A line through the standard deviation of an image's pixels; noise while it trains, and a buffer."""

    def __init__(self, data_keys: tuple[str, ...], penalty: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)
        self.readouts = nn.ModuleDict({key: nn.Linear(1, 5) for key in data_keys})
        self.penalty = penalty

    def forward(self, images, data_key):
        contrast = images.float().flatten(1).std(dim=1, keepdim=True)
        if self.training:
            contrast = contrast + 0.1 * torch.randn_like(contrast)
        return self.readouts[data_key](self.norm(contrast))

    def regularizer(self, data_key):
        return self.penalty * self.readouts[data_key].weight.square().sum()


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> list[Package]:
    folder = tmp_path_factory.mktemp("learnable")
    return [Package(learnable_package(folder, subject=subject)) for subject in (2, 3)]


def trainer(packages, options=OPTIONS, *, seed=0, penalty=0.0) -> Trainer:
    data = training_loaders(packages, options, ALONE, seed=seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        module = Contrast(tuple(package.data_key for package in packages), penalty)
    return Trainer(module, data, options, ALONE, seed)


# -- losses ---------------------------------------------------------------------------------------


def test_correlation_is_scipys():
    rng = np.random.default_rng(0)
    predicted, observed = rng.normal(size=(2, 11, 3))
    expected = [stats.pearsonr(p, o)[0] for p, o in zip(predicted.T, observed.T, strict=True)]
    found = unit_correlation(torch.tensor(predicted), torch.tensor(observed))
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    loss = LOSSES["correlation"](torch.tensor(predicted), torch.tensor(observed))
    assert loss.item() == pytest.approx(1 - np.mean(expected))


def test_correlation_of_a_constant_is_0_and_has_a_gradient():
    predicted = torch.ones(6, 2, requires_grad=True)
    r = unit_correlation(predicted, torch.randn(6, 2, generator=torch.Generator().manual_seed(0)))
    r.sum().backward()
    assert r.tolist() == [0, 0]
    assert torch.isfinite(predicted.grad).all()


def test_mse_takes_signed_responses():
    assert LOSSES["mse"](torch.tensor([[-1.0, 2]]), torch.tensor([[1.0, 2]])).item() == 2


# -- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("loss", "poisson", "one of 'mse', 'correlation'"),
        ("schedule", "cos", "one of 'cosine', 'constant', 'plateau'"),
        ("precision", 16, "one of 'float32', 'bfloat16', 'float16'"),
        ("epochs", 0, "a whole number of 1 or more."),
        ("batch_size", 2.0, "a whole number of 1 or more."),
        ("patience", -1, "a whole number of 1 or more, or null."),
        ("learning_rate", math.inf, "a number above 0."),
        ("clip_norm", 0, "a number above 0, or null."),
        ("weight_decay", -1e-3, "a number of 0 or more."),
        ("warmup", 1, "a number of 0 or more and below 1."),
        ("decays", True, "a whole number of 0 or more."),
        ("average_repeats", 1, "true or false."),
    ],
)
def test_impossible_options(name, value, expected):
    with pytest.raises(OptionError) as caught:
        TrainingOptions(**{name: value})
    lines = str(caught.value).split("\n")
    assert lines[0] == f"training: {name}={value!r}."
    assert lines[1].startswith(f"  Expected: {expected}")
    assert lines[2] == f"  What to do: correct {name!r}."


def test_options_that_turn_something_off():
    options = TrainingOptions(patience=None, clip_norm=None, weight_decay=0, decays=0, warmup=0)
    assert options.patience is options.clip_norm is None


@pytest.mark.parametrize("name", ["cud", "cuda:99", "meta:x"])
def test_devices_that_are_not_here(name):
    with pytest.raises(OptionError) as caught:
        read_device(name)
    assert str(caught.value).startswith(
        f"training: there is no device {name!r} here.\n  Expected: one of 'auto'"
    )


def test_auto_is_the_best_device():
    assert read_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


# -- schedules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1]),
        ("cosine", [0.5, 1, 1, 0.75, 0.25]),
        ("plateau", [0.5, 1, 0.09, 0.09, 0.09]),
    ],
)
def test_learning_rates(schedule, expected):
    found = [learning_rate_factor(schedule, step, 5, 0.4, 2) for step in range(5)]
    np.testing.assert_allclose(found, expected)


def test_without_warmup_the_first_step_is_full():
    assert learning_rate_factor("cosine", 0, 7, 0) == 1


def test_patience_counts_from_the_best():
    stopping = EarlyStopping(patience=2)
    assert [stopping.update(r) for r in (0.2, 0.1, 0.3, 0.3, 0.2)] == ["best", "wait", "best", "wait", "stop"]
    assert stopping.best == 0.3


def test_without_patience_it_never_stops():
    stopping = EarlyStopping(patience=None)
    assert {stopping.update(-r) for r in range(50)} == {"best", "wait"}


def test_nan_is_never_the_best():
    stopping = EarlyStopping(patience=2)
    assert [stopping.update(math.nan), stopping.update(0.1), stopping.update(math.nan)] == [
        "wait",
        "best",
        "wait",
    ]


# -- data -----------------------------------------------------------------------------------------


def test_items_are_images_or_trials(packages):
    for average, n_items in ((True, N_TRAIN), (False, 2 * N_TRAIN)):
        data = training_loaders(packages[:1], replace(OPTIONS, average_repeats=average), ALONE)
        assert sum(len(batch.images) for _, batch in data.train) == n_items
        (validation,) = data.validation.values()
        assert sum(len(batch.images) for batch in validation) == N_VALIDATION


@pytest.mark.parametrize(("images", "dtype"), [("float32", torch.float32), ("uint8", torch.uint8)])
def test_images_are_what_loaders_give_or_as_they_are_stored(packages, images, dtype):
    data = training_loaders(packages[:1], OPTIONS, ALONE, images=images)
    package, (loader,) = packages[0], data.validation.values()
    found = torch.cat([batch.images for batch in loader])
    pixels = package.images(package.rows("validation")[::2]).astype(np.float64)
    if images == "float32":
        mean, std = (package.statistic("images", name) for name in ("mean", "std"))
        pixels = (pixels - mean) / std
    assert found.dtype == dtype
    np.testing.assert_allclose(found.double(), pixels, atol=1e-5)


def test_order_follows_from_seed_and_epoch(packages):
    def order(seed, epoch):
        data = training_loaders(packages, OPTIONS, ALONE, seed=seed)
        data.start(epoch)
        return torch.cat([batch.responses.clone() for _, batch in data.train])

    assert torch.equal(order(1, 2), order(1, 2))
    assert not torch.equal(order(1, 2), order(1, 3))
    assert not torch.equal(order(1, 2), order(2, 2))


def test_processes_share_each_batch(packages):
    """The batches of two processes together are those of one."""

    def batches(n_processes, rank):
        data = training_loaders(packages, OPTIONS, Processes(rank, n_processes, CPU), seed=4)
        return [batch.responses.clone() for _, batch in data.train]

    whole, first, second = batches(1, 0), batches(2, 0), batches(2, 1)
    for together, *parts in zip(whole, first, second, strict=True):
        assert sorted(together.tolist()) == sorted(torch.cat(parts).tolist())


def test_no_validation_tier(tmp_path):
    folder = learnable_package(tmp_path)
    tiers = np.load(folder / "meta/trials/tiers.npy")
    np.save(folder / "meta/trials/tiers.npy", np.where(tiers == "validation", "train", tiers))
    with pytest.raises(ModelError) as caught:
        training_loaders([Package(folder)], OPTIONS, ALONE)
    assert str(caught.value) == (
        f"{folder}: tier 'validation' has 0 images.\n"
        "  Expected: at least 3 to fit or to choose on.\n"
        "  What to do: export with tiers that have a validation tier, or more sessions."
    )


def test_more_processes_than_items(packages):
    with pytest.raises(ModelError) as caught:
        training_loaders(packages, replace(OPTIONS, batch_size=2), Processes(0, 3, CPU))
    assert str(caught.value) == (
        "training: batches of 2 cannot be divided among 3 processes.\n"
        "  Expected: at least one item for each process.\n"
        "  What to do: give a larger batch_size."
    )


# -- the loop -------------------------------------------------------------------------------------


def test_it_learns_and_ends_at_its_best_epoch(packages):
    run = trainer(packages, replace(OPTIONS, epochs=6))
    before = run.validate()
    history = run.run(progress=False)
    rs = [epoch.validation_r for epoch in history.epochs]
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert history.best == int(np.argmax(rs))
    assert run.validate() == max(rs) > before
    assert not run.module.training


def test_validation_is_scored_over_image_means(packages):
    run = trainer(packages)
    run.module.eval()
    expected = []
    for package in packages:
        rows = package.rows("validation").reshape(-1, 2)
        observed = package.standardised_responses(rows.ravel()).reshape(*rows.shape, -1).mean(axis=1)
        mean, std = (package.statistic("images", name) for name in ("mean", "std"))
        images = torch.from_numpy(((package.images(rows[:, 0]) - mean) / std).astype(np.float32))
        with torch.no_grad():
            predicted = run.module(images, package.data_key).numpy()
        expected.append(
            np.mean([np.corrcoef(p, o)[0, 1] for p, o in zip(predicted.T, observed.T, strict=True)])
        )
    assert run.validate() == pytest.approx(np.mean(expected), abs=1e-5)


def curve(history):
    return [(epoch.loss, epoch.validation_r, epoch.learning_rate) for epoch in history.epochs]


def test_the_same_seed_gives_the_same_curve_and_another_does_not(packages):
    one, two, other = (trainer(packages, seed=seed).run(progress=False) for seed in (0, 0, 1))
    assert curve(one) == curve(two)
    assert curve(one) != curve(other)


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_interrupted_after_any_epoch_it_goes_on_as_if_nothing_had_been(packages, tmp_path, schedule):
    options = replace(OPTIONS, schedule=schedule, patience=1, decays=2)
    whole = trainer(packages, options)
    expected = whole.run(progress=False)
    path = tmp_path / "x.checkpoint.pt"
    for _ in range(len(expected.epochs)):
        resumed = trainer(packages, options)
        if path.exists():
            resumed.load_state_dict(read_checkpoint(path, expected.made_by, CPU))
        torch.manual_seed(123)  # whatever has been drawn in between
        resumed.run_epoch()
        write_checkpoint(path, resumed.state_dict(), expected.made_by)
    history = resumed.run(progress=False, checkpoint=path)
    assert curve(history) == curve(expected)
    assert history.best == expected.best
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, resumed.module.state_dict()[name])


def test_a_finished_training_trains_no_further(packages, tmp_path):
    path = tmp_path / "x.checkpoint.pt"
    first = trainer(packages).run(checkpoint=path, progress=False)
    before = path.read_bytes()
    again = trainer(packages).run(checkpoint=path, progress=False)
    assert curve(again) == curve(first)
    assert path.read_bytes() == before


def test_plateau_lowers_the_rate_and_goes_back_to_the_best(packages):
    run = trainer(packages, replace(OPTIONS, schedule="plateau", patience=1, decays=1, warmup=0, epochs=9))
    values = iter([0.5, 0.4, 0.3])
    run.validate = lambda: next(values)
    run.run_epoch()
    best = {name: value.clone() for name, value in run.module.state_dict().items()}
    assert run.run_epoch().learning_rate == pytest.approx(0.02)
    assert all(torch.equal(value, run.module.state_dict()[name]) for name, value in best.items())
    assert run.run_epoch().learning_rate == pytest.approx(0.3 * 0.02)
    assert run.is_over


def test_gradients_are_clipped(packages):
    """With a norm of next to nothing, AdamW's first step still is the learning rate: look at gradients."""
    for clip_norm, is_small in ((1e-3, True), (None, False)):
        run = trainer(packages, replace(OPTIONS, clip_norm=clip_norm))
        data_key, batch = next(iter(run.data.train))
        run.step(data_key, batch)
        norm = torch.cat([p.grad.ravel() for p in run.module.parameters() if p.grad is not None]).norm()
        assert bool(norm < 1.001e-3) is is_small


def test_the_penalty_counts_but_is_not_reported(packages):
    fast = replace(OPTIONS, learning_rate=0.1, epochs=8)
    free, held = trainer(packages, fast), trainer(packages, fast, penalty=1e3)
    losses = [[run.run_epoch().loss for _ in range(8)] for run in (free, held)]
    norms = [
        sum(readout.weight.square().sum().item() for readout in run.module.readouts.values())
        for run in (free, held)
    ]
    assert norms[1] < 0.1 * norms[0]
    assert losses[0][0] != losses[1][0]
    assert losses[1][0] < 10


def test_mixed_precision_gives_nearly_the_same(packages):
    full, mixed = (
        trainer(packages, replace(OPTIONS, precision=precision)).run(progress=False)
        for precision in ("float32", "bfloat16")
    )
    np.testing.assert_allclose(curve(mixed), curve(full), atol=0.05)
    assert curve(mixed) != curve(full)


def test_float16_needs_a_gpu(packages):
    with pytest.raises(OptionError) as caught:
        trainer(packages, replace(OPTIONS, precision="float16"))
    assert str(caught.value) == (
        "training: precision='float16' on 'cpu'.\n"
        "  Expected: a GPU, where gradients are scaled, or 'bfloat16'.\n"
        "  What to do: give one of these."
    )


def test_training_that_diverges(packages):
    with pytest.raises(ModelError) as caught:
        trainer(packages, replace(OPTIONS, learning_rate=1e30)).run(progress=False)
    assert str(caught.value) == (
        "training, epoch 1: loss nan and validation correlation nan.\n"
        "  Expected: finite numbers.\n"
        "  What to do: lower learning_rate, clip gradients, or run 'nsd-bench validate' on the packages."
    )


def test_torchs_own_generator_stays_as_it_is(packages):
    before = torch.get_rng_state()
    trainer(packages).run(progress=False)
    assert torch.equal(torch.get_rng_state(), before)


class Own(nn.Module):
    """A user's network, as the documentation shows it: no regulariser, and no care for dtypes."""

    def __init__(self, n_units: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(64, n_units))

    def forward(self, images, data_key):
        return self.layers(images)


def test_a_network_of_ones_own_is_trained_in_one_call(packages):
    package = packages[0]
    torch.manual_seed(0)
    one, two = Own(package.n_units), Own(package.n_units)
    two.load_state_dict(one.state_dict())
    history = train_network(one, package, epochs=3, batch_size=8, device="cpu", progress=False)
    assert [epoch.number for epoch in history.epochs] == [0, 1, 2]
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert history.made_by["training"]["epochs"] == 3
    assert list(history.made_by["trained_on"]) == [package.name]
    options = TrainingOptions(epochs=3, batch_size=8)
    by_hand = Trainer(two, training_loaders([package], options, ALONE), options, ALONE)
    assert by_hand.run(progress=False) == history
    assert all(torch.equal(one.state_dict()[name], value) for name, value in two.state_dict().items())


def test_a_network_of_ones_own_that_reads_out_other_units(packages):
    with pytest.raises(ModelError) as caught:
        train_network(Own(1), packages[0], epochs=1, batch_size=8, device="cpu", progress=False)
    assert str(caught.value) == (
        "training on package '2-1-0': the network gave responses of shape (8, 1).\n"
        "  Expected: (8, 5): images x units.\n"
        "  What to do: read out as many responses as the package has units (n_units)."
    )


def test_a_network_of_ones_own_never_sees_test_responses(packages):
    view = training_loaders(packages[:1], OPTIONS, ALONE).train
    with pytest.raises(ModelError, match="of tier 'test' were asked for while fitting"):
        next(iter(view.loaders.values())).dataset.package.rows("test")


# -- checkpoints ----------------------------------------------------------------------------------


def test_checkpoints_come_back(tmp_path):
    path, made_by = tmp_path / "x.pt", {"seed": 3, "options": {"epochs": 2}}
    write_checkpoint(path, {"a": torch.arange(3), "b": [1.5, None]}, made_by)
    state = read_checkpoint(path, made_by, CPU)
    assert state["a"].tolist() == [0, 1, 2]
    assert state["b"] == [1.5, None]


class Harm:
    def __reduce__(self):
        return Path.touch, (Path("harm"),)


@pytest.mark.parametrize("how", ["empty", "cut off", "another file", "pickle", "other format"])
def test_not_a_checkpoint(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pt"
    write_checkpoint(path, {"a": torch.arange(300)}, {})
    whole = path.read_bytes()
    if how == "other format":
        torch.save({"format": "another", "made_by": {}, "state": {}}, path)
    else:
        path.write_bytes(
            {
                "empty": b"",
                "cut off": whole[: len(whole) // 2],
                "another file": b"x" * 99,
                "pickle": pickle.dumps(Harm(), protocol=2),
            }[how]
        )
    with pytest.raises(ModelError) as caught:
        read_checkpoint(path, {}, CPU)
    assert str(caught.value).startswith(f"{path}: not a whole checkpoint (")
    assert str(caught.value).endswith(
        "Expected: a file that training wrote.\n  What to do: remove it to start anew."
    )
    assert not Path("harm").exists()


def test_checkpoint_of_another_training(tmp_path):
    path = tmp_path / "x.pt"
    write_checkpoint(path, {}, {"epochs": 3, "seed": 1})
    with pytest.raises(ModelError) as caught:
        read_checkpoint(path, {"epochs": 4, "seed": 2}, CPU)
    assert str(caught.value) == (
        f"{path}: was made with epochs=3.\n"
        "  Expected: epochs=4, as asked for now.\n"
        "  What to do: ask for the same as before to go on, or remove the checkpoint to start anew."
    )


def test_interrupted_while_writing_the_last_checkpoint_stays(tmp_path, monkeypatch):
    path = tmp_path / "x.pt"
    write_checkpoint(path, {"a": 1}, {})
    before = path.read_bytes()

    def broken(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, {"a": 2}, {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# -- several processes ----------------------------------------------------------------------------


def test_alone_nothing_is_averaged(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    with processes(CPU) as joined:
        values = torch.tensor([1.0, 2])
        joined.average([values])
        joined.wait()
        assert (joined.rank, joined.n_processes, joined.of_first(3.5)) == (0, 1, 3.5)
        assert values.tolist() == [1, 2]
    assert is_first_process()
    monkeypatch.setenv("RANK", "1")
    assert not is_first_process()


# -- what a person sees ---------------------------------------------------------------------------


def test_the_bar_shows_loss_and_correlation(packages, capsys):
    trainer(packages).run(name="here", progress=True)
    shown = capsys.readouterr().err
    assert "here: 100%" in shown
    assert re.search(r"loss \d\.\d{4}, validation r -?0\.\d{4} \(best -?0\.\d{4}\)", shown)


def test_logs_for_tensorboard(packages, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = trainer(packages).run(log_dir=tmp_path / "logs", progress=False)
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss/train", "r/validation", "learning_rate"}
    logged = [event.value for event in events.Scalars("r/validation")]
    np.testing.assert_allclose(logged, [epoch.validation_r for epoch in history.epochs], rtol=1e-6)


def test_logs_without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(NsdBenchError) as caught:
        Progress("x", 1, 1, log_dir=tmp_path / "logs")
    assert str(caught.value) == (
        f"{tmp_path}/logs: tensorboard is not installed.\n"
        "  Expected: the extra that writes TensorBoard's logs.\n"
        "  What to do: pip install 'nsd-bench[tensorboard]', or train without a folder for logs."
    )
