"""Sensorium 2022's `static_loaders`: the same call, the same structure, the same numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Sampler, SubsetRandomSampler

from nsd_bench.errors import OptionError
from nsd_bench.loaders.batch import Batch, make_batch, whole
from nsd_bench.loaders.dataset import TierDataset
from nsd_bench.loaders.loader_options import LoaderOptions
from nsd_bench.loaders.selection import draw, select_trials, trial_ids
from nsd_bench.package import spec
from nsd_bench.package.read import Package

__all__ = ["SensoriumDataset", "static_loaders"]

Loaders: TypeAlias = OrderedDict[str, OrderedDict[str, DataLoader[Batch]]]


class SensoriumDataset(TierDataset):
    """All trials of a package, with the tables under the names that Sensorium's code asks for.

    Parameters
    ----------
    package
        Where they lie.
    options
        What to give.
    as_float
        Columns of the trial table that become float32 fields.

    Attributes
    ----------
    neurons, trial_info
        Columns of the unit and of the trial table as attributes; units are those that are given.
    """

    def __init__(self, package: Package, options: LoaderOptions, *, as_float: Sequence[str] = ()) -> None:
        super().__init__(package, None, options)
        units = package.units if self.units is None else package.units.iloc[self.units]
        self.neurons = SimpleNamespace(**{str(name): units[name].to_numpy() for name in units})
        if "x_mm" in units:
            self.neurons.cell_motor_coordinates = units[["x_mm", "y_mm", "z_mm"]].to_numpy()
        trials = package.trials
        self.trial_info = SimpleNamespace(**{str(name): trials[name].to_numpy() for name in trials})
        for name in as_float:
            self._info[name] = _floats(package, name, self._info[name], options)


def static_loaders(
    paths: Sequence[str],
    batch_size: int,
    seed: int | None = None,
    areas: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    tier: str | None = None,
    neuron_ids: Sequence[Sequence[int]] | None = None,
    neuron_n: int | None = None,
    exclude_neuron_n: int = 0,
    neuron_base_seed: int | None = None,
    image_ids: Sequence[Sequence[int]] | None = None,
    image_n: int | None = None,
    image_base_seed: int | None = None,
    cuda: bool = True,
    normalize: bool = True,
    include_behavior: bool = False,
    add_behavior_as_channels: bool = True,
    exclude: str | Sequence[str] | None = None,
    select_input_channel: int | None = None,
    file_tree: bool = True,
    image_condition: str | Sequence[str] | None = None,
    inputs_mean: float | None = None,
    inputs_std: float | None = None,
    scale: float | None = None,
    include_eye_position: bool | None = None,
    add_eye_pos_as_channels: bool | None = None,
    include_trial_info_keys: Sequence[str] | None = None,
    overwrite_data_path: bool = True,
) -> Loaders:
    """Return DataLoaders by tier and data key, called as Sensorium's function of this name.

    Parameters
    ----------
    paths
        Packages: folders, zips, or packed; Sensorium's own or NSD's.
    batch_size
        Trials in a batch.
    seed
        Of the order of training trials; torch's global generator decides by default.
    areas, layers, neuron_n, exclude_neuron_n, neuron_base_seed
        Which units. A number is drawn from all units, whatever their area and layer.
    tier
        One tier; all four by default. A tier without trials has an empty loader.
    neuron_ids, image_ids
        For every path its own. Of each image, the first trial.
    image_n, image_base_seed
        Number of training trials to draw, and the seed.
    cuda
        Whether batches are moved to the GPU, each at once.
    normalize, exclude, inputs_mean, inputs_std
        What is standardised, and by what; see `nsd_bench.loaders.affine.standardisations`.
    include_behavior, add_behavior_as_channels, include_eye_position, add_eye_pos_as_channels
        What there is beside images and responses, and as constant channels of the images.
    select_input_channel, image_condition, scale
        Which channel of the images, which class of images, and their size.
    file_tree
        Must be true: Sensorium's older HDF5 files cannot be read.
    include_trial_info_keys
        Columns of the trial table that become fields, as float32.
    overwrite_data_path
        Ignored: paths are what they say.

    Returns
    -------
    loaders
        `loaders[tier][data_key]`; every loader's data set has all trials of its package, its sampler those
        of the tier. Withheld responses are zeros, as in the files.

    Raises
    ------
    PackageError
        If there is no package at a path, or it is damaged.
    OptionError
        If options exclude each other or cannot be met, or two packages have the same data key.

    Notes
    -----
    Source: `sensorium/datasets/mouse_loaders.py` of https://github.com/sinzlab/sensorium.
    """
    _refuse_impossible(file_tree, cuda)
    info = include_trial_info_keys or ()
    shared: dict[str, Any] = {
        **_units(areas, layers, neuron_n, neuron_base_seed),
        "exclude_n_units": exclude_neuron_n,
        "behavior": _presence(include_behavior, add_behavior_as_channels),
        "eye_position": _presence(include_eye_position, add_eye_pos_as_channels),
        "standardise": normalize,
        "exclude": [exclude] if isinstance(exclude, str) else exclude or (),
        "input_channel": select_input_channel,
        "images_mean": inputs_mean,
        "images_std": inputs_std if inputs_mean is not None else None,
        "scale": scale,
        "trial_info": info,
        "withheld": "zeros",
    }
    image_seed = None if image_n is None else image_base_seed
    images: dict[str, Any] = {
        "n_images": image_n,
        "image_seed": image_seed,
        "image_condition": image_condition,
    }
    loaders: Loaders = OrderedDict((name, OrderedDict()) for name in ([tier] if tier else spec.TIERS))
    for path, units, ids in zip_longest(paths, neuron_ids or [], image_ids or []):
        dataset = SensoriumDataset(Package(path), LoaderOptions(unit_ids=units, **shared), as_float=info)
        asked = LoaderOptions(image_ids=ids, **images)
        _add(loaders, path, dataset, asked, batch_size=batch_size, seed=seed, cuda=cuda)
    return loaders


def _refuse_impossible(file_tree: bool, cuda: bool) -> None:
    if not file_tree:
        raise _refused(
            "file_tree=False is not supported", "a package of single files", "convert the HDF5 file"
        )
    if cuda and not torch.cuda.is_available():
        raise _refused("cuda=True, but there is no GPU", "a GPU that torch can use", "pass cuda=False")


def _units(
    areas: Sequence[str] | None, layers: Sequence[str] | None, n_units: int | None, seed: int | None
) -> dict[str, Any]:
    """Return which units: a number of them, whatever their area and layer, or those of areas and layers."""
    if n_units is None:
        return {"areas": areas, "layers": layers}
    return {"n_units": n_units, "unit_seed": seed}


def _add(
    loaders: Loaders, path: str, dataset: SensoriumDataset, asked: LoaderOptions, **batches: Any
) -> None:
    """Add a package's loaders, one a tier."""
    key = _data_key(str(path), dataset.package)
    for tier, by_key in loaders.items():
        if key in by_key:
            raise _refused(f"two packages have data key {key!r}", "each its own", f"leave out {path}")
        by_key[key] = _loader(dataset, _rows(dataset.package, tier, asked), tier, **batches)


