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
from nsd_bench.imagery.trial import GUIDE_CONDITIONS

__all__ = ["folder_rows", "folder_subjects"]

_SUFFIXES: Final = (".npy", ".nii.gz")
_RUN: Final = re.compile(r"run_?(\d+)", re.IGNORECASE)
_DEFAULT: Final = "imagery"


def folder_subjects(root: Path) -> list[int]:
    """Return the subjects that have a folder with a metadata.json."""
    return sorted(subject_number(path.parent.name) for path in root.glob("subj??/metadata.json"))


def folder_rows(root: Path, cache_root: Path, subject: int) -> pd.DataFrame:
    """List the trials of one subject as rows of an index.

    Condition and run come from the trial's entry, else from its path ("perception" or "imagery", "run01");
    the condition is imagery where neither says it.

    Raises
    ------
    SourceError
        If files are missing; a trial without a file of exactly its id is an error, never another's file.
    OptionError
        If the files lie outside the cache root.
    """
    folder = root / subject_name(subject)
    trials = _read_trials(folder, root)
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        suffix = next((one for one in _SUFFIXES if path.name.endswith(one)), None)
        if suffix:
            files[path.name.removesuffix(suffix)] = path
    entries = []
    for number, trial in enumerate(trials):
        file = files.get(str(trial.get("trial_id")))
        if file is None:
            raise _no_file(folder, trial, files)
        entries.append(_entry(trial, number, file, file.relative_to(folder).as_posix()))
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
        problem = f"cannot be read ({type(error).__name__}: {error})"
        raise _wrong(path, problem) from error
    if not isinstance(trials, list) or not trials:
        raise _wrong(path, "lists no trial")
    return trials


def _entry(trial: dict[str, Any], number: int, path: Path, name: str) -> dict[str, Any]:
    in_name = _RUN.search(name)
    run = in_name.group(1) if in_name else "1"
    in_path = next((one for one in GUIDE_CONDITIONS if one in name.lower()), _DEFAULT)
    nsd_id, coco_id = trial.get("nsd_id"), trial.get("coco_id")
    return {
        "session": int(trial.get("session", 1)),
        "condition": trial.get("condition", in_path),
        "nsd_id": nsd_id,
        "coco_id": coco_id,
        "path": path,
        "beta_index": 0,
        "is_valid": valid_volumes(path)[0],
        "run_number": int(trial.get("run_number") or run),
        "caption": trial.get("caption"),
        "stimulus": f"nsd-{nsd_id}" if nsd_id is not None else trial.get("stimulus", f"trial-{number}"),
        "stimulus_type": trial.get("stimulus_type"),
        "vividness": trial.get("vividness", np.nan),
        "confidence": trial.get("confidence", np.nan),
        "source_trial_id": str(trial["trial_id"]),
    }


def _no_file(folder: Path, trial: dict[str, Any], files: dict[str, Path]) -> SourceError:
    wanted = trial.get("trial_id")
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
