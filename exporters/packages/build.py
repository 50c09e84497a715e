"""The manifest: what a package was made of, by which code, and what was fitted on what."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from exporters.nsd.stimuli import iterate_images, resize
from exporters.packages.provenance import CITATION, TERMS_URL, source_digest
from exporters.packages.recipe import Recipe, recipe_text
from exporters.packages.responses import Responses
from exporters.packages.sources import MASK, Source
from exporters.packages.units import write_units
from nsd_bench import __version__
from nsd_bench.outputs import new_file, scratch_array
from nsd_bench.package import spec
from nsd_bench.package.statistics import column_statistics, pixel_statistics
from nsd_bench.package.truth import Truth
from nsd_bench.package.write import PackageWriter
from tiers import NOT_EXPORTED, TierFile, withholding
from tiers.rewrite.renormalise import SEALING

__all__ = ["PackageBuild", "applied_values", "package_manifest"]


def package_manifest(
    recipe: Recipe,
    tier_file: TierFile,
    source: Source,
    *,
    n_trials: dict[str, int],
    n_units: int,
    dropped: Mapping[str, npt.NDArray[np.int64]],
    commitments: dict[str, str],
) -> dict[str, Any]:
    """Put together what the package's manifest says; `nsd_bench.package.write` adds the checksums.

    Parameters
    ----------
    n_trials
        Tier to number of trials.
    dropped
        Why units were left out, to their ids, an int64 array.
    commitments
        Withheld tier to the digest that binds its truth.
    """
    applied = applied_values(recipe, source)
    withheld = [tier for tier in n_trials if tier in spec.WITHHELD_TIERS and recipe.kind != "open"]
    return {
        "format": f"nsd_bench.package/{spec.FORMAT_VERSION}",
        "name": recipe.package_name(source.subject),
        "title": recipe.title,
        "subject": source.subject,
        "sessions": list(source.betas),
        "kind": recipe.kind,
        "n_trials": n_trials,
        "n_units": n_units,
        "units_dropped": {why: unit_ids.tolist() for why, unit_ids in dropped.items() if unit_ids.size},
        "withheld_tiers": withheld,
        "commitments": commitments,
        **({} if recipe.kind == "open" else {"sealing": SEALING}),
        "fitted": {
            "statistics": "train tier of this package",
            "session z-score": (
                "train tier of this package" if recipe.responses.scale == "session_zscore" else "none"
            ),
            "ncsnr_min": (
                f"{recipe.units.ncsnr_min} at least, of ncsnr estimated on the {n_trials['train']} trials "
                "of the train tier of this package, by the images that have two or more of them"
                if recipe.units.ncsnr_min > 0
                else "none"
            ),
            "betas and ncsnr": "by NSD's authors on all sessions, test images among them",
        },
        "withholding": (
            "NSD is public. Withheld responses, keyed ids and a keyed order stop accidents and casual joins, "
            "not a determined entrant who has NSD."
        ),
        "recipe": {"text": recipe_text(applied), "values": applied},
        "tiers": tier_file.model_dump(include={"name", "title", "source", "text"}),
        "exporter": {"version": __version__, "source_sha256": source_digest("exporters.packages.export")},
        "sources": source.digests.listed(),
        "terms": TERMS_URL,
        "citation": CITATION,
    }


def applied_values(recipe: Recipe, source: Source) -> dict[str, Any]:
    """Return what was applied to this subject, and nothing of how it was asked for.

    One recipe gives a subject's package the same bytes for one subject or for eight, with "all" sessions or a
    list of all, and wherever mask, annotations and tiers lie. Subjects, sessions and format are those of this
    package, the mask is named by its digest, COCO's annotations are among the sources, and tiers have an
    entry of their own.
    """
    values = recipe.model_dump(mode="json", exclude={"tiers": True, "image_class": {"coco"}})
    values |= {"subjects": [source.subject], "sessions": list(source.betas)}
    values["responses"]["format"] = recipe.responses.suffix
    if recipe.units.mask:
        values["units"]["mask"] = f"sha256:{source.digests.of(MASK)}"
    return values


_TERMS = Path(__file__).parents[1] / "TERMS.md"


class PackageBuild:
    """One package in the making; row i of `trials` belongs to the files numbered i.

    Parameters
    ----------
    recipe, source, responses
        What goes into it.
    writer
        Takes its files.
    key
        For keyed ids and the order of files; None derives one from the withheld responses.
    work
        Folder for a scratch file.
    progress
        Whether to draw a progress bar.
    """

    def __init__(
        self,
        recipe: Recipe,
        source: Source,
        responses: Responses,
        writer: PackageWriter,
        key: bytes | None,
        work: Path,
        progress: bool,
    ) -> None:
        self.recipe, self.source, self.responses = recipe, source, responses
        self.writer, self.work, self.progress = writer, work, progress
        self.name = recipe.package_name(source.subject)
        self.trials = self._number_trials(key)
        counts = self.trials["tier"].value_counts()
        self.n_trials = {tier: int(counts[tier]) for tier in spec.TIERS if tier in counts}

    def _number_trials(self, key: bytes | None) -> pd.DataFrame:
        """Permute the exported trials and give each its id; `shown` is its row in the source."""
        source, withholds = self.source, self.recipe.kind != "open"
        subject = source.subject
        trials = source.trials.assign(shown=np.arange(len(source.trials)))
        trials = trials[trials["tier"] != NOT_EXPORTED]
        trials["withheld"] = withholds & trials["tier"].isin(spec.WITHHELD_TIERS)
        if not withholds:
            order = withholding.file_order(trials["trial"].to_numpy(), subject, self.recipe.seed)
            trials = trials.iloc[order].reset_index(drop=True)
            return trials.assign(trial_idx=trials["trial"], frame_image_id=trials["nsd_id"], salt="")
        if key is None:
            key = withholding.derive_key(self.name, self._responses(trials["withheld"], trials))
        key = withholding.key_of_kind(key, self.recipe.kind)
        order = withholding.keyed_order(trials["trial"].to_numpy(), self.name, subject, key)
        trials = trials.iloc[order].reset_index(drop=True)
        trial, nsd_id = trials["trial"].to_numpy(), trials["nsd_id"].to_numpy()
        return trials.assign(
            trial_idx=withholding.keyed_trial_ids(trial, self.name, subject, key),
            frame_image_id=withholding.keyed_image_ids(nsd_id, self.name, subject, key),
            salt=withholding.keyed_salts(trial, self.name, subject, key),
        )

    def _responses(self, chosen: pd.Series[bool], trials: pd.DataFrame) -> npt.NDArray[np.float32]:
        rows = trials.loc[chosen, "shown"].to_numpy()
        return np.ascontiguousarray(self.responses.values[rows])

    def write_all(self, stimuli: Path, tier_file: TierFile) -> None:
        """Write every file of the package and its truth."""
        self._write_tables()
        self._write_responses_and_behaviour()
        self._write_images(stimuli)
        truth = self._truth() if self.trials["withheld"].any() else None
        manifest = package_manifest(
            self.recipe,
            tier_file,
            self.source,
            n_trials=self.n_trials,
            n_units=len(self.responses.units),
            dropped=self.responses.dropped,
            commitments=truth.commitments() if truth else {},
        )
        digest = self.writer.finish(manifest)
        with new_file(self.writer.beside / (self.name + spec.DESIGN_SUFFIX), 0o600) as file:
            file.write(self.source.trials.drop(columns="tier").to_csv(index=False).encode())
        if truth:
            path = self.writer.beside / (self.name + spec.TRUTH_SUFFIX)
            replace(truth, manifest_sha256=digest).write(path)
        if self.recipe.kind != "open" and self.responses.normalization is not None:
            path = self.writer.beside / (self.name + spec.NORMALIZATION_SUFFIX)
            self.responses.normalization.write(path, self.name, digest)

    def _write_tables(self) -> None:
        table, level = self.trials, self.recipe.image_class.level
        columns: dict[str, npt.ArrayLike] = {
            "tiers": table["tier"].to_numpy(np.str_),
            "trial_idx": _array(table["trial_idx"]),
            "frame_image_id": table["frame_image_id"].to_numpy(),
            "frame_image_class": np.full(len(table), "none")
            if level == "none"
            else table[level].to_numpy(np.str_),
        }
        if self.recipe.kind == "open":
            columns.update({name: table[name].to_numpy() for name in spec.OPEN_TRIAL_COLUMNS})
        for name, values in columns.items():
            self.writer.add_array(spec.trials_file(name), values)
        write_units(self.writer, self.responses.units, self.source.subject, self.recipe.units.area)
        train = table.loc[table["tier"] == "train", "trial_idx"].tolist()
        self.writer.add_json(spec.FIT_ON, {"tier": "train", "trial_idx": train})
        self.writer.add_bytes(spec.TERMS, _TERMS.read_bytes())
        if self.recipe.kind == "open" and self.responses.normalization is not None:
            for name, values in self.responses.normalization.arrays().items():
                self.writer.add_array(spec.normalization_file(name), values)

    def _write_responses_and_behaviour(self) -> None:
        behaviour = self.source.behaviour[self.trials["shown"]]
        if self.recipe.kind == "track1":
            behaviour = np.zeros_like(behaviour)
        withheld = np.zeros(len(self.responses.units), dtype=np.float32)
        rows = self.trials[["shown", "withheld"]].itertuples(index=False)
        for number, (shown, is_withheld) in enumerate(rows):
            response = withheld if is_withheld else self.responses.values[shown]
            self.writer.add_array(spec.data_file("responses", number), response)
            self.writer.add_array(spec.data_file("behavior", number), behaviour[number])
        train = np.flatnonzero(self.trials["tier"] == "train")
        shown_train = self.trials["shown"].to_numpy()[train]
        self.response_statistics = column_statistics(self.responses.values, shown_train)
        self._write_statistics("responses", self.response_statistics)
        self._write_statistics("behavior", column_statistics(behaviour, train))
        self.writer.add_json(spec.BEHAVIOR_NAMES, list(self.recipe.behavior.columns))

    def _write_images(self, stimuli: Path) -> None:
        """Write each distinct image once; its repeats are links to the same file.

        Images are read in NSD's order and written in that of the files: where a disk puts them, and when they
        were written, says nothing of nsd_id.
        """
        wanted = self.recipe.images
        nsd_ids, image_of_file = np.unique(self.trials["nsd_id"].to_numpy(), return_inverse=True)
        train = (self.trials["tier"] == "train").to_numpy()
        n_trained = np.bincount(image_of_file[train], minlength=len(nsd_ids))
        channels = 3 if wanted.colour == "rgb" else 1
        shape = (len(nsd_ids), channels, wanted.height, wanted.width)
        resized = scratch_array(self.work / "images", shape, np.uint8)
        histogram = np.zeros(256, dtype=np.int64)
        pixels_read = hashlib.sha256()
        images = iterate_images(stimuli, nsd_ids, pixels_read)
        bar = tqdm(
            images, f"{self.name}: images", len(nsd_ids), unit=" images", disable=not self.progress or None
        )
        for image, (_, pixels) in enumerate(bar):
            resized[image] = resize(pixels, (wanted.height, wanted.width), wanted.colour)
            histogram += np.bincount(resized[image].ravel(), minlength=256) * int(n_trained[image])
        first: dict[int, str] = {}
        for number, image in enumerate(image_of_file.tolist()):
            name = spec.data_file("images", number)
            if image in first:
                self.writer.add_link(name, first[image])
            else:
                self.writer.add_array(name, resized[image])
                first[image] = name
        self.source.digests.add_values([stimuli], pixels_read.hexdigest())
        self._write_statistics("images", pixel_statistics(histogram))

    def _write_statistics(self, key: str, statistics: dict[str, npt.NDArray[np.float32]]) -> None:
        for group in spec.STATISTICS_GROUPS:
            for statistic, values in statistics.items():
                self.writer.add_array(spec.statistics_file(key, group, statistic), values)

    def _truth(self) -> Truth:
        withheld, units = self.trials[self.trials["withheld"]], self.responses.units
        return Truth(
            package=self.name,
            subject=self.source.subject,
            manifest_sha256="",  # known once the manifest, which commits to this truth, is written
            trial_idx=_array(withheld["trial_idx"]),
            frame_image_id=withheld["frame_image_id"].to_numpy(),
            tier=withheld["tier"].to_numpy(np.str_),
            responses=self._responses(self.trials["withheld"], self.trials),
            unit_ids=units.ids,
            ncsnr=units.ncsnr,
            response_mean=self.response_statistics["mean"],
            response_std=self.response_statistics["std"],
            rois=units.labels,
            roi_names=units.label_names,
            nsd_id=withheld["nsd_id"].to_numpy(np.int64),
            salt=withheld["salt"].to_numpy(np.str_),
        )


def _array(column: pd.Series[Any]) -> npt.NDArray[Any]:
    """Return trial ids as an array without Python objects: int64, or text."""
    return np.array(column.tolist())
