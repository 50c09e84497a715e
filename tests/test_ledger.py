"""The Ladder publishes steps only; the ledger counts every submission, and edits of it show."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import packages as tiny
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from nsd_bench.cli.leaderboard import ledger_command as command
from nsd_bench.errors import OptionError, OutputError, SubmissionError
from nsd_bench.leaderboard.claims import climb
from nsd_bench.leaderboard.ledger import Claim, Ledger
from nsd_bench.leaderboard.lines import GENESIS, Asked, Record, digest, encode
from nsd_bench.package import spec

WHEN = "2027-01-01T00:00:00+00:00"
ASKED = [Asked(s, f"nsd-subj{s:02}", f"{s}" * 64, 4, {"test": 6, "final_test": 6}) for s in (1, 2)]


# -- the Ladder, against the paper's own words ------------------------------------------------------------


@given(st.lists(st.floats(-1, 1), max_size=30), st.sampled_from([0.5, 0.1, 0.01]))
def test_the_ladder_publishes_only_steps(values, step):
    """Blum and Hardt's loop, in losses: R <- rounded loss if loss < R - step."""
    loss, best = float("inf"), None
    for value in values:
        published = climb(best, value, step)
        if -value < loss - step:
            loss = round(round(-value / step) * step, 10)
            assert published == pytest.approx(-loss)
            best = published
        else:
            assert published is None


def test_a_score_exactly_a_step_better_is_not_published():
    """The paper publishes where the loss is below the best less the step, not where it is equal to that."""
    assert climb(0.25, 0.5, 0.25) is None  # exact in binary
    assert climb(0.25, 0.5 + 2**-50, 0.25) == 0.5
    assert climb(0.25, 0.25, 0.25) is None


@pytest.mark.parametrize("step", [0.0, -0.1, float("nan"), float("inf")])
def test_without_a_score_nothing_is_published_and_without_a_step_nothing_at_all(step):
    assert climb(0.3, None, 0.01) is None
    with pytest.raises(OptionError) as caught:
        climb(None, 0.5, step)
    assert str(caught.value) == (
        f"ladder step: the Ladder's step is {step}.\n"
        "  Expected: a positive number, about the standard error of the live score.\n"
        "  What to do: give a step such as 0.01."
    )


# -- the ledger -------------------------------------------------------------------------------------------


def opened(path: Path, **options) -> Path:
    Ledger(path).open(ASKED, live="test", time=WHEN, **options)
    return path


@pytest.fixture
def path(tmp_path) -> Path:
    """A ledger whose season was opened."""
    return opened(tmp_path / "ledger.jsonl")


def add(path: Path, score: float | None, team: str = "us", **changes) -> Record:
    """Record a submission unlike all before it."""
    number = len(Ledger(path).lines())
    claim = Claim("a.json", team, f"{number:064x}", score, **changes)
    (record,) = Ledger(path).record([claim], WHEN)
    return record


def test_a_ledger_keeps_steps_and_not_scores(path):
    published = [add(path, score).published for score in (0.4234, 0.4299, None, 0.4334)]
    assert published == [0.42, None, None, 0.43]
    assert add(path, 0.1234, team="them").published == 0.12
    assert "0.4234" not in path.read_text()
    records = Ledger(path).records()
    assert [record.failed for record in records] == [False, False, True, False, False]
    found = Ledger(path).lines()
    assert [line.previous for line in found] == [GENESIS, *map(digest, found[:-1])]
    assert Ledger(path).used() == {("us", "test"): 4, ("them", "test"): 1}


def test_what_is_not_complete_counts_and_is_never_a_step(path):
    assert add(path, 0.4).published == 0.4
    easy = add(path, 0.9, lacking="1 of 2 subjects")
    assert (easy.published, easy.failed, easy.lacking) == (None, False, "1 of 2 subjects")
    assert add(path, 0.5).published == 0.5  # the best so far is still .4
    assert Ledger(path).used() == {("us", "test"): 3}


def test_the_budget_counts_failures(tmp_path):
    path = opened(tmp_path / "ledger.jsonl", budget=2)
    for score in (0.5, None):
        add(path, score)
    before = path.read_bytes()
    with pytest.raises(SubmissionError) as caught:
        add(path, 0.9)
    assert str(caught.value) == (
        "a.json: team 'us' has used 2 of 2 submissions to tier 'test'; nothing was recorded.\n"
        "  Expected: submissions within the team's budget; failed and incomplete ones count.\n"
        "  What to do: leave them out, or raise the budget of all teams with 'nsd-bench ledger open'."
    )
    assert path.read_bytes() == before
    assert add(path, 0.9, team="them").number == 4
    opened(path, budget=3)
    assert add(path, 0.9).published == 0.9


