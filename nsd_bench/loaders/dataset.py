"""A torch data set over one tier of a package, gathered a whole batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from nsd_bench.loaders.affine import Affine, Resample, standardisations
from nsd_bench.loaders.batch import Batch, Buffers, Gathered, make_batch
from nsd_bench.loaders.loader_options import LoaderOptions
from nsd_bench.loaders.selection import extra_keys, select_channels, select_trials, select_units, trial_ids
from nsd_bench.package import spec
from nsd_bench.package.read import Package

__all__ = ["TierDataset"]

Numbers: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float32]

_CACHED_BYTES: Final = 1 << 20
"""Trials are gathered and standardised in blocks that stay in the processor's cache."""


class TierDataset(Dataset[Batch]):
    """The trials of one tier, in the order of the files.

    Parameters
    ----------
    package
        Where they lie.
    tier
        One of the package's tiers; None for all trials.
    options
        What to give.

    Attributes
    ----------
    rows : int64 array
        File number of every item; with `average_repeats`, of the first trial of every image.
    units : int64 array or None
        Columns of the stored responses that are given; None for all.
    transforms : dict of str to Affine
        What standardised each field, with its inverse.
    """

    def __init__(self, package: Package, tier: str | None, options: LoaderOptions | None = None) -> None:
        options = LoaderOptions() if options is None else options
        self.package, self.tier, self.options = package, tier, options
        self.units = select_units(package, options)
        self._n_units = package.n_units if self.units is None else len(self.units)
        self._trials = select_trials(package, tier, options)
        self._repeats = _Repeats(trial_ids(package)[0][self._trials]) if options.average_repeats else None
        self.rows = self._trials if self._repeats is None else self._trials[self._repeats.first]
        self._is_nan = package.withheld & (options.withheld == "nan")
        self._extra = extra_keys(package, options)
        self._channels = select_channels(package, options)
        self.transforms = self._transforms()
        self._info = {name: package.array(spec.trials_file(name)) for name in options.trial_info}
        self._resample = self._resampler()
        self._buffers = Buffers()

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        """Say what it is: package, tier, items, units."""
        kind = "images" if self.options.average_repeats else "trials"
        tier = "all tiers" if self.tier is None else self.tier
        return f"<TierDataset {self.package.name}, {tier}: {len(self)} {kind}, {self._n_units} units>"

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> Gathered:
        """Return trials that were gathered at once: torch calls this when a data set has it."""
        return Gathered(make_batch(self._batch(indices)))

    @property
    def field_names(self) -> list[str]:
        """Names of the fields of a batch, but for columns of the trial table."""
        return ["images", "responses", *self._extra]

    def field(self, name: str) -> npt.NDArray[Any]:
        """Return one field of all items.

        Parameters
        ----------
        name
            One of `field_names`.
        """
        indices = list(range(len(self)))
        if name == "images":
            return self._images(self.rows, {key: self.field(key) for key in self._extra})
        return self._mean_of_repeats(indices, self._responses if name == "responses" else self._small(name))

    def _batch(self, indices: list[int]) -> dict[str, Any]:
        rows = self.rows[indices]
        extra = {key: self._mean_of_repeats(indices, self._small(key)) for key in self._extra}
        values = {
            "images": self._images(rows, extra),
            "responses": self._mean_of_repeats(indices, self._responses),
            **extra,
        }
        fields: dict[str, Any] = {name: torch.from_numpy(array) for name, array in values.items()}
        for name, column in self._info.items():
            part = column[rows]
            fields[name] = part.tolist() if part.dtype.kind in "US" else torch.from_numpy(part)
        return fields

    def _mean_of_repeats(self, indices: list[int], gather: Callable[[Numbers], Floats]) -> Floats:
        if self._repeats is None:
            return gather(self._trials[indices])
        trials, starts, counts = self._repeats.of(indices)
        means: Floats = np.add.reduceat(gather(self._trials[trials]), starts, axis=0)
        means /= counts[:, None]
        return means

    def _images(self, rows: Numbers, extra: dict[str, Floats]) -> npt.NDArray[Any]:
        arrays = self.package.trial_arrays("images")
        if self.options.images == "uint8":
            return arrays.gather(rows, self._buffers.empty((len(rows), *arrays.shape), arrays.dtype))
        images = self._buffers.empty((len(rows), *arrays.shape), np.float32)
        self._fill("images", rows, images)
        for key, option in (("behavior", self.options.behavior), ("pupil_center", self.options.eye_position)):
            if option == "channels":
                images = _with_channels(images, extra[key])
        if self._channels is not None:
            images = images[:, self._channels]
        return images if self._resample is None else self._resample(images)

    def _responses(self, rows: Numbers) -> Floats:
        responses = self._buffers.empty((len(rows), self._n_units), np.float32)
        self._fill("responses", rows, responses, self.units)
        responses[self._is_nan[rows]] = np.nan  # the files hold zeros, which would pass for responses
        return responses

    def _small(self, key: str) -> Callable[[Numbers], Floats]:
        def gather(rows: Numbers) -> Floats:
            # Sensorium's own packages hold rows of shape (1, n).
            values = self.package.trial_arrays(key).gather(rows).reshape(len(rows), -1).astype(np.float32)
            if key in self.transforms:
                self.transforms[key].apply(values)
            return values

        return gather

    def _fill(self, key: str, rows: Numbers, out: Floats, columns: Numbers | None = None) -> None:
        """Gather, cast and standardise, block by block."""
        arrays, transform = self.package.trial_arrays(key), self.transforms.get(key, Affine())
        step = max(1, _CACHED_BYTES // max(1, out[:1].nbytes))
        is_direct = columns is None and arrays.dtype == out.dtype
        raw = None if is_direct else np.empty((min(step, len(rows)), *arrays.shape), arrays.dtype)
        for start in range(0, len(rows), step):
            block, part = rows[start : start + step], out[start : start + step]
            if raw is None:
                arrays.gather(block, part)
            elif columns is None:
                part[...] = arrays.gather(block, raw[: len(block)])
            else:
                part[...] = np.take(arrays.gather(block, raw[: len(block)]), columns, axis=1)
            transform.apply(part)

    def _transforms(self) -> dict[str, Affine]:
        options = self.options
        keys = ["images", "responses", *self._extra] if options.standardise else []
        raw = {"images"} if options.images == "uint8" else set()
        made = standardisations(self.package, [key for key in keys if key not in {*options.exclude, *raw}])
        if "images" in made and options.images_mean is not None:
            std = made["images"].std if options.images_std is None else np.float32(options.images_std)
            made["images"] = Affine(mean=np.float32(options.images_mean), std=std)
        if "responses" in made and self.units is not None:
            made["responses"] = made["responses"].of_units(self.units)
        return made

    def _resampler(self) -> Resample | None:
        height, width = self.package.image_shape[-2:]
        return None if self.options.scale is None else Resample(height, width, self.options.scale)


class _Repeats:
    """The trials of every image, in the order in which the images first appear."""

    def __init__(self, images: npt.NDArray[Any]) -> None:
        _, first, inverse = np.unique(images, return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        self.first = np.sort(first)
        self._order = np.argsort(rank[inverse], kind="stable")
        self._counts = np.bincount(inverse, minlength=len(first))[np.argsort(first)]
        self._starts = self._counts.cumsum() - self._counts

    def of(self, indices: list[int]) -> tuple[Numbers, Numbers, npt.NDArray[np.float32]]:
        """Return the trials of some images, where each image's start among them, and how many it has."""
        counts = self._counts[indices]
        starts = counts.cumsum() - counts
        within = np.arange(counts.sum()) - np.repeat(starts, counts)
        trials = self._order[np.repeat(self._starts[indices], counts) + within]
        return trials, starts, counts.astype(np.float32)


def _with_channels(images: Floats, values: Floats) -> Floats:
    """Return images with one constant channel more for each column of `values`."""
    n_trials, n_channels, height, width = images.shape
    out = np.empty((n_trials, n_channels + values.shape[1], height, width), np.float32)
    out[:, :n_channels] = images
    out[:, n_channels:] = values[:, :, None, None]
    return out
