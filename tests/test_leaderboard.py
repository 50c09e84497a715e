"""Leaderboards: who may be ranked with whom, groups that do not differ, and pages that say what they must."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scoring import make_truth, submit

from nsd_bench.cli.leaderboard import leaderboard_command as command
from nsd_bench.errors import NsdBenchError, OutputError, SubmissionError
from nsd_bench.leaderboard.boards import make_boards
from nsd_bench.leaderboard.drawing import mark, scatter
from nsd_bench.leaderboard.entries import Entry
from nsd_bench.leaderboard.groups import Comparisons, letters, ranking
from nsd_bench.leaderboard.ledger import Ledger
from nsd_bench.leaderboard.lines import Asked
from nsd_bench.leaderboard.reading import read_entries
from nsd_bench.leaderboard.season import Season
from nsd_bench.leaderboard.site import pages, write_site
from nsd_bench.scoring import ScoreOptions, Scores, score_subject
from nsd_bench.scoring.compare import compare_scores
from nsd_bench.scoring.records import read_record
from nsd_bench.scoring.values import Score


def score_of(value: float | None, width: float = 0.05) -> dict:
    interval = None if value is None else [value - width, value + width]
    se = None if value is None else width / 2
    reason = "no unit" if value is None else None
    return {"value": value, "se": se, "interval": interval, "reason": reason}


def rows(value: float | None, n_subjects: int, width: float) -> dict:
    regions = {
        ("all", "all"): value,
        ("visual", "V1"): value,
        ("visual", "hV4"): None,
        ("streams", "early"): 0.25,
    }
    return {
        "n_subjects": n_subjects,
        "rois": [
            {
                "atlas": atlas,
                "roi": roi,
                "n_subjects": n_subjects,
                "scores": {"signed_ratio": score_of(one, width), "feve": score_of(one, width)},
            }
            for (atlas, roi), one in regions.items()
        ],
    }


def write(
    folder: Path,
    name: str,
    value: float | None = 0.5,
    *,
    card: dict | None = None,
    subjects: tuple[int, ...] = (1, 2),
    tiers: tuple[str, ...] = ("test",),
    width: float = 0.05,
    predicted: str = "",
    **changes,
) -> Path:
    """Write the scores.json of a submission; `changes` replace what stands at its top."""
    content = {
        "format": "nsd_bench.scores/2",
        "scorer": {"version": "1", "n_draws": 10, "seed": 0, "confidence": 0.95},
        "metrics": {
            name: {"version": "1", "source": "nsd_bench", "description": f"what {name} is"}
            for name in ("signed_ratio", "feve")
        },
        "headline": "signed_ratio",
        "subjects": [
            {
                "subject": subject,
                "package": f"nsd-subj{subject:02}",
                "manifest_sha256": f"{subject}" * 64,
                "submission_sha256": f"{name}{subject}".encode().hex(),
                "card": {"package": f"nsd-subj{subject:02}", "model": name, "team": "us"} | (card or {}),
                "warnings": [],
                "tiers": {
                    tier: {
                        "n_trials": 6,
                        "n_units_predicted": 4,
                        "predictions_sha256": f"{predicted or name}{tier}{subject}",
                    }
                    for tier in tiers
                },
            }
            for subject in subjects
        ],
        "pooled": {tier: rows(value, len(subjects), width) for tier in tiers},
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content | changes))
    return path


def season(*subjects: int, **changes) -> Season:
    """A season of these subjects that is over."""
    trials = {"test": 6, "final_test": 6}
    asked = [Asked(s, f"nsd-subj{s:02}", f"{s}" * 64, 4, trials) for s in subjects or (1, 2)]
    return replace(Season(tuple(asked), hidden=frozenset()), **changes)


def opened(folder: Path, **options) -> Path:
    """Open a season of subjects 1 and 2 in a ledger."""
    path = folder / "ledger.jsonl"
    Ledger(path).open(season().asked, live="test", time="2027-01-01T00:00:00+00:00", **options)
    return path


def change(path: Path, **changes) -> Path:
    """Change every subject's entry of a score file."""
    content = json.loads(path.read_text())
    content["subjects"] = [one | changes for one in content["subjects"]]
    path.write_text(json.dumps(content))
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(one) for one in arguments])
    if result.exception:
        raise result.exception
    return result.output


