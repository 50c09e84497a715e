"""The package that users hold: `nsd_bench.open` returns it, and `nsd_bench.Package` is its name there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from nsd_bench.errors import PackageError, choices
from nsd_bench.package import spec
from nsd_bench.package.packed import write_packed
from nsd_bench.package.read import Package

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    from torch.utils.data import DataLoader

    from nsd_bench.loaders.batch import Batch
    from nsd_bench.loaders.views import Matrices
    from nsd_bench.package.submission import Submission

__all__ = ["OpenPackage", "joint_dataloaders", "open", "pack"]

_BLOCK_BYTES: Final = 1 << 24


class OpenPackage(Package):
    """One subject's images, responses, units and trials, from which models are trained and submitted.

    `nsd_bench.Package`, and what `nsd_bench.open` returns. It is the package as the format has it (`trials`,
    `units`, `rows(tier)`, `images(rows)`, `responses(rows)`, ...), with what needs torch or other libraries:
    those are imported when they are asked for. It is a class of its own only because the package format, on
    which scoring rests, must not know torch: users need not tell the two apart.

    Parameters
    ----------
    path
        The package's folder, its zip, which need not be unzipped, or what `nsd-bench pack` made of it.

    Raises
    ------
    PackageError
        If there is no package at `path`; names what is missing.
    """

    def dataloaders(
        self,
        batch_size: int = 64,
        *,
        tiers: str | Sequence[str] | None = None,
        seed: int = 0,
        num_workers: int = 0,
        pin_memory: bool = False,
        distributed: bool = False,
        **options: Any,
    ) -> dict[str, dict[str, DataLoader[Batch]]]:
        """Return DataLoaders by tier and data key, as Sensorium's loaders do.

        Every batch is a named tuple of float32 tensors: `images` (n, channels, height, width), minus the
        mean and over the standard deviation of all training pixels; `responses` (n, n_units), over each
        unit's training standard deviation and not centred, NaN where they are withheld; and, unless the
        package withholds it, `behavior` (n, n_behavior), over its training standard deviation.
        `loader.dataset.transforms` has what standardised them, with the inverses.

        Memory of a batch is used again once nothing refers to the batch or a part of it.

        Parameters
        ----------
        batch_size
            Trials in a batch; the last batch of a tier may be smaller.
        tiers
            Which tiers; all that the package has by default.
        seed
            Of the order of training trials, which differs from epoch to epoch. Other tiers keep the order
            of the files.
        num_workers, pin_memory
            As in `torch.utils.data.DataLoader`; workers stay alive between epochs.
        distributed
            Whether each process of torch's default group takes its own part of the training tier, by a
            `DistributedSampler`: call `loader.sampler.set_epoch(epoch)` before every epoch. Other tiers are
            whole in every process.
        **options
            See `nsd_bench.loaders.loader_options.LoaderOptions`: areas, units, images, behaviour, scale, ...

        Raises
        ------
        PackageError
            If there is no such tier, or, at the touch, a file is missing or damaged.
        OptionError
            If there is no such option, it cannot be met, or two exclude each other.

        Examples
        --------
        >>> import nsd_bench
        >>> loaders = nsd_bench.open("packages/demo-subj01").dataloaders(32)  # doctest: +SKIP
        >>> for batch in loaders["train"]["1-1-0"]:  # doctest: +SKIP
        ...     batch.images.shape, batch.responses.shape
        """
        from nsd_bench.loaders.dataloaders import refuse_loader_arguments, tier_loader
        from nsd_bench.loaders.dataset import TierDataset
        from nsd_bench.loaders.loader_options import read_options

        if tiers is None:
            tiers = [tier for tier in spec.TIERS if self.rows(tier).size]
        asked = read_options(options)
        refuse_loader_arguments(batch_size, seed, distributed)
        loaders = {
            tier: tier_loader(
                TierDataset(self, tier, asked),
                batch_size=batch_size,
                seed=seed,
                num_workers=num_workers,
                pin_memory=pin_memory,
                distributed=distributed,
            )
            for tier in ([tiers] if isinstance(tiers, str) else tiers)
        }
        return {tier: {self.data_key: loader} for tier, loader in loaders.items()}

    def submission(
        self,
        trial_idx: npt.ArrayLike,
        predictions: npt.ArrayLike,
        *,
        unit_ids: npt.ArrayLike | None = None,
        **card: Any,
    ) -> Submission:
        """Return predictions as a submission for this package, to be written or scored.

        Parameters
        ----------
        trial_idx : array of shape (n_trials,)
            Ids of the trials that are predicted, as `trials` and batches have them; in any order.
        predictions : array of shape (n_trials, n_units)
            In the units of the loaders' responses: over each unit's training standard deviation.
        unit_ids : int64 array of shape (n_units,), optional
            Units of the columns; all units of the package, in its order, by default.
        **card
            What else the submission says: `model`, `seed`, ... Must be writable as JSON.

        Raises
        ------
        SubmissionError
            If shapes contradict each other, or the package has not such trials or units.

        Examples
        --------
        >>> import nsd_bench
        >>> package = nsd_bench.open("packages/demo-subj01")  # doctest: +SKIP
        >>> made = package.submission(trial_idx, predictions, model="mine")  # doctest: +SKIP
        >>> made.write("demo-subj01.submission.npz")  # doctest: +SKIP
        """
        from nsd_bench.package.submission import submission_for

        return submission_for(self, trial_idx, predictions, unit_ids, card)

    def to_matrices(
        self,
        tier: str,
        *,
        features: Callable[[npt.NDArray[Any]], npt.ArrayLike] | None = None,
        **options: Any,
    ) -> Matrices:
        """Return a tier as scikit-learn wants it: inputs, standardised responses, and the trials' ids.

        See `nsd_bench.loaders.views.to_matrices`.

        Parameters
        ----------
        tier
            One of the package's tiers.
        features
            Makes numbers of images; see there. By default the inputs are the standardised pixels.
        **options
            See `nsd_bench.loaders.loader_options.LoaderOptions`.

        Raises
        ------
        PackageError
            If there is no such tier.
        OptionError
            If an option cannot be met, or `features` does not give a row for every image.

        Examples
        --------
        >>> from sklearn.linear_model import Ridge
        >>> train = package.to_matrices("train", average_repeats=True)  # doctest: +SKIP
        >>> test = package.to_matrices("test")  # doctest: +SKIP
        >>> model = Ridge(1e4).fit(train.inputs, train.responses)  # doctest: +SKIP
        >>> predictions = model.predict(test.inputs)  # doctest: +SKIP
        >>> package.submission(test.trial_idx, predictions, model="ridge")  # doctest: +SKIP
        """
        from nsd_bench.loaders.views import to_matrices

        return to_matrices(self, tier, features=features, **options)

    def to_numpy(self, tier: str | None = None, **options: Any) -> dict[str, npt.NDArray[Any]]:
        """Return a tier, or all trials, as arrays by field name; as stored unless `standardise=True`.

        See `nsd_bench.loaders.views.to_numpy`.

        Parameters
        ----------
        tier
            One tier; all trials, in the order of the files, by default.
        **options
            `standardise`, by default False, and those of `nsd_bench.loaders.loader_options.LoaderOptions`.
        """
        from nsd_bench.loaders.views import to_numpy

        return to_numpy(self, tier, **options)

    def to_pandas(self, tier: str | None = None, **options: Any) -> pd.DataFrame:
        """Return responses as a table: a row per trial, a column per unit id, the trial table as index.

        Parameters
        ----------
        tier
            One tier; all trials, in the order of the files, by default.
        **options
            `standardise`, by default False, and those of `nsd_bench.loaders.loader_options.LoaderOptions`.
        """
        from nsd_bench.loaders.views import to_pandas

        return to_pandas(self, tier, **options)

    def to_xarray(self, tier: str | None = None, **options: Any) -> Any:
        """Return a tier, or all trials, as an `xarray.Dataset` with trial and unit tables as coordinates.

        Parameters
        ----------
        tier
            One tier; all trials, in the order of the files, by default.
        **options
            `standardise`, by default False, and those of `nsd_bench.loaders.loader_options.LoaderOptions`.
        """
        from nsd_bench.loaders.views import to_xarray

        return to_xarray(self, tier, **options)

    def to_datasets(self, tier: str | None = None, **options: Any) -> Any:
        """Return a tier, or all trials, as a `datasets.Dataset` of Hugging Face, a row per trial.

        Parameters
        ----------
        tier
            One tier; all trials, in the order of the files, by default.
        **options
            `standardise`, by default False, and those of `nsd_bench.loaders.loader_options.LoaderOptions`.
        """
        from nsd_bench.loaders.views import to_datasets

        return to_datasets(self, tier, **options)

    def as_neuralpredictors(self, *keys: str) -> Any:
        """Return neuralpredictors' own FileTreeDataset over this folder, standardised by its normaliser.

        Parameters
        ----------
        *keys
            Kinds of data, in the order in which batches have them; images and responses by default.

        Raises
        ------
        PackageError
            If the package is not a plain folder, the only form that it reads without unpacking.
        ModuleNotFoundError
            If neuralpredictors is not installed; `pip install nsd-bench[sensorium]` brings it.
        """
        from nsd_bench.loaders.compatibility import file_tree_dataset

        return file_tree_dataset(self, keys or ("images", "responses"))


def open(path: str | os.PathLike[str], *, check: Literal["none", "full"] = "none") -> OpenPackage:
    """Open a package: a folder, a zip, which need not be unzipped, or what `nsd-bench pack` made of either.

    Parameters
    ----------
    path
        Where it lies.
    check
        "full" reads the whole package once and refuses it if anything is wrong, before training starts.
        "none" reads nothing but the list of files; damage is then named at the touch.

    Raises
    ------
    PackageError
        If there is no package at `path`, or the check finds errors; names the first and counts the others.
    """
    if check not in ("none", "full"):
        raise PackageError(
            f"check={check!r} is unknown",
            place=str(path),
            expected=choices(check, ("none", "full")),
            fix="give one of these",
        )
    package = OpenPackage(path)
    if check == "full":
        _refuse_errors(package)
    return package


def joint_dataloaders(
    packages: Package | str | os.PathLike[str] | Iterable[Package | str | os.PathLike[str]],
    batch_size: int = 64,
    **options: Any,
) -> dict[str, dict[str, DataLoader[Batch]]]:
    """Return DataLoaders of several packages by tier and data key.

    Put one tier's into a `JointLoader` to train on all subjects in turn.

    Parameters
    ----------
    packages
        Packages, or their paths; one may stand alone.
    batch_size, **options
        As in `OpenPackage.dataloaders`.

    Raises
    ------
    PackageError
        If two packages have the same data key.
    """
    together: dict[str, dict[str, DataLoader[Batch]]] = {}
    places: dict[str, str] = {}
    several = [packages] if isinstance(packages, Package | str | os.PathLike) else packages
    for item in several:
        package = item if isinstance(item, OpenPackage) else _opened(item)
        if package.data_key in places:
            raise PackageError(
                f"has data key {package.data_key!r}, as {places[package.data_key]} has",
                place=str(package.path),
                expected="one package for each subject, session and scan",
                fix="give one of the two",
            )
        places[package.data_key] = str(package.path)
        for tier, loaders in package.dataloaders(batch_size, **options).items():
            together.setdefault(tier, {}).update(loaders)
    return together


def pack(package: Package, parent: str | os.PathLike[str]) -> Path:
    """Write a package's packed twin: the same tables, and a few large files in place of many small ones.

    Parameters
    ----------
    package
        A folder or a zip.
    parent
        Folder in which `<name>.packed` appears.

    Returns
    -------
    path
        The packed package.

    Raises
    ------
    OutputError
        If it exists already, or the disk is full.
    PackageError
        If a file of the package is missing or damaged.
    """
    path = Path(parent) / (spec.package_stem(package.path.name) + spec.PACKED_SUFFIX)
    names = [name for name in package.store.names() if spec.data_key_of(name) is None]
    files = {name: package.store.view(name) for name in names}
    write_packed(path, files, {key: _blocks(package, key) for key in package.data_keys})
    return path


def _opened(item: Package | str | os.PathLike[str]) -> OpenPackage:
    return OpenPackage(item.path if isinstance(item, Package) else item)


def _refuse_errors(package: Package) -> None:
    from nsd_bench.package.validate import validate

    errors = [issue for issue in validate(package.path) if issue.level == "error"]
    if errors:
        first, more = errors[0], f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise PackageError(
            f"{first.problem}{more}",
            place=f"{package.path}, {first.place}",
            expected="a package without errors",
            fix=f"{first.fix[:1].lower()}{first.fix[1:]}; 'nsd-bench validate' lists them all",
        )


def _blocks(package: Package, key: str) -> Iterator[npt.NDArray[Any]]:
    arrays = package.trial_arrays(key)
    trial_bytes = max(1, int(np.prod(arrays.shape)) * arrays.dtype.itemsize)
    step = max(1, _BLOCK_BYTES // trial_bytes)
    for start in range(0, package.n_trials, step):
        yield arrays.gather(np.arange(start, min(start + step, package.n_trials)))
