"""NSD-Imagery's session: what each of its 720 betas was a response to.

The order of runs comes from the behaviour tables and is checked against the design matrices; where the two
contradict each other that is an error, since counts of trials alone cannot tell a vision run from an imagery
run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.io
from scipy.io.matlab import MatReadError

from exporters.nsd.layout import require_files
from nsd_bench.errors import SourceError

__all__ = [
    "CONDITIONS",
    "N_BETAS",
    "RUNS",
    "STIMULUS_TYPES",
    "ImageryLayout",
    "imagery_trials",
    "read_stimuli",
]

N_BETAS: Final = 720
SETS: Final = ("A", "B", "C")
RUNS: Final = tuple(
    [f"{task}{letter}" for letter in SETS for task in ("vis", "att")]
    + [f"img{letter}_{number}" for letter in SETS for number in (1, 2)]
)
"""Names of the 12 runs' files, in no order: what the order is, the files say."""
CONDITIONS: Final = {"vis": "perception", "img": "imagery", "att": "attention"}
"""Task, as files are called, to the condition of an index."""
STIMULUS_TYPES: Final = {"A": "simple", "B": "complex", "C": "concepts"}
_TRIALS: Final = 48
_EPOCHS: Final = {"vis": ("",), "img": ("",), "att": ("cue", "detection")}
_ACTIVE: Final = {"vis": 6, "img": 6, "att": 12}
_COLUMNS: Final = ("RUN", "TRIAL", "CONDITION", "CUE", "FRAMEFILE", "BUTTON", "TRIALONSET")
_NSD_FILE: Final = re.compile(r"nsd(\d{5})")


@dataclass(frozen=True)
class ImageryLayout:
    """Where the release keeps NSD-Imagery.

    Parameters
    ----------
    root
        NSD's root.
    """

    root: Path

    @property
    def experiment(self) -> Path:
        """Folder of the design."""
        return self.root / "nsddata/experiments/nsdimagery"

    @property
    def design_matrices(self) -> Path:
        """What went into the model that betas come from."""
        return self.experiment / "designmatrixGLMsingle.mat"

    def pair_list(self, letter: str) -> Path:
        """Which cue stands for which target, of one set."""
        return self.experiment / f"{letter}_pair_list.mat"

    def target(self, letter: str, name: str) -> Path:
        """Picture of a target; there are none of set C."""
        return self.experiment / f"rawtargetimages/set{letter}/{name}"

    def behaviour(self, subject: int, run: str) -> Path:
        """One row per trial of a run."""
        return self.root / f"nsddata/bdata/nsdimagery/nsdimagery_subj{subject:02}_{run}.tsv"

    def betas(self, subject: int, space: str, version: str, suffix: str) -> tuple[Path, ...]:
        """Betas of the session: one file, or one of each hemisphere's surface."""
        name = f"nsdimagery{version}"
        folder = self.root / f"nsddata_betas/ppdata/subj{subject:02}/{space}/{name}"
        heads = ("lh.", "rh.") if space in {"fsaverage", "nativesurface"} else ("",)
        return tuple(folder / f"{head}betas_nsdimagery.{suffix}" for head in heads)

    def files(self, subject: int) -> list[Path]:
        """All that `imagery_trials` reads."""
        tables = [self.behaviour(subject, run) for run in RUNS]
        return [self.design_matrices, *(self.pair_list(letter) for letter in SETS), *tables]


