"""The truth: responses that were withheld from a package, with all that scoring them needs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from nsd_bench.errors import PackageError
from nsd_bench.inputs import parse_json, reading
from nsd_bench.outputs import write_npz
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.statistics import response_precision
from nsd_bench.package.storage import read_npz

if TYPE_CHECKING:
    from nsd_bench.package.write import PackageWriter

__all__ = ["Truth", "finish_package", "load_truth"]


@dataclass(frozen=True)
class Truth:
    """Responses to score against, aligned by `trial_idx` and `unit_ids`.

    Parameters
    ----------
    package
        Name of the package that they were withheld from.
    subject
        1 to 8.
    manifest_sha256
        Digest of that package's manifest.
    trial_idx : array of shape (n_trials,)
        int64 trial numbers (open package) or 32 hex characters (withheld).
    frame_image_id : int64 array of shape (n_trials,)
        Trials with the same id showed the same image.
    tier : str array of shape (n_trials,)
    responses : float32 array of shape (n_trials, n_units)
        As stored in packages: percent signal change, or z-scored within session.
    unit_ids : int64 array of shape (n_units,)
    ncsnr : float32 array of shape (n_units,)
        Noise-ceiling signal-to-noise ratio as NSD gives it; NaN where unknown.
    response_mean, response_std : float32 arrays of shape (n_units,)
        Fitted on the training tier.
    rois
        Atlas to an int16 array of shape (n_units,): labels, 0 or less where unlabelled.
    roi_names
        Atlas to label to name.
    nsd_id : int64 array of shape (n_trials,), or None
        Which of NSD's images each trial showed, from 0, so that images can be matched between subjects;
        -1 where it is none of them. None where it is not known: truth files of format 1, packages that
        withhold it, and other data sets.
    salt : str array of shape (n_trials,)
        What keeps the committed digest of a trial from being found by trying responses; empty where nothing
        was withheld.
    """

    package: str
    subject: int
    manifest_sha256: str
    trial_idx: npt.NDArray[Any]
    frame_image_id: npt.NDArray[np.int64]
    tier: npt.NDArray[np.str_]
    responses: npt.NDArray[np.float32]
    unit_ids: npt.NDArray[np.int64]
    ncsnr: npt.NDArray[np.float32]
    response_mean: npt.NDArray[np.float32]
    response_std: npt.NDArray[np.float32]
    rois: dict[str, npt.NDArray[np.int16]]
    roi_names: dict[str, dict[int, str]]
    nsd_id: npt.NDArray[np.int64] | None = None
    salt: npt.NDArray[np.str_] = field(default_factory=lambda: np.empty(0, dtype="<U32"))

    def standardised(self) -> npt.NDArray[np.float32]:
        """Return the responses as loaders give them: times the precision, not centred."""
        return self.responses * response_precision(self.response_std)

    def commitments(self) -> dict[str, str]:
        """Return a digest of every tier, by which a manifest binds the truth before it is shown.

        SHA-256 over the units (ids, ncsnr, means, standard deviations, regions) and, in the order of
        `trial_idx`, the SHA-256 of each trial's salt, id, image, nsd_id and response. Truths without nsd_id
        commit as those of format 1 did.
        """
        units = hashlib.sha256(json.dumps(self.roi_names, sort_keys=True).encode())
        for values in (self.unit_ids, self.ncsnr, self.response_mean, self.response_std):
            units.update(np.ascontiguousarray(values).data)
        for atlas, labels in sorted(self.rois.items()):
            units.update(atlas.encode() + np.ascontiguousarray(labels).data)
        of_tier = {tier: units.copy() for tier in spec.TIERS if self.salt.size and tier in self.tier}
        for row in np.argsort(self.trial_idx).tolist() if of_tier else ():
            known = (self.salt, self.trial_idx, self.frame_image_id, self.nsd_id)
            named = "".join(f"{values[row]}:" for values in known if values is not None).encode()
            of_tier[self.tier[row]].update(hashlib.sha256(named + self.responses[row].tobytes()).digest())
        return {tier: digest.hexdigest() for tier, digest in of_tier.items()}

    def of_trials(self, rows: npt.NDArray[Any]) -> Truth:
        """Return the truth of some trials; `rows` are numbers, or a bool array of shape (n_trials,).

        Parameters
        ----------
        rows
            int64 numbers of rows, or a bool array of shape (n_trials,).
        """
        columns = {name: getattr(self, name) for name in ("trial_idx", "frame_image_id", "tier", "responses")}
        if self.nsd_id is not None:
            columns["nsd_id"] = self.nsd_id
        if self.salt.size:
            columns["salt"] = self.salt
        return replace(self, **{name: values[rows] for name, values in columns.items()})

    def of_units(self, units: npt.NDArray[np.bool_]) -> Truth:
        """Return the truth of some units; `units` has shape (n_units,).

        Parameters
        ----------
        units
            bool array of shape (n_units,).
        """
        return replace(
            self,
            responses=self.responses[:, units],
            rois={atlas: labels[units] for atlas, labels in self.rois.items()},
            **{name: getattr(self, name)[units] for name in _OF_UNITS},
        )

    def _check_shapes(self) -> None:
        n_trials, n_units = self.responses.shape
        of_trials = {name: getattr(self, name) for name in ("trial_idx", "frame_image_id", "tier")}
        if self.nsd_id is not None:
            of_trials["nsd_id"] = self.nsd_id
        of_units = {name: getattr(self, name) for name in _OF_UNITS} | self.rois
        for arrays, length in ((of_trials, n_trials), (of_units, n_units)):
            for name, values in arrays.items():
                if values.shape != (length,):
                    problem = f"{name} has shape {values.shape}, responses {self.responses.shape}"
                    raise ValueError(problem)

    def write(self, path: Path) -> None:
        """Write an .npz that only its owner can read; same truth, same bytes.

        Its format is 2, or 1 where nsd_id is not known.

        Parameters
        ----------
        path
            The new file, by custom `<package>.truth.npz`.
        """
        header = {"package": self.package, "subject": self.subject, "manifest_sha256": self.manifest_sha256}
        arrays: dict[str, npt.ArrayLike] = {
            "header": json.dumps({"format": _FORMATS[self.nsd_id is not None], **header}, sort_keys=True),
            "roi_names": json.dumps(self.roi_names, sort_keys=True),
            **{name: getattr(self, name) for name in _ARRAYS},
            **({} if self.nsd_id is None else {"nsd_id": self.nsd_id}),
            **{spec.roi_column(atlas): labels for atlas, labels in sorted(self.rois.items())},
        }
        write_npz(path, arrays, mode=0o600)

    @classmethod
    def of_rows(cls, package: Package, rows: npt.NDArray[np.int64]) -> Truth:
        """Return the truth of some trials of a package, whose responses are taken as they lie in it.

        Parameters
        ----------
        rows : int64 array of shape (n_trials,)
            File numbers, of tiers that the package does not withhold.
        package
            Where the responses are.

        Raises
        ------
        PackageError
            If responses of these trials are withheld, or all those of a tier are zero.
        """
        _refuse_withheld(package, rows)
        return cls(
            package=package.name,
            subject=package.subject,
            manifest_sha256=package.manifest_sha256,
            tier=package.tiers[rows],
            responses=package.responses(rows),
            **_tables(package, rows, package.roi_names),
            nsd_id=(
                package.array(spec.trials_file("nsd_id"))[rows].astype(np.int64)
                if "nsd_id" in package.trial_columns
                else None
            ),
        )

    @classmethod
    def of_made(
        cls,
        made: PackageWriter,
        rows: npt.NDArray[np.int64],
        responses: npt.NDArray[np.float32],
        *,
        package: str,
        salt: npt.NDArray[np.str_],
        nsd_id: npt.NDArray[np.int64] | None = None,
    ) -> Truth:
        """Return the truth of a package in the making, whose tables and statistics are written.

        Parameters
        ----------
        made
            The package.
        rows : int64 array of shape (n_withheld,)
            File numbers of the trials that it withholds.
        responses : float32 array of shape (n_withheld, n_units)
            Their responses.
        package
            Name of the package, as its manifest will have it.
        salt : str array of shape (n_withheld,)
            See `Truth`.
        nsd_id : int64 array of shape (n_withheld,), optional
            See `Truth`.

        Returns
        -------
        truth
            Without the digest of the manifest, which commits to this truth: `finish_package` adds it.
        """
        roi_names = {
            atlas: {int(label): name for label, name in names.items()}
            for atlas, names in made.json(spec.ROI_NAMES).items()
        }
        return cls(
            package=package,
            subject=int(made.array(spec.neurons_file("animal_ids"))[0]),
            manifest_sha256="",
            # As lists, so that no text is wider than the longest of these.
            tier=np.array(made.array(spec.trials_file("tiers"))[rows].tolist(), dtype=np.str_),
            responses=np.ascontiguousarray(responses),
            **_tables(made, rows, roi_names),
            nsd_id=nsd_id,
            salt=np.array(salt.tolist(), dtype=np.str_),
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Truth:
        """Read a truth file.

        Parameters
        ----------
        path
            What `write` wrote.

        Raises
        ------
        PackageError
            If it is not a truth file, or its arrays contradict each other.
        """
        refusal = partial(
            PackageError,
            place=str(path),
            expected="a .truth.npz that 'nsd-bench export' wrote beside the package",
            fix="check the path, or export the package again",
        )
        with reading(path, refusal, "not a truth file"):
            arrays = read_npz(path)
            header = parse_json(str(arrays["header"]))
            if header["format"] not in _FORMATS:
                problem = f"its format is {header['format']!r}"
                raise ValueError(problem)
            truth = cls(
                package=header["package"],
                subject=header["subject"],
                manifest_sha256=header["manifest_sha256"],
                rois={atlas: v for k, v in arrays.items() if (atlas := _atlas(k)) is not None},
                roi_names={
                    atlas: {int(label): name for label, name in names.items()}
                    for atlas, names in parse_json(str(arrays["roi_names"])).items()
                },
                nsd_id=arrays["nsd_id"] if header["format"] == _FORMATS[True] else None,
                **{name: arrays[name] for name in _ARRAYS},
            )
            truth._check_shapes()
        return truth


_FORMATS = ("nsd_bench.truth/1", "nsd_bench.truth/2")
"""Without nsd_id, and with it."""
_OF_UNITS = ("unit_ids", "ncsnr", "response_mean", "response_std")
_ARRAYS = tuple(
    one.name
    for one in fields(Truth)
    if one.name not in {"package", "subject", "manifest_sha256", "rois", "roi_names", "nsd_id"}
)


class _Arrays(Protocol):
    """A package, or one in the making."""

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return the array in the file called `name`."""


