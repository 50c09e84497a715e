"""Read a package: a folder or a zip of single-trial arrays with its tables and statistics."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import OptionError, PackageError, choices
from nsd_bench.inputs import parse_json, reading
from nsd_bench.package import spec
from nsd_bench.package.gather import Gatherer, TrialArrays
from nsd_bench.package.packed import PackedStore, is_packed
from nsd_bench.package.statistics import count_tiers, response_precision
from nsd_bench.package.storage import Store, array_from_bytes, open_store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Package"]

_BLOCK_TRIALS: Final = 256
_NOT_SAID: Final = object()
_CALLED: Final = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}

Rows = Sequence[int] | npt.NDArray[np.integer[Any]] | slice


class Package:
    """One subject's images, responses, units, trials and statistics.

    Everything is read when it is asked for. Packages of Sensorium's own making open too.

    Parameters
    ----------
    path
        The package's folder, its zip, which need not be unzipped, or what `nsd-bench pack` made of it.

    Raises
    ------
    PackageError
        If there is no package at `path`; names what is missing.

    Examples
    --------
    >>> Package("/nowhere/nsd-subj01")
    Traceback (most recent call last):
    ...
    nsd_bench.errors.PackageError: /nowhere/nsd-subj01: there is no such file or folder.
      Expected: a package: a folder with data/ and meta/, or its zip.
      What to do: check the path, or make one with 'nsd-bench export'.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.store: Store = PackedStore(self.path) if is_packed(self.path) else open_store(self.path)
        if spec.trials_file("tiers") not in self.store:
            raise PackageError(
                f"{spec.trials_file('tiers')} is missing",
                place=str(self.path),
                expected="a package: data/ and meta/ below one folder",
                fix="give the folder that holds data/ and meta/, or the zip of it",
            )

    def __repr__(self) -> str:
        """Say what it is: name, kind, subject, trials of every tier, units."""
        try:
            tiers = ", ".join(f"{tier} {n}" for tier, n in count_tiers(self.tiers).items())
            what = (
                f"{self.kind}, subject {self.subject}: {self.n_units} units, {self.n_trials} trials ({tiers})"
            )
        except PackageError as error:  # a debugger should show a damaged package, too
            what = f"damaged: {error.problem}"
        return f"<Package {self.path.name}, {what}>"

    # -- what it is ---------------------------------------------------------------------------

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest; empty for a package of Sensorium's own making."""
        if spec.MANIFEST not in self.store:
            return {}
        manifest = self._json(spec.MANIFEST, dict)
        for name, kind in spec.MANIFEST_TYPES.items():  # what is outside comes before what is inside
            found: Any = manifest
            for key in name.split("."):
                found = found.get(key, _NOT_SAID) if isinstance(found, dict) else _NOT_SAID
            if found is not _NOT_SAID and not isinstance(found, kind):
                raise self._damaged(spec.MANIFEST, f"{name!r} is {found!r}, not {_CALLED[kind]}")
        return dict(manifest)

    def manifest_value(self, *keys: str) -> Any:
        """Return what the manifest says under a key, or under keys one inside the other.

        Parameters
        ----------
        *keys
            Names, each inside of what the one before it names.

        Raises
        ------
        PackageError
            If it does not say it.
        """
        found: Any = self.manifest
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                raise PackageError(
                    f"its manifest does not say {'.'.join(keys)!r}" if self.manifest else "has no manifest",
                    place=str(self.path),
                    expected="a package of 'nsd-bench export', with the manifest that it wrote",
                    fix="export the package again with nsd-bench",
                )
            found = found[key]
        return found

    @cached_property
    def manifest_sha256(self) -> str:
        """Digest of the manifest, 64 hex characters; empty where there is none."""
        return sha256(self.store.view(spec.MANIFEST)).hexdigest() if self.manifest else ""

    @property
    def name(self) -> str:
        """Name of the package, as the manifest or else its folder has it."""
        return str(self.manifest.get("name") or self.path.stem)

    @property
    def kind(self) -> str:
        """One of `spec.KINDS`, as the manifest has it; see `is_withheld` for what is withheld."""
        return str(self.manifest.get("kind", "open"))

    @property
    def subject(self) -> int:
        """Subject, 1 to 8 in NSD."""
        animals = self._neurons("animal_ids")
        try:
            return int(animals[0])
        except (IndexError, OverflowError, TypeError, ValueError) as error:
            problem = f"holds {animals.dtype} of shape {animals.shape}, which tell no subject"
            raise self._damaged(spec.neurons_file("animal_ids"), problem) from error

    @cached_property
    def data_key(self) -> str:
        """Sensorium's name of a recording: subject-session-scan."""
        with self._built(spec.NEURONS):
            return "-".join(str(self._neurons(name)[0]) for name in ("animal_ids", "sessions", "scan_idx"))

    def beside(self, suffix: str) -> Path:
        """Return where a file that goes with the package lies, be it a folder, a zip or packed.

        Parameters
        ----------
        suffix
            What stands behind the package's name, such as `spec.TRUTH_SUFFIX`.
        """
        return self.path.with_name(spec.package_stem(self.path.name) + suffix)

    def is_withheld(self, tier: str) -> bool:
        """Whether the responses of a tier are withheld; everything that has to know asks here.

        The files then hold zeros. The kind says so or, where it does not, the zeros themselves: packages of
        Sensorium's own making have no manifest, and a manifest may have been changed.

        Parameters
        ----------
        tier
            One of `spec.TIERS`; a tier without trials is withheld if the kind says so.
        """
        return tier in spec.WITHHELD_TIERS and (self.kind != "open" or self.is_blank(tier))

    def is_blank(self, tier: str) -> bool:
        """Whether every response of a tier that has trials is zero, which no recording is.

        Parameters
        ----------
        tier
            One of the package's tiers.
        """
        if tier not in self._blank:
            self._blank[tier] = self._has_zeros_alone(np.flatnonzero(self.tiers == tier))
        return self._blank[tier]

    def _has_zeros_alone(self, rows: npt.NDArray[np.int64]) -> bool:
        try:
            arrays = self._gatherer.arrays("responses")
            blocks = (rows[start : start + _BLOCK_TRIALS] for start in range(1, len(rows), _BLOCK_TRIALS))
            # The first trial alone tells for all packages but those that are blank.
            return bool(rows.size) and not any(arrays.gather(block).any() for block in (rows[:1], *blocks))
        except PackageError:  # what is damaged is named by whoever reads it
            return False

    @cached_property
    def withheld(self) -> npt.NDArray[np.bool_]:
        """Whether the response to each trial is withheld, shape (n_trials,)."""
        return np.isin(self.tiers, [tier for tier in spec.WITHHELD_TIERS if self.is_withheld(tier)])

    # -- tables -------------------------------------------------------------------------------

    @cached_property
    def tiers(self) -> npt.NDArray[np.str_]:
        """Tier of every trial, shape (n_trials,)."""
        tiers = self.array(spec.trials_file("tiers"))
        with self._built(spec.trials_file("tiers")):
            if tiers.ndim != 1:
                problem = f"its shape is {tiers.shape}"
                raise ValueError(problem)
            for alias, tier in spec.TIER_ALIASES.items():
                tiers = np.where(tiers == alias, tier, tiers)
        return tiers

    @cached_property
    def trial_columns(self) -> list[str]:
        """Names of the columns of the trial table."""
        return self._columns(spec.TRIALS, spec.TRIAL_COLUMNS)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """Trial table; row i belongs to the files numbered i."""
        import pandas as pd

        with self._built(spec.TRIALS):
            table = pd.DataFrame({name: self.array(spec.trials_file(name)) for name in self.trial_columns})
            return table.assign(tiers=self.tiers)

    @cached_property
    def units(self) -> pd.DataFrame:
        """Unit table; row v belongs to column v of the responses. Coordinates are in mm."""
        import pandas as pd

        names = self._columns(spec.NEURONS, spec.NEURON_COLUMNS)
        columns = {name: self._neurons(name) for name in names if name != "cell_motor_coordinates"}
        with self._built(spec.NEURONS):
            if "cell_motor_coordinates" in names:
                columns.update(
                    zip(("x_mm", "y_mm", "z_mm"), self._neurons("cell_motor_coordinates").T, strict=True)
                )
            return pd.DataFrame(columns)

    @cached_property
    def units_dropped(self) -> dict[str, list[int]]:
        """Why units of the recipe were left out, to their ids; empty where nothing is known of any."""
        dropped = self.manifest.get("units_dropped", {})
        if "unit_ids" in dropped:  # before there was a second reason
            dropped = {str(dropped.get("why")): dropped["unit_ids"]}
        if not all(isinstance(unit_ids, list) for unit_ids in dropped.values()):
            raise self._damaged(spec.MANIFEST, "'units_dropped' does not map reasons to lists of ids")
        return {why: unit_ids for why, unit_ids in dropped.items() if unit_ids}

    @cached_property
    def roi_names(self) -> dict[str, dict[int, str]]:
        """Atlas to label to name; empty for a package without ROI labels."""
        if spec.ROI_NAMES not in self.store:
            return {}
        names = self._json(spec.ROI_NAMES, dict)
        try:
            return {atlas: {int(k): str(v) for k, v in labels.items()} for atlas, labels in names.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise self._damaged(spec.ROI_NAMES, "does not map atlases to labels to names") from error

    @cached_property
    def behavior_names(self) -> list[str]:
        """Names of the columns of `behavior`."""
        return list(self._json(spec.BEHAVIOR_NAMES, list)) if spec.BEHAVIOR_NAMES in self.store else []

    @cached_property
    def fit_on(self) -> dict[str, Any]:
        """Which trials the statistics were fitted on."""
        return dict(self._json(spec.FIT_ON, dict)) if spec.FIT_ON in self.store else {}

    @property
    def n_trials(self) -> int:
        """Number of trials."""
        return len(self.tiers)

    @property
    def n_units(self) -> int:
        """Number of units."""
        with self._built(spec.neurons_file("unit_ids")):
            return len(self._neurons("unit_ids"))

    @cached_property
    def data_keys(self) -> list[str]:
        """Kinds of data that every trial has: images, responses, ..."""
        keys = {spec.data_key_of(name) for name in self.store.names()}
        return sorted(key for key in keys if key is not None)

    def rows(self, tier: str) -> npt.NDArray[np.int64]:
        """Return the file numbers of one tier's trials, ascending.

        Parameters
        ----------
        tier
            One of `spec.TIERS`, or a tier that the package has.

        Raises
        ------
        PackageError
            If there is no tier of that name in the format.
        """
        if tier not in spec.TIERS and tier not in self.tiers:
            raise PackageError(
                f"there is no tier {tier!r}",
                place=str(self.path),
                expected=choices(tier, spec.TIERS),
                fix="ask for one of these",
            )
        return np.flatnonzero(self.tiers == tier)

    # -- data ---------------------------------------------------------------------------------

    def trial_arrays(self, key: str) -> TrialArrays:
        """Return one kind of data of all trials: images, responses, ...

        Parameters
        ----------
        key
            Kind of data: images, responses or behavior; Sensorium's own packages have pupil_center, too.
        """
        return self._gatherer.arrays(key)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of every image: (channels, height, width)."""
        return self.trial_arrays("images").shape

    def images(self, rows: Rows) -> npt.NDArray[Any]:
        """Return images of shape (n, channels, height, width), in the dtype of the files (uint8).

        Parameters
        ----------
        rows
            Trials, by the numbers of their files: numbers from 0, a slice, or a bool array of shape
            (n_trials,).
        """
        return self._gather("images", rows)

    def responses(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return responses of shape (n, n_units) as stored; NaN where they are withheld, not the zeros.

        Parameters
        ----------
        rows
            Trials, by the numbers of their files: numbers from 0, a slice, or a bool array of shape
            (n_trials,).
        """
        numbers = self._file_numbers(rows)
        responses = self.trial_arrays("responses").gather(numbers)
        responses[self.withheld[numbers]] = np.nan
        return responses

    def standardised_responses(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return responses divided by the unit's training standard deviation, not centred.

        Sensorium's rule, see `nsd_bench.package.statistics.response_precision`.

        Parameters
        ----------
        rows
            Trials, by the numbers of their files: numbers from 0, a slice, or a bool array of shape
            (n_trials,).
        """
        responses = self.responses(rows)
        responses *= self.precision
        return responses

    def behavior(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return behaviour of shape (n, n_behavior) as stored: zeros where withheld.

        Parameters
        ----------
        rows
            Trials, by the numbers of their files: numbers from 0, a slice, or a bool array of shape
            (n_trials,).
        """
        return self._gather("behavior", rows)

    @cached_property
    def precision(self) -> npt.NDArray[np.float32]:
        """What `standardised_responses` multiplies with, shape (n_units,)."""
        return response_precision(self.statistic("responses", "std"))

    def statistic(self, key: str, statistic: str, group: str = "all") -> npt.NDArray[Any]:
        """Return one statistic of the training tier: (n_columns,), or a scalar for images.

        Parameters
        ----------
        key
            Kind of data: images, responses or behavior; Sensorium's own packages have pupil_center, too.
        statistic
            One of `spec.STATISTICS`: mean, std, min, max, median.
        group
            One of `spec.STATISTICS_GROUPS`; both hold the same numbers, as all trials show an image.
        """
        name = spec.statistics_file(key, group, statistic)
        values = self.array(name)
        wanted = (self.n_units,) if key == "responses" else values.shape
        if values.dtype.kind not in "fiu" or values.shape != wanted:
            raise self._damaged(name, f"holds {values.dtype} of shape {values.shape}")
        return values

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return the array in the file called `name` inside the package.

        Parameters
        ----------
        name
            Path of the file inside the package, as `nsd_bench.package.spec` gives it.
        """
        return array_from_bytes(self.store.view(name), f"{self.path}, {name}")

    def _gather(self, key: str, rows: Rows) -> npt.NDArray[Any]:
        return self.trial_arrays(key).gather(self._file_numbers(rows))

    def _file_numbers(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Return the trials that a slice, file numbers or a mask stand for."""
        try:
            return np.arange(self.n_trials)[rows if isinstance(rows, slice) or np.size(rows) else []]
        except IndexError as error:
            raise OptionError(
                f"no such rows ({error})",
                place=str(self.path),
                expected=f"file numbers from 0 to {self.n_trials - 1}, a slice, or a mask of all trials",
                fix="take them from 'package.rows(tier)'",
            ) from error

    def _columns(self, table: str, known: Sequence[str]) -> list[str]:
        columns = (spec.column_of(name, table) for name in self.store.names())
        found = [column for column in columns if column is not None]
        return [name for name in known if name in found] + [name for name in found if name not in known]

    def _neurons(self, column: str) -> npt.NDArray[Any]:
        return self.array(spec.neurons_file(column))

    def _json(self, name: str, kind: type) -> Any:
        try:
            content = parse_json(self.store.view(name))
        except ValueError as error:
            raise self._damaged(name, f"cannot be read ({error})") from error
        if not isinstance(content, kind):
            raise self._damaged(name, f"holds {type(content).__name__}, not {_CALLED[kind]}")
        return content

    def _built(self, name: str) -> AbstractContextManager[None]:
        """Say of what is put together in the block that it is not built as the format says, if it is not."""
        return reading(self.path, partial(self._damaged, name), "is not built as the format says")

    def _damaged(self, name: str, problem: str) -> PackageError:
        return PackageError(
            problem,
            place=f"{self.path}, {name}",
            expected="the file that the exporter wrote",
            fix="export the package again",
        )

    @cached_property
    def _blank(self) -> dict[str, bool]:
        """What `is_blank` has found."""
        return {}

    @cached_property
    def _gatherer(self) -> Gatherer:
        return Gatherer(self.store, self.n_trials)
