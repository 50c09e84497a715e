"""NSD-Imagery of simulated subjects, with a stated gain of imagery: as the release has it, and as a cache."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageDraw

from exporters.simulate.design import DesignFile
from exporters.simulate.formats import write_mat, write_nifti, write_text
from exporters.simulate.photographs import WIDTH, photograph, picture_of
from exporters.simulate.subject import Images, SubjectPlan
from exporters.simulate.synthetic import Picture, brain_of, write_session_betas
from nsd_bench.outputs import new_outputs, write_npz

__all__ = [
    "RUN_ORDER",
    "TARGETS",
    "TARGET_NSD_IDS",
    "Target",
    "simulate_imagery_cache",
    "write_imagery",
    "write_imagery_design",
]


class Target(NamedTuple):
    """Something to see or to imagine.

    Parameters
    ----------
    letter
        Of its set: "A", "B" or "C".
    cue
        The letter that stands for it.
    name
        Of its file; of set C, of the concept.
    """

    letter: str
    cue: str
    name: str


TARGETS: Final = (
    *(Target("A", cue, f"bar_{45 * k:05.1f}deg_450L_43W.png") for k, cue in enumerate("HRVL")),
    *(Target("A", cue, f"crs_{45 * k:05.1f}deg_450L_43W.png") for k, cue in enumerate("PE")),
    Target("B", "W", "shared0385_nsd28752.png"),
    Target("B", "K", "shared0413_nsd30857.png"),
    Target("B", "B", "shared0741_nsd53882.png"),
    Target("B", "C", "shared0842_nsd61178.png"),
    Target("B", "D", "shared0907_nsd65873.png"),
    Target("B", "T", "shared0000_nsd00000.png"),
    Target("C", "S", "stripes"),
    Target("C", "Z", "zebra"),
    Target("C", "M", "mammal"),
    Target("C", "Y", "yellow"),
    Target("C", "N", "banana"),
    Target("C", "F", "fruit"),
)
"""The 18 targets: simple, complex, concepts. File names count nsd_ids from 1; the last of B is an artwork."""
TARGET_NSD_IDS: Final = tuple(int(one.name[14:19]) - 1 for one in TARGETS[6:11])
RUN_ORDER: Final = (
    *("visA", "attA", "imgA_1", "visB", "attB", "imgB_1", "visC", "attC", "imgC_1"),
    *("imgA_2", "imgB_2", "imgC_2"),
)
_FIRST_COLUMN: Final = {"vis": 0, "att": 6, "imgA": 18, "imgB": 24, "imgC": 30}
_PARTS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "vis": (("match",), ("mismatch",)),
    "att": (("cue",), ("detection",)),
    "img": ((),),
}
_DETECTION_S: Final = 3
"""How long after its cue an attention trial's detection begins."""
_NO_PRESS: Final = 0.03
_BLANK: Final = "blank00000_00000000"


def write_imagery(
    root: Path,
    answers: Path,
    plans: Sequence[SubjectPlan],
    design: DesignFile,
    images: Images,
    seed: int,
    gain: float,
) -> None:
    """Write NSD-Imagery for every subject, and the answers.

    Parameters
    ----------
    root
        NSD's root; the core sessions of these subjects are below it.
    answers
        Folder for `subjNN.imagery.npz`: noiseless signals of the 18 targets, and the gain.
    plans
        One per subject.
    design
        Of the core sessions.
    images
        Of the core sessions.
    seed
        That the core sessions were made with.
    gain
        How large the signal of an imagined target is, compared with the seen one; its noise is the same.
    """
    pictures, runs = write_imagery_design(root, [plan.subject for plan in plans], seed)
    for plan in plans:
        brain = brain_of(root, plan, design, images, pictures, seed)
        signal = np.concatenate([_signal(table, run, gain, brain.signals) for run, table in runs.items()])
        noise = np.random.default_rng([seed, 104, plan.subject, 1])
        write_session_betas(root, brain, "nsdimagery", signal, noise)
        brain.write_answer(answers / f"subj{plan.subject:02}.imagery.npz", gain=gain)


