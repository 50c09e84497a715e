"""Options of the loaders: what each gives, and which exclude each other."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
import sys

import numpy as np
import packages as tiny
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import nsd_bench
from nsd_bench.errors import OptionError, PackageError
from nsd_bench.loaders import JointLoader, joint_dataloaders
from nsd_bench.loaders.batch import Buffers
from nsd_bench.loaders.dataset import TierDataset, _Repeats
from nsd_bench.loaders.loader_options import LoaderOptions, read_options
from nsd_bench.outputs import array_to_bytes
from nsd_bench.package import spec

STD = tiny.RESPONSES[tiny.TRAIN].std(axis=0, ddof=1, dtype=np.float64)
STANDARDISED = tiny.RESPONSES / STD
PIXELS = tiny.IMAGES[tiny.TRAIN].astype(np.float64)
NORMALISED = (tiny.IMAGES - PIXELS.mean()) / PIXELS.std(ddof=1)
BEHAVIOR = tiny.BEHAVIOR / tiny.BEHAVIOR[tiny.TRAIN].std(axis=0, ddof=1, dtype=np.float64)
PUPIL = np.random.default_rng(4).normal(5, 2, (tiny.N_TRIALS, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """The tiny package, with eye tracking and two classes of images."""
    folder = tiny.make_package(tmp_path_factory.mktemp("options"))
    files = {spec.data_file("pupil_center", row): values for row, values in enumerate(PUPIL)}
    for statistic, values in (("mean", PUPIL[tiny.TRAIN].mean(0)), ("std", PUPIL[tiny.TRAIN].std(0, ddof=1))):
        files[spec.statistics_file("pupil_center", "all", statistic)] = values
    files[spec.trials_file("frame_image_class")] = np.where(tiny.IMAGE_OF_TRIAL % 2, "odd", "even")
    for name, values in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(array_to_bytes(values))
    return folder


def tier(path, name="test", **options):
    return TierDataset(nsd_bench.open(path), name, read_options(options))


def batch(path, name="test", **options):
    dataset = tier(path, name, **options)
    return dataset.__getitems__(list(range(len(dataset)))).batch


@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ({"areas": ["V1"]}, [0, 1]),
        ({"areas": "V1"}, [0, 1]),
        ({"areas": ["V1", "V2"], "layers": ["rh"]}, [2]),
        ({"layers": ["rh", "lh"]}, [0, 1, 2, 3, 4]),
        ({"rois": "visual"}, [0, 1, 2]),
        ({"rois": ["visual:V2"], "areas": "V2"}, [2]),
        ({"rois": ["visual:V1", "visual:V2"], "layers": "lh"}, [0, 1]),
        ({"unit_ids": [77, 8]}, [4, 1]),
        ({"unit_ids": np.array([9])}, [2]),
    ],
)
def test_units(path, options, columns):
    np.testing.assert_allclose(batch(path, **options).responses, STANDARDISED[8:, columns], rtol=1e-5)


def test_an_area_stands_for_its_ventral_and_dorsal_part(path, tmp_path):
    split = shutil.copytree(path, tmp_path / "split")
    areas = array_to_bytes(np.array(["V1v", "V1d", "V2v", "hV4", "V1v"]))
    (split / spec.neurons_file("area")).write_bytes(areas)
    assert tier(split, areas="V1").units.tolist() == [0, 1, 4]
    assert tier(split, areas=["V1d", "hV4"]).units.tolist() == [1, 3]
    with pytest.raises(OptionError, match="areas asks for 'V2', which is not there"):
        tier(split, areas="V2")


def test_torchs_own_loader_subset_and_split(path):
    dataset = tier(path, trial_info=["frame_image_class"])
    subset = torch.utils.data.Subset(dataset, [3, 1])
    for loader in (torch.utils.data.DataLoader(subset, batch_size=2), [dataset.__getitems__([3, 1]).batch]):
        (got,) = loader
        np.testing.assert_allclose(got.responses, STANDARDISED[[11, 9]], rtol=1e-5)
        np.testing.assert_allclose(got.images, NORMALISED[[11, 9]], rtol=1e-4, atol=1e-6)
        assert list(got.frame_image_class) == ["odd", "odd"]
    assert [one.frame_image_class for one in dataset.__getitems__([0, 1, 2])[1:]] == ["odd", "even"]
    halves = torch.utils.data.random_split(dataset, [2, 2], torch.Generator().manual_seed(1))
    assert sorted(one.responses[0].item() for half in halves for one in half) == pytest.approx(
        sorted(STANDARDISED[8:, 0]), rel=1e-5
    )


def test_random_units(path):
    expected = np.random.RandomState(3 * 2).choice(5, size=3, replace=False)
    assert tier(path, n_units=2, unit_seed=3, exclude_n_units=1).units.tolist() == expected[1:].tolist()
    assert set(tier(path, n_units=2, areas=["V1"]).units) == {0, 1}
    with pytest.raises(OptionError) as caught:
        tier(path, n_units=4, layers=["rh"])
    assert str(caught.value) == (
        f"{path}: there are 3 units, not 4.\n  Expected: 1 to 3.\n  What to do: ask for fewer."
    )


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"image_ids": [10, 14]}, [0, 1, 5]),
        ({"image_condition": "odd"}, [2, 4]),
        ({"image_condition": ["odd", "even"]}, [0, 1, 2, 3, 4, 5]),
        ({"n_images": 5}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_images(path, options, rows):
    assert tier(path, "train", **options).rows.tolist() == rows


def test_image_options_leave_the_other_tiers_alone_but_for_the_class(path):
    assert tier(path, image_ids=[10]).rows.tolist() == [8, 9, 10, 11]
    assert tier(path, n_images=1).rows.tolist() == [8, 9, 10, 11]
    assert tier(path, image_condition="odd").rows.tolist() == [9, 11]


def test_random_images_follow_from_their_seed(path):
    drawn = [tier(path, "train", n_images=2, image_seed=seed).rows.tolist() for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len({tuple(rows) for rows in drawn}) > 1


def test_behaviour_and_eye_position(path):
    pupil = (PUPIL - PUPIL[tiny.TRAIN].mean(0)) / PUPIL[tiny.TRAIN].std(0, ddof=1)
    got = batch(path, behavior="channels", eye_position="channels")
    assert got._fields == ("images", "responses", "behavior", "pupil_center")
    np.testing.assert_allclose(got.images[:, :3], NORMALISED[8:], rtol=1e-4, atol=1e-6)
    for channels, values in ((got.images[:, 3:5], BEHAVIOR[8:]), (got.images[:, 5:], pupil[8:])):
        np.testing.assert_allclose(
            channels, np.broadcast_to(values[:, :, None, None], (4, 2, 4, 6)), rtol=1e-4
        )
    np.testing.assert_allclose(got.pupil_center, pupil[8:], rtol=1e-4)
    assert batch(path, behavior="none", eye_position="apart")._fields == (
        "images",
        "responses",
        "pupil_center",
    )


def test_columns_of_behaviour_keep_their_own_scale(path, tmp_path):
    """A column that varies a thousand times less than the others is no exception; one that never does is."""
    folder = tiny.make_package(tmp_path)
    name = folder / spec.statistics_file("behavior", "all", "std")
    name.write_bytes(array_to_bytes(np.array([0.01, 0.0], np.float32)))
    np.testing.assert_allclose(batch(folder).behavior, tiny.BEHAVIOR[8:] * [100, 1], rtol=1e-5)


def test_channels_and_scale(path):
    from skimage.transform import rescale

    np.testing.assert_allclose(batch(path, input_channel=2).images, NORMALISED[8:, [2]], rtol=1e-4, atol=1e-6)
    images = batch(path, input_channel=[2, 0], scale=0.5).images
    expected = [rescale(image, 0.5, anti_aliasing=False, channel_axis=0) for image in NORMALISED[8:, [2, 0]]]
    np.testing.assert_allclose(images, expected, rtol=1e-4, atol=1e-5)


def test_what_is_not_standardised(path):
    np.testing.assert_array_equal(batch(path, exclude=["images"]).images, tiny.IMAGES[8:])
    raw = batch(path, standardise=False)
    np.testing.assert_array_equal(raw.responses, tiny.RESPONSES[8:])
    np.testing.assert_array_equal(raw.behavior, tiny.BEHAVIOR[8:])
    other = batch(path, images_mean=10, images_std=4).images
    np.testing.assert_allclose(other, (tiny.IMAGES[8:] - 10.0) / 4, rtol=1e-6)
    np.testing.assert_allclose(
        batch(path, images_mean=10).images, (tiny.IMAGES[8:] - 10.0) / PIXELS.std(ddof=1), rtol=1e-5
    )


def test_transforms_are_recorded_and_invertible(path):
    dataset = tier(path, unit_ids=[77, 8], eye_position="apart")
    got = dataset.__getitems__([0, 3]).batch
    stored = {"responses": tiny.RESPONSES[:, [4, 1]], "images": tiny.IMAGES}
    stored |= {"behavior": tiny.BEHAVIOR, "pupil_center": PUPIL}
    assert dataset.transforms.keys() == stored.keys()
    for name, transform in dataset.transforms.items():
        np.testing.assert_allclose(
            transform.inverse(getattr(got, name)), stored[name][[8, 11]], rtol=1e-5, atol=1e-4
        )


def test_trial_info(path):
    got = batch(path, trial_info=["frame_image_id", "frame_image_class"])
    assert got.frame_image_id.tolist() == [30, 31, 30, 31]
    assert got.frame_image_class == ["even", "odd", "even", "odd"]
    again = pickle.loads(pickle.dumps(got))
    assert type(again) is type(got)
    assert again._fields == ("images", "responses", "behavior", "frame_image_id", "frame_image_class")
    assert tier(path, trial_info=["nsd_id"])[1].nsd_id == 31


def test_average_of_repeats(path):
    dataset = tier(path, average_repeats=True)
    assert dataset.rows.tolist() == [8, 9]
    got = dataset.__getitems__([1, 0]).batch
    np.testing.assert_allclose(got.responses[0], STANDARDISED[[9, 11]].mean(0), rtol=1e-5)
    np.testing.assert_allclose(got.responses[1], STANDARDISED[[8, 10]].mean(0), rtol=1e-5)
    np.testing.assert_allclose(got.behavior[0], BEHAVIOR[[9, 11]].mean(0), rtol=1e-5)
    np.testing.assert_allclose(got.images, NORMALISED[[9, 8]], rtol=1e-4, atol=1e-6)
    assert tier(path, "train", average_repeats=True).rows.tolist() == [0, 2, 3, 4, 5]


@given(images=st.lists(st.integers(0, 4), min_size=1, max_size=12), seed=st.integers(0, 9))
def test_repeats_are_grouped_by_image(images, seed):
    repeats = _Repeats(np.array(images))
    distinct = list(dict.fromkeys(images))
    assert [images[row] for row in repeats.first] == distinct
    indices = np.random.default_rng(seed).permutation(len(distinct)).tolist()
    trials, starts, counts = repeats.of(indices)
    for group, index in zip(np.split(trials, starts[1:]), indices, strict=True):
        assert group.tolist() == [row for row, image in enumerate(images) if image == distinct[index]]
    assert counts.sum() == len(images)


def test_withheld_responses(tmp_path):
    path = tiny.make_package(tmp_path, "track2")
    assert batch(path).responses.isnan().all()
    assert not batch(path, withheld="zeros").responses.any()
    everything = nsd_bench.open(path).to_numpy()["responses"]
    assert np.isnan(everything).all(axis=1).tolist() == (tiny.TIERS == "test").tolist()


# -- what cannot be met ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"unit_ids": [3], "areas": ["V1"]}, "'unit_ids' and 'areas' exclude each other"),
        ({"unit_ids": [3], "n_units": 2}, "'unit_ids' and 'n_units' exclude each other"),
        (
            {"image_ids": [10], "image_condition": "odd"},
            "'image_ids' and 'image_condition' exclude each other",
        ),
        ({"image_ids": [10], "n_images": 1}, "'image_ids' and 'n_images' exclude each other"),
        ({"input_channel": 0, "behavior": "channels"}, "'input_channel' and 'behavior' exclude each other"),
        ({"images": "uint8", "scale": 0.5}, "'images' and 'scale' exclude each other"),
        ({"images": "uint8", "behavior": "channels"}, "'images' and 'behavior' exclude each other"),
        (
            {"average_repeats": True, "trial_info": ["nsd_id"]},
            "'average_repeats' and 'trial_info' exclude each",
        ),
        ({"unit_seed": 1}, "'unit_seed' has no effect alone"),
        ({"n_units": 2, "exclude_n_units": 1}, "'exclude_n_units' has no effect alone"),
        ({"n_units": 6}, "there are 5 units, not 6.\n  Expected: 1 to 5"),
        ({"n_units": 0}, "there are 5 units, not 0.\n  Expected: 1 to 5.\n  What to do: ask for more."),
        ({"n_units": 3, "unit_seed": 1, "exclude_n_units": -2}, "exclude_n_units=-2.\n  Expected: 0"),
        ({"n_units": 3, "unit_seed": 2**31}, "the seed of the draw, 2147483648 times 3, is 6442450944"),
        ({"n_units": 3, "unit_seed": -1}, "the seed of the draw, -1 times 3, is -3.\n  Expected: 0 or more"),
        ({"images": "float16"}, "images='float16' is unknown"),
        ({"area": ["V1"]}, "there is no option 'area'"),
        ({"areas": ["V1", "V3"]}, "areas asks for 'V3', which is not there"),
        ({"areas": []}, "areas is empty"),
        ({"areas": ["V2"], "layers": ["lh"]}, "no unit is left"),
        ({"unit_ids": [4]}, "unit_ids asks for 4, which is not there"),
        ({"image_condition": "noise"}, "image_condition asks for 'noise', which is not there"),
        ({"exclude": ["image"]}, "exclude asks for 'image', which is not there"),
        ({"trial_info": ["colour"]}, "trial_info asks for 'colour', which is not there"),
        ({"unit_ids": [77, 8, 77]}, "unit_ids asks for 77 2 times.\n  Expected: every unit once"),
        ({"unit_ids": [77], "rois": "visual"}, "'unit_ids' and 'rois' exclude each other"),
        ({"rois": "visual:V3"}, "rois asks for 'visual:V3', which is not there"),
        ({"rois": "V1"}, "rois asks for 'V1', which is not there.\n  Expected: one of 'visual', 'visual:V1'"),
        ({"rois": []}, "rois is empty"),
        ({"scale": 0}, "scale=0 leaves no image.\n  Expected: a factor above 0"),
        ({"scale": -1.5}, "scale=-1.5 leaves no image.\n  Expected: a factor above 0"),
        ({"input_channel": 3}, "input_channel=3, but images have 3 channels.\n  Expected: 0 to 2"),
        ({"input_channel": [0, -1]}, "input_channel=[0, -1], but images have 3 channels"),
        ({"input_channel": 5, "eye_position": "channels"}, "images have 5 channels"),
    ],
)
def test_options_that_cannot_be_met(path, options, text):
    with pytest.raises(OptionError) as caught:
        tier(path, **options)
    assert text in str(caught.value)


def test_what_only_stands_beside_each_other_is_fine(path):
    assert tier(path, input_channel=0, behavior="apart").units is None
    assert tier(path, images="uint8", behavior="none", eye_position="apart").units is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"batch_size": 0}, "batch_size=0.\n  Expected: at least 1."),
        ({"seed": None}, "seed=None.\n  Expected: an integer: the order follows from it."),
        ({"distributed": True}, "distributed=True, but there is no process group."),
    ],
)
def test_arguments_that_torch_would_stumble_over(path, arguments, text):
    with pytest.raises(OptionError) as caught:
        nsd_bench.open(path).dataloaders(**arguments)
    assert str(caught.value).startswith(f"arguments of the loader: {text}")


def test_one_name_need_not_be_a_list(path):
    dataset = tier(path, trial_info="nsd_id", exclude="responses", average_repeats=False)
    assert dataset[0].nsd_id == 30
    np.testing.assert_allclose(dataset[0].responses, tiny.RESPONSES[8])
    assert list(nsd_bench.open(path).dataloaders(tiers="test")) == ["test"]


def test_the_text_of_errors(path):
    with pytest.raises(OptionError) as caught:
        LoaderOptions(unit_ids=[3], areas=["V1"])
    assert str(caught.value) == (
        "options of the loader: 'unit_ids' and 'areas' exclude each other.\n"
        "  Expected: units by id, or by area, layer, region and number.\n"
        "  What to do: leave out 'unit_ids' or 'areas'."
    )
    with pytest.raises(OptionError) as caught:
        tier(path, "train", image_ids=[30])
    assert str(caught.value) == (
        f"{path}: image_ids asks for 30, which is not there.\n"
        "  Expected: one of '10', '11', '12', '13', '14'.\n"
        "  What to do: correct 'image_ids'."
    )
    with pytest.raises(OptionError, match=r"the nearest of .* 'average_repeats'"):
        read_options({"average_repeat": True})


def test_behaviour_that_is_not_there(tmp_path):
    path = tiny.make_package(tmp_path)
    with pytest.raises(OptionError) as caught:
        tier(path, eye_position="apart")
    assert str(caught.value) == (
        f"{path}: eye_position='apart', but the package has no pupil_center.\n"
        "  Expected: one of 'behavior', 'images', 'responses'.\n"
        "  What to do: leave out 'eye_position'."
    )


# -- memory ---------------------------------------------------------------------------------------


def test_memory_is_used_again_only_when_nobody_holds_it():
    buffers = Buffers()
    shape = (70, 4096)
    first = torch.from_numpy(buffers.empty(shape, np.float32))
    kept = first[3:5]
    address = first.data_ptr()
    del first
    second = torch.from_numpy(buffers.empty(shape, np.float32))
    assert second.data_ptr() != address
    del kept
    assert buffers.empty((64, 4096), np.float32).__array_interface__["data"][0] == address
    assert buffers.empty(shape, np.uint8).dtype == np.uint8
    assert len(pickle.loads(pickle.dumps(buffers))._kept) == 0
    assert sys.getsizeof(buffers._kept) < 200


def test_batches_that_are_kept_do_not_change(path, monkeypatch):
    monkeypatch.setattr("nsd_bench.loaders.batch._WORTH_KEEPING_BYTES", 1)
    dataset = tier(path, "train")
    kept = [dataset.__getitems__([row]).batch for row in range(6)]
    kept.append(dataset.__getitems__([0, 1, 2]).batch.images[2:])
    for row in range(6):
        np.testing.assert_allclose(kept[row].images, NORMALISED[[row]], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(kept[row].responses, STANDARDISED[[row]], rtol=1e-5)
    np.testing.assert_allclose(kept[6], NORMALISED[[2]], rtol=1e-4, atol=1e-6)


# -- several packages -----------------------------------------------------------------------------


def test_joint_loaders(path, tmp_path):
    other = tiny.make_package(tmp_path, name="tiny-subj03")
    (other / spec.neurons_file("animal_ids")).write_bytes(array_to_bytes(np.full(5, 3)))
    loaders = joint_dataloaders([path, nsd_bench.open(other)], 2, image_condition=None)
    assert {name: list(by_key) for name, by_key in loaders.items()} == {
        "train": ["2-1-0", "3-1-0"],
        "validation": ["2-1-0", "3-1-0"],
        "test": ["2-1-0", "3-1-0"],
    }
    joint = JointLoader({"2-1-0": loaders["train"]["2-1-0"], "3-1-0": loaders["validation"]["3-1-0"]})
    assert [key for key, _ in joint] == ["2-1-0", "3-1-0"] * 3
    assert len(joint) == 6
    assert list(JointLoader({})) == []
    for alone in (path, str(path), nsd_bench.open(path)):
        assert list(joint_dataloaders(alone, 2)["train"]) == ["2-1-0"]


def test_two_packages_of_one_subject_are_refused(path):
    with pytest.raises(PackageError) as caught:
        joint_dataloaders([path, path])
    assert str(caught.value) == (
        f"{path}: has data key '2-1-0', as {path} has.\n"
        "  Expected: one package for each subject, session and scan.\n"
        "  What to do: give one of the two."
    )


def train_in_process(rank, path, meeting, queue):
    import os

    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    loaders = nsd_bench.open(path).dataloaders(
        2, distributed=True, seed=1, trial_info=["frame_image_id", "trial_idx"]
    )
    seen = []
    for epoch in range(2):
        loaders["train"]["2-1-0"].sampler.set_epoch(epoch)
        seen.append([i for batch in loaders["train"]["2-1-0"] for i in batch.trial_idx.tolist()])
    n_test = torch.tensor([len(loaders["test"]["2-1-0"].dataset)])
    dist.all_reduce(n_test)
    queue.put((rank, seen, n_test.item()))
    dist.destroy_process_group()


def test_two_processes_share_the_training_tier(path, tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [
        context.Process(target=train_in_process, args=(rank, path, tmp_path / "meeting", queue))
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    found = {rank: (seen, n_test) for rank, seen, n_test in (queue.get(timeout=60) for _ in processes)}
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    epochs = [found[0][0][epoch] + found[1][0][epoch] for epoch in (0, 1)]
    assert all(sorted(epoch) == [0, 10, 20, 30, 40, 50] for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert found[0][1] == found[1][1] == 8


# -- to look at -----------------------------------------------------------------------------------


def test_to_numpy(path):
    package = nsd_bench.open(path)
    arrays = package.to_numpy()
    np.testing.assert_array_equal(arrays["images"], tiny.IMAGES)
    np.testing.assert_array_equal(arrays["responses"], tiny.RESPONSES)
    some = package.to_numpy("test", standardise=True, areas=["V1"], average_repeats=True)
    np.testing.assert_allclose(some["responses"], STANDARDISED[8:, :2].reshape(2, 2, 2).mean(0), rtol=1e-5)
    assert some["images"].dtype == np.float32


def test_to_pandas(path):
    table = nsd_bench.open(path).to_pandas("test", unit_ids=[77, 8])
    assert table.columns.tolist() == [77, 8]
    assert table.index.names == ["trial_idx", "frame_image_id", "tiers"]
    np.testing.assert_array_equal(table.loc[(90, 31, "test"), 77], tiny.RESPONSES[9, 4])


def test_to_xarray(path):
    pytest.importorskip("xarray")
    data = nsd_bench.open(path).to_xarray("test", areas=["V1"], eye_position="apart")
    assert dict(data.sizes) == {
        "trial": 4, "channel": 3, "height": 4, "width": 6, "unit": 2, "behavior": 2, "pupil": 2
    }  # fmt: skip
    assert data.unit_unit_ids.values.tolist() == [3, 8]
    assert data.trial_trial_idx.values.tolist() == [80, 90, 100, 110]
    np.testing.assert_array_equal(data.responses, tiny.RESPONSES[8:, :2])


def test_to_datasets(path):
    pytest.importorskip("datasets")
    data = nsd_bench.open(path).to_datasets("test").with_format("numpy")
    assert len(data) == 4
    np.testing.assert_array_equal(data[1]["images"], tiny.IMAGES[9])
    np.testing.assert_array_equal(data[1]["responses"], tiny.RESPONSES[9])
    assert data[1]["tiers"] == "test"
