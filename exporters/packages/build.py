"""One package: trials are numbered, contents written, and a manifest says of what they were made."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
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
from exporters.packages.units import unit_table
from nsd_bench import __version__
from nsd_bench.outputs import new_file, scratch_array
from nsd_bench.package import keys, spec
from nsd_bench.package.statistics import count_tiers
from nsd_bench.package.truth import Truth, finish_package
from nsd_bench.package.write import Contents, PackageWriter, write_contents
from tiers import NOT_EXPORTED, TierFile

__all__ = ["PackageBuild", "applied_values", "package_manifest"]


def package_manifest(
    recipe: Recipe,
    tier_file: TierFile,
    source: Source,
    *,
    n_trials: dict[str, int],
    n_units: int,
    dropped: Mapping[str, npt.NDArray[np.int64]],
) -> dict[str, Any]:
    """Put together what the package's manifest says, but for commitments and checksums.

    Parameters
    ----------
    n_trials
        Tier to number of trials.
    dropped
        Why units were left out, to their ids, an int64 array.
    recipe
        What the package contains.
    tier_file
        Says which trial is in which tier.
    source
        What was found out of NSD before betas are read.
    n_units
        Units that the package has.
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
        "commitments": {},
        **({} if recipe.kind == "open" else {"sealing": spec.SEALING}),
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

    Parameters
    ----------
    recipe
        What the package contains.
    source
        What was found out of NSD before betas are read.
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

    def _number_trials(self, key: bytes | None) -> pd.DataFrame:
        """Permute the exported trials and give each its id; `shown` is its row in the source."""
        source, withholds = self.source, self.recipe.kind != "open"
        subject = source.subject
        trials = source.trials.assign(shown=np.arange(len(source.trials)))
        trials = trials[trials["tier"] != NOT_EXPORTED]
        trials["withheld"] = withholds & trials["tier"].isin(spec.WITHHELD_TIERS)
        if not withholds:
            order = keys.file_order(trials["trial"].to_numpy(), subject, self.recipe.seed)
            trials = trials.iloc[order].reset_index(drop=True)
            return trials.assign(trial_idx=trials["trial"], frame_image_id=trials["nsd_id"], salt="")
        if key is None:
            key = keys.derive_key(self.name, self._responses(trials["withheld"], trials))
        key = keys.key_of_kind(key, self.recipe.kind)
        order = keys.keyed_order(trials["trial"].to_numpy(), self.name, subject, key)
        trials = trials.iloc[order].reset_index(drop=True)
        trial, nsd_id = trials["trial"].to_numpy(), trials["nsd_id"].to_numpy()
        return trials.assign(
            trial_idx=keys.keyed_trial_ids(trial, self.name, subject, key),
            frame_image_id=keys.keyed_image_ids(nsd_id, self.name, subject, key),
            salt=keys.keyed_salts(trial, self.name, subject, key),
        )

    def _responses(self, chosen: pd.Series[bool], trials: pd.DataFrame) -> npt.NDArray[np.float32]:
        rows = trials.loc[chosen, "shown"].to_numpy()
        return np.ascontiguousarray(self.responses.values[rows])

    def write_all(self, stimuli: Path, tier_file: TierFile) -> None:
        """Write every file of the package and what lies beside it.

        Parameters
        ----------
        stimuli
            NSD's file of images.
        tier_file
            Says which trial is in which tier.
        """
        withheld = np.flatnonzero(self.trials["withheld"])
        images, image = self._read_images(stimuli)
        write_contents(self.writer, self._contents(images, image))
        self.writer.add_bytes(spec.TERMS, _TERMS.read_bytes())
        normalization = self.responses.normalization
        if self.recipe.kind == "open" and normalization is not None:
            for name, values in normalization.arrays().items():
                self.writer.add_array(spec.normalization_file(name), values)
        truth = None
        if withheld.size:
            hidden = self.trials.iloc[withheld]
            truth = Truth.of_made(
                self.writer,
                withheld,
                self._responses(self.trials["withheld"], self.trials),
                package=self.name,
                salt=hidden["salt"].to_numpy(np.str_),
                nsd_id=hidden["nsd_id"].to_numpy(np.int64),
            )
        manifest = package_manifest(
            self.recipe,
            tier_file,
            self.source,
            n_trials=count_tiers(self.trials["tier"].to_numpy(np.str_)),
            n_units=len(self.responses.units),
            dropped=self.responses.dropped,
        )
        digest = finish_package(self.writer, manifest, truth)
        with new_file(self.writer.path_beside(spec.DESIGN_SUFFIX), 0o600) as file:
            file.write(self.source.trials.drop(columns="tier").to_csv(index=False).encode())
        if self.recipe.kind != "open" and normalization is not None:
            normalization.write(self.writer.path_beside(spec.NORMALIZATION_SUFFIX), self.name, digest)

    def _contents(self, images: npt.NDArray[np.uint8], image: npt.NDArray[np.int64]) -> Contents:
        trials, units = self.trials, self.responses.units
        behaviour = self.source.behaviour[trials["shown"]]
        return Contents(
            trials=self._trial_table(),
            units=unit_table(units, self.source.subject, self.recipe.units.area),
            roi_names=units.label_names,
            responses=self.responses.values,
            rows=trials["shown"].to_numpy(np.int64),
            withheld=trials["withheld"].to_numpy(bool),
            images=images,
            image=image,
            behavior=np.zeros_like(behaviour) if self.recipe.kind == "track1" else behaviour,
            behavior_names=self.recipe.behavior.columns,
        )

    def _trial_table(self) -> dict[str, npt.NDArray[Any]]:
        table, level = self.trials, self.recipe.image_class.level
        columns = {
            "tiers": table["tier"].to_numpy(np.str_),
            "trial_idx": np.array(table["trial_idx"].tolist()),  # int64, or text, and no Python objects
            "frame_image_id": table["frame_image_id"].to_numpy(),
            "frame_image_class": (
                np.full(len(table), "none") if level == "none" else table[level].to_numpy(np.str_)
            ),
        }
        if self.recipe.kind == "open":
            columns.update({name: table[name].to_numpy() for name in spec.OPEN_TRIAL_COLUMNS})
        return columns

    def _read_images(self, stimuli: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Return the distinct images, resized, mapped from a scratch file, and which of them each file shows.

        They are read in NSD's order, and written in that of the files: where a disk puts them, and when they
        were written, says nothing of nsd_id.
        """
        wanted = self.recipe.images
        nsd_ids, image_of_file = np.unique(self.trials["nsd_id"].to_numpy(), return_inverse=True)
        channels = 3 if wanted.colour == "rgb" else 1
        shape = (len(nsd_ids), channels, wanted.height, wanted.width)
        resized = scratch_array(self.work / "images", shape, np.uint8)
        pixels_read = hashlib.sha256()
        images = iterate_images(stimuli, nsd_ids, pixels_read)
        bar = tqdm(
            images, f"{self.name}: images", len(nsd_ids), unit=" images", disable=not self.progress or None
        )
        for image, (_, pixels) in enumerate(bar):
            resized[image] = resize(pixels, (wanted.height, wanted.width), wanted.colour)
        self.source.digests.add_values([stimuli], pixels_read.hexdigest())
        return resized, image_of_file