def _tables(
    source: _Arrays, rows: npt.NDArray[np.int64], roi_names: dict[str, dict[int, str]]
) -> dict[str, Any]:
    """Return what a truth has of a package's tables and statistics."""
    return {
        "trial_idx": source.array(spec.trials_file("trial_idx"))[rows],
        "frame_image_id": source.array(spec.trials_file("frame_image_id"))[rows].astype(np.int64),
        "unit_ids": source.array(spec.neurons_file("unit_ids")).astype(np.int64),
        "ncsnr": source.array(spec.neurons_file("ncsnr")).astype(np.float32),
        "response_mean": source.array(spec.statistics_file("responses", "all", "mean")),
        "response_std": source.array(spec.statistics_file("responses", "all", "std")),
        "rois": {
            atlas: source.array(spec.neurons_file(spec.roi_column(atlas))).astype(np.int16)
            for atlas in roi_names
        },
        "roi_names": roi_names,
    }


def finish_package(made: PackageWriter, manifest: Mapping[str, Any], truth: Truth | None) -> str:
    """Write checksums and a manifest that commits to the truth, and the truth beside the package.

    Parameters
    ----------
    made
        The package in the making, complete but for these.
    manifest
        What it says; checksums and commitments are added.
    truth
        See `Truth.of_made`; None where nothing is withheld.

    Returns
    -------
    manifest_sha256
        Digest of the manifest, 64 hex characters.
    """
    digest = made.finish({**manifest, "commitments": truth.commitments() if truth else {}})
    if truth:
        replace(truth, manifest_sha256=digest).write(made.path_beside(spec.TRUTH_SUFFIX))
    return digest