def write_imagery_design(
    root: Path, subjects: Sequence[int], seed: int
) -> tuple[list[Picture], dict[str, pd.DataFrame]]:
    """Write everything of NSD-Imagery but betas.

    Parameters
    ----------
    root
        NSD's root.
    subjects
        Some of 1 to 8, whose behaviour is written.
    seed
        Decides the order of trials, button presses, and how photographs are cropped.

    Returns
    -------
    pictures, runs
        Of the 18 targets; and run to its trials in order: `number` of the target within its set, and the
        letters of `condition` and `cue`.
    """
    pictures = [_picture(number, seed) for number in range(len(TARGETS))]
    rng = np.random.default_rng([seed, 103])
    runs: dict[str, pd.DataFrame] = {}
    for run in RUN_ORDER:
        runs[run] = _run(run[:3], [one for one in TARGETS if one.letter == run[3]], rng)
        if run.endswith(
            "_1"
        ):  # has the trials of the set's vision run, in the same order and at the same times
            runs[run] = runs[f"vis{run[3]}"].assign(cue=lambda table: table["condition"])
    _write_experiment(root, pictures, runs)
    for subject in subjects:
        presses = np.random.default_rng([seed, 104, subject])
        for number, (run, table) in enumerate(runs.items(), start=1):
            behaviour = _with_presses(table, subject, number, run, presses)
            text = behaviour.to_csv(sep="\t", index=False, na_rep="NaN")
            write_text(root / f"nsddata/bdata/nsdimagery/nsdimagery_subj{subject:02}_{run}.tsv", text)
    return pictures, runs


def _picture(number: int, seed: int) -> Picture:
    target = TARGETS[number]
    if target.letter == "A":
        return Picture(_drawn(target.name), "object")
    photographs = [*TARGET_NSD_IDS, *range(80_000, 80_007)]  # numbers that no image of NSD has
    nsd_id = photographs[number - 6]
    return Picture(photograph(nsd_id, seed), picture_of(nsd_id, seed).group)


def _drawn(name: str) -> npt.NDArray[np.uint8]:
    """Draw a bar, or a cross of two, on grey."""
    image = Image.new("RGB", (WIDTH, WIDTH), (127, 127, 127))
    angle, draw = np.deg2rad(float(name[4:9])), ImageDraw.Draw(image)
    middle, half = WIDTH / 2, 0.4 * WIDTH
    for turn in (0, np.pi / 2) if name.startswith("crs") else (0,):
        dx, dy = half * np.cos(angle + turn), half * np.sin(angle + turn)
        draw.line((middle - dx, middle + dy, middle + dx, middle - dy), fill=(20, 20, 20), width=17)
    return np.asarray(image)


def _run(task: str, targets: Sequence[Target], rng: np.random.Generator) -> pd.DataFrame:
    """Draw the trials of a run: target, letter on the screen, onset in s."""
    number = rng.permutation(np.repeat(np.arange(6), 8))
    shown = number.copy()
    if task == "vis":  # half of the trials have the letter of another target
        for one in range(6):
            odd = rng.permutation(np.flatnonzero(number == one))[:4]
            shown[odd] = rng.permutation(np.setdiff1d(np.arange(6), one))[:4]
    apart, start = (8, 16) if task == "att" else (4, 12)
    slot = np.arange(48)
    if task != "att":
        slot += slot // 8  # a pause after every eighth
    return pd.DataFrame(
        {
            "number": number,
            "condition": [targets[one].cue for one in number],
            "cue": [targets[one].cue for one in shown],
            "target": [targets[one].name for one in number],
            "onset_s": start + apart * slot,
        }
    )


def _write_experiment(root: Path, pictures: Sequence[Picture], runs: dict[str, pd.DataFrame]) -> None:
    folder = root / "nsddata/experiments/nsdimagery"
    for letter in "ABC":
        pairs = np.empty((6, 3), dtype=object)
        for row, target in enumerate([one for one in TARGETS if one.letter == letter]):
            pairs[row] = [float(row + 1), target.name, target.cue]
        write_mat(folder / f"{letter}_pair_list.mat", {"pair_list": pairs})
    for target, picture in zip(TARGETS, pictures, strict=True):
        if target.letter != "C":
            _write_png(folder / f"rawtargetimages/set{target.letter}/{target.name}", picture.pixels)
    matrices = np.empty((1, len(runs)), dtype=object)
    for number, (run, table) in enumerate(runs.items()):
        matrices[0, number] = _design_matrix(run, table)
        write_mat(folder / f"{run}_dm.mat", _own_design(run, table))
    write_mat(folder / "designmatrixGLMsingle.mat", {"stimulus": matrices})
    frames = root / "nsddata_stimuli/stimuli/nsdimagery/allstim"
    pixels = {target.name: one.pixels for target, one in zip(TARGETS, pictures, strict=True)}
    for run, table in runs.items():
        if run.startswith("vis"):
            for target, cue in sorted(set(zip(table["target"], table["cue"], strict=True))):
                _write_png(frames / _frame(target, cue), _with_letter(pixels[target], cue))


