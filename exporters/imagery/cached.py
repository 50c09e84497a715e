"""Index rows of two layouts that are not NSD's: a cache of 4-D files, and folders of single trials."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from exporters.imagery.layout import CacheLayout, subject_name, subject_number
from exporters.imagery.rows import finished_rows, missing_data, valid_volumes
from nsd_bench.errors import SourceError
from nsd_bench.imagery.index import EXTRA_COLUMNS, relative_to_cache
from nsd_bench.imagery.trial import CONDITIONS, GUIDE_CONDITIONS
from nsd_bench.inputs import parse_json, read_text, reading

__all__ = [
    "MANIFEST_COLUMNS",
    "STIMULUS_COLUMNS",
    "cached_rows",
    "folder_rows",
    "folder_subjects",
    "read_manifest",
]

MANIFEST_COLUMNS: Final = ("trial_id", "session", "trial_in_session", "condition", "nsd_id")
"""What a trial manifest must have; `beta_index` is `trial_in_session` where it has none."""
STIMULUS_COLUMNS: Final = ("nsd_id", "coco_id")
_NUMBERS: Final = frozenset({"session", "trial_in_session", "nsd_id", "coco_id"})
_GIVEN: Final = [name for name in EXTRA_COLUMNS if name not in {"stimulus", "source_trial_id"}]


def read_manifest(path: Path, required: tuple[str, ...] = MANIFEST_COLUMNS) -> pd.DataFrame:
    """Read one of the layout's tables.

    Parameters
    ----------
    path
        The table.
    required
        Columns that it must have.

    Raises
    ------
    SourceError
        If it cannot be read, lacks a column, or has a condition or number that there cannot be.
    """
    with reading(path, lambda problem: _wrong(path, problem, required)):
        table = pd.read_csv(path)
    missing = [name for name in required if name not in table]
    if missing:
        raise _wrong(path, f"lacks the columns {', '.join(missing)}", required)
    for name in _NUMBERS & set(required):
        known = table[name].dropna()
        odd = known[pd.to_numeric(known, errors="coerce").mod(1) != 0]
        if len(odd):
            raise _wrong(path, f"holds the {name} {odd.iloc[0]!r}", ("whole numbers",))
    if "condition" in required and not table["condition"].isin(CONDITIONS).all():
        odd = table.loc[~table["condition"].isin(CONDITIONS), "condition"].iloc[0]
        raise _wrong(path, f"holds the condition {odd!r}", CONDITIONS)
    return table


def _wrong(path: Path, problem: str, expected: tuple[str, ...]) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected=", ".join(expected),
        fix="correct the table; docs/imagery.md describes the layout",
    )


def _stimuli(path: Path) -> pd.DataFrame:
    table = read_manifest(path, STIMULUS_COLUMNS)
    twice = table.loc[table["nsd_id"].duplicated(), "nsd_id"]
    if len(twice):
        raise _wrong(path, f"lists the nsd_id {twice.iloc[0]} more than once", ("one row a stimulus",))
    return table.set_index("nsd_id")


def _names(manifest: pd.DataFrame) -> pd.Series[str]:
    """Name what was seen or imagined: as the manifest does, else by its image."""
    nsd_id = manifest["nsd_id"].astype("Int64")
    by_image = nsd_id.map("nsd-{}".format, na_action="ignore").astype(object)
    if "stimulus" not in manifest:
        return by_image
    return manifest["stimulus"].astype(object).fillna(by_image)


def cached_rows(layout: CacheLayout, subject: int) -> pd.DataFrame:
    """List the trials of one subject as rows of an index.

    Parameters
    ----------
    layout
        Where the files lie.
    subject
        1 to 8.

    Returns
    -------
    rows
        See `exporters.imagery.rows.finished_rows`.

    Raises
    ------
    SourceError
        If files are missing, or a manifest names a session without betas.
    OptionError
        If the betas lie outside the cache root.
    """
    name, path = subject_name(subject), layout.manifest(subject)
    if not path.is_file():
        available = [subject_name(one) for one in layout.subjects()]
        raise missing_data(name, path, available)
    manifest = read_manifest(path).sort_values(["session", "trial_in_session"], ignore_index=True)
    betas = layout.betas(subject)
    absent = sorted(set(manifest["session"]) - set(betas))
    if absent:
        raise missing_data(f"{name}, session {absent[0]}", path, [f"session {one}" for one in betas])
    valid = {session: valid_volumes(file) for session, file in betas.items()}
    beta_index = manifest["beta_index" if "beta_index" in manifest else "trial_in_session"]
    nsd_id = manifest["nsd_id"].astype("Int64")
    of_image = _stimuli(layout.stimulus_table)
    described = {column: nsd_id.map(of_image[column]) for column in _GIVEN if column in of_image}
    given = {column: manifest[column] for column in _GIVEN if column in manifest}
    rows = pd.DataFrame({**described, **given}).assign(
        subject=name,
        session=manifest["session"],
        trial_in_session=manifest["trial_in_session"],
        condition=manifest["condition"],
        nsd_id=nsd_id,
        coco_id=nsd_id.map(of_image["coco_id"]).astype("Int64"),
        beta_path=[relative_to_cache(betas[session], layout.root) for session in manifest["session"]],
        beta_index=beta_index,
        is_valid=[
            0 <= index < len(valid[session]) and valid[session][index]
            for session, index in zip(manifest["session"], beta_index, strict=True)
        ],
        stimulus=_names(manifest),
        source_trial_id=manifest["trial_id"].astype(str),
    )
    return finished_rows(rows, subject)


_SUFFIXES: Final = (".npy", ".nii.gz")
_RUN: Final = re.compile(r"run_?(\d+)", re.IGNORECASE)
_DEFAULT: Final = "imagery"


def folder_subjects(root: Path) -> list[int]:
    """Return the subjects that have a folder with a metadata.json.

    Parameters
    ----------
    root
        With a folder for each subject.

    Returns
    -------
    subjects
        Ascending.
    """
    return sorted(subject_number(path.parent.name) for path in root.glob("subj??/metadata.json"))


def folder_rows(root: Path, cache_root: Path, subject: int) -> pd.DataFrame:
    """List the trials of one subject as rows of an index.

    Condition and run come from the trial's entry, else from the folders that its file lies in ("perception"
    or "imagery", "run01"); the condition is imagery where neither says it.

    Parameters
    ----------
    root
        With a folder for each subject.
    cache_root
        To which the rows' paths are relative.
    subject
        1 to 8.

    Returns
    -------
    rows
        See `exporters.imagery.rows.finished_rows`.

    Raises
    ------
    SourceError
        If files are missing; a trial without a file of exactly its id is an error, never another's file.
    OptionError
        If the files lie outside the cache root.
    """
    folder = root / subject_name(subject)
    trials = _read_trials(folder, root)
    files = _files(folder)
    entries = []
    for number, trial in enumerate(trials):
        file = files.get(str(trial["trial_id"]))
        if file is None:
            raise _no_file(folder, trial, files)
        entries.append(_entry(trial, number, file, file.relative_to(folder)))
    rows = pd.DataFrame(entries).assign(subject=subject_name(subject))
    rows["beta_path"] = [relative_to_cache(path, cache_root) for path in rows.pop("path")]
    in_session = rows.groupby("session").cumcount()
    return finished_rows(rows.assign(trial_in_session=in_session), subject)


def _read_trials(folder: Path, root: Path) -> list[dict[str, Any]]:
    path = folder / "metadata.json"
    if not path.is_file():
        raise missing_data(folder.name, path, [subject_name(one) for one in folder_subjects(root)])
    with reading(path, partial(_wrong_metadata, path)):
        trials = parse_json(read_text(path))["trials"]
    if not isinstance(trials, list) or not trials:
        raise _wrong_metadata(path, "lists no trial")
    for number, trial in enumerate(trials):
        if problem := _problem(trial):
            raise _wrong_metadata(path, f"entry {number} {problem}")
    names = [str(trial["trial_id"]) for trial in trials]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _wrong_metadata(path, f"lists the trial {twice!r} more than once")
    return trials


def _problem(trial: Any) -> str | None:
    """Say what is wrong with an entry, None if nothing is."""
    if not isinstance(trial, dict) or "trial_id" not in trial:
        return "has no trial_id"
    if trial.get("condition", _DEFAULT) not in CONDITIONS:
        return f"has the condition {trial['condition']!r}"
    for name in ("nsd_id", "coco_id", "session", "run_number"):
        if not isinstance(trial.get(name, 0), int | None):
            return f"has the {name} {trial[name]!r}"
    return None


def _files(folder: Path) -> dict[str, Path]:
    """Return trial_id to file."""
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        suffix = next((one for one in _SUFFIXES if path.name.endswith(one)), None)
        name = path.name.removesuffix(suffix or "")
        if suffix and name in files:
            one, other = (file.relative_to(folder).as_posix() for file in (files[name], path))
            raise SourceError(
                f"trial {name!r} has two files, {one} and {other}",
                place=str(folder),
                expected="one file for each trial_id",
                fix="give every trial an id of its own, or remove one of the files",
            )
        if suffix:
            files[name] = path
    return files


def _entry(trial: dict[str, Any], number: int, path: Path, below: Path) -> dict[str, Any]:
    run = _RUN.search(below.as_posix())
    nsd_id, coco_id = trial.get("nsd_id"), trial.get("coco_id")
    return {
        "session": int(trial.get("session") or 1),
        "condition": trial.get("condition") or _condition(below),
        "nsd_id": nsd_id,
        "coco_id": coco_id,
        "path": path,
        "beta_index": 0,
        "is_valid": valid_volumes(path)[0],
        "run_number": int(trial.get("run_number") or (run.group(1) if run else 1)),
        "caption": trial.get("caption"),
        "stimulus": f"nsd-{nsd_id}" if nsd_id is not None else trial.get("stimulus", f"trial-{number}"),
        "stimulus_type": trial.get("stimulus_type"),
        "vividness": trial.get("vividness", np.nan),
        "confidence": trial.get("confidence", np.nan),
        "source_trial_id": str(trial["trial_id"]),
    }


def _condition(below: Path) -> str:
    """Return what the folders of a trial's file are called after.

    >>> _condition(Path("Perception/run_01/imagery_007.npy")), _condition(Path("run_02/t007.npy"))
    ('perception', 'imagery')
    """
    folders = [part.lower() for part in below.parent.parts]
    return next((one for one in GUIDE_CONDITIONS if any(one in part for part in folders)), _DEFAULT)


def _no_file(folder: Path, trial: dict[str, Any], files: dict[str, Path]) -> SourceError:
    wanted = trial["trial_id"]
    return SourceError(
        f"trial {wanted!r} has no file",
        place=str(folder),
        expected=f"{wanted}.npy or {wanted}.nii.gz, as each of the other {len(files)} files is called",
        fix="name each file exactly after its trial_id, or remove the trial from metadata.json",
    )


def _wrong_metadata(path: Path, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected='{"trials": [{"trial_id": ...}, ...]}',
        fix="correct the file; docs/imagery.md describes the layout",
    )