def read_stimuli(layout: ImageryLayout) -> pd.DataFrame:
    """Read what the 18 cues stand for.

    Returns
    -------
    stimuli
        Columns `set`, `cue` (a letter), `target` (name of a file, or of a concept), `stimulus_number` (0 to
        17: simple, complex, concepts), and `nsd_id`, Int64, null for what is not one of NSD's images.

    Raises
    ------
    SourceError
        If a pair list is not one, or two cues of a set are the same.
    """
    rows = []
    for base, letter in enumerate(SETS):
        path = layout.pair_list(letter)
        pairs = _load(path, "pair_list")
        if pairs.shape != (6, 3):
            raise _contradiction(path, f"'pair_list' has shape {pairs.shape}", "(6, 3): number, target, cue")
        for number, (_, target, cue) in enumerate(pairs):
            name = _text(target)
            rows.append((letter, _text(cue), name, 6 * base + number, _nsd_id(name)))
        cues = [row[1] for row in rows[-6:]]
        if len(set(cues)) < len(cues):
            raise _contradiction(path, f"cues are {', '.join(cues)}", "six different letters")
    table = pd.DataFrame(rows, columns=["set", "cue", "target", "stimulus_number", "nsd_id"])
    return table.astype({"nsd_id": "Int64"})


def _nsd_id(target: str) -> int | None:
    """Return the image's number from 0; file names count from 1, and 00000 is an artwork, not an image.

    >>> _nsd_id("shared0385_nsd28752.png"), _nsd_id("shared0000_nsd00000.png"), _nsd_id("zebra")
    (28751, None, None)
    """
    match = _NSD_FILE.search(target)
    number_1based = int(match.group(1)) if match else 0
    return number_1based - 1 if number_1based else None


def imagery_trials(layout: ImageryLayout, subject: int) -> pd.DataFrame:
    """List a subject's betas in the order of the volumes.

    Returns
    -------
    trials
        Per beta: `run` (from 1), `run_name`, `trial` (from 1, in the run), `condition`, `set`, `cue` (what
        was seen in vision, imagined in imagery, attended to in attention), `shown_cue` (the letter on the
        screen), `epoch` ("cue" or "detection" in attention, else ""), `frame` (picture on the screen),
        `button` (NaN where none was pressed), and the columns of `read_stimuli`.

    Raises
    ------
    SourceError
        If a file is missing or broken, or behaviour and design contradict each other.
    """
    require_files(dict.fromkeys(layout.files(subject), f"subj{subject:02}, nsd_imagery"), layout.root)
    runs = {run: _read_run(layout.behaviour(subject, run)) for run in RUNS}
    order = _run_order(runs, layout, subject)
    matrices = _design_matrices(layout.design_matrices)
    blocks = []
    for number, (run, matrix) in enumerate(zip(order, matrices, strict=True), start=1):
        path = layout.behaviour(subject, run)
        _check_design(runs[run], matrix, run, number, path)
        blocks.append(_block(runs[run], run, number))
    trials = pd.concat(blocks, ignore_index=True)
    stimuli = read_stimuli(layout)
    merged = trials.merge(stimuli, on=["set", "cue"], how="left", validate="many_to_one")
    unknown = merged[merged["stimulus_number"].isna()]
    if len(unknown):
        first = unknown.iloc[0]
        raise _contradiction(
            layout.behaviour(subject, first["run_name"]),
            f"trial {first['trial']} is of {first['cue']!r}",
            "a cue of " + ", ".join(stimuli.loc[stimuli["set"] == first["set"], "cue"]),
        )
    return merged


def _read_run(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, sep="\t", keep_default_na=False, na_values=["NaN", ""])
    except (OSError, ValueError) as error:
        raise _contradiction(path, f"cannot be read ({error})", "a table of 48 trials") from error
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        raise _contradiction(path, f"lacks the columns {', '.join(missing)}", "NSD-Imagery's 20 columns")
    if table["TRIAL"].tolist() != list(range(1, _TRIALS + 1)) or table["RUN"].nunique() != 1:
        raise _contradiction(
            path,
            f"has {len(table)} rows of {table['RUN'].nunique()} runs",
            f"trials 1 to {_TRIALS} of one run, in order",
        )
    return table


def _run_order(runs: dict[str, pd.DataFrame], layout: ImageryLayout, subject: int) -> list[str]:
    numbers = {run: int(table["RUN"].iloc[0]) for run, table in runs.items()}
    order = sorted(numbers, key=lambda run: numbers[run])
    if [numbers[run] for run in order] != list(range(1, len(RUNS) + 1)):
        raise _contradiction(
            layout.behaviour(subject, order[0]).parent,
            "RUN holds " + ", ".join(f"{numbers[run]} in {run}" for run in order),
            f"each of 1 to {len(RUNS)} in one file of subj{subject:02}",
        )
    return order