# -- who may be ranked with whom ------------------------------------------------------------------------


def test_other_truths_are_not_ranked_together(tmp_path):
    a, b, c = (write(tmp_path, name) for name in "abc")
    change(c, manifest_sha256="f" * 64)
    with pytest.raises(SubmissionError) as caught:
        run(a, b, c, "--out", tmp_path / "site")
    assert str(caught.value) == (
        "leaderboard: subj01 was scored against 2 truths:\n"
        f"    nsd-subj01, manifest {'1' * 64}: {a}, {b}\n"
        f"    nsd-subj01, manifest {'f' * 64}: {c}.\n"
        "  Expected: scores that mean the same, which alone can be ranked together.\n"
        "  What to do: make one leaderboard of each, or score again with one export and one version."
    )
    assert not (tmp_path / "site").exists()


def test_another_package_of_the_same_subject(tmp_path):
    a, b = write(tmp_path, "a", subjects=(1,)), write(tmp_path, "b", subjects=(1,))
    change(b, package="other-subj01", manifest_sha256="")
    with pytest.raises(SubmissionError, match=r"\n    other-subj01, manifest unknown: "):
        read_entries([a, b])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"scorer": {"version": "2", "confidence": 0.95}},
            "they were scored in 2 ways:\n    scorer 1, 95% intervals",
        ),
        (
            {"scorer": {"version": "1", "confidence": 0.9}},
            "they were scored in 2 ways:\n    scorer 1, 95% intervals",
        ),
        ({"headline": "feve"}, "they were scored in 2 ways:\n    scorer 1, 95% intervals, by signed_ratio: "),
        (
            {"metrics": {"feve": {"version": "2", "source": "", "description": ""}}},
            "feve was computed by 2 versions:\n    version 1: ",
        ),
    ],
)
def test_other_ways_of_scoring_are_not_ranked_together(tmp_path, changes, problem):
    with pytest.raises(SubmissionError) as caught:
        read_entries([write(tmp_path, "a"), write(tmp_path, "b", **changes)])
    assert caught.value.problem.startswith(problem)


def test_the_same_submission_twice(tmp_path):
    a = write(tmp_path, "a")
    b = tmp_path / "again.json"
    b.write_text(a.read_text())
    with pytest.raises(SubmissionError) as caught:
        read_entries([a, b])
    assert str(caught.value) == (
        f"{b}: scores the same submission as {a}.\n"
        "  Expected: every submission once.\n"
        "  What to do: leave one of them out."
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{}", "not a score file (it says no format)"),
        ("[]", "not a score file (it says no format)"),
        ('{"format": "nsd_bench.scores/1"}', "not a score file (its format is 'nsd_bench.scores/1')"),
        ('{"format": "nsd_bench.scores/2"}', "not a score file ('scorer' is missing)"),
        ('{"format":\n "nsd', "not a score file (it is no JSON, or cut off at line 2)"),
        ("PK\xff", "not a score file (it is no text)"),
        (None, "not a score file (No such file or directory)"),
    ],
)
def test_what_is_no_score_file(tmp_path, content, problem):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(SubmissionError) as caught:
        read_entries([path])
    assert caught.value.problem == problem
    assert caught.value.expected == "JSON of format 'nsd_bench.scores/2', as 'nsd-bench score' wrote it"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"scorer": {"version": "1"}}, "not a score file ('scorer.confidence' is missing)"),
        ({"subjects": {"1": {}}}, "not a score file ('subjects' is of type dict, not list)"),
        ({"subjects": [{"subject": 1}]}, "not a score file ('subjects.0.package' is missing)"),
        ({"pooled": {"test": "0.5"}}, "not a score file ('pooled.test' is of type str, not dict)"),
        (
            {
                "pooled": {
                    "test": {"n_subjects": 1, "rois": [{"atlas": "all", "roi": "all", "scores": {"r": {}}}]}
                }
            },
            "not a score file ('pooled.test.rois.0.scores.r.value' is missing)",
        ),
        ({"subjects": []}, "no subject was scored"),
        ({"pooled": {}}, "no tier was scored"),
    ],
)
def test_score_files_that_lack_something(tmp_path, changes, problem):
    path = write(tmp_path, "a")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(SubmissionError) as caught:
        read_entries([path])
    assert (caught.value.problem, caught.value.place) == (problem, str(path))


