"""What an entrant may upload to Codabench: nothing that is not complete ever leaves a score behind."""

from __future__ import annotations

import html
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_codabench import FINAL, LIVE, NOT_SCORED, make, make_pair, work

from nsd_bench.cli.score import score_command
from nsd_bench.errors import SubmissionError
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import load_truth

pytest.importorskip("yaml")

HARD, EASY = "tiny-subj02", "tiny-subj03"
Files = dict[str, Submission | bytes]


@pytest.fixture(scope="module")
def season(tmp_path_factory) -> Path:
    """A bundle of two subjects, unpacked."""
    room = tmp_path_factory.mktemp("season")
    tiers = np.array(["train"] * 4 + [LIVE] * 4 + [FINAL] * 4)
    for subject, name in ((2, HARD), (3, EASY)):
        make_pair(room, name, tiers, subject)
    with zipfile.ZipFile(make(room)) as archive:
        archive.extractall(room / "bundle")
    return room


@pytest.fixture(scope="module")
def honest(season) -> dict[str, Submission]:
    """Complete, and better on one subject than on the other."""
    rng = np.random.default_rng(5)
    found = {}
    for name, noise in ((HARD, 3.0), (EASY, 0.1)):
        truth = load_truth(season / "truth" / f"{name}.truth.npz")
        predictions = truth.standardised() + rng.normal(0, noise, truth.responses.shape)
        card = {"package": name, "manifest_sha256": truth.manifest_sha256, "team": "us"}
        found[name] = Submission(truth.trial_idx, truth.unit_ids, predictions.astype(np.float32), card)
    return found


