"""A season attacked as an entrant would, through the commands that its organiser runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_codabench import FINAL, LIVE, make_pair
from test_leaderboard import Page, change, opened, rows, season, write
from test_leaderboard import run as leaderboard

from nsd_bench.cli.leaderboard import ledger_command
from nsd_bench.cli.report import report_command
from nsd_bench.cli.score import score_command
from nsd_bench.errors import NsdBenchError, SubmissionError
from nsd_bench.leaderboard.boards import make_boards
from nsd_bench.leaderboard.groups import Comparisons
from nsd_bench.leaderboard.ledger import Ledger
from nsd_bench.leaderboard.reading import read_entries
from nsd_bench.leaderboard.site import pages
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import load_truth

HARD, EASY = "tiny-subj02", "tiny-subj03"
Given = dict[str, Submission]


# -- from predictions to the board, with two subjects of which one is easy ----------------------------------


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """Packages and truth of both subjects."""
    folder = tmp_path_factory.mktemp("season")
    tiers = np.array(["train"] * 4 + [LIVE] * 4 + [FINAL] * 4)
    for subject, name in ((2, HARD), (3, EASY)):
        make_pair(folder, name, tiers, subject)
    return folder


@pytest.fixture(scope="module")
def honest(room) -> Given:
    """Complete, and better on one subject than on the other."""
    rng = np.random.default_rng(5)
    found = {}
    for name, noise in ((HARD, 3.0), (EASY, 0.1)):
        truth = load_truth(room / "truth" / f"{name}.truth.npz")
        predictions = truth.standardised() + rng.normal(0, noise, truth.responses.shape)
        card = {"package": name, "manifest_sha256": truth.manifest_sha256, "team": "honest", "title": "both"}
        found[name] = Submission(truth.trial_idx, truth.unit_ids, predictions.astype(np.float32), card)
    return found


def scored(room: Path, folder: Path, name: str, given: Given, *options: str) -> Path:
    """Score submissions, as an organiser does; return the score file."""
    for package, submission in given.items():
        submission.write(folder / name / f"{package}.submission.npz")
    out = folder / f"{name}.json"
    words = [str(folder / name), str(room / "truth"), "--out", str(out), "--draws", "0", *options]
    result = CliRunner().invoke(score_command, words)
    if result.exception:
        raise result.exception
    return out


def of(team: str, given: Given, **changes: object) -> Given:
    return {
        name: replace(one, card=one.card | {"team": team, "title": team} | changes)
        for name, one in given.items()
    }


def only_units(given: Given, n: int) -> Given:
    return {
        name: replace(one, unit_ids=one.unit_ids[:n], predictions=one.predictions[:, :n])
        for name, one in given.items()
    }


PARTS: dict[str, tuple[Callable[[Given], Given], str]] = {
    "the easy subject": (lambda given: {EASY: given[EASY]}, "1 of 2 subjects"),
    "some units": (lambda given: of("cheat", only_units(given, 3), partial=True), "some units"),
    "some units of the hard one": (
        lambda given: {EASY: given[EASY], **of("cheat", only_units({HARD: given[HARD]}, 2), partial=True)},
        "some units",
    ),
    "all units, called partial": (lambda given: of("cheat", given, partial=True), "some units"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_scored_and_never_ranked(room, honest, tmp_path, part):
    make_part, told = PARTS[part]
    paths = [
        scored(room, tmp_path, "honest", honest),
        scored(room, tmp_path, "cheat", make_part(of("cheat", honest))),
    ]
    packages = ("--package", room / "packages", "--publish-final")
    for name, given in (("alone", paths[1:]), ("beside", paths)):
        assert "Nothing is ranked" not in leaderboard(*given, *packages, "--out", tmp_path / name)
        page = Page((tmp_path / name / "index.html").read_text())
        row = page.row("cheat")
        assert row[0].startswith(f"cheat cheat partial: {told}")
        assert row[1] == "partial"
    assert page.row("both")[1] == "1 a"
    order = [cells[0].split()[0] for cells in page.rows if cells[0].startswith(("both", "cheat"))]
    assert order == ["both", "cheat"] * (len(order) // 2)  # in regions, too


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_recorded_and_never_published(room, honest, tmp_path, part):
    make_part, told = PARTS[part]
    book = tmp_path / "ledger.jsonl"
    words = ["open", str(book), str(room / "packages")]
    assert CliRunner().invoke(ledger_command, words).exit_code == 0
    cheat = scored(room, tmp_path, "cheat", make_part(of("cheat", honest)), "--tier", LIVE)
    said = leaderboard(cheat, "--ledger", book, "--out", tmp_path / "site")
    assert said.startswith(f"{book}: line 2, cheat: partial ({told}), not published\n")
    page = (tmp_path / "site" / "index.html").read_text()
    assert Page(page).row("cheat cheat")[1:3] == ["partial", "not published"]
    assert f"partial: {told}" in page
    (record,) = Ledger(book).records()
    assert (record.published, record.lacking, record.failed) == (None, told, False)
    assert Ledger(book).used() == {("cheat", LIVE): 1}  # it counts, as one that failed does
    exact = json.loads(cheat.read_text())["pooled"][LIVE]["rois"][0]["scores"]["signed_ratio"]["value"]
    assert exact is None or f"{exact:.3f}" not in page


def reordered(one: Submission) -> Submission:
    rows, units = np.arange(len(one.trial_idx))[::-1], np.arange(len(one.unit_ids))[::-1]
    return Submission(
        one.trial_idx[rows], one.unit_ids[units], one.predictions[rows][:, units], one.card | {"note": "mine"}
    )


COPIES: dict[str, Callable[[Submission], Submission]] = {
    "the same bytes but for the card": lambda one: one,
    "in another order": reordered,
    "in double precision": lambda one: replace(one, predictions=one.predictions.astype(np.float64)),
}
SCALED: dict[str, Callable[[Submission], Submission]] = {
    "scaled and shifted": lambda one: replace(one, predictions=2 * one.predictions - 1),
}


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_under_another_name_is_told(room, honest, tmp_path, copy):
    copied = of("thief", {name: COPIES[copy](one) for name, one in honest.items()})
    paths = [scored(room, tmp_path, "honest", honest), scored(room, tmp_path, "thief", copied)]
    book = tmp_path / "ledger.jsonl"
    CliRunner().invoke(ledger_command, ["open", str(book), str(room / "packages")])
    said = leaderboard(*paths, "--ledger", book, "--out", tmp_path / "site").splitlines()
    assert said[0].startswith(f"{book}: line 2, honest: published as ") and "same" not in said[0]
    assert said[1].endswith("; predicts the same as line 2, of honest")
    page = (tmp_path / "site" / "index.html").read_text()
    assert "<small>predicts the same as both, honest</small>" in page
    shown = CliRunner().invoke(ledger_command, ["show", str(book)]).output
    assert "  thief  the same as line 2\n" in shown


@pytest.mark.parametrize("copy", SCALED | COPIES)
def test_a_copy_is_told_on_a_board_without_ledger(room, honest, tmp_path, copy):
    copied = of("thief", {name: (SCALED | COPIES)[copy](one) for name, one in honest.items()})
    paths = [scored(room, tmp_path, "honest", honest), scored(room, tmp_path, "thief", copied)]
    leaderboard(*paths, "--package", room / "packages", "--out", tmp_path / "site")
    page = Page((tmp_path / "site" / "index.html").read_text())
    assert page.row("thief")[0] == "thief thief predicts the same as both, honest"
    assert page.row("both")[0] == "both honest predicts the same as thief, thief"


def test_other_truths_than_the_seasons_are_refused(room, honest, tmp_path):
    path = scored(room, tmp_path, "honest", honest)
    content = json.loads(path.read_text())
    content["subjects"][0]["manifest_sha256"] = "f" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(SubmissionError) as caught:
        leaderboard(path, "--package", room / "packages", "--out", tmp_path / "site")
    assert caught.value.problem == f"subj02 was scored against {HARD}, manifest {'f' * 64}"


# -- cards --------------------------------------------------------------------------------------------------


def test_nothing_is_ranked_before_it_is_said_what_is_complete(tmp_path):
    said = leaderboard(write(tmp_path, "a"), "--out", tmp_path / "site")
    assert "Nothing is ranked: say what a complete submission predicts, with --package or --ledger\n" in said
    text = (tmp_path / "site" / "index.html").read_text()
    assert Page(text).row("a")[1] == "not ranked"
    assert "Nothing is ranked here: it was not said what a complete submission predicts." in text


HOSTILE = {
    "half of a character": "\ud800",
    "a terminal's escape": "\x1b[2J\x1b]0;owned\x07",
    "turned around": "\u202egpj.exe",
    "letters": "x" * 300,
    "markup": "<script>alert(1)</script>",
    "a million letters": "y" * 1_000_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_cards_stop_nobody(tmp_path, kind):
    """Everything but the team's name: shown as far as it can be."""
    evil = HOSTILE[kind]
    card = {"title": evil, "context": evil, "note": [evil, {evil: evil}], evil: 1, "parameters": 10**400}
    paths = [write(tmp_path, "evil", 0.5, card=card), write(tmp_path, "good", 0.4, card={"team": "them"})]
    change(paths[0], warnings=[f"warning: {evil}"])
    book = opened(tmp_path)
    leaderboard(
        *paths, "--ledger", book, "--out", tmp_path / "site", "--title", f"A {evil}".replace("\ud800", "")
    )
    assert len(Ledger(book).records()) == 2
    for path in (tmp_path / "site").rglob("*.html"):
        text = path.read_bytes().decode()
        assert not {"\x1b", "\x07", "\u202e"} & {*text}
        assert len(text) < 60_000
        assert "<script>alert" not in text
    assert Page((tmp_path / "site" / "index.html").read_text()).row("good")