def test_what_the_scorer_writes_is_whole():
    truth, signal = make_truth(n_images=6, n_units=4)
    few = ScoreOptions(n_draws=3)
    submission = submit(truth, signal[truth.frame_image_id])
    scored = [score_subject(submission, truth, few, submission_sha256="0" * 64)]
    for made in (Scores.of(scored, few), compare_scores(scored, scored, few)):
        written = json.loads(json.dumps(made.to_json()))
        assert read_record(type(made), written).to_json() == written


def test_a_folder_is_no_score_file(tmp_path):
    with pytest.raises(SubmissionError) as caught:
        read_entries([tmp_path])
    assert str(caught.value) == (
        f"{tmp_path}: not a score file (Is a directory).\n"
        "  Expected: JSON of format 'nsd_bench.scores/2', as 'nsd-bench score' wrote it.\n"
        "  What to do: give the score files of the folder."
    )


def test_comparisons_that_lack_something_or_are_of_others(tmp_path):
    a, b, c = read_entries(write(tmp_path, name) for name in "abc")
    path = comparison(tmp_path / "compared.json", a, b, 0.01)
    said = run(a.path, c.path, "--comparison", path, "--out", tmp_path / "site")
    assert f"Warning: {path} is not used: it compares a submission that has no score file here\n" in said
    assert Comparisons([path]).unused([a, b, c]) == []
    path.write_text(json.dumps({**json.loads(path.read_text()), "first": [{}]}))
    with pytest.raises(SubmissionError, match=r"not a comparison \('first.0.submission_sha256' is missing\)"):
        Comparisons([path])


def test_a_card_beside_counts_and_must_be_one(tmp_path):
    path = write(tmp_path, "a")
    (tmp_path / "a.card.json").write_text('{"title": "Net", "authors": ["A", "B"], "team": ""}')
    (entry,) = read_entries(tmp_path.glob("*.json"))
    assert (entry.title, entry.team, entry.name) == ("Net", "A, B", "net")
    (tmp_path / "a.card.json").write_text("[]")
    with pytest.raises(SubmissionError, match=r"not a card \(it is a list\)"):
        read_entries([path])
    with pytest.raises(SubmissionError, match="leaderboard: there is no score file"):
        read_entries([tmp_path / "a.card.json"])


@pytest.mark.parametrize(
    ("card", "hours", "parameters"),
    [
        ({"compute": {"gpu_hours": 3}, "parameters": 7}, 3.0, 7.0),
        ({"compute": 2.5, "parameters": "many"}, 2.5, None),
        ({"gpu_hours": 4, "compute": 2, "parameters": True}, 4.0, None),
        ({"compute": "a lot", "parameters": -1}, None, None),
        ({}, None, None),
    ],
)
def test_cost_is_what_the_card_says_if_it_is_a_number(tmp_path, card, hours, parameters):
    (entry,) = read_entries([write(tmp_path, "a", card=card)])
    assert (entry.gpu_hours, entry.parameters) == (hours, parameters)


def test_costs_of_models_of_their_own_add_up(tmp_path):
    path = write(tmp_path, "a", card={"parameters": 7})
    content = json.loads(path.read_text())
    for number, one in enumerate(content["subjects"]):
        one["card"] |= {"compute": number + 0.5, "context": ["image only", "trial history"][number]}
    path.write_text(json.dumps(content))
    (entry,) = read_entries([path])
    assert (entry.gpu_hours, entry.parameters) == (2.0, 7.0)
    assert entry.context == "image only, trial history"
    page = pages([entry])["submissions/a.html"]
    assert "<dt>compute</dt><dd>subj01: 0.5; subj02: 1.5</dd>" in page
    assert "<dt>parameters</dt><dd>7</dd>" in page