def _design_matrix(run: str, table: pd.DataFrame) -> npt.NDArray[np.float64]:
    """One row a second, a column for each target; in attention six for their cues, six for detections."""
    matrix = np.zeros((_n_seconds(run), 36))
    first = _FIRST_COLUMN[run[:4] if run.startswith("img") else run[:3]]
    number, onset = table["number"].to_numpy(), table["onset_s"].to_numpy()
    matrix[onset, first + number] = 1
    if run.startswith("att"):
        matrix[onset + _DETECTION_S, first + 6 + number] = 1
    return matrix


def _own_design(run: str, table: pd.DataFrame) -> dict[str, npt.NDArray[np.generic]]:
    """Return a run's own design: in vision a column for each target with its own letter, and with another.

    The release has 12 columns and two entries a condition in vision, 6 and one in imagery. What the second
    entry says, and what attention runs have, is not known.
    """
    number, onset = table["number"].to_numpy(), table["onset_s"].to_numpy()
    letters = dict(zip(number.tolist(), table["condition"], strict=True))
    parts = _PARTS[run[:3]]
    matrix = np.zeros((_n_seconds(run), 6 * len(parts)))
    matches = (table["condition"] == table["cue"]).to_numpy()
    matrix[onset, number + np.where(matches, 0, 6)] = 1
    if run.startswith("att"):
        matrix[onset + _DETECTION_S, 6 + number] = 1
    conditions = [[letters[one], *part] for part in parts for one in range(6)]
    return {"dm": matrix, "condit_list": np.array(conditions, dtype=object)}


def _n_seconds(run: str) -> int:
    return 480 if run.startswith("att") else 240


def _frame(target: str, cue: str) -> str:
    return f"{target.removesuffix('.png')}_cue{cue}.png"


def _with_letter(pixels: npt.NDArray[np.uint8], cue: str) -> npt.NDArray[np.uint8]:
    image = Image.fromarray(pixels).resize((106, 106))
    ImageDraw.Draw(image).text((50, 46), cue, fill=(255, 0, 0))
    return np.asarray(image)