def _atlas(column: str) -> str | None:
    return None if column == "roi_names" else spec.atlas_of(column)


def load_truth(path: str | os.PathLike[str], tiers: Sequence[str] | None = None) -> Truth:
    """Read the truth from a truth file, or from a package that shows its responses.

    Parameters
    ----------
    tiers
        Of a package: only these. None: all but train, of which none may be withheld.
    path
        A truth file, or a package.

    Raises
    ------
    PackageError
        If it is neither, or a package that withholds its test responses or has training trials alone.
    """
    path = Path(path)
    if path.name.endswith(".npz"):
        return Truth.read(path)
    package = Package(path)
    scored = [tier for tier in tiers or spec.TIERS[1:] if package.rows(tier).size]
    if not scored:
        raise _nothing_to_score(path, tiers)
    return Truth.of_rows(package, np.sort(np.concatenate([package.rows(tier) for tier in scored])))


def _refuse_withheld(package: Package, rows: npt.NDArray[np.int64]) -> None:
    """Refuse zeros that stand for responses: a score against them would look like any other."""
    tiers = dict.fromkeys(package.tiers[rows].tolist())
    withheld = [tier for tier in tiers if package.is_withheld(tier) or package.is_blank(tier)]
    if not withheld:
        return
    why = "all their responses are zero" if package.kind == "open" else f"its kind is {package.kind!r}"
    raise PackageError(
        f"the responses of {' and '.join(withheld)} are withheld from this package: {why}",
        place=str(package.path),
        expected="a truth file, or a package that shows the responses that are scored",
        fix=f"give {package.name}{spec.TRUTH_SUFFIX} instead",
    )


def _nothing_to_score(path: Path, tiers: Sequence[str] | None) -> PackageError:
    if tiers is not None:
        return PackageError(
            f"has no trial of {' or '.join(tiers)}",
            place=str(path),
            expected="a package with trials of the tier that is scored",
            fix="name another tier with --tier; 'nsd-bench info' lists them",
        )
    return PackageError(
        "has training trials alone: there is nothing to score",
        place=str(path),
        expected="a package with trials in another tier",
        fix="apply tiers that hold some trials out, with 'nsd-bench tiers apply'",
    )