def test_pages_have_names_of_their_own(tmp_path):
    titles = ["Ridge, v2", "ridge v2", "../../etc", "éè"]
    paths = [write(tmp_path, str(k), card={"title": title}) for k, title in enumerate(titles)]
    names = [entry.name for entry in read_entries(paths)]
    assert len(set(names)) == 4
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)
    assert names[0].startswith("ridge-v2-") and names[2] == "etc" and names[3].startswith("submission-")


# -- groups ---------------------------------------------------------------------------------------------


@given(
    st.integers(1, 7).flatmap(
        lambda n: st.tuples(st.just(n), st.sets(st.sampled_from(list(combinations(range(n), 2)) or [(0, 0)])))
    )
)
@settings(max_examples=200)
def test_two_share_a_letter_exactly_if_they_do_not_differ(drawn):
    n, differing = drawn
    differing = {pair for pair in differing if pair[0] != pair[1]}
    found = letters(n, differing)
    assert all(found)
    for i, j in combinations(range(n), 2):
        assert bool(set(found[i]) & set(found[j])) == ((i, j) not in differing)
    used = set("".join(found))
    for one, other in combinations(used, 2):  # no group lies within another
        members = [{i for i in range(n) if letter in found[i]} for letter in (one, other)]
        assert not members[0] <= members[1] and not members[1] <= members[0]


def scores(*values: float, width: float = 0.05) -> list[Score]:
    return [Score(value, (value - width, value + width)) for value in values]


def test_intervals_that_overlap_do_not_differ():
    ranks, pairs = ranking(scores(0.9, 0.85, 0.78, 0.5), {})
    assert [rank.letters for rank in ranks] == ["a", "ab", "b", "c"]
    assert [(rank.best, rank.worst) for rank in ranks] == [(1, 2), (1, 3), (2, 3), (4, 4)]
    assert all(pair.p is None for pair in pairs.values())


def test_paired_comparisons_decide_where_they_are():
    ranks, pairs = ranking(scores(0.9, 0.89, 0.5), {(0, 1): 0.002})
    assert [rank.letters for rank in ranks] == ["a", "b", "c"]
    assert (pairs[0, 1].p, pairs[0, 2].p) == (0.002, None)
    ranks, _ = ranking(scores(0.9, 0.5), {(0, 1): 0.2})  # intervals are apart, the paired test says no
    assert [rank.letters for rank in ranks] == ["a", "a"]


def test_many_comparisons_are_corrected():
    """One p of 0.04 is a discovery alone, not among ten without any other."""
    alone, _ = ranking(scores(0.9, 0.89), {(0, 1): 0.04})
    assert [rank.letters for rank in alone] == ["a", "b"]
    p = {pair: 0.9 for pair in combinations(range(5), 2)} | {(0, 1): 0.04}
    among, _ = ranking(scores(0.9, 0.89, 0.88, 0.87, 0.86), p)
    assert {rank.letters for rank in among} == {"a"}


def test_without_intervals_nothing_differs():
    ranks, _ = ranking([Score(0.9), Score(0.1)], {})
    assert [rank.letters for rank in ranks] == ["a", "a"]
    assert ranking([], {}) == ([], {})


def comparison(path: Path, first: Entry, second: Entry, p: float) -> Path:
    sides = {
        side: [{"submission_sha256": one, "card": {}} for one in entry.submissions]
        for side, entry in (("first", first), ("second", second))
    }
    row = {"atlas": "all", "roi": "all", "differences": {"signed_ratio": {"value": 0.01, "p": p}}}
    path.write_text(json.dumps({"format": "nsd_bench.comparison/2", **sides, "pooled": {"test": [row]}}))
    return path


def test_comparisons_are_matched_by_what_was_submitted(tmp_path):
    entries = read_entries(
        write(tmp_path, name, value) for name, value in (("a", 0.50), ("b", 0.51), ("c", 0.49))
    )
    path = comparison(tmp_path / "compared.json", entries[0], entries[1], 0.01)
    (board,) = make_boards(entries, Comparisons([path]), season())
    assert [(row.entry.title, row.rank.letters) for row in board.rows] == [
        ("b", "a"),
        ("a", "b"),
        ("c", "ab"),
    ]
    assert board.pairs["b", "a"].p == 0.01
    assert Comparisons([path]).p(entries[0], entries[1], ("imagery", "test")) is None
    with pytest.raises(SubmissionError, match="not a comparison"):
        Comparisons([tmp_path / "a.json"])


