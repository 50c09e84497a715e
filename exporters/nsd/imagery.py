"""NSD-Imagery's session: what each of its 720 betas was a response to.

The order of runs comes from the behaviour tables and is checked against the design matrices: the columns in
which a matrix has its onsets tell vision, attention and each set of imagery apart, the order of trials tells
the rest. That order alone would not do: a set's vision run and its first imagery run have the same trials.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from exporters.nsd.extra import extra_betas, read_texts
from exporters.nsd.imagery_design import (
    FIX,
    OWN_DESIGN,
    TRIALS_PER_RUN,
    check_design,
    read_own_design,
    read_single_trial_designs,
    single_trial_design,
)
from exporters.nsd.layout import require_files
from exporters.nsd.matlab import read_variable
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
RUNS: Final = (
    *("visA", "attA", "imgA_1", "visB", "attB", "imgB_1", "visC", "attC", "imgC_1"),
    *("imgA_2", "imgB_2", "imgC_2"),
)
"""Names of the 12 runs' files, in the order in which all subjects had them."""
CONDITIONS: Final = {"vis": "perception", "img": "imagery", "att": "attention"}
"""Task, as files are called, to the condition of an index."""
STIMULUS_TYPES: Final = {"A": "simple", "B": "complex", "C": "concepts"}
_EPOCHS: Final = {"vis": ("",), "img": ("",), "att": ("cue", "detection")}
_COLUMNS: Final = ("SUBJECT", "RUN", "TRIAL", "CONDITION", "CUE", "FRAMEFILE", "BUTTON")
_NUMBERS: Final = ("SUBJECT", "RUN", "TRIAL", "BUTTON")
_BUTTONS: Final = (1, 2)
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

    def own_design(self, run: str) -> Path:
        """Return the path of a run's own design matrix, which is checked where it is there.

        Parameters
        ----------
        run
            One of `RUNS`.
        """
        return self.experiment / f"{run}_dm.mat"

    def pair_list(self, letter: str) -> Path:
        """Return the path of the file that says which cue stands for which target of a set.

        Parameters
        ----------
        letter
            "A", "B" or "C".
        """
        return self.experiment / f"{letter}_pair_list.mat"

    def target(self, letter: str, name: str) -> Path:
        """Return the path of a target's picture; there are none of set C.

        Parameters
        ----------
        letter
            The set, "A" or "B".
        name
            Of the picture's file, as the set's pair list has it.
        """
        return self.experiment / f"rawtargetimages/set{letter}/{name}"

    def behaviour(self, subject: int, run: str) -> Path:
        """Return the path of the table with one row per trial of a run.

        Parameters
        ----------
        subject
            1 to 8.
        run
            One of `RUNS`.
        """
        return self.root / f"nsddata/bdata/nsdimagery/nsdimagery_subj{subject:02}_{run}.tsv"

    def betas(self, subject: int, space: str, version: str, suffix: str) -> tuple[Path, ...]:
        """Return the paths of the session's betas: one file, or one of each hemisphere's surface.

        Parameters
        ----------
        subject
            1 to 8.
        space, version, suffix
            See `exporters.nsd.extra.extra_betas`.
        """
        return extra_betas(self.root, "nsdimagery", subject, space, version, suffix)

    def files(self, subject: int) -> list[Path]:
        """List all files that `imagery_trials` needs.

        Parameters
        ----------
        subject
            1 to 8.
        """
        tables = [self.behaviour(subject, run) for run in RUNS]
        return [self.design_matrices, *(self.pair_list(letter) for letter in SETS), *tables]


