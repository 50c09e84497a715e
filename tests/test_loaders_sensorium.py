"""`static_loaders` against neuralpredictors' own data set, on a package of Sensorium's making."""

from __future__ import annotations

import hashlib
import inspect

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import nsd_bench
from nsd_bench.cli import cli
from nsd_bench.errors import OptionError, PackageError
from nsd_bench.loaders import static_loaders
from nsd_bench.loaders.compatibility import neuralpredictors_module
from nsd_bench.package.truth import load_truth
from nsd_bench.package.validate import validate

N_TRIALS, N_UNITS = 14, 6
NAME = "static26872-17-20-GrayImageNet-94c6ff995dac583098847cfecd43e7b6"
KEY = "26872-17-20"
TIERS = np.array(["train", "test", "validation", "train", "train", "test", "train"] * 2)
AREA = np.array(["V1", "V1", "LM", "AL", "V1", "LM"])
LAYER = np.array(["L2/3", "L4", "L4", "L2/3", "L2/3", "L4"])
UNIT_IDS = np.array([11, 12, 15, 20, 21, 30])
IMAGE_IDS = np.array([5, 6, 7, 5, 9, 6, 8, 10, 6, 7, 9, 11, 6, 12])
CLASSES = np.array(["imagenet", "noise"] * 7)


def make(parent, name=NAME, behavior_shape=(3,), withheld=False):
    """Write the package as Sensorium's pipeline did: float images, no manifest, nothing of ours.

    Those of its competition withhold the responses of the test tier, which they call live_test, and hash the
    numbers of trials.
    """
    rng = np.random.default_rng(5)
    arrays = {
        "images": rng.uniform(0, 255, (N_TRIALS, 1, 8, 10)).astype(np.float32),
        "responses": rng.gamma(2, [1, 3, 0.5, 2, 1e-4, 8], (N_TRIALS, N_UNITS)).astype(np.float32),
        "behavior": rng.normal([30, 0.1, 2], [5, 0.01, 1], (N_TRIALS, 3)).astype(np.float32),
        "pupil_center": rng.normal(100, 9, (N_TRIALS, 2)).astype(np.float32),
    }
    if withheld:
        arrays["responses"][TIERS == "test"] = 0
    files = {
        f"data/{key}/{i}": row.reshape(behavior_shape) if key == "behavior" else row
        for key, rows in arrays.items()
        for i, row in enumerate(rows)
    }
    for key, rows in arrays.items():
        train = rows[TIERS == "train"]
        axis = None if key == "images" else 0
        for stat, value in (("mean", train.mean(axis)), ("std", train.std(axis, ddof=1))):
            value = value.reshape(behavior_shape) if key == "behavior" else value
            files[f"meta/statistics/{key}/all/{stat}"] = value.astype(np.float32)
    trials = {"tiers": TIERS, "frame_image_id": IMAGE_IDS, "frame_image_class": CLASSES}
    trials |= {"trial_idx": np.arange(N_TRIALS)[::-1]}
    if withheld:
        trials["tiers"] = np.where(TIERS == "test", "live_test", TIERS)
        trials["trial_idx"] = np.array([hashlib.md5(b"%d" % i).hexdigest() for i in range(N_TRIALS)])
    neurons = {"unit_ids": UNIT_IDS, "area": AREA, "layer": LAYER}
    neurons |= {
        "animal_ids": UNIT_IDS * 0 + 26872,
        "sessions": UNIT_IDS * 0 + 17,
        "scan_idx": UNIT_IDS * 0 + 20,
    }
    neurons |= {"cell_motor_coordinates": np.arange(3 * N_UNITS).reshape(N_UNITS, 3)}
    files |= {f"meta/trials/{column}": values for column, values in trials.items()}
    files |= {f"meta/neurons/{column}": values for column, values in neurons.items()}
    for file, values in files.items():
        path = parent / name / f"{file}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values)
    return parent / name


def package_rows(tier):
    return [row for row, name in enumerate(TIERS) if name == tier]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make(tmp_path_factory.mktemp("sensorium"))