# -- boards ---------------------------------------------------------------------------------------------


def test_partial_ones_are_scored_and_not_ranked(tmp_path):
    half = write(tmp_path, "half", 0.9, subjects=(1,))
    few = change(write(tmp_path, "few", None), partial=True)
    entries = read_entries([half, few, write(tmp_path, "whole", 0.4)])
    (board,) = make_boards(entries, Comparisons(), season())
    assert [(row.entry.title, row.partial, row.rank and row.rank.letters) for row in board.rows] == [
        ("whole", "", "a"),
        ("half", "1 of 2 subjects", None),
        ("few", "some units", None),
    ]


def test_what_is_missing_is_last_and_never_zero(tmp_path):
    paths = [
        write(tmp_path, "none", None),
        write(tmp_path, "worse", -0.2),
        write(tmp_path, "other", tiers=()),
    ]
    (board,) = make_boards(read_entries(paths), Comparisons(), season())
    shown = [(row.entry.title, row.score.value, row.score.reason) for row in board.rows]
    assert shown == [("worse", -0.2, None), ("none", None, "no unit"), ("other", None, "not scored on test")]
    assert board.span == (-0.25, 1.0)


def test_final_tier_leads_and_regimes_follow(tmp_path):
    paths = [
        write(
            tmp_path,
            "a",
            0.5,
            tiers=("test", "final_test"),
            regimes={"imagery": {"vision": rows(0.1, 2, 0.01)}},
        ),
        write(tmp_path, "b", 0.4, tiers=("test",)),
    ]
    entries = read_entries(paths)
    boards = make_boards(entries, Comparisons(), season())
    assert [board.key for board in boards] == [
        ("in distribution", "final_test"),
        ("in distribution", "test"),
        ("imagery", "vision"),
    ]
    assert boards[2].row("b").score.reason == "not scored on vision"
    assert boards[0].regions() == {"visual": ["V1"], "streams": ["early"]}  # hV4 has no score anywhere


# -- the site ---------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Checks that every element is closed, and collects links, ids and the cells of tables."""

    EMPTY = ("meta", "br", "path", "circle")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href", "action", "data")]
        self.ids += [value for name, value in attrs if name == "id"]
        self.tags.append(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())

    def row(self, start: str) -> list[str]:
        return next(cells for cells in self.rows if cells[0].startswith(start))


@pytest.fixture
def three(tmp_path) -> list[Path]:
    return [
        write(tmp_path, "good", 0.8, card={"compute": 12, "parameters": 3e8, "context": "image only"}),
        write(tmp_path, "fair", -0.004, card={"compute": 0.5}, tiers=("test", "final_test")),
        write(tmp_path, "none", None),
    ]


def test_index_has_the_numbers(three):
    page = Page(pages(read_entries(three), season=season())["index.html"])
    assert page.row("Submission") == [
        "Submission", "Rank", "final_test", "test", "Context", "GPU-hours", "Parameters",
    ]  # fmt: skip
    assert page.row("good") == [
        "good us", "missing", "missing", "0.800 a [0.750, 0.850]", "image only", "12", "300M",
    ]  # fmt: skip
    fair = "\u22120.004", "[\u22120.054, 0.046]"
    assert page.row("fair") == [
        "fair us", "1 a", " ".join(fair), f"{fair[0]} b {fair[1]}", "not said", "0.5", "not said",
    ]  # fmt: skip
    assert page.row("none")[1:4] == ["missing"] * 3
    assert page.rows[0] == ["", "", "in distribution", "as the cards say"]


def test_pages_ask_for_nothing_and_lead_to_each_other(three):
    found = pages(read_entries(three), season=season())
    assert set(found) == {"index.html", *(f"submissions/{name}.html" for name in ("good", "fair", "none"))}
    for name, text in found.items():
        page = Page(text)
        folder = Path(name).parent
        targets = {
            (folder / link).as_posix().replace("submissions/../", "") for link in page.links if link[0] != "#"
        }
        assert targets <= set(found)
        assert {link[1:] for link in page.links if link[0] == "#"} <= set(page.ids)
        assert len(set(page.ids)) == len(page.ids)
        assert not {"link", "img", "iframe"} & {*page.tags}
        assert "http" not in text.replace("http-equiv", "")
    assert "submissions/good.html" in Page(found["index.html"]).links


