"""Look at a package before training: arrays, tables, and what other libraries call data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nsd_bench.loaders.dataset import TierDataset
from nsd_bench.loaders.options import read_options
from nsd_bench.package.read import Package

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["to_datasets", "to_numpy", "to_pandas", "to_xarray"]


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
        See `nsd_bench.loaders.options.Options`.

    Returns
    -------
    arrays
        images (n, channels, height, width), responses (n, n_units), NaN where they are withheld, behavior
        (n, n_behavior) if the package has it, and what else the options ask for.
    """
    dataset = _dataset(package, tier, standardise, options)
    return {name: np.asarray(dataset.field(name)) for name in dataset.field_names}


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