@pytest.mark.parametrize(
    "kind", ["half of a character", "a terminal's escape", "letters", "a million letters"]
)
def test_a_hostile_team_is_refused_before_anything_is_recorded(tmp_path, kind):
    paths = [write(tmp_path, "good", 0.5), write(tmp_path, "evil", 0.4, card={"team": HOSTILE[kind]})]
    book = opened(tmp_path)
    before = book.read_bytes()
    with pytest.raises(SubmissionError) as caught:
        leaderboard(*paths, "--ledger", book, "--out", tmp_path / "site")
    assert "the team's name cannot be recorded: it h" in str(caught.value)
    assert caught.value.place == str(paths[1])
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 1000
    assert book.read_bytes() == before and not (tmp_path / "site").exists()
    (tmp_path / "evil.card.json").write_text('{"team": "evil"}')  # what the message says
    leaderboard(*paths, "--ledger", book, "--out", tmp_path / "site")
    assert [record.team for record in Ledger(book).records()] == ["us", "evil"]


def test_a_card_that_is_nested_a_thousand_times(tmp_path):
    path = write(tmp_path, "deep", 0.5)
    text = path.read_text().replace('"team": "us"', '"team": "us", "a": ' + "[" * 400 + "]" * 400)
    path.write_text(text)
    leaderboard(path, "--ledger", opened(tmp_path), "--out", tmp_path / "site")
    assert "<dt>a</dt><dd>\u2026</dd>" in (tmp_path / "site" / "submissions" / "deep.html").read_text()