def test_same_arguments_same_bytes(three, tmp_path):
    for name in ("one", "two"):
        run(*three, "--out", tmp_path / name)
    files = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.html")}
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_cards_are_no_markup(tmp_path):
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    path = write(
        tmp_path,
        "a",
        card={"title": evil, "team": evil, "context": evil, "compute": {"gpu_hours": 1}, evil: [evil]},
    )
    change(path, warnings=[evil], package=evil, manifest_sha256=evil)
    found = pages(read_entries([path, write(tmp_path, "b", subjects=(3,), card={"compute": 3})]), title=evil)
    for text in found.values():
        page = Page(text)
        assert page.tags.count("script") == text.count("<script>") <= 1
        assert "alert(1)</script>" not in text
        assert "img" not in page.tags
    assert "&lt;script&gt;alert(1)" in found["index.html"]


def test_submission_page_tells_all_regions_and_its_rivals(three):
    text = pages(read_entries(three), season=season())["submissions/good.html"]
    page = Page(text)
    assert "<b>Missing</b>: not scored on final_test." in text
    assert page.row("V1") == ["V1 visual", "0.800 [0.750, 0.850]", "0.800", "2"]
    assert page.row("hV4")[1:3] == ["missing", "missing"]
    assert page.row("fair") == ["fair", "better", "intervals"]
    assert "submission sha256 676f6f6431" in text


def test_parcellations_of_hundreds_are_on_the_pages_of_submissions(tmp_path):
    path = write(tmp_path, "a")
    content = json.loads(path.read_text())
    row = content["pooled"]["test"]["rois"][1]
    content["pooled"]["test"]["rois"] += [row | {"atlas": "parcels", "roi": f"P{k}"} for k in range(31)]
    path.write_text(json.dumps(content))
    found = pages(read_entries([path]))
    assert "parcels: 31 regions, on the page of each submission." in found["index.html"]
    assert ">P30<" not in found["index.html"]
    assert Page(found["submissions/a.html"]).row("P30")[0] == "P30 parcels"


def test_the_plot_has_what_says_its_cost(tmp_path):
    paths = [write(tmp_path, f"net {k}", 0.5, card={"compute": 10.0**k}) for k in range(3)]
    entries = read_entries([*paths, write(tmp_path, "silent", 0.6)])
    text = pages(entries)["index.html"]
    assert [f">{hours}</text>" in text for hours in (1, 10, 100, 1000)] == [True, True, True, False]
    assert text.count(' GPU-hours"><path class="whisker"') == 3
    found = scatter([(entry, 1.0, Score(0.5, (0.4, 0.6))) for entry in entries])
    heights = sorted(point.label_y for point in found.points)
    assert min(low - high for high, low in pairwise(heights)) >= 13  # labels of one place lie apart
    assert scatter([(entries[0], 1.0, Score(0.5))]) is None


def test_marks_lie_on_the_axis():
    drawn = mark(Score(-0.5, (-0.75, 0.0)), (-1.0, 1.0))
    assert (drawn.low, drawn.value, drawn.high, drawn.zero) == (15.0, 26.0, 48.0, 48.0)
    assert mark(Score(None), (0.0, 1.0)) is None


def test_an_existing_site_is_kept_and_half_a_site_is_not_left(three, tmp_path, monkeypatch):
    run(*three, "--out", tmp_path / "site")
    with pytest.raises(OutputError, match="exists already; nothing was written"):
        run(*three, "--out", tmp_path / "site")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="nothing was kept"):
        write_site(tmp_path / "other", read_entries(three))
    assert not (tmp_path / "other").exists()
    assert not list(tmp_path.glob(".other*"))


# -- a season ---------------------------------------------------------------------------------------------


