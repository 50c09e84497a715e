"""Write a package, whoever makes it: its data, tables, statistics, checksums and manifest.

It grows in a temporary folder, and comes into place by one rename.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nsd_bench.outputs import array_to_bytes, new_outputs, set_fixed_times, write_zip
from nsd_bench.package import spec
from nsd_bench.package.statistics import column_statistics, pixel_statistics
from nsd_bench.package.storage import sha256_file

__all__ = ["FORMS", "Contents", "PackageWriter", "new_package", "output_names", "write_contents"]


FORMS: Final = ("folder", "zip")
"""What a package may be written as."""


class PackageWriter:
    """Files of a package that is being made.

    Parameters
    ----------
    folder
        Where the package grows.
    beside
        Folder for what appears together with the package, beside it: truth, normalization and design.
    """

    def __init__(self, folder: Path, beside: Path) -> None:
        self.folder, self.beside = folder, beside
        self._digests: dict[str, str] = {}
        self._images: dict[int, str] = {}
        self._copies: dict[int, Path] = {}
        self.add_json(spec.CONFIG, {"links": {}})

    def path_beside(self, suffix: str) -> Path:
        """Return where a file that goes with the package is to be written: its truth, for one.

        Parameters
        ----------
        suffix
            What stands behind the package's name, such as `spec.TRUTH_SUFFIX`.
        """
        return self.beside / (self.folder.name + suffix)

    def add_bytes(self, name: str, data: bytes) -> None:
        """Write one file; `name` is relative to the package.

        Parameters
        ----------
        name
            Path of the file inside the package, as `nsd_bench.package.spec` gives it.
        data
            What it holds.
        """
        self._target(name).write_bytes(data)
        self._digests[name] = hashlib.sha256(data).hexdigest()

    def add_array(self, name: str, array: npt.ArrayLike) -> None:
        """Write one array as .npy.

        Parameters
        ----------
        name
            Path of the file inside the package, as `nsd_bench.package.spec` gives it.
        array
            What it holds; its dtype stays.
        """
        self.add_bytes(name, array_to_bytes(array))

    def add_json(self, name: str, value: object) -> None:
        """Write one JSON file, keys in the order given.

        Parameters
        ----------
        name
            Path of the file inside the package, as `nsd_bench.package.spec` gives it.
        value
            What it says.
        """
        self.add_bytes(name, json.dumps(value, indent=1).encode() + b"\n")

    def add_known(self, name: str, source: Path, digest: str, *, anew: bool = False) -> None:
        """Take over a file whose digest is known, by a hard link where the disk has them.

        Parameters
        ----------
        name
            Of the file in this package.
        source
            The file.
        digest
            Its SHA-256, 64 hex characters.
        anew
            Whether to link to a copy, not to the file itself: where a file lies on disk, among its
            neighbours, may tell in which order files were written.
        """
        target = self._target(name)
        if anew:
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
        """List a file that will be moved here.

        Parameters
        ----------
        name
            Path of the file inside the package, as `nsd_bench.package.spec` gives it.
        digest
            Its SHA-256, 64 hex characters.
        """
        self._digests[name] = digest

    def add_image(self, number: int, image: int, pixels: npt.NDArray[np.uint8]) -> bool:
        """Write the image of one trial, or let it be the same file as that of an earlier trial.

        Parameters
        ----------
        number
            Of the trial's files.
        image
            Which image it is: trials with the same `image` share one file.
        pixels : uint8 array of shape (channels, height, width)

        Returns
        -------
        is_new
            Whether it was written, not linked.
        """
        name, first = spec.data_file("images", number), self._images.get(image)
        if first is not None:
            self.add_known(name, self.folder / first, self._digests[first])
            return False
        self.add_array(name, pixels)
        self._images[image] = name
        return True

    def add_trials(self, columns: Mapping[str, npt.ArrayLike]) -> None:
        """Write the trial table: name to an array of shape (n_trials,).

        Parameters
        ----------
        columns
            Name of the column to its values, one for each trial, in the order of the files.
        """
        for name, values in columns.items():
            self.add_array(spec.trials_file(name), values)

    def add_fit_on(self, trial_idx: npt.NDArray[Any], **more: str) -> None:
        """Write which trials of tier train the statistics were fitted on, in the order of their files.

        Parameters
        ----------
        trial_idx
            Ids of the training trials.
        **more
            What else is said, before these.
        """
        self.add_json(spec.FIT_ON, {**more, "tier": "train", "trial_idx": trial_idx.tolist()})

    def add_units(
        self, columns: Mapping[str, npt.ArrayLike], roi_names: Mapping[str, Mapping[int, str]]
    ) -> None:
        """Write the unit table.

        Parameters
        ----------
        columns
            Name to an array of shape (n_units,); coordinates in mm have shape (n_units, 3).
        roi_names
            Atlas to label to name. The labels of an atlas are the column `spec.roi_column(atlas)`.
        """
        for name, values in columns.items():
            self.add_array(spec.neurons_file(name), values)
        self.add_json(spec.ROI_NAMES, roi_names)

    def add_statistics(self, key: str, statistics: Mapping[str, npt.ArrayLike]) -> None:
        """Write mean, std, min, max and median of one kind of data over the training trials.

        Parameters
        ----------
        key
            Kind of data: images, responses or behavior.
        statistics
            Name, one of `spec.STATISTICS`, to an array of shape (n_columns,), or a number for images.
        """
        for group in spec.STATISTICS_GROUPS:
            for statistic, values in statistics.items():
                self.add_array(spec.statistics_file(key, group, statistic), values)

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return an array that was written, or taken over.

        Parameters
        ----------
        name
            Path of the file inside the package, as `nsd_bench.package.spec` gives it.
        """
        values: npt.NDArray[Any] = np.load(self.folder / name, allow_pickle=False)
        return values

    def json(self, name: str) -> Any:
        """Return what a JSON file that was written, or taken over, says.

        Parameters
        ----------
        name
            Path of the file inside the package, as `nsd_bench.package.spec` gives it.
        """
        return json.loads((self.folder / name).read_bytes())

    def _target(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def finish(self, manifest: Mapping[str, Any]) -> str:
        """Write checksums and the manifest, which names their digest; return the manifest's digest.

        Parameters
        ----------
        manifest
            What it says, in this order; the number of files and the digest of checksums are added.
        """
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(self._digests.items()))
        self.add_bytes(spec.CHECKSUMS, lines.encode())
        content = {**manifest, "n_files": len(self._digests), "checksums": self._digests[spec.CHECKSUMS]}
        self.add_json(spec.MANIFEST, content)
        return self._digests[spec.MANIFEST]