def _design_matrices(path: Path) -> list[npt.NDArray[np.float64]]:
    cells = np.ravel(_load(path, "stimulus"))
    matrices = [np.asarray(cell.toarray() if hasattr(cell, "toarray") else cell) for cell in cells]
    if len(matrices) != len(RUNS):
        raise _contradiction(path, f"'stimulus' has {len(matrices)} runs", f"{len(RUNS)} runs")
    return matrices


def _check_design(
    table: pd.DataFrame, matrix: npt.NDArray[np.float64], run: str, number: int, path: Path
) -> None:
    """Check one run's behaviour against the design matrix that stands in its place."""
    task = run[:3]
    _, column = np.nonzero(matrix)  # row by row, hence in the order of onsets
    expected = f"the {task} run that design matrix {number} is of, with the order of trials that it has"
    n_active, n_onsets = len(np.unique(column)), _TRIALS * len(_EPOCHS[task])
    if n_active != _ACTIVE[task] or len(column) != n_onsets:
        problem = f"RUN {number}: the design has {len(column)} onsets in {n_active} columns"
        raise _contradiction(path, problem, f"{n_onsets} onsets in {_ACTIVE[task]} columns for a {task} run")
    labels = list(_labels(table, task))
    of_column: dict[int, tuple[str, str]] = {}
    for onset, (one, label) in enumerate(zip(column.tolist(), labels, strict=True)):
        if of_column.setdefault(one, label) != label:
            problem = (
                f"RUN {number}, trial {onset // len(_EPOCHS[task]) + 1} is {label}, design column {one} "
                f"was {of_column[one]} before"
            )
            raise _contradiction(path, problem, expected)


def _labels(table: pd.DataFrame, task: str) -> Iterator[tuple[str, str]]:
    for condition in table["CONDITION"]:
        for epoch in _EPOCHS[task]:
            yield str(condition), epoch


def _block(table: pd.DataFrame, run: str, number: int) -> pd.DataFrame:
    """List one run's betas; CONDITION is what was seen or imagined, CUE only the letter on the screen."""
    task, letter = run[:3], run[3]
    repeated = table.loc[table.index.repeat(len(_EPOCHS[task]))].reset_index(drop=True)
    if task == "img" and (table["CUE"] != table["CONDITION"]).any():
        row = int(np.flatnonzero(table["CUE"] != table["CONDITION"])[0])
        raise _contradiction(
            Path(run),
            f"trial {row + 1}: the cue is {table['CUE'].iloc[row]!r}, the condition "
            f"{table['CONDITION'].iloc[row]!r}",
            "the same letter, in an imagery run",
        )
    return pd.DataFrame(
        {
            "run": number,
            "run_name": run,
            "trial": repeated["TRIAL"],
            "condition": CONDITIONS[task],
            "set": letter,
            "cue": repeated["CONDITION"],
            "shown_cue": repeated["CUE"],
            "epoch": _EPOCHS[task] * _TRIALS,
            "frame": repeated["FRAMEFILE"],
            "button": pd.to_numeric(repeated["BUTTON"], errors="coerce"),
        }
    )


def _load(path: Path, name: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(scipy.io.loadmat(path, variable_names=[name])[name])
    except (OSError, ValueError, KeyError, NotImplementedError, MatReadError) as error:
        raise _contradiction(path, f"cannot be read ({error})", f"a MATLAB file with {name!r}") from error


def _text(cell: Any) -> str:
    return str(np.asarray(cell).ravel()[0])


def _contradiction(path: Path, problem: str, expected: str) -> SourceError:
    return SourceError(
        problem,
        place=str(path),
        expected=expected,
        fix="fetch NSD-Imagery's behaviour and design again; do not mix subjects or releases",
    )