class _InOrder(Sampler[int]):
    """The trials of a tier, ascending."""

    def __init__(self, indices: list[int]) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


def _loader(
    dataset: SensoriumDataset,
    rows: npt.NDArray[np.int64],
    tier: str,
    batch_size: int,
    seed: int | None,
    cuda: bool,
) -> DataLoader[Batch]:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    sampler: Sampler[int] = _InOrder(rows.tolist())
    if tier == "train":
        sampler = SubsetRandomSampler(rows.tolist(), generator)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        generator=generator,
        collate_fn=_to_gpu if cuda else whole,
    )


def _to_gpu(trials: Sequence[Batch]) -> Batch:
    return make_batch({name: values.cuda() for name, values in whole(trials)._asdict().items()})


def _rows(package: Package, tier: str, options: LoaderOptions) -> npt.NDArray[np.int64]:
    """Select trials as Sensorium does, which takes one trial of an image, and draws trials, not images."""
    if options.image_condition is not None or tier != "train":
        return select_trials(package, tier, LoaderOptions(image_condition=options.image_condition))
    train = package.rows("train")
    if options.image_ids is not None:
        ids = trial_ids(package)[0]
        chosen = select_trials(package, "train", options)
        first = {image: row for row, image in reversed([(row, ids[row].item()) for row in chosen.tolist()])}
        return np.array([first[image] for image in options.image_ids], np.int64)
    if options.n_images is None:
        return train
    if options.n_images > len(train):
        raise _refused(
            f"image_n={options.n_images}", f"at most {len(train)}, the training trials", "ask for fewer"
        )
    return draw(train, options.n_images, options.image_seed, options.n_images, place="static_loaders")


def _presence(included: bool | None, as_channels: bool | None) -> str:
    if not included:
        return "none"
    return "channels" if as_channels else "apart"


def _data_key(path: str, package: Package) -> str:
    """Return the key that Sensorium's code reads off the path, or else the package's own."""
    after = path.split("static")[-1]
    if "preproc" in path:
        return after.split(".")[0].replace("preproc", "").replace("_nobehavior", "")
    for word in ("-ColorImageNet", "-GrayImageNet"):
        if word[1:] in path:
            return after.split(word)[0]
    return package.data_key


def _floats(
    package: Package, name: str, values: npt.NDArray[Any], options: LoaderOptions
) -> npt.NDArray[np.float32]:
    """Return a column as Sensorium's transforms leave it, shape (n_trials, 1): trial_idx is z-scored."""
    if values.dtype.kind not in "biuf":
        raise _refused(f"{name} holds text", "a column of numbers", f"leave out {name!r}")
    if name == "trial_idx" and options.standardise and name not in options.exclude:
        numbers = np.arange(package.n_trials)
        values = (values - numbers.mean()) / numbers.std()
    return values.astype(np.float32)[:, None]


def _refused(problem: str, expected: str, fix: str) -> OptionError:
    return OptionError(problem, place="static_loaders", expected=expected, fix=fix)