def _write_png(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(stream.getvalue())


def _with_presses(
    table: pd.DataFrame, subject: int, number: int, run: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the 20 columns of a run's behaviour; times in s, RT in ms; empty where the release's are.

    Only attention runs have pictures that follow each other; in imagery runs there is no right answer.
    """
    n, is_vision, is_attention = len(table), run.startswith("vis"), run.startswith("att")
    matches = (table["condition"] == table["cue"]).astype(int)
    onset = table["onset_s"] - 0.002
    correct, button = (rng.random(n) < 0.9).astype(float), rng.integers(1, 3, n).astype(float)
    button[rng.random(n) < _NO_PRESS] = np.nan
    return pd.DataFrame(
        {
            "SUBJECT": subject,
            "SESSION": 1,
            "RUN": number,
            "TRIAL": np.arange(1, n + 1),
            "CONDITION": table["condition"],
            "CUE": table["cue"],
            "FRAMEFILE": [
                _frame(target if is_vision else _BLANK, cue)
                for target, cue in zip(table["target"], table["cue"], strict=True)
            ],
            "IMAGEFILE": table["target"] if is_attention else np.nan,
            "GROUNDTRUTH": matches if is_vision else 1.0 if is_attention else np.nan,
            "ISCORRECT": correct if is_vision or is_attention else np.nan,
            "CHANGEMIND": 0.0,
            "TOTAL1": (button == 1).astype(int),
            "TOTAL2": (button == 2).astype(int),
            "BUTTON": button,
            "TRIALONSET": onset,
            "TRIALEND": onset + 4,
            "IMAGEONSET": onset + 0.5 if is_attention else np.nan,
            "IMAGESERIESENDS": onset + 3.5 if is_attention else np.nan,
            "FINALDECISIONTIME": onset + 3.6,
            "RT": rng.normal(900, 200, n).round(3),
        }
    )


def _signal(
    table: pd.DataFrame, run: str, gain: float, signals: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Return the signal of a run's betas; in attention only the detection has any."""
    of_set = signals[6 * "ABC".index(run[3]) :][:6][table["number"].to_numpy()]
    if run.startswith("att"):
        both = np.zeros((2 * len(of_set), of_set.shape[1]), dtype=np.float32)
        both[1::2] = of_set
        return both
    return np.asarray(of_set * (gain if run.startswith("img") else 1), dtype=np.float32)


_REPEATS: Final = {"perception": 2, "imagery": 4}


def simulate_imagery_cache(
    out: Path,
    *,
    subjects: Sequence[int] = (1, 2),
    n_sessions: int = 2,
    n_images: int = 6,
    shape: tuple[int, int, int] = (5, 6, 4),
    gain: float = 0.5,
    noise: float = 0.3,
    seed: int = 0,
) -> None:
    """Write a cache that `nsd-bench imagery index` reads, and the answer to `<out>.answer`.

    Every image is seen twice and imagined four times a session; a beta is the image's signal (times `gain`
    where it is imagined) plus noise.

    Parameters
    ----------
    out
        A folder that does not exist yet; appears whole or not at all.
    subjects
        Some of 1 to 8.
    n_sessions
        Of each subject.
    n_images
        Images, the same for every subject; their nsd_ids are drawn.
    shape
        X, Y, Z.
    gain
        Size of the imagined signal, the seen one being 1.
    noise
        Standard deviation over that of the seen signal.
    seed
        The same seed gives the same bytes.

    Raises
    ------
    OutputError
        If `out` exists, or the disk is full.
    """
    answer = f"{out.name}.answer"
    with new_outputs(out.parent, [answer, out.name]) as staging:
        root, rng = staging / out.name, np.random.default_rng([seed, 106])
        nsd_ids = np.sort(rng.choice(73_000, n_images, replace=False))
        coco_ids = np.sort(rng.choice(581_929, n_images, replace=False)) + 1
        _write_stimuli(root / "nsd_imagery/stimuli", nsd_ids.tolist(), coco_ids.tolist())
        names = [f"subj{subject:02}" for subject in subjects]
        sessions = json.dumps({name: list(range(1, n_sessions + 1)) for name in names}, indent=1)
        write_text(root / "nsd_imagery/metadata/subject_sessions.json", sessions)
        for name in names:
            signal = rng.standard_normal((n_images, int(np.prod(shape))))
            manifests = []
            for session in range(1, n_sessions + 1):
                trials = _session(nsd_ids.tolist(), session, rng)
                size = np.where(trials["condition"] == "imagery", gain, 1.0)[:, None]
                betas = size * signal[np.searchsorted(nsd_ids, trials["nsd_id"])]
                betas += noise * rng.standard_normal(betas.shape)
                file = f"nsd_imagery/betas/{name}/imagery_betas_session{session:02}.nii.gz"
                write_nifti(root / file, betas.T.astype(np.float32), shape, tr_s=1)
                manifests.append(trials)
            _write_manifest(root / f"nsd_imagery/metadata/trial_manifest_{name}.csv", manifests)
            truth = {"nsd_ids": nsd_ids, "signals": signal, "gain": np.array(gain)}
            write_npz(staging / answer / f"{name}.imagery.npz", truth)


def _write_manifest(path: Path, sessions: Sequence[pd.DataFrame]) -> None:
    table = pd.concat(sessions, ignore_index=True)
    table.insert(0, "trial_id", np.arange(len(table)))
    write_text(path, table.to_csv(index=False))


def _session(nsd_ids: Sequence[int], session: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw a session's trials: a run of perception, then a run of imagery."""
    runs = []
    for run, (condition, repeats) in enumerate(_REPEATS.items(), start=1):
        shown = rng.permutation(np.repeat(nsd_ids, repeats))
        runs.append(pd.DataFrame({"condition": condition, "run_number": run, "nsd_id": shown}))
    table = pd.concat(runs, ignore_index=True)
    table.insert(0, "trial_in_session", np.arange(len(table)))
    table.insert(0, "session", session)
    return table


def _write_stimuli(folder: Path, nsd_ids: Sequence[int], coco_ids: Sequence[int]) -> None:
    table = pd.DataFrame({"nsd_id": nsd_ids, "coco_id": coco_ids, "stimulus_type": "complex"})
    write_text(folder / "imagery_stimuli_info.csv", table.to_csv(index=False))
    write_text(folder / "presented_image_ids.txt", "".join(f"{number}\n" for number in nsd_ids))