def theirs(path, keys, steps, **normaliser):
    """What Sensorium's static_loader puts together, of neuralpredictors' own parts."""
    transforms = neuralpredictors_module("data.transforms")
    data = neuralpredictors_module("data.datasets").FileTreeDataset(str(path), *keys)
    made = [getattr(transforms, name)(*arguments) for name, *arguments in steps]
    normalise = [transforms.NeuroNormalizer(data, **normaliser)] if normaliser.pop("normalize", True) else []
    data.transforms.extend([*normalise, *made, transforms.ToTensor(cuda=False)])
    return data


def assert_same(loader, reference, rows):
    batches = list(loader)
    fields = batches[0]._fields
    ours = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in fields}
    expected = [reference[row] for row in rows]
    assert fields == expected[0]._fields
    for name in fields:
        values = torch.stack([getattr(row, name) for row in expected])
        torch.testing.assert_close(ours[name], values, rtol=1e-5, atol=1e-5)


BASE = ("images", "responses")
CASES = {
    "plain": ({}, BASE, []),
    "areas": ({"areas": ["V1", "AL"], "layers": ["L2/3"]}, BASE, [("Subsample", [0, 3, 4])]),
    "ids": ({"neuron_ids": [[20, 11]]}, BASE, [("Subsample", [3, 0])]),
    "behaviour as channels": (
        {"include_behavior": True},
        (*BASE, "behavior"),
        [("AddBehaviorAsChannels",)],
    ),
    "behaviour apart": (
        {"include_behavior": True, "add_behavior_as_channels": False},
        (*BASE, "behavior"),
        [],
    ),
    "everything": (
        {"include_behavior": True, "include_eye_position": True, "add_eye_pos_as_channels": True},
        (*BASE, "behavior", "pupil_center"),
        [("AddBehaviorAsChannels",), ("AddPupilCenterAsChannels",)],
    ),
    "eye": ({"include_eye_position": True}, (*BASE, "pupil_center"), []),
    "scaled": ({"scale": 0.5}, BASE, [("ScaleInputs", 0.5)]),
    "enlarged": ({"scale": 1.7}, BASE, [("ScaleInputs", 1.7)]),
    "channel": ({"select_input_channel": 0}, BASE, [("SelectInputChannel", 0)]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_numbers_are_sensoriums(path, case):
    options, keys, steps = CASES[case]
    loaders = static_loaders([str(path)], 3, cuda=False, **options)
    reference = theirs(path, keys, steps)
    for tier in ("validation", "test"):
        assert_same(loaders[tier][KEY], reference, package_rows(tier))


@pytest.mark.parametrize(
    ("options", "normaliser"),
    [
        ({"normalize": False}, {"normalize": False}),
        ({"exclude": "images"}, {"exclude": "images"}),
        ({"exclude": ["responses"]}, {"exclude": ["responses"]}),
        ({"inputs_mean": 3.0, "inputs_std": 2.0}, {"inputs_mean": 3.0, "inputs_std": 2.0}),
    ],
)
def test_what_is_normalised(path, options, normaliser):
    loader = static_loaders([path], 4, tier="test", cuda=False, **options)["test"][KEY]
    assert_same(loader, theirs(path, BASE, [], **normaliser), np.flatnonzero(TIERS == "test"))


def test_trial_info(path):
    keys = ["trial_idx", "frame_image_id"]
    options = {"include_trial_info_keys": keys, "exclude": ["frame_image_id"]}
    loader = static_loaders([path], 4, tier="test", cuda=False, **options)["test"][KEY]
    reference = theirs(path, (*BASE, *keys), [], exclude=["frame_image_id"])
    assert_same(loader, reference, np.flatnonzero(TIERS == "test"))
    with pytest.raises(OptionError, match="frame_image_class holds text"):
        static_loaders([path], 4, cuda=False, include_trial_info_keys=["frame_image_class"])


def test_units_are_drawn_as_sensorium_draws_them(path):
    np.random.seed(7 * 3)  # noqa: NPY002 - Sensorium's own code
    expected = np.random.choice(UNIT_IDS, size=2 + 3, replace=False)[2:]  # noqa: NPY002
    options = {"neuron_n": 3, "exclude_neuron_n": 2, "neuron_base_seed": 7, "areas": ["V1"]}
    loaders = static_loaders([path], 4, cuda=False, **options)
    assert loaders["test"][KEY].dataset.neurons.unit_ids.tolist() == expected.tolist()


def test_images_are_drawn_as_sensorium_draws_them(path):
    np.random.seed(2 * 4)  # noqa: NPY002 - Sensorium's own code
    expected = np.random.choice(np.flatnonzero(TIERS == "train"), size=4, replace=False)  # noqa: NPY002
    loaders = static_loaders([path], 4, cuda=False, image_n=4, image_base_seed=2)
    assert loaders["train"][KEY].sampler.indices == expected.tolist()
    assert loaders["test"][KEY].sampler.indices == np.flatnonzero(TIERS == "test").tolist()
    with pytest.raises(OptionError, match=r"image_n=9\.\n  Expected: at most 8, the training trials"):
        static_loaders([path], 4, cuda=False, image_n=9)


def test_image_ids_and_conditions(path):
    loaders = static_loaders([path], 4, cuda=False, image_ids=[[9, 5]])
    assert loaders["train"][KEY].sampler.indices == [4, 0]
    loaders = static_loaders([path], 4, cuda=False, image_condition="noise")
    for tier in ("train", "test"):
        assert loaders[tier][KEY].sampler.indices == [
            row for row in package_rows(tier) if CLASSES[row] == "noise"
        ]
    both = static_loaders([path], 4, cuda=False, image_condition=["noise", "imagenet"], image_n=2)
    assert len(both["train"][KEY].sampler.indices) == 8


def test_structure(path):
    loaders = static_loaders([str(path)], 5, cuda=False)
    assert list(loaders) == ["train", "validation", "test", "final_test"]
    assert list(loaders["train"]) == [KEY]
    assert [len(loaders[tier][KEY]) for tier in loaders] == [2, 1, 1, 0]
    dataset = loaders["train"][KEY].dataset
    assert len(dataset) == N_TRIALS
    assert dataset.trial_info.tiers.tolist() == TIERS.tolist()
    assert dataset.neurons.area.tolist() == AREA.tolist()
    assert dataset.neurons.cell_motor_coordinates.shape == (N_UNITS, 3)
    assert list(static_loaders([path], 5, tier="test", cuda=False)) == ["test"]


def test_training_order_is_torchs_for_the_same_seed(path):
    def order(**seed):
        loader = static_loaders(
            [path], 3, tier="train", cuda=False, include_trial_info_keys=["trial_idx"], **seed
        )
        return torch.cat([batch.trial_idx[:, 0] for batch in loader["train"][KEY]]).tolist()

    assert order(seed=3) == order(seed=3)
    assert order(seed=3) != order(seed=4)
    assert len(set(order())) == 8


def test_several_packages(path, tmp_path):
    other = make(tmp_path, NAME.replace("26872", "999").replace("Gray", "Color"))
    preproc = make(tmp_path, "static5-1-2-preproc0.h5")
    loaders = static_loaders([path, other, preproc], 5, cuda=False, neuron_ids=[None, [11], [30, 12]])
    assert list(loaders["test"]) == [KEY, "999-17-20", "5-1-2-0"]
    shapes = [next(iter(loader)).responses.shape[1] for loader in loaders["test"].values()]
    assert shapes == [6, 1, 2]
    with pytest.raises(OptionError, match=f"two packages have data key '{KEY}'"):
        static_loaders([path, path], 5, cuda=False)


def test_rows_of_behaviour_may_have_two_axes(path, tmp_path):
    """Sensorium's description has (1, 3); its own code breaks on that."""
    two_axes = make(tmp_path, behavior_shape=(1, 3))
    options = {"tier": "test", "cuda": False, "include_behavior": True}
    a, b = (next(iter(static_loaders([p], 9, **options)["test"][KEY])) for p in (path, two_axes))
    for mine, other in zip(a, b, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)


def test_our_own_loaders_read_it_too(path):
    package = nsd_bench.open(path)
    assert (package.data_key, package.kind, package.image_shape) == (KEY, "open", (1, 8, 10))
    batch = next(iter(package.dataloaders(20)["test"][KEY]))
    assert batch._fields == ("images", "responses", "behavior")
    assert batch.images.shape == (4, 1, 8, 10)


def test_a_package_of_its_competition_withholds(tmp_path, path):
    """Nothing says so but its zeros: there is no manifest."""
    package = nsd_bench.open(make(tmp_path, withheld=True))
    test = np.flatnonzero(TIERS == "test")
    assert package.is_withheld("test") and not package.is_withheld("final_test")
    np.testing.assert_array_equal(package.withheld, TIERS == "test")
    assert np.isnan(package.responses(test)).all()
    assert np.isnan(package.to_numpy("test")["responses"]).all()
    loaders = package.dataloaders(20)
    assert torch.isnan(next(iter(loaders["test"][KEY])).responses).all()
    assert not torch.isnan(next(iter(loaders["train"][KEY])).responses).any()
    assert not np.isnan(nsd_bench.open(path).responses(test)).any()
    with pytest.raises(PackageError, match="the responses of test are withheld from this package: all their"):
        load_truth(package.path)
    done = CliRunner().invoke(cli, ["info", str(package.path)])
    assert "kind not said: it has no manifest\n" in done.output
    assert "    test            4 trials of 1 images, responses withheld\n" in done.output
    assert not [issue for issue in validate(package.path) if "zero" in issue.problem]


def test_what_cannot_be_done(path):
    with pytest.raises(OptionError) as caught:
        static_loaders([path], 4, file_tree=False)
    assert str(caught.value) == (
        "static_loaders: file_tree=False is not supported.\n"
        "  Expected: a package of single files.\n"
        "  What to do: convert the HDF5 file."
    )
    with pytest.raises(OptionError, match="'unit_ids' and 'areas' exclude each other"):
        static_loaders([path], 4, cuda=False, neuron_ids=[[11]], areas=["V1"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_said(path):
    with pytest.raises(OptionError, match="cuda=True, but there is no GPU"):
        static_loaders([path], 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_are_moved_to_the_gpu(path):
    batch = next(iter(static_loaders([path], 4)["test"][KEY]))
    assert all(values.is_cuda for values in batch)


def test_the_call_is_sensoriums():
    """The parameters of sinzlab/sensorium, sensorium/datasets/mouse_loaders.py, in their order."""
    assert " ".join(inspect.signature(static_loaders).parameters) == (
        "paths batch_size seed areas layers tier neuron_ids neuron_n exclude_neuron_n neuron_base_seed"
        " image_ids image_n image_base_seed cuda normalize include_behavior add_behavior_as_channels exclude"
        " select_input_channel file_tree image_condition inputs_mean inputs_std scale include_eye_position"
        " add_eye_pos_as_channels include_trial_info_keys overwrite_data_path"
    )


def test_neuralpredictors_data_set(path, tmp_path):
    data = nsd_bench.open(path).as_neuralpredictors("images", "responses", "pupil_center")
    loader = static_loaders([path], 4, tier="test", cuda=False, include_eye_position=True)["test"][KEY]
    assert_same(loader, data, np.flatnonzero(TIERS == "test"))
    from nsd_bench.loaders.opened import pack

    packed = nsd_bench.open(pack(nsd_bench.open(path), tmp_path))
    with pytest.raises(PackageError) as caught:
        packed.as_neuralpredictors()
    assert str(caught.value) == (
        f"{packed.path}: neuralpredictors reads folders of single files only.\n"
        "  Expected: a package's folder.\n"
        "  What to do: unzip the package, or use 'dataloaders', which needs no unzipping."
    )