def test_live_scores_are_what_was_published(tmp_path):
    first, second = write(tmp_path, "first", 0.5037), write(tmp_path, "second", 0.5099)
    book = opened(tmp_path, step=0.02)
    output = run(first, second, "--out", tmp_path / "one", "--ledger", book)
    assert output.splitlines()[:3] == [
        f"{book}: line 2, us: published as 0.5",
        f"{book}: line 3, us: not published",
        "live scores have a standard error of 0.025 (median of 2), the Ladder's step is 0.02; "
        "'nsd-bench ledger open' changes it",
    ]
    text = "".join(path.read_text() for path in sorted((tmp_path / "one").rglob("*.html")))
    page = Page((tmp_path / "one" / "index.html").read_text())
    assert page.row("first")[1:3] == ["live", "0.500"]
    assert page.row("second")[1:3] == ["live", "not published"]
    assert "0.504" not in text and "0.5037" not in text
    assert "Tier test is live" in text
    assert Ledger(book).head() in text
    again = run(first, second, "--out", tmp_path / "two", "--ledger", book)
    assert again == f"{tmp_path / 'two' / 'index.html'}\n"  # nothing is recorded twice
    for file in ("index.html", "submissions/first.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_who_has_no_budget_left_is_named_and_nothing_is_recorded(tmp_path):
    paths = [write(tmp_path, name, value) for name, value in (("a", 0.1), ("b", 0.2), ("c", 0.3))]
    book = opened(tmp_path, budget=1)
    before = book.read_bytes()
    with pytest.raises(SubmissionError) as caught:
        run(*paths, "--out", tmp_path / "site", "--ledger", book)
    assert str(caught.value) == (
        f"{paths[1]}, {paths[2]}: team 'us' has used 1 of 1 submissions to tier 'test'; "
        "nothing was recorded.\n"
        "  Expected: submissions within the team's budget; failed and incomplete ones count.\n"
        "  What to do: leave them out, or raise the budget of all teams with 'nsd-bench ledger open'."
    )
    assert not (tmp_path / "site").exists()
    assert book.read_bytes() == before


def test_without_a_team_there_is_no_budget(tmp_path):
    path, book = write(tmp_path, "a", card={"team": " \u200b "}), opened(tmp_path)
    before = book.read_bytes()
    with pytest.raises(NsdBenchError) as caught:
        run(path, "--out", tmp_path / "site", "--ledger", book)
    assert str(caught.value) == (
        f"{path}: the card names no team, whose budget this submission would be on; nothing was recorded.\n"
        "  Expected: one team, as 'team' or else 'authors' in the submission's cards.\n"
        '  What to do: write {"team": "..."} to a.card.json beside it.'
    )
    assert book.read_bytes() == before


def test_flat_maps_beside_a_score_are_on_its_page(three):
    folder = three[0].with_suffix(".flatmaps")
    folder.mkdir()
    png = b"\x89PNG\r\n\x1a\nrest"
    (folder / "nsd-subj01.share-test.png").write_bytes(png)
    found = pages(read_entries(three), season=season())
    embedded = base64.b64encode(png).decode()
    assert (
        f'<img src="data:image/png;base64,{embedded}" alt="nsd-subj01.share-test"'
        in found["submissions/good.html"]
    )
    assert "On the cortex" not in found["submissions/fair.html"]
    (folder / "nsd-subj01.share-test.png").write_bytes(b"GIF")
    with pytest.raises(SubmissionError) as caught:
        pages(read_entries(three), season=season())
    assert str(caught.value) == (
        f"{folder / 'nsd-subj01.share-test.png'}: is no PNG.\n"
        "  Expected: pictures that 'nsd-bench flatmap --scores' drew.\n"
        "  What to do: draw it again, or remove it."
    )


def test_a_live_tier_shows_no_flat_maps(tmp_path):
    path = write(tmp_path, "a", 0.5)
    folder = path.with_suffix(".flatmaps")
    folder.mkdir()
    (folder / "nsd-subj01.share-test.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    arguments = [str(path), "--out", str(tmp_path / "site"), "--ledger", str(opened(tmp_path))]
    assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    assert "data:image/png" not in (tmp_path / "site/submissions/a.html").read_text()