@pytest.mark.parametrize("hours", [5e-324, 1e300, -1, 10**400])
def test_a_cost_that_cannot_be_meant_is_not_drawn(tmp_path, hours):
    paths = [
        write(tmp_path, name, 0.5, card={"gpu_hours": h}) for name, h in (("a", 1), ("b", 9), ("c", hours))
    ]
    text = pages(read_entries(paths), season=season())["index.html"]
    assert text.count('GPU-hours"><path') == 2
    assert Page(text).row("c")[4] == "not said"


def test_cards_that_name_two_teams_have_no_budget(tmp_path):
    path, book = write(tmp_path, "a"), opened(tmp_path)
    content = json.loads(path.read_text())
    for one, team in zip(content["subjects"], ("A", "B"), strict=True):
        one["card"]["team"] = team
    path.write_text(json.dumps(content))
    before = book.read_bytes()
    with pytest.raises(NsdBenchError) as caught:
        leaderboard(path, "--ledger", book, "--out", tmp_path / "site")
    assert caught.value.problem == "its cards name 2 teams: 'A' and 'B'; nothing was recorded"
    assert book.read_bytes() == before
    content["subjects"][1]["card"]["team"] = "a\u200b "  # another spelling is the same team
    path.write_text(json.dumps(content))
    leaderboard(path, "--ledger", book, "--out", tmp_path / "site")
    assert [record.team for record in Ledger(book).records()] == ["A"]


ESCAPE = "\x1b[2J\ud800"
QUOTED: dict[str, Callable[[Submission], Submission]] = {
    "a package": lambda one: replace(one, card=one.card | {"package": ESCAPE + "x" * 100_000}),
    "a package that is no text": lambda one: replace(one, card=one.card | {"package": [ESCAPE]}),
    "ids of trials": lambda one: replace(one, trial_idx=np.r_[[ESCAPE], one.trial_idx[1:]]),
    "a digest": lambda one: replace(
        one, card=one.card | {"manifest_sha256": ESCAPE}, unit_ids=one.unit_ids + 9
    ),
}