@dataclass(frozen=True)
class Contents:
    """What a package holds; row i of what has a row for each trial goes into the files numbered i.

    Parameters
    ----------
    trials
        Columns of the trial table, arrays of shape (n_trials,); `tiers` and `trial_idx` among them.
    units
        Columns of the unit table, arrays of shape (n_units,).
    roi_names
        Atlas to label to name; its labels are the column `spec.roi_column(atlas)` of `units`.
    responses : float32 array of shape (n_rows, n_units)
        May be a memory map; statistics are taken over blocks of columns.
    rows : int64 array of shape (n_trials,)
        Which row of `responses` belongs to each trial.
    withheld : bool array of shape (n_trials,)
        Trials whose responses are left out: their files hold zeros.
    images : uint8 array of shape (n_images, channels, height, width)
        The distinct images; may be a memory map, of which one image is read at a time.
    image : int64 array of shape (n_trials,)
        Which of them each trial showed.
    behavior : float32 array of shape (n_trials, n_behavior), or None
        None where there is none.
    behavior_names
        Of its columns.
    """

    trials: Mapping[str, npt.NDArray[Any]]
    units: Mapping[str, npt.NDArray[Any]]
    roi_names: Mapping[str, Mapping[int, str]]
    responses: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]
    withheld: npt.NDArray[np.bool_]
    images: npt.NDArray[np.uint8]
    image: npt.NDArray[np.int64]
    behavior: npt.NDArray[np.float32] | None
    behavior_names: Sequence[str]