def archived(files: Files, scratch: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            if isinstance(content, Submission):
                content.write(scratch / "one.npz")
                content = (scratch / "one.npz").read_bytes()
            archive.writestr(name, content)
    return stream.getvalue()


def upload(season: Path, tmp_path: Path, task: int, files: Files) -> tuple[int, str, str, Path]:
    """Return exit code, log, detailed results and the output folder."""
    done, output = work(season / "bundle", tmp_path, task, archived(files, tmp_path))
    assert done.stdout == ""
    return done.returncode, done.stderr, (output / "detailed_results.html").read_text(), output


def named(submissions: dict[str, Submission]) -> Files:
    return {f"{name}.submission.npz": one for name, one in submissions.items()}


def test_a_complete_one_is_scored_however_deep_its_files_lie(season, honest, tmp_path):
    files: Files = {f"mine/{name}/deep/{name}.submission.npz": one for name, one in honest.items()}
    files |= {f"__MACOSX/._{name}.submission.npz": b"\0\5\x16\7" for name in honest}
    code, log, page, output = upload(season, tmp_path, 1, files)
    assert (code, log) == (0, "")
    full = json.loads((output / "nsd_bench.scores.json").read_text())
    assert [one["package"] for one in full["subjects"]] == [HARD, EASY]
    assert "Scores on final_test" in page


def only(name: str, **changes: object) -> Callable[[dict[str, Submission]], Files]:
    return lambda honest: named({**honest, name: replace(honest[name], **changes)})


def leave_out_an_image(honest: dict[str, Submission]) -> Files:
    one = honest[HARD]
    kept = np.ones(len(one.trial_idx), dtype=bool)
    kept[[-1, -3]] = False  # both repeats of the last image
    return named(
        {**honest, HARD: replace(one, trial_idx=one.trial_idx[kept], predictions=one.predictions[kept])}
    )


def leave_out_the_tier(honest: dict[str, Submission]) -> Files:
    one = honest[HARD]
    return named({**honest, HARD: replace(one, trial_idx=one.trial_idx[:4], predictions=one.predictions[:4])})


def leave_out_units(honest: dict[str, Submission]) -> Files:
    one = honest[HARD]
    card = one.card | {"partial": True}
    few = replace(one, unit_ids=one.unit_ids[:2], predictions=one.predictions[:, :2], card=card)
    return named({**honest, HARD: few})


def call_it_partial(honest: dict[str, Submission]) -> Files:
    return only(HARD, card=honest[HARD].card | {"partial": True})(honest)


def twice(honest: dict[str, Submission]) -> Files:
    return named(honest) | {"a/again.submission.npz": honest[EASY]}


def as_another(honest: dict[str, Submission]) -> Files:
    return only(HARD, card=honest[HARD].card | {"package": "\x1b[2J\ud800<b>easy</b>"})(honest)


def the_easy_one_twice(honest: dict[str, Submission]) -> Files:
    return {f"{HARD}.submission.npz": honest[EASY], f"{EASY}.submission.npz": honest[EASY]}


ATTACKS: dict[str, tuple[Callable[[dict[str, Submission]], Files], str]] = {
    "the easy subject alone": (
        lambda honest: named({EASY: honest[EASY]}),
        "1 of 2 packages have none: tiny-subj02.\n",
    ),
    "the easy subject under both names": (
        the_easy_one_twice,
        "    1 of 2 packages have none: tiny-subj02\n    there are 2 for &#x27;tiny-subj03&#x27;.\n",
    ),
    "one subject twice": (twice, "    there are 2 for &#x27;tiny-subj03&#x27;.\n"),
    "another name on the card": (
        as_another,
        r"there is one for &#x27;\x1b[2J\ud800&lt;b&gt;easy&lt;/b&gt;&#x27;, which is none of them",
    ),
    "some units": (leave_out_units, "the card for &#x27;tiny-subj02&#x27; says that it is partial"),
    "all units, called partial": (
        call_it_partial,
        "the card for &#x27;tiny-subj02&#x27; says that it is partial",
    ),
    "an image left out": (leave_out_an_image, "error: trial_idx: 2 of 4 missing"),
    "the tier left out": (leave_out_the_tier, "error: trial_idx: 4 of 4 missing"),
    "no array": (
        lambda honest: named(honest) | {f"{HARD}.submission.npz": b"PK\3\4 no zip"},
        f"{HARD}.submission.npz: not a submission",
    ),
    "nothing": (lambda honest: {"readme.txt": b""}, "there is no submission in this folder"),
}


UPLOADED = (
    "the easy subject alone",
    "another name on the card",
    "some units",
    "an image left out",
    "no array",
)


@pytest.mark.parametrize("attack", UPLOADED)
def test_what_is_not_complete_never_ranks(season, honest, tmp_path, attack):
    make_files, told = ATTACKS[attack]
    code, log, page, output = upload(season, tmp_path, 1, make_files(honest))
    assert (code, log) == (1, NOT_SCORED)
    assert told in page
    assert str(tmp_path) not in page.replace(str(output.parent / "input" / "ref"), "")
    assert sorted(path.name for path in output.iterdir()) == ["detailed_results.html"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_same_is_refused_by_command(season, honest, tmp_path, attack):
    make_files, told = ATTACKS[attack]
    with zipfile.ZipFile(io.BytesIO(archived(make_files(honest), tmp_path))) as archive:
        for name in archive.namelist():
            (tmp_path / "given" / Path(name).name).parent.mkdir(exist_ok=True)
            (tmp_path / "given" / Path(name).name).write_bytes(archive.read(name))
    words = [str(tmp_path / "given"), str(season / "truth"), "--out", str(tmp_path / "scores.json")]
    result = CliRunner().invoke(score_command, [*words, "--complete"])
    assert isinstance(result.exception, SubmissionError)
    told = html.unescape(told).replace("of 4 missing", "of 8 missing")  # both tiers are asked for here
    assert told.strip() in str(result.exception)
    assert not (tmp_path / "scores.json").exists()


def test_the_live_phase_asks_for_all_of_it_too(season, honest, tmp_path):
    code, log, _, output = upload(season, tmp_path, 0, named({EASY: honest[EASY]}))
    assert (code, log) == (1, NOT_SCORED)
    assert not (output / "scores.json").exists()


@pytest.fixture
def without_ceiling(season, tmp_path):
    """The reference data of a subject none of whose units has a noise ceiling."""
    path = season / "bundle" / "reference_data" / f"{HARD}.truth.npz"
    before, truth = path.read_bytes(), load_truth(path)
    replace(truth, ncsnr=np.full_like(truth.ncsnr, np.nan)).write(path)
    yield
    path.write_bytes(before)


def test_without_a_headline_of_every_subject_there_is_no_score(season, honest, tmp_path, without_ceiling):
    code, log, page, output = upload(season, tmp_path, 1, named(honest))
    assert (code, log) == (1, NOT_SCORED)
    assert "subj02 has no score on final_test: " in page
    assert not (output / "scores.json").exists()


def test_a_fault_of_the_scorer_shows_no_traceback_and_no_truth(season, honest, tmp_path):
    path = season / "bundle" / "scoring_program_final_test" / "columns.json"
    before = path.read_bytes()
    path.write_bytes(b'{"secret": 1}')
    try:
        code, log, page, output = upload(season, tmp_path, 1, named(honest))
    finally:
        path.write_bytes(before)
    assert (code, log) == (1, NOT_SCORED)
    assert "The scorer stopped: " in page and "in score.py, line " in page
    assert "Traceback" not in page and "secret" not in page
    assert not (output / "scores.json").exists()
