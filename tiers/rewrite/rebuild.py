"""Write a package anew around data files that stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.outputs import set_fixed_times
from nsd_bench.package import keys, spec
from nsd_bench.package.read import Package
from nsd_bench.package.statistics import column_statistics, count_tiers, pixel_statistics
from nsd_bench.package.truth import Truth, finish_package
from nsd_bench.package.write import PackageWriter, new_package
from tiers.rewrite.held import Held
from tiers.rewrite.renormalise import Normalization
from tiers.rules import TierFile

__all__ = ["Change", "rebuild"]

_MADE_ANEW = (spec.DATA, spec.TRIALS, spec.CONFIG, spec.CHECKSUMS, spec.MANIFEST, spec.FIT_ON)
_FITTED = (spec.STATISTICS_FOLDER, spec.NORMALIZATION)
_BLOCK_IMAGES = 256


@dataclass(frozen=True)
class Change:
    """What becomes of the trials that are held; arrays have one row for each.

    Parameters
    ----------
    tier_file
        What the manifest records.
    tiers : str array of shape (n_held,)
    rows : int64 array of shape (n_trials,)
        Trials of the new package in the order of its files.
    key
        Secret for ids; None for an open package.
    responses : float32 array of shape (n_held, n_units)
        All responses, as the new package has them; None if it trains on the same trials as the old one, so
        that responses and statistics stay.
    normalization
        What the new package's responses are z-scored with; None where they are percent signal change.
    """

    tier_file: TierFile
    tiers: npt.NDArray[np.str_]
    rows: npt.NDArray[np.int64]
    key: bytes | None
    responses: npt.NDArray[np.float32] | None
    normalization: Normalization | None

    @property
    def renormalised(self) -> bool:
        """Whether responses were z-scored anew."""
        return self.responses is not None and self.normalization is not None


def rebuild(held: Held, change: Change, folder: Path, moved: list[str]) -> dict[str, int]:
    """Write the package, its truth and what it leaves out below `folder`; return tier to number of trials.

    Folders of data that stay as they are, in the same order, are not linked file by file but added to
    `moved`.

    Parameters
    ----------
    held
        All trials that the package can be made of.
    change
        What becomes of them.
    folder
        Where the new package grows.
    moved
        Names of folders that will be moved into the new package; extended in place.
    """
    package = held.package
    zipped = package.path.with_name(package.path.name + spec.ZIP_SUFFIX).exists()
    with new_package(folder, package.path.name, ("folder", "zip") if zipped else ("folder",)) as writer:
        made = _Rebuilt(held, change, writer, change.rows)
        if not zipped:
            moved += made.unchanged_folders()
        n_trials = made.write_package(moved)
    _write_left_out(held, change, folder / spec.LEFT_OUT / package.path.name)
    return n_trials


class _Rebuilt:
    def __init__(
        self, held: Held, change: Change, writer: PackageWriter, rows: npt.NDArray[np.int64]
    ) -> None:
        self.held, self.change, self.writer, self.rows = held, change, writer, rows
        self.package = held.package
        self.tiers = change.tiers[rows]
        self.sealed = self.package.kind != "open"
        # A file of a package that was not sealed lies on disk where its true trial number put it.
        self.anew = self.sealed and "sealing" not in self.package.manifest
        self.withheld = np.isin(self.tiers, spec.WITHHELD_TIERS) & self.sealed
        self.trials = self._identified()

    def _identified(self) -> pd.DataFrame:
        trials = self.held.trials.iloc[self.rows].reset_index(drop=True).assign(tiers=self.tiers)
        name, subject, key = self.package.name, self.package.subject, self.change.key
        if key is None:
            return trials.assign(trial_idx=trials["trial"], frame_image_id=trials["nsd_id"], salt="")
        trial, nsd_id = trials["trial"].to_numpy(), trials["nsd_id"].to_numpy()
        return trials.assign(
            trial_idx=keys.keyed_trial_ids(trial, name, subject, key),
            frame_image_id=keys.keyed_image_ids(nsd_id, name, subject, key),
            salt=keys.keyed_salts(trial, name, subject, key),
        )

    def _responses(self, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        positions = self.rows[chosen]
        if self.change.responses is None:
            return np.ascontiguousarray(self.held.gather("responses", positions))
        return np.ascontiguousarray(self.change.responses[positions])

    def unchanged_folders(self) -> list[str]:
        same = (self.trials["home"] == 0).all() and np.array_equal(
            self.trials["number"], np.arange(self.package.n_trials)
        )
        if not same:
            return []
        responses_stay = not self.change.renormalised and np.array_equal(
            self.held.truth_row[self.rows] >= 0, self.withheld
        )
        return [spec.data_folder(key) for key in self.held.data_keys if key != "responses" or responses_stay]

    def write_package(self, moved: list[str]) -> dict[str, int]:
        for key in self.held.data_keys:
            self.write_data(key, spec.data_folder(key) in moved)
        self._write_trials()
        self._take_over()
        if self.change.responses is not None:
            self._write_fitted(self.change.responses)
        n_trials, truth = count_tiers(self.tiers), None
        if self.withheld.any():
            hidden = self.trials[self.withheld]
            truth = Truth.of_made(
                self.writer,
                np.flatnonzero(self.withheld),
                self._responses(self.withheld),
                package=self.package.name,
                salt=np.array(hidden["salt"].tolist()),
                nsd_id=hidden["nsd_id"].to_numpy(np.int64),
            )
        digest = finish_package(self.writer, self._manifest(n_trials), truth)
        if self.sealed and self.change.normalization is not None:
            path = self.writer.path_beside(spec.NORMALIZATION_SUFFIX)
            self.change.normalization.write(path, self.package.name, digest)
        return n_trials

    def write_data(self, key: str, moved: bool) -> None:
        """Write, link or, where they will be moved here, list one kind of data of all trials."""
        written = (
            self._write_responses() if key == "responses" and not moved else np.zeros(len(self.rows), bool)
        )
        for number in np.flatnonzero(~written).tolist():
            name = spec.data_file(key, number)
            if moved:
                self.writer.expect(name, self.held.digest(name))
            else:
                self.writer.add_known(name, *self.held.file(key, self.rows[number]), anew=self.anew)

    def _write_responses(self) -> npt.NDArray[np.bool_]:
        """Write the responses that are withheld, new or no longer withheld; say which they were."""
        new = (self.held.truth_row[self.rows] >= 0) | self.change.renormalised
        new &= ~self.withheld
        for number, response in zip(np.flatnonzero(new).tolist(), self._responses(new), strict=True):
            self.writer.add_array(spec.data_file("responses", number), response)
        zeros = np.zeros(self.package.n_units, dtype=np.float32)
        for number in np.flatnonzero(self.withheld).tolist():
            self.writer.add_array(spec.data_file("responses", number), zeros)
        return new | self.withheld

    def _write_trials(self) -> None:
        columns = _columns(self.package, self.trials)
        self.writer.add_trials(columns)
        self.writer.add_fit_on(columns["trial_idx"][self.tiers == "train"])

    def _take_over(self) -> None:
        """Link what does not depend on tiers, and what was fitted if the training trials are the same."""
        fitted = () if self.change.responses is None else _FITTED
        anew = (*_MADE_ANEW, *fitted, *([spec.NORMALIZATION] if self.sealed else []))
        for name in self.held.names():
            if not name.startswith(anew):
                source = self.package.path / name
                self.writer.add_known(name, source, self.held.digest(name), anew=self.anew)

    def _write_fitted(self, responses: npt.NDArray[np.float32]) -> None:
        train = self.rows[self.tiers == "train"]
        for key in self.held.data_keys:
            if key == "images":
                values = pixel_statistics(self._histogram(train))
            elif key == "responses":
                values = column_statistics(responses, train)
            else:
                values = column_statistics(self.held.gather(key, train), np.arange(len(train)))
            self.writer.add_statistics(key, values)
        if self.change.normalization is not None and not self.sealed:
            for name, fitted in self.change.normalization.arrays().items():
                self.writer.add_array(spec.normalization_file(name), fitted)

    def _histogram(self, train: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        nsd_id = self.held.trials["nsd_id"].to_numpy()[train]
        _, first, counts = np.unique(nsd_id, return_index=True, return_counts=True)
        histogram = np.zeros(256, dtype=np.int64)
        for start in range(0, len(first), _BLOCK_IMAGES):
            block = slice(start, start + _BLOCK_IMAGES)
            for image, count in zip(
                self.held.gather("images", train[first[block]]), counts[block], strict=True
            ):
                histogram += np.bincount(image.ravel(), minlength=256) * count
        return histogram

    def _manifest(self, n_trials: dict[str, int]) -> dict[str, Any]:
        return {
            **self.package.manifest,
            "n_trials": n_trials,
            "withheld_tiers": [tier for tier in n_trials if self.package.is_withheld(tier)],
            "tiers": self.change.tier_file.model_dump(include={"name", "title", "source", "text"}),
            **({"sealing": spec.SEALING} if self.sealed else {}),
        }


def _columns(package: Package, table: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
    """Return the columns that the package's trial table has, as arrays without Python objects."""
    return {name: np.array(table[name].tolist()) for name in package.trial_columns if name in table}


def _write_left_out(held: Held, change: Change, folder: Path) -> None:
    """Keep the trials that are in no tier, in a folder built like a package that only its owner can read."""
    rows = np.flatnonzero(np.isin(np.arange(len(held)), change.rows, invert=True))
    if not rows.size:
        return
    folder.mkdir(parents=True, mode=0o700)
    writer = PackageWriter(folder, folder)
    made = _Rebuilt(held, change, writer, rows)
    for key in held.data_keys:
        made.write_data(key, moved=False)
    table = held.trials.iloc[rows].assign(
        tiers=change.tiers[rows], trial_idx=held.trials["trial"].iloc[rows], frame_image_id=-1
    )
    writer.add_trials(_columns(held.package, table))
    writer.finish({"format": "nsd_bench.left_out/1", "package": held.package.name})
    set_fixed_times(folder)