def write_contents(writer: PackageWriter, contents: Contents) -> None:
    """Write data, tables, and the statistics of the training tier: all of a package but its manifest.

    Parameters
    ----------
    writer
        The package in the making.
    contents
        What it holds.
    """
    train = np.flatnonzero(contents.trials["tiers"] == "train")
    writer.add_trials(contents.trials)
    writer.add_units(contents.units, contents.roi_names)
    writer.add_fit_on(contents.trials["trial_idx"][train])
    zeros = np.zeros(contents.responses.shape[1], dtype=np.float32)
    for number, (row, hidden) in enumerate(
        zip(contents.rows.tolist(), contents.withheld.tolist(), strict=True)
    ):
        writer.add_array(spec.data_file("responses", number), zeros if hidden else contents.responses[row])
    n_trained = np.bincount(contents.image[train], minlength=len(contents.images))
    histogram = np.zeros(256, dtype=np.int64)
    for number, image in enumerate(contents.image.tolist()):
        pixels = contents.images[image]
        if writer.add_image(number, image, pixels):
            histogram += np.bincount(pixels.ravel(), minlength=256) * int(n_trained[image])
    writer.add_statistics("images", pixel_statistics(histogram))
    writer.add_statistics("responses", column_statistics(contents.responses, contents.rows[train]))
    if contents.behavior is not None:
        writer.add_json(spec.BEHAVIOR_NAMES, list(contents.behavior_names))
        for number, values in enumerate(contents.behavior):
            writer.add_array(spec.data_file("behavior", number), values)
        writer.add_statistics("behavior", column_statistics(contents.behavior, train))


def output_names(name: str, forms: tuple[str, ...]) -> list[str]:
    """Return what a package brings with it, in the order in which it appears: the package comes last.

    Parameters
    ----------
    name
        Name of the package.
    forms
        Which of "folder" and "zip" there will be.
    """
    zipped, folder = [name + spec.ZIP_SUFFIX] * ("zip" in forms), [name] * ("folder" in forms)
    private = (spec.TRUTH_SUFFIX, spec.NORMALIZATION_SUFFIX, spec.DESIGN_SUFFIX)
    beside = [name + suffix for suffix in (*private, spec.LOCK_SUFFIX)]
    return [*beside, *zipped, *folder]


@contextlib.contextmanager
def new_package(
    parent: Path, name: str, forms: tuple[str, ...] = FORMS, staging: Path | None = None
) -> Iterator[PackageWriter]:
    """Make a package that appears, whole, when the block ends without an error.

    Parameters
    ----------
    parent
        Folder in which the package, its zip, and what lies beside them appear.
    name
        Name of the package.
    forms
        Which of "folder" and "zip" to keep.
    staging
        See `nsd_bench.outputs.new_outputs`.

    Raises
    ------
    OutputError
        If any of them exists already, or the disk is full.
    """
    with new_outputs(parent, output_names(name, forms), staging) as staged:
        folder = staged / name
        folder.mkdir()
        yield PackageWriter(folder, staged)
        if "zip" in forms:
            write_zip(folder, staged / (name + spec.ZIP_SUFFIX))
        set_fixed_times(folder)
        _write_lock(folder, staged / (name + spec.LOCK_SUFFIX))


def _write_lock(folder: Path, path: Path) -> None:
    """Write the digests of all files, and one over all: what may be published where the data may not."""
    lines = (folder / spec.CHECKSUMS).read_text().splitlines()
    files = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    lock = {
        "format": "nsd_bench.lock/1",
        "name": folder.name,
        "manifest_sha256": sha256_file(folder / spec.MANIFEST),
        "sha256": sha256_file(folder / spec.CHECKSUMS),
        "files": files,
    }
    path.write_text(json.dumps(lock, indent=0) + "\n")
