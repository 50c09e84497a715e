"""Write a package anew around data files that stay as they are."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nsd_bench.outputs import set_fixed_times
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.statistics import column_statistics, pixel_statistics
from nsd_bench.package.truth import Truth
from nsd_bench.package.write import PackageWriter, new_package
from tiers import withholding
from tiers.rewrite.held import Held
from tiers.rewrite.renormalise import SEALING, Normalization
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


class _Writer(PackageWriter):
    """Takes over files whose digest is known, by hard links where the disk has them.

    Parameters
    ----------
    folder, beside
        See `PackageWriter`.
    anew
        Whether to link to a copy, not to the file itself: a file of a package that was not sealed lies on
        disk, among its neighbours, where its true trial number put it.
    """

    def __init__(self, folder: Path, beside: Path, *, anew: bool) -> None:
        super().__init__(folder, beside)
        self._anew, self._copies = anew, dict[int, Path]()

    def add_known(self, name: str, source: Path, digest: str) -> None:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if self._anew:
            inode = source.stat().st_ino
            if inode not in self._copies:
                shutil.copyfile(source, target)
            source = self._copies.setdefault(inode, target)
        if source != target:
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)
        self._digests[name] = digest

    def expect(self, name: str, digest: str) -> None:
        """List a file that will be moved here."""
        self._digests[name] = digest


def rebuild(held: Held, change: Change, folder: Path, moved: list[str]) -> dict[str, int]:
    """Write the package, its truth and what it leaves out below `folder`; return tier to number of trials.

    Folders of data that stay as they are, in the same order, are not linked file by file but added to
    `moved`.
    """
    package = held.package
    zipped = package.path.with_name(package.path.name + spec.ZIP_SUFFIX).exists()
    with new_package(folder, package.path.name, ("folder", "zip") if zipped else ("folder",)) as new:
        writer = _Writer(new.folder, new.beside, anew=_unsealed(package))
        made = _Rebuilt(held, change, writer, change.rows)
        if not zipped:
            moved += made.unchanged_folders()
        n_trials = made.write_package(moved)
    _write_left_out(held, change, folder / spec.LEFT_OUT / package.path.name)
    return n_trials


def _unsealed(package: Package) -> bool:
    """Whether it withholds responses and was made before nsd-bench 0.2."""
    return package.kind != "open" and "sealing" not in package.manifest


class _Rebuilt:
    def __init__(self, held: Held, change: Change, writer: _Writer, rows: npt.NDArray[np.int64]) -> None:
        self.held, self.change, self.writer, self.rows = held, change, writer, rows
        self.package = held.package
        self.tiers = change.tiers[rows]
        self.sealed = self.package.kind != "open"
        self.withheld = np.isin(self.tiers, spec.WITHHELD_TIERS) & self.sealed
        self.trials = self._identified()

    def _identified(self) -> pd.DataFrame:
        trials = self.held.trials.iloc[self.rows].reset_index(drop=True).assign(tiers=self.tiers)
        name, subject, key = self.package.name, self.package.subject, self.change.key
        if key is None:
            return trials.assign(trial_idx=trials["trial"], frame_image_id=trials["nsd_id"], salt="")
        trial, nsd_id = trials["trial"].to_numpy(), trials["nsd_id"].to_numpy()
        return trials.assign(
            trial_idx=withholding.keyed_trial_ids(trial, name, subject, key),
            frame_image_id=withholding.keyed_image_ids(nsd_id, name, subject, key),
            salt=withholding.keyed_salts(trial, name, subject, key),
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
        counts = pd.Series(self.tiers).value_counts()
        n_trials = {tier: int(counts[tier]) for tier in spec.TIERS if tier in counts}
        truth = self._truth() if self.withheld.any() else None
        digest = self.writer.finish(self._manifest(n_trials, truth.commitments() if truth else {}))
        if truth:
            path = self.writer.beside / (self.package.path.name + spec.TRUTH_SUFFIX)
            replace(truth, manifest_sha256=digest).write(path)
        if self.sealed and self.change.normalization is not None:
            path = self.writer.beside / (self.package.path.name + spec.NORMALIZATION_SUFFIX)
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
                self.writer.add_known(name, *self.held.file(key, self.rows[number]))

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
        columns = [name for name in self.package.trial_columns if name in self.trials]
        for name in columns:
            self.writer.add_array(spec.trials_file(name), np.array(self.trials[name].tolist()))
        train = self.trials.loc[self.tiers == "train", "trial_idx"].tolist()
        self.writer.add_json(spec.FIT_ON, {"tier": "train", "trial_idx": train})

    def _take_over(self) -> None:
        """Link what does not depend on tiers, and what was fitted if the training trials are the same."""
        fitted = () if self.change.responses is None else _FITTED
        anew = (*_MADE_ANEW, *fitted, *([spec.NORMALIZATION] if self.sealed else []))
        for name in self.held.names():
            if not name.startswith(anew):
                self.writer.add_known(name, self.package.path / name, self.held.digest(name))

    def _write_fitted(self, responses: npt.NDArray[np.float32]) -> None:
        train = self.rows[self.tiers == "train"]
        for key in self.held.data_keys:
            if key == "images":
                values = pixel_statistics(self._histogram(train))
            elif key == "responses":
                values = column_statistics(responses, train)
            else:
                values = column_statistics(self.held.gather(key, train), np.arange(len(train)))
            for group in spec.STATISTICS_GROUPS:
                for statistic, array in values.items():
                    self.writer.add_array(spec.statistics_file(key, group, statistic), array)
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

    def _manifest(self, n_trials: dict[str, int], commitments: dict[str, str]) -> dict[str, Any]:
        return {
            **self.package.manifest,
            "n_trials": n_trials,
            "withheld_tiers": [tier for tier in n_trials if self.package.is_withheld(tier)],
            "commitments": commitments,
            "tiers": self.change.tier_file.model_dump(include={"name", "title", "source", "text"}),
            **({"sealing": SEALING} if self.sealed else {}),
        }

    def _truth(self) -> Truth:
        withheld, units = self.trials[self.withheld], self.package.units
        return Truth(
            package=self.package.name,
            subject=self.package.subject,
            manifest_sha256="",  # known once the manifest, which commits to this truth, is written
            trial_idx=np.array(withheld["trial_idx"].tolist()),
            frame_image_id=withheld["frame_image_id"].to_numpy(np.int64),
            tier=np.array(withheld["tiers"].tolist(), dtype=np.str_),
            responses=self._responses(self.withheld),
            unit_ids=units["unit_ids"].to_numpy(np.int64),
            ncsnr=units["ncsnr"].to_numpy(np.float32),
            rois={
                atlas: units[spec.roi_column(atlas)].to_numpy(np.int16) for atlas in self.package.roi_names
            },
            roi_names=self.package.roi_names,
            response_mean=self._statistic("mean"),
            response_std=self._statistic("std"),
            nsd_id=withheld["nsd_id"].to_numpy(np.int64),
            salt=np.array(withheld["salt"].tolist(), dtype=np.str_),
        )

    def _statistic(self, statistic: str) -> npt.NDArray[np.float32]:
        fitted: npt.NDArray[np.float32] = np.load(
            self.writer.folder / spec.statistics_file("responses", "all", statistic)
        )
        return fitted


def _write_left_out(held: Held, change: Change, folder: Path) -> None:
    """Keep the trials that are in no tier, in a folder built like a package that only its owner can read."""
    rows = np.flatnonzero(np.isin(np.arange(len(held)), change.rows, invert=True))
    if not rows.size:
        return
    folder.mkdir(parents=True, mode=0o700)
    writer = _Writer(folder, folder, anew=_unsealed(held.package))
    made = _Rebuilt(held, change, writer, rows)
    for key in held.data_keys:
        made.write_data(key, moved=False)
    columns = [name for name in held.package.trial_columns if name in held.trials]
    table = held.trials.iloc[rows].assign(
        tiers=change.tiers[rows], trial_idx=held.trials["trial"].iloc[rows], frame_image_id=-1
    )
    for name in columns:
        writer.add_array(spec.trials_file(name), np.array(table[name].tolist()))
    writer.finish({"format": "nsd_bench.left_out/1", "package": held.package.name})
    set_fixed_times(folder)