def read_stimuli(layout: ImageryLayout) -> pd.DataFrame:
    """Read what the 18 cues stand for.

    Parameters
    ----------
    layout
        Where the files lie.

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
        pairs = read_variable(path, "pair_list", FIX)
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

    Parameters
    ----------
    layout
        Where the files lie.
    subject
        1 to 8.

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
    runs = {run: _read_run(layout.behaviour(subject, run), subject) for run in RUNS}
    order = _run_order(runs, layout, subject)
    _check_designs(runs, order, layout, subject)
    blocks = [
        _block(runs[run], run, number, layout.behaviour(subject, run))
        for number, run in enumerate(order, start=1)
    ]
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


def _read_run(path: Path, subject: int) -> pd.DataFrame:
    table = read_texts(path, _COLUMNS, FIX, sep="\t")
    for name in _NUMBERS:
        numbers = pd.to_numeric(table[name], errors="coerce")
        odd = numbers.mod(1).ne(0) & ~table[name].str.casefold().isin(["", "nan"])
        if odd.any():
            trial = int(np.flatnonzero(odd)[0]) + 1
            problem = f"row {trial}: {name} is {table[name].iloc[trial - 1]!r}"
            raise _contradiction(path, problem, "a whole number, or nothing where no button was pressed")
        table[name] = numbers
    n_runs = table["RUN"].nunique(dropna=False)
    if table["TRIAL"].tolist() != list(range(1, TRIALS_PER_RUN + 1)) or n_runs != 1:
        expected = f"trials 1 to {TRIALS_PER_RUN} of one run, in order"
        raise _contradiction(path, f"has {len(table)} rows of {n_runs} runs", expected)
    if table["RUN"].isna().any():
        raise _contradiction(path, "RUN holds no number", f"1 to {len(RUNS)}")
    if (table["SUBJECT"] != subject).any():
        others = ", ".join(f"{one:g}" for one in table["SUBJECT"].unique())
        raise _contradiction(path, f"is of subject {others}", f"subject {subject}")
    pressed = table["BUTTON"].dropna()
    if not pressed.isin(_BUTTONS).all():
        raise _contradiction(path, f"BUTTON is {pressed[~pressed.isin(_BUTTONS)].iloc[0]:g}", "1 or 2")
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


def _check_designs(
    runs: dict[str, pd.DataFrame], order: list[str], layout: ImageryLayout, subject: int
) -> None:
    """Check every run against the matrix in its place, and against the one that has its name."""
    path = layout.design_matrices
    matrices = read_single_trial_designs(path, len(RUNS))
    for number, (run, matrix) in enumerate(zip(order, matrices, strict=True), start=1):
        table, place = runs[run], layout.behaviour(subject, run)
        name = f"matrix {number} of {path.name}"
        check_design(table, matrix, single_trial_design(run), run=run, name=name, place=place)
        own = layout.own_design(run)
        if own.is_file():
            shape, fix = OWN_DESIGN[run[:3]], f"{FIX}; {own.name} is checked only where it is there"
            check_design(table, read_own_design(own), shape, run=run, name=own.name, place=place, fix=fix)
    for number, (run, usual) in enumerate(zip(order, RUNS, strict=True), start=1):
        if run != usual:  # and both have the same trials in the same order
            raise _contradiction(
                layout.behaviour(subject, run),
                f"RUN is {number}",
                f"{usual} to be run {number}, as for all subjects",
            )


def _block(table: pd.DataFrame, run: str, number: int, path: Path) -> pd.DataFrame:
    """List one run's betas; what was seen or imagined is CONDITION, what was attended to is CUE."""
    task, letter = run[:3], run[3]
    differs = table["CUE"] != table["CONDITION"]
    if task == "img" and differs.any():
        first = table[differs].iloc[0]
        raise _contradiction(
            path,
            f"trial {first['TRIAL']}: the cue is {first['CUE']!r}, the condition {first['CONDITION']!r}",
            "the same letter, in an imagery run",
        )
    repeated = table.loc[table.index.repeat(len(_EPOCHS[task]))].reset_index(drop=True)
    return pd.DataFrame(
        {
            "run": number,
            "run_name": run,
            "trial": repeated["TRIAL"],
            "condition": CONDITIONS[task],
            "set": letter,
            "cue": repeated["CUE" if task == "att" else "CONDITION"],
            "shown_cue": repeated["CUE"],
            "epoch": _EPOCHS[task] * TRIALS_PER_RUN,
            "frame": repeated["FRAMEFILE"],
            "button": repeated["BUTTON"],
        }
    )


def _text(cell: Any) -> str:
    return "".join(map(str, np.asarray(cell).ravel()[:1])).strip()


def _contradiction(path: Path, problem: str, expected: str) -> SourceError:
    return SourceError(problem, place=str(path), expected=expected, fix=FIX)
