"""The Ladder publishes steps only; the ledger counts every submission, and edits of it show."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from nsd_bench.cli.ledger import command
from nsd_bench.errors import OptionError, OutputError, SubmissionError
from nsd_bench.leaderboard.ladder import climb
from nsd_bench.leaderboard.ledger import GENESIS, Ledger

WHEN = "2027-01-01T00:00:00+00:00"


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


def test_without_a_score_nothing_is_published():
    assert climb(0.3, None, 0.01) is None
    with pytest.raises(OptionError) as caught:
        climb(None, 0.5, 0.0)
    assert str(caught.value) == (
        "ladder step: the Ladder's step is 0.0.\n"
        "  Expected: a positive number, about the standard error of the live score.\n"
        "  What to do: give a step such as 0.01."
    )


# -- the ledger -------------------------------------------------------------------------------------------


def add(path: Path, score: float | None, team: str = "us", **options):
    return Ledger(path).add(team=team, tier="test", submission="ab" * 32, score=score, time=WHEN, **options)


def test_a_ledger_keeps_steps_and_not_scores(tmp_path):
    path = tmp_path / "ledger.jsonl"
    published = [add(path, score).published for score in (0.4234, 0.4299, None, 0.4334)]
    assert published == [0.42, None, None, 0.43]
    assert add(path, 0.1234, team="them").published == 0.12
    assert "0.4234" not in path.read_text()
    records = Ledger(path).records()
    assert [record.failed for record in records] == [False, False, True, False, False]
    assert records[0].previous == GENESIS
    assert [record.previous for record in records[1:]] == [record.digest() for record in records[:-1]]
    assert Ledger(path).used() == {("us", "test"): 4, ("them", "test"): 1}
    assert Ledger(path).best("us", "test") == 0.43


def test_the_budget_counts_failures(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for score in (0.5, None):
        add(path, score, budget=2)
    before = path.read_bytes()
    with pytest.raises(SubmissionError) as caught:
        add(path, 0.9, budget=2)
    assert str(caught.value) == (
        "ledger: team 'us' has used 2 of 2 submissions to tier 'test'.\n"
        "  Expected: a submission within the team's budget; failed ones count.\n"
        "  What to do: leave it out, or raise --budget for all teams."
    )
    assert path.read_bytes() == before
    assert add(path, 0.9, team="them", budget=2).number == 3


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


EDITS = {
    "a value": (lambda found: [found[0].replace(b"0.5", b"0.6"), *found[1:]], "line 2 does not follow"),
    "a line removed": (lambda found: [found[0], found[2]], "line 2 does not follow"),
    "lines exchanged": (lambda found: [found[1], found[0], found[2]], "line 1 does not follow"),
    "the last line's value": (
        lambda found: [*found[:2], found[2].replace(b"0.7", b"0.70")],
        "line 3 does not follow",
    ),
    "not whole": (lambda found: [*found[:2], found[2][:-9]], "line 3 is not whole"),
    "no record": (lambda found: [*found[:2], b"{}\n"], r"line 3 is not a record \(TypeError\)"),
    "no JSON": (lambda found: [b"x\n", *found], r"line 1 is not a record \(JSONDecodeError\)"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_edits_show(tmp_path, edit):
    path = tmp_path / "ledger.jsonl"
    for score in (0.5, 0.6, 0.7):
        add(path, score)
    edited, problem = EDITS[edit]
    path.write_bytes(b"".join(edited(lines(path))))
    with pytest.raises(SubmissionError, match=f"{problem}.*: the ledger was changed by hand, or a write"):
        Ledger(path).records()
    before = path.read_bytes()
    with pytest.raises(SubmissionError):
        add(path, 0.9)
    assert path.read_bytes() == before


def test_a_published_head_shows_that_lines_were_cut_off(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for score in (0.5, 0.6):
        add(path, score)
    head = Ledger(path).head()
    add(path, 0.7)
    Ledger(path).check_head(head)
    path.write_bytes(lines(path)[0])
    with pytest.raises(SubmissionError, match=f"no line has digest {head[:12]}"):
        Ledger(path).check_head(head)


def test_a_write_that_fails_leaves_the_ledger_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "ledger.jsonl"
    add(path, 0.5)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nsd_bench.leaderboard.ledger.os.fsync", full)
    with pytest.raises(OutputError) as caught:
        add(path, 0.7)
    assert caught.value.problem == "cannot be added to: No space left on device; nothing was recorded"
    assert path.read_bytes() == before


def _add_some(path: Path) -> None:
    for _ in range(10):
        add(path, 0.5, budget=100)


def test_processes_wait_for_each_other(tmp_path):
    path = tmp_path / "ledger.jsonl"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add_some, args=(path,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [record.number for record in Ledger(path).records()] == list(range(1, 31))


def test_failed_submissions_are_counted_by_command(tmp_path):
    path, file = tmp_path / "ledger.jsonl", tmp_path / "broken.npz"
    file.write_bytes(b"?")
    arguments = ["fail", str(path), str(file), "--team", "us", "--budget", "1"]
    result = CliRunner().invoke(command, arguments)
    assert result.output == f"{path}: line 1, us: failed\n"
    assert isinstance(CliRunner().invoke(command, arguments).exception, SubmissionError)
    head = Ledger(path).head()
    shown = CliRunner().invoke(command, ["show", str(path), "--head", head]).output.splitlines()
    assert shown[0].split()[2:] == ["test", "failed", "-", "us"]
    assert shown[1] == f"1 line, head {head}"
    lost = CliRunner().invoke(command, ["show", str(path), "--head", "f" * 64])
    assert isinstance(lost.exception, SubmissionError)


def test_a_folder_is_no_ledger_and_nobody_is_no_team(tmp_path):
    with pytest.raises(SubmissionError) as caught:
        Ledger(tmp_path).records()
    assert str(caught.value) == (
        f"{tmp_path}: cannot be read: Is a directory.\n"
        "  Expected: a ledger (.jsonl), or a path where nothing lies yet.\n"
        "  What to do: check the path."
    )
    file = tmp_path / "broken.npz"
    file.write_bytes(b"?")
    result = CliRunner().invoke(command, ["fail", str(tmp_path / "l.jsonl"), str(file), "--team", " "])
    assert result.exit_code == 2
    assert "Invalid value for --team: a team has a name; its budget is counted by it" in result.output
    assert not (tmp_path / "l.jsonl").exists()
