"""Codabench bundles: what its documents ask for, run as its worker runs them, nothing of NSD in the open."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import packages as tiny
import pytest
from click.testing import CliRunner
from PIL import Image

from nsd_bench.cli.leaderboard import codabench_command as command
from nsd_bench.cli.score import score_command
from nsd_bench.errors import NsdBenchError, OptionError, OutputError, PackageError
from nsd_bench.leaderboard.codabench_texts import MOST_CHARACTERS, MOST_REGIONS, PhaseDates, columns, phases
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth, load_truth

yaml = pytest.importorskip("yaml")

START = ["--start", "2027-01-01", "--final", "2027-03-01"]
LIVE, FINAL = "test", "final_test"
NOT_SCORED = "This submission was not scored; the reason is in its detailed results.\n"


def make_pair(folder: Path, name: str, tiers: np.ndarray, subject: int = 2) -> tuple[Package, Truth]:
    """Write a package that withholds its responses, and its truth, two images of each withheld tier."""
    opened = tiny.make_package(folder / "open", "open", name)
    withheld = tiny.make_package(folder / "packages", "track1", name)
    for package in (opened, withheld):
        np.save(package / spec.trials_file("tiers"), tiers)
        np.save(package / spec.neurons_file("animal_ids"), np.full(tiny.N_UNITS, subject))
        (package.parent / f"{name}.zip").unlink()
    package, truth = Package(withheld), load_truth(opened)
    ids = package.array(spec.trials_file("trial_idx"))[np.isin(tiers, ["validation", LIVE, FINAL])]
    truth = replace(truth, trial_idx=ids, manifest_sha256=package.manifest_sha256)
    truth.write(folder / "truth" / f"{name}.truth.npz")
    return package, truth


@pytest.fixture
def both() -> np.ndarray:
    return np.array(["train"] * 4 + [LIVE] * 4 + [FINAL] * 4)


@pytest.fixture
def room(tmp_path, both) -> Path:
    make_pair(tmp_path, "tiny-subj02", both)
    return tmp_path


def make(room: Path, *options: str, out: str = "bundle.zip") -> Path:
    arguments = [str(room / out), "--package", str(room / "packages"), "--truth", str(room / "truth")]
    result = CliRunner().invoke(command, [*arguments, *START, *options])
    if result.exception:
        raise result.exception
    return room / out


@pytest.fixture
def bundle(room) -> Path:
    """Unpack it, as the server does."""
    with zipfile.ZipFile(make(room)) as archive:
        archive.extractall(room / "bundle")
    return room / "bundle"


def competition(bundle: Path) -> dict:
    return yaml.safe_load((bundle / "competition.yaml").read_text())


# -- what Codabench's documents ask for ---------------------------------------------------------------

REQUIRED = {
    "": {
        "version": int,
        "title": str,
        "image": str,
        "terms": str,
        "pages": list,
        "phases": list,
        "tasks": list,
    },
    "pages": {"title": str, "file": str},
    "phases": {"name": str, "start": datetime, "tasks": list},
    "tasks": {"index": int, "name": str, "scoring_program": str},
    "leaderboards": {"title": str, "key": str, "columns": list},
    "columns": {"title": str, "key": str, "index": int},
}
OPTIONAL = {
    "": {
        "description": str,
        "registration_auto_approve": bool,
        "docker_image": str,
        "make_programs_available": bool,
        "make_input_data_available": bool,
        "enable_detailed_results": bool,
        "show_detailed_results_in_submission_panel": bool,
        "show_detailed_results_in_leaderboard": bool,
        "auto_run_submissions": bool,
        "can_participants_make_submissions_public": bool,
        "forum_enabled": bool,
        "leaderboards": list,
    },
    "pages": {},
    "phases": {
        "index": int,
        "description": str,
        "end": datetime,
        "max_submissions": int,
        "max_submissions_per_day": int,
        "execution_time_limit": int,
        "hide_output": bool,
        "hide_score_output": bool,
        "starting_kit": str,
        "accepts_only_result_submissions": bool,
    },
    "tasks": {"description": str, "reference_data": str},
    "leaderboards": {"submission_rule": str, "hidden": bool},
    "columns": {"sorting": str, "precision": int, "hidden": bool},
}
RULES = {
    "Add",
    "Add_And_Delete",
    "Add_And_Delete_Multiple",
    "Force_Last",
    "Force_Latest_Multiple",
    "Force_Best",
}


def assert_documented(found: dict, kind: str) -> None:
    known = REQUIRED[kind] | OPTIONAL[kind]
    assert REQUIRED[kind].keys() <= found.keys() <= known.keys()
    for key, value in found.items():
        assert type(value) is known[key], (kind, key)


def test_competition_is_what_the_documents_ask_for(bundle):
    found = competition(bundle)
    assert_documented(found, "")
    assert found["version"] == 2
    for kind in ("pages", "phases", "tasks", "leaderboards"):
        for one in found[kind]:
            assert_documented(one, kind)
    (leaderboard,) = found["leaderboards"]
    assert leaderboard["submission_rule"] in RULES
    for number, column in enumerate(leaderboard["columns"]):
        assert_documented(column, "columns")
        assert column["index"] == number
        assert column["sorting"] in ("asc", "desc")
        assert max(len(column["key"]), len(column["title"])) <= 36
    keys = [column["key"] for column in leaderboard["columns"]]
    assert len(set(keys)) == len(keys)
    assert len(leaderboard["title"]) <= 64


def test_every_file_that_it_names_is_there(bundle):
    found = competition(bundle)
    paths = [found["image"], found["terms"], *(page["file"] for page in found["pages"])]
    assert all((bundle / path).read_bytes() for path in paths)
    folders = [task[key] for task in found["tasks"] for key in ("scoring_program", "reference_data")]
    folders += [phase["starting_kit"] for phase in found["phases"]]
    assert all(folder.endswith("/") and any((bundle / folder).iterdir()) for folder in folders)
    for task in found["tasks"]:
        metadata = yaml.safe_load((bundle / task["scoring_program"] / "metadata.yaml").read_text())
        assert list(metadata) == ["command"]
    with Image.open(bundle / found["image"]) as logo:
        assert logo.size == (512, 512)
        assert len(logo.getcolors(1 << 18)) > 2


def test_phases_follow_each_other(bundle):
    live, final = competition(bundle)["phases"]
    assert (live["start"], live["end"]) == (datetime(2027, 1, 1), datetime(2027, 2, 28, 23, 59, 59))
    assert final["start"] == datetime(2027, 3, 1)
    assert "end" not in final
    assert (live["max_submissions"], live["max_submissions_per_day"], final["max_submissions"]) == (10, 2, 1)
    assert not live["hide_output"] and not final["hide_output"]  # else nobody sees why scoring failed
    assert live["hide_score_output"] and not final["hide_score_output"]
    assert [live["tasks"], final["tasks"]] == [[0], [1]]
    assert live["execution_time_limit"] == 3600


def test_one_tier_makes_one_phase(tmp_path):
    make_pair(tmp_path, "tiny-subj02", tiny.TIERS)
    with zipfile.ZipFile(make(tmp_path, "--title", 'Brains: "the" <cup>')) as archive:
        found = yaml.safe_load(archive.read("competition.yaml"))
    assert found["title"] == 'Brains: "the" <cup>'
    (phase,) = found["phases"]
    assert (phase["name"], phase["start"]) == ("Final", datetime(2027, 1, 1))


def test_a_final_phase_before_the_live_one():
    season = PhaseDates(datetime(2027, 3, 1), datetime(2027, 1, 1))
    with pytest.raises(OptionError) as caught:
        phases(season, [LIVE, FINAL])
    assert str(caught.value) == (
        "season: the final phase starts at 2027-01-01 00:00:00, the live one at 2027-03-01 00:00:00.\n"
        "  Expected: a final phase after the live one.\n"
        "  What to do: give a later --final."
    )


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan")])
def test_live_scores_need_a_step(step):
    season = PhaseDates(datetime(2027, 1, 1), datetime(2027, 3, 1), live_step=step)
    with pytest.raises(OptionError) as caught:
        phases(season, [LIVE, FINAL])
    assert str(caught.value) == (
        f"season: live scores are to be rounded to multiples of {step:g}.\n"
        "  Expected: a positive number, about the standard error of the live score.\n"
        "  What to do: give a --live-step such as 0.01."
    )


def test_a_bundle_is_a_zip(room):
    arguments = ["bundle.txt", "--package", str(room / "packages"), "--truth", str(room / "truth")]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert (
        "Invalid value for 'OUT': 'bundle.txt' does not end in .zip, which Codabench wants" in result.output
    )


def test_columns_have_short_keys_that_differ_and_leave_large_atlases_out():
    long = {number: f"a very long name of a region, number {number}" for number in range(1, 5)}
    many = {number: f"P{number}" for number in range(1, MOST_REGIONS + 2)}
    found = columns([{"visual": {1: "V1v", 2: "V1d"}, "long": long, "parcels": many}, {"visual": {3: "hV4"}}])
    assert [one.roi for one in found if one.atlas == "visual"] == ["V1v", "V1d", "V1", "hV4"]
    assert [one.roi for one in found if one.atlas == "long"] == list(long.values())
    assert not [one for one in found if one.atlas == "parcels"]
    assert len({one.key for one in found}) == len(found)
    assert max(max(len(one.key), len(one.title)) for one in found) == MOST_CHARACTERS
    assert all(re.fullmatch(r"[a-z0-9_]+", one.key) for one in found)


# -- as its worker runs it ------------------------------------------------------------------------------


def work(
    bundle: Path, tmp_path: Path, task: int, submission: bytes
) -> tuple[subprocess.CompletedProcess, Path]:
    """Lay out what the worker lays out, and run its command where there is nothing but numpy and scipy."""
    named = competition(bundle)["tasks"][task]
    root = Path(tempfile.mkdtemp(prefix=f"run{task}-", dir=tmp_path))
    for origin, target in ((named["scoring_program"], "program"), (named["reference_data"], "input/ref")):
        (root / target).mkdir(parents=True)
        for path in (bundle / origin).rglob("*"):
            if path.is_file():
                copy = root / target / path.relative_to(bundle / origin)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    with zipfile.ZipFile(io.BytesIO(submission)) as archive:
        archive.extractall(root / "input" / "res")
    (root / "output").mkdir()
    bare = tmp_path / "bare"
    bare.mkdir(exist_ok=True)
    for pattern in ("numpy*", "scipy*"):
        for path in Path(np.__file__).parents[1].glob(pattern):
            if not (bare / path.name).exists():
                (bare / path.name).symlink_to(path)
    words = yaml.safe_load((root / "program" / "metadata.yaml").read_text())["command"].split()
    words = [sys.executable, "-S", *(word.replace("/app/", f"{root}/") for word in words[1:])]
    # Settings of the BLAS stay: kernels for another processor differ in the last digit.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = kept | {"PYTHONPATH": str(bare)}
    done = subprocess.run(
        words, cwd=root / "program", env=environment, capture_output=True, text=True, check=False
    )
    return done, root / "output"


def zipped(folder: Path, top: str = "") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, top + path.name)
    return stream.getvalue()


@pytest.fixture
def submissions(room) -> Path:
    """Predictions that know something, of all trials of both tiers."""
    truth = load_truth(room / "truth" / "tiny-subj02.truth.npz")
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 0.5, truth.responses.shape)
    card = {"package": truth.package, "manifest_sha256": truth.manifest_sha256, "model": "<b>mine</b>"}
    predictions = (truth.standardised() + noise).astype(np.float32)
    given = Submission(truth.trial_idx, truth.unit_ids, predictions, card)
    given.write(room / "submissions" / "tiny-subj02.submission.npz")
    return room / "submissions"


def test_final_scores_are_the_local_scorers_to_the_byte(bundle, room, submissions):
    done, output = work(bundle, room, 1, zipped(submissions))
    assert (done.returncode, done.stderr) == (0, "")
    local = room / "local" / "nsd_bench.scores.json"
    words = [str(submissions), str(room / "truth"), "--out", str(local), "--tier", FINAL]
    assert CliRunner().invoke(score_command, words).exit_code == 0
    assert (output / local.name).read_bytes() == local.read_bytes()
    units = "nsd_bench.scores.units.npz"
    assert (output / units).read_bytes() == (local.parent / units).read_bytes()
    rows = {
        (row["atlas"], row["roi"]): row["scores"]
        for row in json.loads(local.read_text())["pooled"][FINAL]["rois"]
    }
    flat = json.loads((output / "scores.json").read_text())
    headline = rows["all", "all"]["signed_ratio"]
    assert flat["signed_ratio"] == headline["value"]
    assert headline["interval"] is None and not {"signed_ratio_low", "signed_ratio_high"} & flat.keys()
    assert headline["reason"] == "too few images: 2, and 10 are needed"
    assert flat["roi_0_visual_v1"] == rows["visual", "V1"]["signed_ratio"]["value"]
    keys = {column["key"] for column in competition(bundle)["leaderboards"][0]["columns"]}
    assert flat.keys() <= keys
    assert all(isinstance(value, float) for value in flat.values())
    assert "&lt;b&gt;" not in (output / "detailed_results.html").read_text()  # the card is not shown


def test_live_scores_are_rounded_and_alone(bundle, room, submissions):
    done, output = work(bundle, room, 0, zipped(submissions, top="folder/"))
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    exact = json.loads((output / "nsd_bench.scores.json").read_text())["pooled"][LIVE]["rois"][0]["scores"]
    exact = exact["signed_ratio"]["value"]
    flat = json.loads((output / "scores.json").read_text())
    assert list(flat) == ["signed_ratio"]
    assert flat["signed_ratio"] == round(flat["signed_ratio"], 2) != exact
    assert flat["signed_ratio"] == pytest.approx(exact, abs=0.005)
    page = (output / "detailed_results.html").read_text()
    assert f"signed_ratio: {flat['signed_ratio']:g}\nrounded to multiples of 0.01 while" in page


def test_what_is_wrong_is_told_and_fails(bundle, room, submissions):
    path = submissions / "tiny-subj02.submission.npz"
    good = Submission.read(path)
    replace(good, predictions=good.predictions * np.nan, card=good.card | {"package": "<i>other</i>"}).write(
        path
    )
    done, output = work(bundle, room, 1, zipped(submissions))
    assert done.returncode == 1
    assert not (output / "scores.json").exists()
    page = (output / "detailed_results.html").read_text()
    assert "&lt;i&gt;other&lt;/i&gt;" in page
    assert "<i>" not in page


def test_an_empty_archive_is_told(bundle, room):
    done, output = work(bundle, room, 1, zipped(bundle / "pages"))
    assert (done.returncode, done.stderr) == (1, NOT_SCORED)
    assert "there is no submission in this folder" in (output / "detailed_results.html").read_text()


@pytest.mark.parametrize("task", [0, 1])
def test_starting_kits_are_scored_as_they_say(bundle, room, task):
    done, output = work(bundle, room, task, zipped(bundle / "starting_kit" / "mean_submission"))
    assert done.returncode == 0
    assert json.loads((output / "scores.json").read_text())["signed_ratio"] == 0.0
    random = Submission.read(bundle / "starting_kit" / "random_submission" / "tiny-subj02.submission.npz")
    assert np.ptp(random.predictions, axis=1).max() == 0  # all units alike
    image = tiny.IMAGE_OF_TRIAL[4:]
    assert len({*zip(image, random.predictions[:, 0], strict=True)}) == len({*image})
    assert len({*random.predictions[:, 0]}) == len({*image})


def test_readme_of_the_kit_makes_a_submission(bundle, room, monkeypatch):
    (code,) = re.findall(
        r"```python\n(.*?)```", (bundle / "starting_kit" / "README.md").read_text(), re.DOTALL
    )
    monkeypatch.chdir(room)
    exec(compile(code, "README.md", "exec"), {})
    written = Submission.read(room / "tiny-subj02.submission.npz")
    assert written.predictions.shape == (8, 5)


# -- nothing of NSD in the open --------------------------------------------------------------------------


def test_responses_are_in_the_reference_data_and_nowhere_else(room):
    truth = load_truth(room / "truth" / "tiny-subj02.truth.npz")
    rows = [row.tobytes() for row in truth.responses] + [row.tobytes() for row in truth.standardised()]
    images = [image.tobytes() for image in tiny.IMAGES]
    with zipfile.ZipFile(make(room)) as archive:
        found = {name for name in archive.namelist() for row in rows + images if row in archive.read(name)}
        assert found == {"reference_data/tiny-subj02.truth.npz"}
        kits = [name for name in archive.namelist() if name.startswith("starting_kit/")]
        for name in kits:
            if name.endswith(".npz"):
                arrays = np.load(io.BytesIO(archive.read(name)))
                assert set(arrays) == {"trial_idx", "unit_ids", "predictions", "card"}
    assert sorted(kits) == [
        "starting_kit/README.md",
        "starting_kit/mean_submission/tiny-subj02.submission.npz",
        "starting_kit/random_submission/tiny-subj02.submission.npz",
    ]


def test_kit_and_pages_do_not_know_the_truth(room):
    """Other responses, the same bytes of everything but the reference data."""
    first = make(room)
    path = room / "truth" / "tiny-subj02.truth.npz"
    truth = load_truth(path)
    replace(truth, responses=truth.responses[::-1]).write(path)
    second = make(room, out="other.zip")
    with zipfile.ZipFile(first) as one, zipfile.ZipFile(second) as other:
        assert one.namelist() == other.namelist()
        changed = [name for name in one.namelist() if one.read(name) != other.read(name)]
    assert changed == ["reference_data/tiny-subj02.truth.npz"]


def test_whoever_writes_it_is_warned_and_alone_can_read_it(room):
    arguments = ["--package", str(room / "packages"), "--truth", str(room / "truth"), *START]
    result = CliRunner().invoke(command, [str(room / "b.zip"), *arguments])
    assert result.stdout.splitlines()[:2] == [
        "Live: test, 2027-01-01 00:00:00 to 2027-02-28 23:59:59",
        "Final: final_test, 2027-03-01 00:00:00 to no end",
    ]
    assert result.stderr.startswith(
        "reference_data/ in it holds responses of NSD. Uploading it passes them on"
    )
    assert (room / "b.zip").stat().st_mode & 0o777 == 0o600


# -- whole or not at all, and wrong input ------------------------------------------------------------------


def test_same_arguments_same_bytes(room):
    assert make(room).read_bytes() == make(room, out="again.zip").read_bytes()


def test_an_open_package_is_its_own_truth(tmp_path, both):
    make_pair(tmp_path, "tiny-subj02", both)
    arguments = ["--package", str(tmp_path / "open"), "--truth", str(tmp_path / "open"), *START]
    result = CliRunner().invoke(command, [str(tmp_path / "b.zip"), *arguments])
    assert result.exception is None
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        stored = Truth.read(archive.extract("reference_data/tiny-subj02.truth.npz", tmp_path))
    np.testing.assert_array_equal(stored.responses, load_truth(tmp_path / "open" / "tiny-subj02").responses)


def refused(room: Path, *options: str) -> NsdBenchError:
    before = sorted(path.name for path in room.iterdir())
    with pytest.raises(NsdBenchError) as caught:
        make(room, *options)
    assert sorted(path.name for path in room.iterdir()) == before
    return caught.value


def test_what_is_there_is_kept(room):
    (room / "bundle.zip").write_text("mine")
    assert isinstance(refused(room), OutputError)
    assert (room / "bundle.zip").read_text() == "mine"
    make(room, "--force")
    assert zipfile.is_zipfile(room / "bundle.zip")


def test_nothing_is_left_when_the_disk_fills_up(room, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nsd_bench.leaderboard.codabench.logo", full)
    assert "No space left on device; nothing was kept" in str(refused(room))


def test_a_truth_without_its_package(room, both):
    make_pair(room / "second", "other-subj02", both)
    error = refused(room, "--truth", str(room / "second" / "truth"))
    assert isinstance(error, PackageError)
    assert str(error) == (
        f"{room}/second/truth/other-subj02.truth.npz: is the truth of 'other-subj02', which is not among the "
        "packages, or is there twice.\n"
        "  Expected: one truth for every package.\n"
        "  What to do: give that package with --package, or leave the truth out."
    )


def test_a_package_without_its_truth(room, both):
    make_pair(room / "second", "other-subj02", both)
    assert str(refused(room, "--package", str(room / "second" / "packages"))) == (
        "truth: there is no truth of 'other-subj02'.\n"
        "  Expected: a truth for every package.\n"
        "  What to do: give its truth file with --truth, or leave the package out."
    )


def test_the_truth_of_another_export(room):
    path = room / "truth" / "tiny-subj02.truth.npz"
    truth = load_truth(path)
    replace(truth, manifest_sha256="f" * 64).write(path)
    error = refused(room)
    assert error.problem == (
        f"belongs to another export of 'tiny-subj02': manifest ffffffffffff, the package's "
        f"{truth.manifest_sha256[:12]}"
    )


def test_no_tier_to_score(tmp_path):
    make_pair(tmp_path, "tiny-subj02", np.array(["train"] * 6 + ["validation"] * 6))
    assert refused(tmp_path).problem == "no tier is in the truth of every package"
