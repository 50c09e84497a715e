"""A package as other libraries want it: arrays, tables, matrices for scikit-learn, and their data sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import OptionError
from nsd_bench.loaders.dataset import TierDataset
from nsd_bench.loaders.loader_options import read_options
from nsd_bench.package import spec
from nsd_bench.package.read import Package

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Matrices", "to_datasets", "to_matrices", "to_numpy", "to_pandas", "to_xarray"]


def to_numpy(
    package: Package, tier: str | None = None, *, standardise: bool = False, **options: Any
) -> dict[str, npt.NDArray[Any]]:
    """Return a tier, or all trials, as arrays by field name, in memory.

    Parameters
    ----------
    package
        Where the trials lie.
    tier
        One tier; all trials in the order of the files by default.
    standardise
        Whether to give what loaders give; by default everything is as it is stored.
    **options
        See `nsd_bench.loaders.loader_options.LoaderOptions`.

    Returns
    -------
    arrays
        images (n, channels, height, width), responses (n, n_units), NaN where they are withheld, behavior
        (n, n_behavior) if the package has it, and what else the options ask for.
    """
    dataset = _dataset(package, tier, standardise, options)
    return {name: np.asarray(dataset.field(name)) for name in dataset.field_names}


class Matrices(NamedTuple):
    """A tier as scikit-learn wants it; row i of all three is one trial.

    Attributes
    ----------
    inputs : float32 array of shape (n_trials, n_features)
        Standardised pixels, or what a function made of the images.
    responses : float32 array of shape (n_trials, n_units)
        Over each unit's training standard deviation, not centred; NaN where they are withheld.
    trial_idx : array of shape (n_trials,)
        Ids of the trials, for `Package.submission`; with `average_repeats`, of the first trial of each image.
    """

    inputs: npt.NDArray[np.float32]
    responses: npt.NDArray[np.float32]
    trial_idx: npt.NDArray[Any]


def to_matrices(
    package: Package,
    tier: str,
    *,
    features: Callable[[npt.NDArray[Any]], npt.ArrayLike] | None = None,
    **options: Any,
) -> Matrices:
    """Return a tier as matrices, in memory.

    Parameters
    ----------
    package
        Where the trials lie.
    tier
        One of its tiers.
    features
        Takes images as they are stored, uint8 of shape (n, channels, height, width), and returns a row of
        numbers for each, shape (n, n_features). It is called with 64 images at a time, so that not all of
        them need fit into memory. None: the standardised pixels.
    **options
        See `nsd_bench.loaders.loader_options.LoaderOptions`; `average_repeats=True` gives a row for each
        image.

    Raises
    ------
    PackageError
        If there is no such tier.
    OptionError
        If an option cannot be met, or `features` does not give a row for every image.
    """
    dataset = _dataset(package, tier, True, options)
    responses = np.asarray(dataset.field("responses"))
    trial_idx = package.array(spec.trials_file("trial_idx"))[dataset.rows]
    if features is None:
        inputs = np.asarray(dataset.field("images")).reshape(len(dataset), -1)
        return Matrices(inputs, responses, trial_idx)
    blocks = []
    for start in range(0, len(dataset), _IMAGES_AT_ONCE):
        rows = dataset.rows[start : start + _IMAGES_AT_ONCE]
        made = np.asarray(features(package.images(rows)), dtype=np.float32)
        if made.shape[:1] != rows.shape:
            raise OptionError(
                f"features gave an array of shape {made.shape} for {len(rows)} images",
                place=f"{package.path}, tier {tier!r}",
                expected=f"an array of shape ({len(rows)}, n_features)",
                fix="return a row of numbers for every image, in the order of the images",
            )
        blocks.append(made.reshape(len(rows), -1))
    return Matrices(np.concatenate(blocks or [np.empty((0, 0), np.float32)]), responses, trial_idx)


_IMAGES_AT_ONCE: Final = 64


def to_pandas(
    package: Package, tier: str | None = None, *, standardise: bool = False, **options: Any
) -> pd.DataFrame:
    """Return responses as a table.

    Parameters
    ----------
    package, tier, standardise, **options
        As for `to_numpy`.

    Returns
    -------
    table
        A row per trial, indexed by `trial_idx`, `frame_image_id` and `tiers`; a column per unit id.
    """
    import pandas as pd

    dataset = _dataset(package, tier, standardise, options)
    names = ["trial_idx", "frame_image_id", "tiers"]
    index = pd.MultiIndex.from_frame(package.trials[names].iloc[dataset.rows])
    columns = pd.Index(_units(dataset)["unit_ids"], name="unit_ids")
    return pd.DataFrame(np.asarray(dataset.field("responses")), index=index, columns=columns)


def to_xarray(package: Package, tier: str | None = None, *, standardise: bool = False, **options: Any) -> Any:
    """Return a tier, or all trials, as an `xarray.Dataset`.

    Parameters
    ----------
    package, tier, standardise, **options
        As for `to_numpy`.

    Returns
    -------
    dataset : xarray.Dataset
        Dimensions trial, unit, channel, height and width; columns of the trial and unit tables are
        coordinates.

    Raises
    ------
    ModuleNotFoundError
        If xarray is not installed; `pip install nsd-bench[views]` brings it.
    """
    import xarray  # type: ignore[import-not-found, unused-ignore]

    dataset = _dataset(package, tier, standardise, options)
    trials = package.trials.iloc[dataset.rows]
    coordinates = {f"trial_{name}": ("trial", trials[name].to_numpy()) for name in trials}
    units = _units(dataset)
    coordinates |= {f"unit_{name}": ("unit", values) for name, values in units.items()}
    values = {name: (_DIMENSIONS[name], np.asarray(dataset.field(name))) for name in dataset.field_names}
    return xarray.Dataset(values, coordinates, {"package": package.name, "data_key": package.data_key})


def to_datasets(
    package: Package, tier: str | None = None, *, standardise: bool = False, **options: Any
) -> Any:
    """Return a tier, or all trials, as a `datasets.Dataset` of Hugging Face, in memory.

    Parameters
    ----------
    package, tier, standardise, **options
        As for `to_numpy`.

    Returns
    -------
    dataset : datasets.Dataset
        A row per trial: the fields of `to_numpy` and the columns of the trial table.

    Raises
    ------
    ModuleNotFoundError
        If datasets is not installed; `pip install nsd-bench[hf]` brings it.
    """
    import datasets  # type: ignore[import-not-found, unused-ignore]

    source = _dataset(package, tier, standardise, options)
    fields = {name: np.asarray(source.field(name)) for name in source.field_names}
    images = fields["images"]
    features = {"images": datasets.Array3D(shape=images.shape[1:], dtype=images.dtype.name)}
    for name in [name for name in fields if name != "images"]:
        features[name] = datasets.Sequence(datasets.Value("float32"), length=fields[name].shape[1])
    trials = package.trials.iloc[source.rows]
    columns = {str(name): trials[name] for name in trials}
    for name, column in columns.items():
        features[name] = datasets.Value(column.dtype.name if column.dtype.kind in "iuf" else "string")
    lists = {name: column.tolist() for name, column in columns.items()}
    return _in_memory({**fields, **lists}, datasets.Features(features), f"{package.manifest_sha256}-{tier}")


def _in_memory(columns: dict[str, Any], features: Any, fingerprint: str) -> Any:
    """Return a Hugging Face data set; `Dataset.from_dict` would pickle the whole table to name it."""
    import datasets
    import pyarrow  # type: ignore[import-not-found, unused-ignore]

    stream = pyarrow.BufferOutputStream()
    with datasets.arrow_writer.ArrowWriter(features=features, stream=stream) as writer:
        writer.write_batch(columns)
        writer.finalize()
    table = pyarrow.ipc.open_stream(stream.getvalue()).read_all()
    info = datasets.DatasetInfo(features=features)
    return datasets.Dataset(datasets.table.InMemoryTable(table), info=info, fingerprint=fingerprint)


_DIMENSIONS = {
    "images": ("trial", "channel", "height", "width"),
    "responses": ("trial", "unit"),
    "behavior": ("trial", "behavior"),
    "pupil_center": ("trial", "pupil"),
}


def _dataset(package: Package, tier: str | None, standardise: bool, options: dict[str, Any]) -> TierDataset:
    asked = read_options(
        {"images": "float32" if standardise else "uint8", **options, "standardise": standardise}
    )
    return TierDataset(package, tier, asked)


def _units(dataset: TierDataset) -> dict[str, npt.NDArray[Any]]:
    table = dataset.package.units
    part = table if dataset.units is None else table.iloc[dataset.units]
    return {str(name): part[name].to_numpy() for name in part if name not in _DATA_KEY_COLUMNS}


_DATA_KEY_COLUMNS = ("animal_ids", "sessions", "scan_idx")
