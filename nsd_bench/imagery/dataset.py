"""Imagery trials as samples: by number, one after another, or shared out among workers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import NsdBenchError, OptionError, PackageError, choices
from nsd_bench.imagery.index import cache_root as find_cache_root
from nsd_bench.imagery.index import read_index, trials_of
from nsd_bench.imagery.pairing import SPLITS, split_by_run
from nsd_bench.imagery.preprocessing import Transform
from nsd_bench.imagery.trial import ImageryTrial
from nsd_bench.imagery.volumes import read_volume_at
from nsd_bench.inputs import reading
from nsd_bench.outputs import array_to_bytes, new_file
from nsd_bench.package.storage import read_npy

__all__ = ["FeatureCache", "ImageryDataset"]

_TEXT: Final = ("stimulus", "stimulus_type", "caption", "target_image")


class ImageryDataset:
    """Trials of an index with their betas.

    It has a length and takes numbers, so that `torch.utils.data.DataLoader` shares it out by itself. Code
    that iterates in several processes of its own takes `shard`.

    Parameters
    ----------
    index_path
        A Parquet file of `nsd-bench imagery index`.
    subject, condition, session
        Only these trials; all by default. `subject` as in "subj01".
    shuffle, seed
        Whether to shuffle, once and the same in every process.
    limit
        At most this many trials, the first ones after shuffling.
    preprocessor
        Has `transform(voxels)`; or a mapping from condition to such.
    clip_cache
        Features by nsd_id, which become `clip_target`.
    cache_root
        What paths are relative to; `$NSD_CACHE_ROOT`, then `cache` by default.
    stimulus_type_filter
        Only stimuli of this type: "simple", "complex" or "concepts" in NSD.
    split_filter
        Only "train", "val" or "test", see `nsd_bench.imagery.pairing.split_by_run`.
    on_error
        "skip" leaves out trials that cannot be read while iterating, and counts them in `n_skipped`.
    include_invalid
        Whether to give trials whose beta is constant or not a number, too.

    Raises
    ------
    IndexNotFoundError
        If there is no index.
    OptionError
        If nothing is left, or an option names what is not there.
    """

    def __init__(
        self,
        index_path: str | os.PathLike[str],
        *,
        subject: str | None = None,
        condition: str | None = None,
        session: int | None = None,
        shuffle: bool = False,
        limit: int | None = None,
        seed: int = 0,
        preprocessor: Transform | Mapping[str, Transform] | None = None,
        clip_cache: FeatureCache | None = None,
        cache_root: str | os.PathLike[str] | None = None,
        stimulus_type_filter: str | None = None,
        split_filter: Literal["train", "val", "test"] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        include_invalid: bool = False,
    ) -> None:
        self.index_path = Path(index_path)
        table = read_index(self.index_path)
        table = table.assign(split=split_by_run(table))
        wanted = {
            "subject": subject,
            "condition": condition,
            "session": session,
            "stimulus_type": stimulus_type_filter,
            "split": _known_split(split_filter),
        }
        for column, value in wanted.items():
            table = _only(table, column, value, self.index_path)
        if not include_invalid:
            table = _only(table, "is_valid", True, self.index_path)
        if shuffle:
            table = table.iloc[np.random.default_rng(seed).permutation(len(table))]
        self.table = table.iloc[:limit].reset_index(drop=True)
        self.trials = trials_of(self.table)
        self.preprocessor, self.clip_cache, self.on_error = preprocessor, clip_cache, on_error
        self.cache_root = find_cache_root(cache_root)
        self.n_skipped = 0

    def __len__(self) -> int:
        return len(self.trials)

    def __getitem__(self, number: int) -> dict[str, Any]:
        trial, row = self.trials[number], self.table.iloc[number]
        text = {name: _text(row.get(name)) for name in _TEXT}
        sample: dict[str, Any] = {
            "voxels": self.voxels(number),
            "condition": trial.condition,
            "stimulus_type": text["stimulus_type"],
            "target_image": self.cache_root / text["target_image"] if text["target_image"] else None,
            "target_text": text["caption"],
            "meta": trial.to_dict(),
            "trial_id": trial.trial_id,
            "nsd_id": trial.nsd_id,
            "nsdId": trial.nsd_id,
            "pair_id": text["stimulus"],
            "vividness": _number(row.get("vividness")),
            "confidence": _number(row.get("confidence")),
            "split": row["split"],
        }
        if self.clip_cache is not None:
            sample["clip_target"] = None if trial.nsd_id is None else self.clip_cache.get(trial.nsd_id)
        return sample

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(len(self)):
            try:
                yield self[number]
            except NsdBenchError:
                if self.on_error == "raise":
                    raise
                self.n_skipped += 1

    def voxels(self, number: int) -> npt.NDArray[np.float32]:
        """Return one trial's beta after the preprocessor: a volume, or the voxels of its mask.

        Parameters
        ----------
        number
            Of the sample, from 0.

        Raises
        ------
        PackageError
            If the beta is missing or broken.
        """
        trial = self.trials[number]
        volume = read_volume_at(self.cache_root / trial.beta_path, trial.beta_index)
        step = self._step(trial)
        return volume if step is None else step.transform(volume)

    def _step(self, trial: ImageryTrial) -> Transform | None:
        if isinstance(self.preprocessor, Mapping):
            return self.preprocessor.get(trial.condition)
        return self.preprocessor

    def shard(self, rank: int, n_workers: int) -> ImageryDataset:
        """Return one worker's share: all shares together are this data set, nothing twice.

        Parameters
        ----------
        rank
            Number of the worker, from 0.
        n_workers
            How many there are.

        Raises
        ------
        OptionError
            If there is no such worker.
        """
        if not 0 <= rank < n_workers:
            raise OptionError(
                f"there is no worker {rank} of {n_workers}",
                place="shard",
                expected=f"0 to {n_workers - 1}",
                fix="count workers from 0",
            )
        part = copy(self)
        part.table = self.table.iloc[rank::n_workers].reset_index(drop=True)
        part.trials = self.trials[rank::n_workers]
        return part


def _known_split(name: str | None) -> str | None:
    if name is not None and name not in SPLITS:
        raise OptionError(
            f"there is no split {name!r}",
            place="split_filter",
            expected=choices(name, SPLITS),
            fix="ask for one of these",
        )
    return name


def _only(table: pd.DataFrame, column: str, value: object, place: Path) -> pd.DataFrame:
    """Keep the rows with one value of a column, all for None."""
    if value is None:
        return table
    known = table[column].dropna().unique().tolist() if column in table else []
    if value not in known:
        raise OptionError(
            f"no trial has {column} {value!r}",
            place=str(place),
            expected=choices(value, sorted(map(str, known))) if known else f"a column {column!r}",
            fix="ask for what the index holds; 'nsd-bench imagery info' lists it",
        )
    return table[(table[column] == value).fillna(False).astype(bool)]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


Vector = npt.NDArray[np.float32]


class FeatureCache:
    """A folder with one vector per image, as in `clip_embeddings/imagery_cache`.

    Parameters
    ----------
    folder
        Holds `<nsd_id>.npy`; need not exist yet.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = FeatureCache(folder)
    ...     cache.put(28751, np.ones(4))
    ...     28751 in cache, 28752 in cache, cache.get(28751).tolist()
    (True, False, [1.0, 1.0, 1.0, 1.0])
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def _path(self, nsd_id: int) -> Path:
        return self.folder / f"{nsd_id}.npy"

    def __contains__(self, nsd_id: int) -> bool:
        return self._path(nsd_id).is_file()

    def put(self, nsd_id: int, vector: npt.ArrayLike) -> None:
        """Keep a vector as float32.

        Parameters
        ----------
        nsd_id
            Image, from 0.
        vector : array of shape (n_features,)
        """
        with new_file(self._path(nsd_id)) as file:
            file.write(array_to_bytes(np.asarray(vector, dtype=np.float32)))

    def get(self, nsd_id: int) -> Vector:
        """Return a vector.

        Parameters
        ----------
        nsd_id
            Image, from 0.

        Raises
        ------
        PackageError
            If it is not there, or is not a float32 vector.
        """
        path = self._path(nsd_id)
        with reading(path, lambda problem: _no_vector(path, nsd_id, problem)):
            vector = read_npy(path)
        if vector.ndim != 1 or vector.dtype != np.float32:
            raise _no_vector(path, nsd_id, f"is {vector.dtype} of shape {vector.shape}")
        return np.asarray(vector, dtype=np.float32)

    def fill(self, nsd_ids: Iterable[int], features: Callable[[int], npt.ArrayLike]) -> int:
        """Compute what is not there yet, each image once; return how many were computed.

        Parameters
        ----------
        nsd_ids
            Images, from 0; some may be there already.
        features
            From an nsd_id to a vector of shape (n_features,).
        """
        missing = sorted({int(nsd_id) for nsd_id in nsd_ids if int(nsd_id) not in self})
        for nsd_id in missing:
            self.put(nsd_id, features(nsd_id))
        return len(missing)


def _no_vector(path: Path, nsd_id: int, problem: str) -> PackageError:
    return PackageError(
        problem,
        place=str(path),
        expected=f"a float32 vector of image {nsd_id}",
        fix="compute the features of all images of the index with FeatureCache.fill",
    )
