"""All trials that a package can be made of: its own, those that its tiers left out, and its truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.errors import PackageError
from nsd_bench.package import keys, spec
from nsd_bench.package.read import Package
from nsd_bench.package.truth import Truth

__all__ = ["Held"]

_BLOCK_TRIALS = 1024


class Held:
    """The trials of a package and those left out of it; row i of `trials` is position i everywhere below.

    Parameters
    ----------
    package
        Opened from a folder.
    truth
        Its truth; None for a package that withholds nothing.
    key
        Secret that its ids were made with; None where they follow from the withheld responses.
    design
        See `tiers.design.read_design_table`.

    Raises
    ------
    PackageError
        If truth, key or design are not this package's.
    """

    def __init__(
        self, package: Package, truth: Truth | None, key: bytes | None, design: pd.DataFrame
    ) -> None:
        self.package, self.truth = package, truth
        attic = package.path.parent / spec.LEFT_OUT / package.path.name
        self.homes = [package] + ([Package(attic)] if attic.is_dir() else [])
        own = package.trials.assign(trial=_true_trials(package, truth, key, design), home=0)
        tables = [own] + [
            home.trials.assign(trial=home.trials["trial_idx"], home=1) for home in self.homes[1:]
        ]
        tables = [table.assign(number=np.arange(len(table))) for table in tables]
        self.trials = self._with_design(pd.concat(tables, ignore_index=True), design)
        self.home, self.number = (self.trials[name].to_numpy(np.int64) for name in ("home", "number"))
        self.truth_row = self._truth_rows()
        self._digests = [_digests(home) for home in self.homes]
        # Not package.data_keys, which looks at every file on disk.
        found = {spec.data_key_of(name) for name in self.names()}
        self.data_keys = sorted(key for key in found if key is not None)

    def __len__(self) -> int:
        return len(self.trials)

    def _with_design(self, table: pd.DataFrame, design: pd.DataFrame) -> pd.DataFrame:
        known = pd.Index(design["trial"]).get_indexer(pd.Index(table["trial"]))
        if (known < 0).any():
            raise PackageError(
                f"trial {table['trial'][known < 0].iloc[0]} is not in the design table",
                place=str(self.package.path),
                expected="a design table with all trials of the package",
                fix="give the design table of this very package",
            )
        rows = design.iloc[known].reset_index(drop=True)
        return table.assign(**{name: rows[name] for name in rows if name not in table})

    def _truth_rows(self) -> npt.NDArray[np.int64]:
        if self.truth is None:
            return np.full(len(self), -1)
        rows = pd.Index(self.truth.trial_idx).get_indexer(pd.Index(self.trials["trial_idx"]))
        return np.asarray(rows, dtype=np.int64)

    def file(self, key: str, position: int) -> tuple[Path, str]:
        """Return the file that holds one trial's data, and its digest.

        Parameters
        ----------
        key
            Kind of data: images, responses or behavior.
        position
            Row of `trials`.
        """
        home, name = self.home[position], spec.data_file(key, int(self.number[position]))
        return self.homes[home].path / name, self._digests[home][name]

    def digest(self, name: str) -> str:
        """Return the digest of one file of the package.

        Parameters
        ----------
        name
            Path of the file inside the package.
        """
        return self._digests[0][name]

    def names(self) -> list[str]:
        """Return the names of the package's files, checksums and manifest apart."""
        return list(self._digests[0])

    def gather(self, key: str, positions: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return the images, responses or behaviour of some trials, withheld responses among them.

        Parameters
        ----------
        key
            Kind of data: images, responses or behavior.
        positions
            int64 array of rows of `trials`.
        """
        parts, order = [], []
        for number, home in enumerate(self.homes):
            here = np.flatnonzero(self.home[positions] == number)
            parts.append(getattr(home, key)(self.number[positions[here]]))
            order.append(here)
        values = np.concatenate(parts)[np.argsort(np.concatenate(order))]
        withheld = self.truth_row[positions] >= 0
        if key == "responses" and self.truth is not None:
            values[withheld] = self.truth.responses[self.truth_row[positions[withheld]]]
        return values

    def fill_responses(self, out: npt.NDArray[np.float32]) -> None:
        """Read the responses of all trials into an array of shape (n_trials, n_units).

        Parameters
        ----------
        out
            float32 array; filled in place.
        """
        for start in range(0, len(self), _BLOCK_TRIALS):
            positions = np.arange(start, min(start + _BLOCK_TRIALS, len(self)))
            out[positions] = self.gather("responses", positions)


def _digests(home: Package) -> dict[str, str]:
    lines = bytes(home.store.view(spec.CHECKSUMS)).decode().splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def _true_trials(
    package: Package, truth: Truth | None, key: bytes | None, design: pd.DataFrame
) -> npt.NDArray[np.int64]:
    """Return the true trial number of every row, for which keyed ids are tried out."""
    trial_idx = package.array(spec.trials_file("trial_idx"))
    if package.kind == "open":
        return trial_idx.astype(np.int64)
    found, n_unknown = keys.true_trials(
        trial_idx,
        np.sort(design["trial"].to_numpy(np.int64)),
        package.name,
        package.subject,
        keys.possible_keys(package, truth, key),
    )
    if n_unknown:
        raise PackageError(
            f"the ids of {n_unknown} of {len(trial_idx)} trials do not come from this key and design",
            place=str(package.path),
            expected="the key that the package was exported with, and its own truth and design table",
            fix="give the key file with --key, or none if the export was given none",
        )
    return found
