"""Index rows of one folder per subject: a metadata.json, and a file for every trial."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from exporters.imagery.layout import subject_name, subject_number
from exporters.imagery.rows import finished_rows, missing_data, valid_volumes
from nsd_bench.errors import SourceError
from nsd_bench.imagery.cache import relative_to_cache
from nsd_bench.imagery.trial import CONDITIONS, GUIDE_CONDITIONS

__all__ = ["folder_rows", "folder_subjects"]

_SUFFIXES: Final = (".npy", ".nii.gz")
_RUN: Final = re.compile(r"run_?(\d+)", re.IGNORECASE)
_DEFAULT: Final = "imagery"


def folder_subjects(root: Path) -> list[int]:
    """Return the subjects that have a folder with a metadata.json."""
    return sorted(subject_number(path.parent.name) for path in root.glob("subj??/metadata.json"))


def folder_rows(root: Path, cache_root: Path, subject: int) -> pd.DataFrame:
    """List the trials of one subject as rows of an index.

    Condition and run come from the trial's entry, else from the folders that its file lies in ("perception"
    or "imagery", "run01"); the condition is imagery where neither says it.

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
    try:
        trials = json.loads(path.read_text(encoding="utf-8"))["trials"]
    except (ValueError, KeyError, TypeError) as error:
        raise _wrong(path, f"cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(trials, list) or not trials:
        raise _wrong(path, "lists no trial")
    for number, trial in enumerate(trials):
        if problem := _problem(trial):
            raise _wrong(path, f"entry {number} {problem}")
    names = [str(trial["trial_id"]) for trial in trials]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _wrong(path, f"lists the trial {twice!r} more than once")
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


def _wrong(path: Path, problem: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected='{"trials": [{"trial_id": ...}, ...]}',
        fix="correct the file; docs/imagery.md describes the layout",
    )