@pytest.mark.parametrize("what", QUOTED)
def test_what_a_submission_holds_is_quoted_as_text(room, honest, tmp_path, what):
    """Through the process, since a terminal is what it is written to."""
    QUOTED[what](honest[EASY]).write(tmp_path / "given" / f"{EASY}.submission.npz")
    words = ["score", str(tmp_path / "given"), str(room / "truth"), "--out", str(tmp_path / "scores.json")]
    program = [sys.executable, "-c", "from nsd_bench.cli import main; main()"]
    done = subprocess.run([*program, *words], capture_output=True, check=False)
    said = done.stderr.decode()
    assert (done.returncode, done.stdout) == (1, b"")
    assert said.startswith("Error: SubmissionError: ") and "Traceback" not in said
    assert "\x1b" not in said and r"\x1b[2J\ud800" in said.replace("\\\\", "\\")
    assert len(said) < 10_000


# -- what is not shown before the end -----------------------------------------------------------------------

SECRET = 0.6543


def revealing(folder: Path, name: str = "mine") -> Path:
    """A score file that tells the final score in every place that a score file has."""
    shown, secret = rows(0.5, 2, 0.01), rows(SECRET, 2, 0.01)
    path = write(
        folder,
        name,
        tiers=("test", "final_test"),
        pooled={"test": shown, "final_test": secret},
        legacy={"final_test": {"algonauts2023": {"value": SECRET, "units": "%"}}},
        regimes={
            "held out subject": {"final_test": secret, "final_test (signed_ratio)": secret},
            "ood": {"ood": rows(0.1, 2, 0.01), "drop": rows(0.1 - 0.4777, 2, 0.01)},
        },
    )
    content = json.loads(path.read_text())
    for one in content["subjects"]:
        one["tiers"]["final_test"] |= secret
    path.write_text(json.dumps(content))
    pictures = path.with_suffix(".flatmaps")
    pictures.mkdir()
    for tier in ("test", "final_test"):
        (pictures / f"nsd-subj01.share-{tier}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + tier.encode())
    return path


def text_of(site: Path) -> str:
    return "".join(path.read_text() for path in sorted(site.rglob("*")) if path.is_file())


def test_a_running_season_shows_nothing_of_its_last_tier(tmp_path):
    path, book = revealing(tmp_path), opened(tmp_path)
    leaderboard(path, "--ledger", book, "--out", tmp_path / "site")
    text = text_of(tmp_path / "site")
    assert f"{SECRET:.3f}" not in text and str(SECRET) not in text
    assert "image/png" not in text
    assert "Tier final_test is not shown before the season is over." in text
    assert "drop" not in text  # with the score on artificial images it tells the live one
    leaderboard(path, "--ledger", book, "--out", tmp_path / "told", "--publish-final")
    assert f"{SECRET:.3f}" in text_of(tmp_path / "told")
    CliRunner().invoke(ledger_command, ["close", str(book)])
    leaderboard(path, "--ledger", book, "--out", tmp_path / "end")
    text = text_of(tmp_path / "end")
    assert f"{SECRET:.3f}" in text and text.count("image/png") == 1
    assert "not shown before" not in text
    assert Page((tmp_path / "end" / "index.html").read_text()).row("mine")[1] == "1 a"
    assert (
        text.count("not published") + text.count("0.500") and "0.510" not in text
    )  # the live tier: by steps


def test_without_a_ledger_the_last_tier_is_not_shown_either(tmp_path):
    path = revealing(tmp_path)
    leaderboard(path, "--out", tmp_path / "site")
    text = text_of(tmp_path / "site")
    assert f"{SECRET:.3f}" not in text and text.count("image/png") == 1  # that of test
    leaderboard(path, "--out", tmp_path / "told", "--publish-final")
    assert f"{SECRET:.3f}" in text_of(tmp_path / "told")


def test_a_board_of_nothing_but_the_last_tier_says_so(tmp_path):
    path = write(tmp_path, "a", tiers=("final_test",))
    with pytest.raises(SubmissionError) as caught:
        leaderboard(path, "--out", tmp_path / "site")
    assert str(caught.value) == (
        "leaderboard: all that was scored is final_test, which is not shown before the season is over.\n"
        "  Expected: scores of another tier, or a season that is over.\n"
        "  What to do: close the season with 'nsd-bench ledger close', or give --publish-final."
    )
    assert not (tmp_path / "site").exists()


def test_a_report_shows_the_last_tier_only_by_name(room, honest, tmp_path):
    scores = scored(room, tmp_path, "mine", honest)
    content = json.loads(scores.read_text())
    secret = content["pooled"][FINAL]["rois"][0]["scores"]["signed_ratio"]["value"]
    options = ("--package", room / "packages", "--truth", room / "truth", "--submission", tmp_path / "mine")
    words = [str(word) for word in (scores, *options, "--out")]
    result = CliRunner().invoke(report_command, [*words, str(tmp_path / "a.html")])
    assert result.exit_code == 0
    assert result.stderr == "final_test was scored and is not shown; --tier final_test shows it\n"
    assert f"{secret:.2f}" not in (tmp_path / "a.html").read_text()
    result = CliRunner().invoke(report_command, [*words, str(tmp_path / "b.html"), "--tier", FINAL])
    assert f"{secret:.2f}" in (tmp_path / "b.html").read_text()
    only = scored(room, tmp_path, "last", honest, "--tier", FINAL)
    result = CliRunner().invoke(report_command, [str(only), *words[1:], str(tmp_path / "c.html")])
    assert str(result.exception) == (
        "report: all that was scored is final_test.\n"
        "  Expected: a tier that may be shown while a season runs, or this one by name.\n"
        "  What to do: give --tier final_test."
    )


def test_the_live_tier_leads_while_nothing_better_is_shown(tmp_path):
    """Not a tier whose responses everybody has, nor another regime."""
    path = write(tmp_path, "a", tiers=("validation", "test"), regimes={"ood": {"ood": rows(0.1, 2, 0.01)}})
    leaderboard(path, "--ledger", opened(tmp_path), "--out", tmp_path / "site")
    page = Page((tmp_path / "site" / "index.html").read_text())
    assert page.rows[1][1:5] == ["Rank", "test (live)", "validation", "ood"]
    assert page.row("a")[1] == "live"


# -- regimes ------------------------------------------------------------------------------------------------


def test_a_regime_of_some_subjects_is_not_ranked_there(tmp_path):
    whole = write(tmp_path, "whole", 0.4, regimes={"imagery": {"vision": rows(0.1, 2, 0.01)}})
    part = write(tmp_path, "part", 0.3, regimes={"imagery": {"vision": rows(0.9, 1, 0.01)}})
    first, second = make_boards(read_entries([whole, part]), Comparisons(), season())
    assert all(row.rank for row in first.rows)
    assert [(row.entry.title, row.partial) for row in second.rows] == [
        ("whole", ""),
        ("part", "1 of 2 subjects"),
    ]
    assert second.rows[1].rank is None
    text = pages(read_entries([whole, part]), season=season())["index.html"]
    assert '<td data-value="">0.900<span class="range">partial: 1 of 2 subjects</span>' in text


def test_other_subjects_than_asked_for_are_not_ranked(tmp_path):
    others = write(tmp_path, "others", 0.9, subjects=(1, 3))
    more = write(tmp_path, "more", 0.9, subjects=(1, 2, 3))
    (board,) = make_boards(read_entries([others, more]), Comparisons(), season())
    assert {row.entry.title: (row.partial, row.rank) for row in board.rows} == {
        "others": ("beside it subj03", None),
        "more": ("beside it subj03", None),
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n_trials": 5, "n_units_predicted": 4}, "5 of 6 trials of subj01"),
        ({"n_trials": 6, "n_units_predicted": 3}, "3 of 4 units of subj01"),
    ],
)
def test_trials_and_units_are_counted(tmp_path, changes, told):
    path = change(write(tmp_path, "a", 0.9), tiers={"test": changes})
    (board,) = make_boards(read_entries([path]), Comparisons(), season())
    assert [(row.partial, row.rank) for row in board.rows] == [(told, None)]


def test_a_mean_over_fewer_subjects_than_were_scored_is_not_ranked(tmp_path):
    """A subject without a score drops out of the mean."""
    pooled = rows(0.9, 2, 0.01)
    pooled["rois"][0]["scores"]["signed_ratio"]["n_subjects"] = 1
    path = write(tmp_path, "a", pooled={"test": pooled})
    (board,) = make_boards(read_entries([path]), Comparisons(), season())
    assert [(row.partial, row.rank) for row in board.rows] == [("1 of 2 subjects", None)]
