"""DataLoaders: the right numbers, in any form of package, with and without worker processes."""

from __future__ import annotations

import pickle

import numpy as np
import packages as tiny
import pytest
import torch

import nsd_bench
from nsd_bench.errors import OptionError, PackageError
from nsd_bench.loaders.compatibility import neuralpredictors_module


@pytest.fixture(params=["tiny-subj02", "tiny-subj02.zip"])
def path(request, tmp_path):
    tiny.make_package(tmp_path)
    return tmp_path / request.param


STD = tiny.RESPONSES[tiny.TRAIN].std(axis=0, ddof=1, dtype=np.float64)
PIXELS = tiny.IMAGES[tiny.TRAIN].astype(np.float64)
NORMALISED = (tiny.IMAGES - PIXELS.mean()) / PIXELS.std(ddof=1)


def by_tier(path, **options):
    return {tier: loader["2-1-0"] for tier, loader in nsd_bench.open(path).dataloaders(4, **options).items()}


def test_tiers_sizes_and_numbers(path):
    loaders = by_tier(path)
    assert list(loaders) == ["train", "validation", "test"]
    batches = list(loaders["test"])
    assert [len(batch.images) for batch in batches] == [4]
    batch = batches[0]
    assert batch._fields == ("images", "responses", "behavior")
    assert {values.dtype for values in batch} == {torch.float32}
    np.testing.assert_allclose(batch.images, NORMALISED[8:], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(batch.responses, tiny.RESPONSES[8:] / STD, rtol=1e-5)
    behavior_std = tiny.BEHAVIOR[tiny.TRAIN].std(axis=0, ddof=1, dtype=np.float64)
    np.testing.assert_allclose(batch.behavior, tiny.BEHAVIOR[8:] / behavior_std, rtol=1e-5)


def train_order(path, seed: int, epochs: int = 1) -> list[bytes]:
    loader = by_tier(path, seed=seed)["train"]
    return [row.tobytes() for _ in range(epochs) for batch in loader for row in batch.responses.numpy()]


def test_training_order_follows_from_the_seed(path):
    assert train_order(path, 1) == train_order(path, 1)
    assert train_order(path, 1) != train_order(path, 2)
    epochs = train_order(path, 1, epochs=2)
    assert epochs[:6] != epochs[6:]
    assert sorted(epochs[:6]) == sorted(epochs[6:])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_give_the_same_batches(path, method):
    alone = by_tier(path, seed=1)["train"]
    loader = by_tier(path, seed=1, num_workers=2)["train"]
    loader.multiprocessing_context, loader.timeout = method, 60
    for _ in range(3):  # workers that stay alive must not change the order of later epochs
        for mine, theirs in zip(alone, loader, strict=True):
            assert type(mine) is type(theirs)
            for a, b in zip(mine, theirs, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_batches_are_picklable_and_single_items_work(path):
    loader = by_tier(path)["validation"]
    batch = next(iter(loader))
    assert type(pickle.loads(pickle.dumps(batch))) is type(batch)
    item = loader.dataset[1]
    assert item.images.shape == (3, 4, 6)
    torch.testing.assert_close(item.responses, batch.responses[1])


def test_raw_images_stay_as_they_are_stored(path):
    batch = next(iter(by_tier(path, images="uint8")["test"]))
    assert batch.images.dtype == torch.uint8
    np.testing.assert_array_equal(batch.images, tiny.IMAGES[8:])


def test_withheld_responses_are_nan_and_behaviour_is_left_out(tmp_path):
    loaders = by_tier(tiny.make_package(tmp_path, "track1"))
    batch = next(iter(loaders["test"]))
    assert batch._fields == ("images", "responses")
    assert batch.responses.isnan().all()
    assert batch.responses.shape == (4, 5)
    assert not next(iter(loaders["train"])).responses.isnan().any()


def test_behaviour_that_is_withheld_is_not_given_as_zeros(tmp_path):
    path = tiny.make_package(tmp_path, "track1")
    with pytest.raises(OptionError) as caught:
        nsd_bench.open(path).dataloaders(behavior="channels")
    assert str(caught.value) == (
        f"{path}: behavior='channels', but the package withholds behavior: its files hold zeros.\n"
        "  Expected: a package of kind open or track2.\n  What to do: leave out 'behavior'."
    )


def test_asking_for_a_tier_that_does_not_exist(path):
    with pytest.raises(PackageError, match="there is no tier 'trian'"):
        nsd_bench.open(path).dataloaders(tiers=["trian"])


def test_a_file_that_is_unlike_the_others_is_named_at_the_touch(tmp_path):
    path = tiny.make_package(tmp_path)
    np.save(path / "data/images/9.npy", np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(PackageError) as caught:
        next(iter(by_tier(path)["test"]))
    assert str(caught.value) == (
        f"{path}, data/images/9.npy: holds uint8 of shape (3, 4, 5).\n"
        "  Expected: uint8 of shape (3, 4, 6), like the first file.\n"
        "  What to do: run 'nsd-bench validate' to list every such file, then export the package again."
    )


def test_neuralpredictors_gives_the_same_numbers(tmp_path):
    """The package is a drop-in: Sensorium's own data set and normaliser, equal numbers, nothing written."""
    path = tiny.make_package(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    datasets = neuralpredictors_module("data.datasets")
    transforms = neuralpredictors_module("data.transforms")
    theirs = datasets.FileTreeDataset(str(path), "images", "responses", "behavior")
    theirs.transforms.extend([transforms.NeuroNormalizer(theirs), transforms.ToTensor(cuda=False)])
    ours = by_tier(path)["test"].dataset
    for number, row in enumerate(ours.rows):
        for mine, other in zip(ours[number], theirs[row], strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    assert theirs.neurons.unit_ids.tolist() == tiny.UNIT_IDS.tolist()
    assert theirs.trial_info.tiers.tolist() == tiny.TIERS.tolist()
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


def test_the_stand_in_for_torchvision_leaves_no_trace():
    import sys

    neuralpredictors_module("data.datasets")
    assert "torchvision" not in sys.modules or hasattr(sys.modules["torchvision"], "__version__")