ALIASES = (
    "team a",
    "TEAM A",
    " Team  A ",
    "Team\u00a0A",
    "Te\u200bam\u00ad A",
    "\uff34eam A",
    "Team\tA\n",
    "TeamA",
)


@pytest.mark.parametrize("alias", ALIASES)
def test_another_spelling_is_no_other_team(tmp_path, alias):
    path = opened(tmp_path / "ledger.jsonl", budget=1)
    add(path, 0.5, team="Team A")
    with pytest.raises(SubmissionError, match="has used 1 of 1 submissions"):
        add(path, 0.6, team=alias)
    assert len(Ledger(path).records()) == 1


@pytest.mark.parametrize("others", [("Team 1", "Team 11"), ("C", "C++"), ("Ada", "Ada, Bo"), ("A", "\u0410")])
def test_other_names_are_other_teams(tmp_path, others):
    path = opened(tmp_path / "ledger.jsonl", budget=1)
    for team in others:
        add(path, 0.5, team=team)
    assert len(Ledger(path).used()) == 2


def test_the_order_of_authors_is_no_other_team(path):
    add(path, 0.5, team="Ada, Bo")
    add(path, 0.6, team="BO,Ada")
    assert list(Ledger(path).used().values()) == [2]


NAMES = {
    "\ud800": "it holds half of a character, at place 1",
    "us\x1b[2J": "it holds the control character U+001B, at place 3",
    "x" * 300: "it has 300 letters, of 100 at most",
    "\u200b \u2060": "it is empty",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_cannot_be_shown_records_nothing_of_anybody(path, name):
    before = path.read_bytes()
    good, bad = (Claim(f"{k}.json", team, f"{k}" * 64, 0.5) for k, team in ((1, "us"), (2, name)))
    with pytest.raises(SubmissionError) as caught:
        Ledger(path).record([good, bad], WHEN)
    assert str(caught.value) == (
        f"2.json: the team's name cannot be recorded: {NAMES[name]}; nothing was recorded.\n"
        "  Expected: a name of a few letters, whose budget this submission is on.\n"
        '  What to do: correct it; of a score file NAME.json write {"team": "..."} to NAME.card.json '
        "beside it."
    )
    assert path.read_bytes() == before


def test_the_same_predictions_of_another_team_are_told(path):
    first = add(path, 0.5, predictions="p" * 64)
    again, copy = add(path, 0.5, predictions="p" * 64), add(path, 0.5, "them", predictions="p" * 64)
    assert (first.like, again.like, copy.like) == (None, None, first.number)
    (same,) = Ledger(path).record([Claim("b.json", "others", first.submission, 0.5)], WHEN)
    assert same.like == first.number  # the very file, of which no score file says what it predicts


def test_a_season_keeps_its_packages_and_ends(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with pytest.raises(SubmissionError) as caught:
        Ledger(path).record([], WHEN)
    assert str(caught.value) == (
        f"{path}: no season was opened in it: nobody can tell what a complete submission is.\n"
        "  Expected: a ledger whose season was opened.\n"
        f"  What to do: run 'nsd-bench ledger open {path} PACKAGES', once."
    )
    assert not path.exists()
    opened(path)
    add(path, 0.5)
    with pytest.raises(SubmissionError, match="its season is on tier 'test' of nsd-subj01, nsd-subj02"):
        Ledger(path).open(ASKED[:1], live="test", time=WHEN)
    Ledger(path).close(WHEN)
    before = path.read_bytes()
    for attempt in (lambda: add(path, 0.6), lambda: opened(path), lambda: Ledger(path).close(WHEN)):
        with pytest.raises(SubmissionError) as caught:
            attempt()
        assert caught.value.problem == f"its season was closed at {WHEN}, in line 3; nothing was recorded"
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("packages", "problem"),
    [
        ([ASKED[0], ASKED[0]], "subj01 has two packages"),
        ([], "there is no package"),
        ([Asked(3, "three", "", 4, {"final_test": 2})], "three has no trial of tier 'test'"),
    ],
)
def test_packages_that_make_no_season(tmp_path, packages, problem):
    with pytest.raises(SubmissionError) as caught:
        Ledger(tmp_path / "ledger.jsonl").open(packages, live="test", time=WHEN)
    assert caught.value.problem == problem
    assert not (tmp_path / "ledger.jsonl").exists()


OLD = (
    b'{"failed": false, "number": 1, "previous": "' + b"0" * 64 + b'", "published": 0.5, "step": 0.01, '
    b'"submission": "ab", "team": "us", "tier": "test", "time": "2027-01-01T00:00:00+00:00"}\n'
)


def test_a_ledger_of_the_first_version_is_read_and_goes_on(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(OLD)
    (record,) = Ledger(path).records()
    assert encode(record) + b"\n" == OLD
    opened(path)
    assert add(path, 0.505).published is None  # the old line's best counts
    assert Ledger(path).used() == {("us", "test"): 2}
    assert path.read_bytes().startswith(OLD)


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


EDITS = {
    "a value": (
        lambda found: [found[0], found[1].replace(b"0.5", b"0.6"), *found[2:]],
        "line 3 does not follow",
    ),
    "a line removed": (lambda found: [found[0], found[2]], "line 2 does not follow"),
    "lines exchanged": (lambda found: [found[1], found[0], found[2]], "line 1 does not follow"),
    "the last line's value": (
        lambda found: [*found[:3], found[3].replace(b"0.7", b"0.70")],
        "line 4 does not follow",
    ),
    "the budget": (
        lambda found: [found[0].replace(b'"budget": 10', b'"budget": 99'), *found[1:]],
        "line 2 does",
    ),
    "not whole": (lambda found: [*found[:3], found[3][:-9]], "line 4 is not whole"),
    "no record": (
        lambda found: [*found[:3], b"{}\n"],
        r"line 4 is not a line of a ledger \('number' is missing",
    ),
    "no JSON": (lambda found: [b"x\n", *found], r"line 1 is not a line of a ledger \(it is no JSON"),
    "no text": (lambda found: [*found[:3], b"\xff\n"], "line 4 is not a line of a ledger"),
    "no number": (
        lambda found: [*found[:3], found[3].replace(b"0.7", b"NaN")],
        "line 4 is not a line of a ledger .it holds NaN",
    ),
    "too much": (
        lambda found: [*found[:3], found[3].replace(b"{", b'{"more": ' + b"[" * 99999, 1)],
        "line 4 is not a line of a ledger",
    ),
    "more": (
        lambda found: [*found[:3], found[3].replace(b"{", b'{"more": 1, ', 1)],
        "line 4 is not a line of a ledger .'more' is not known",
    ),
    "another kind": (
        lambda found: [*found[:3], found[3].replace(b"{", b'{"kind": "party", ', 1)],
        "line 4 is not a line of a ledger .its kind is 'party'",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edits_show(path, edit):
    for score in (0.5, 0.6, 0.7):
        add(path, score)
    edited, problem = EDITS[edit]
    path.write_bytes(b"".join(edited(lines(path))))
    with pytest.raises(SubmissionError, match=f"{problem}.*: the ledger was changed by hand, or a write"):
        Ledger(path).records()
    before = path.read_bytes()
    with pytest.raises(SubmissionError):
        Ledger(path).record([], WHEN)
    assert path.read_bytes() == before
    shown = CliRunner().invoke(command, ["show", str(path)])
    n_whole = int(str(shown.exception).split("line ")[1].split()[0]) - 1
    assert len(shown.stdout.splitlines()) == n_whole  # what can be read is listed
    kept = f", or keep the lines before it: head -n {n_whole} {path}" if n_whole else ""
    assert str(shown.exception).endswith(f"the one that was published{kept}.")


def test_a_published_head_shows_that_lines_were_cut_off(path):
    for score in (0.5, 0.6):
        add(path, score)
    head = Ledger(path).head()
    add(path, 0.7)
    Ledger(path).check_head(head)
    path.write_bytes(lines(path)[0])
    with pytest.raises(SubmissionError, match=f"no line has digest {head[:12]}"):
        Ledger(path).check_head(head)


def test_a_write_that_fails_leaves_the_ledger_as_it_was(path, monkeypatch):
    add(path, 0.5)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nsd_bench.leaderboard.ledger.os.fsync", full)
    with pytest.raises(OutputError) as caught:
        add(path, 0.7)
    assert caught.value.problem == "cannot be added to: No space left on device; nothing was recorded"
    assert path.read_bytes() == before


def test_what_fails_before_the_write_records_nothing(path):
    before = path.read_bytes()

    def fail(lines):
        assert len(lines) == 2
        raise RuntimeError("the page cannot be made")

    with pytest.raises(RuntimeError):
        Ledger(path).record([Claim("a.json", "us", "1" * 64, 0.5)], WHEN, before=fail)
    assert path.read_bytes() == before


def _add_some(path: Path, team: str) -> None:
    for number in range(10):
        Ledger(path).record([Claim("a.json", team, f"{number}", 0.5)], WHEN)


def test_processes_wait_for_each_other(path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add_some, args=(path, team)) for team in ("a", "b", "c")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [line.number for line in Ledger(path).lines()] == list(range(1, 32))


# -- by command -------------------------------------------------------------------------------------------


def test_a_season_by_command(tmp_path):
    for subject, name in ((2, "tiny-subj02"), (3, "tiny-subj03")):
        folder = tiny.make_package(tmp_path / "packages", "track1", name)
        np.save(folder / spec.neurons_file("animal_ids"), np.full(tiny.N_UNITS, subject))
    path, file = tmp_path / "ledger.jsonl", tmp_path / "broken.npz"
    file.write_bytes(b"?")
    result = CliRunner().invoke(command, ["open", str(path), str(tmp_path / "packages"), "--budget", "1"])
    assert result.output.splitlines() == [
        "subj02: tiny-subj02, 5 units, 4 trials of test",
        "subj03: tiny-subj03, 5 units, 4 trials of test",
        f"{path}: line 1, budget 1 a team, step 0.01",
    ]
    result = CliRunner().invoke(command, ["fail", str(path), str(file), "--team", " us "])
    assert result.output == f"{path}: line 2, us: failed\n"
    again = CliRunner().invoke(command, ["fail", str(path), str(file), "--team", "us"])
    assert again.output == f"{path}: this submission of this team is in it already\n"
    other = tmp_path / "other.npz"
    other.write_bytes(b"!")
    refused = CliRunner().invoke(command, ["fail", str(path), str(other), "--team", "US"])
    assert isinstance(refused.exception, SubmissionError)
    assert (
        CliRunner().invoke(command, ["close", str(path)]).output == f"{path}: line 3, the season is closed\n"
    )
    head = Ledger(path).head()
    shown = CliRunner().invoke(command, ["show", str(path), "--head", head]).output.splitlines()
    assert [line.split()[2:] for line in shown[:3]] == [
        ["test", "opened:", "subjects", "2,", "3,", "budget", "1,", "step", "0.01"],
        ["test", "failed", "-", "us"],
        ["closed"],
    ]
    assert shown[3] == f"3 lines, head {head}"
    lost = CliRunner().invoke(command, ["show", str(path), "--head", "f" * 64])
    assert isinstance(lost.exception, SubmissionError)


def test_an_old_line_with_half_of_a_character_is_read_and_named(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(OLD.replace(b'"us"', b'"\\ud800\\u001b[2Jus"'))
    opened(path)
    add(path, 0.6, team="them")
    shown = CliRunner().invoke(command, ["show", str(path)])
    assert shown.exit_code == 0
    assert "  0.5  \\ud800\\x1b[2Jus\n" in shown.stdout and "  0.6  them\n" in shown.stdout
    assert shown.stderr == (
        f"{path}: line 1: the team's name cannot be shown as it is: it holds half of a character, "
        "at place 1. The line counts as it stands; give the team a name in NAME.card.json from now on.\n"
    )


def test_a_folder_is_no_ledger_and_nobody_is_no_team(tmp_path):
    with pytest.raises(SubmissionError) as caught:
        Ledger(tmp_path).records()
    assert str(caught.value) == (
        f"{tmp_path}: cannot be read (Is a directory).\n"
        "  Expected: a ledger (.jsonl), or a path where nothing lies yet.\n"
        "  What to do: check the path."
    )
    path, file = opened(tmp_path / "l.jsonl"), tmp_path / "broken.npz"
    file.write_bytes(b"?")
    result = CliRunner().invoke(command, ["fail", str(path), str(file), "--team", " "])
    assert "the team's name cannot be recorded: it is empty" in str(result.exception)
    assert len(Ledger(path).lines()) == 1
