"""The conformance set: complete, derived independently, made again with the same bytes, and able to fail."""

from __future__ import annotations

import ast
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from nsd_bench.cli.score import conformance_command as command
from nsd_bench.conformance import DATA, Outcome, check_scorer, names
from nsd_bench.conformance import expected as expected_module
from nsd_bench.conformance.layout import CASES, Case
from nsd_bench.conformance.make import make_set, make_subject
from nsd_bench.errors import SubmissionError
from nsd_bench.scoring import METRICS
from nsd_bench.scoring import legacy as registry
from nsd_bench.scoring.legacy import LEGACY

EXPECTED = json.loads((DATA / "expected.json").read_text())
FORMULAS = {*METRICS, *LEGACY}


def run(*arguments: str) -> tuple[int, list[str]]:
    result = CliRunner().invoke(command, arguments)
    return result.exit_code, result.output.splitlines()


def values_of(submission: str, roi: str = "main", tier: str = "test", subject: int = 1) -> dict:
    case = Case(submission, (subject,), tier, roi).json()
    return next(check["values"] for check in EXPECTED["checks"] if case.items() <= check.items())


def test_this_installation_conforms():
    code, lines = run()
    assert [line for line in lines if line.startswith("WRONG")] == []
    assert code == 0
    n_checks = len(lines) - 1
    assert n_checks >= len(names()) + 1
    assert lines[-1] == f"{n_checks} of {n_checks} checks agree"
    assert "ok     a submission with NaN: refused" in lines


def test_neuralpredictors_is_asked_where_it_is_installed():
    pytest.importorskip("neuralpredictors")
    asked = [outcome.name for outcome in check_scorer() if outcome.name.startswith("neuralpredictors")]
    assert len(asked) == 3 * sum(len(case.subjects) == 1 for case in CASES)


def test_neuralpredictors_is_not_needed(monkeypatch):
    monkeypatch.setattr("nsd_bench.conformance.runner.is_installed", lambda: False)
    outcomes = list(check_scorer())
    assert len(outcomes) == len(names()) + 1
    assert all(outcome.agrees for outcome in outcomes)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_computed_in_one_way_and_says_what_it_is(name):
    metric = METRICS[name]
    assert [bool(way) for way in (metric.terms, metric.of_units, metric.of_patterns)].count(True) == 1
    assert metric.version >= 1 and metric.source and metric.description and metric.empty


def test_every_formula_and_edge_case_is_covered():
    assert {formula for check in EXPECTED["checks"] for formula in check["values"]} == FORMULAS
    plain = values_of("plain")
    assert None not in plain.values()
    assert len({round(value, 6) for value in plain.values()}) >= 17  # few coincide: a mix-up would show
    assert {check["submission"] for check in EXPECTED["checks"]} >= {"constant", "nan", "tiny", "flipped"}
    assert values_of("plain", roi="zero")["signed_ratio"] is None
    assert set(values_of("plain", roi="empty").values()) == {None}
    for subject, tier, repeats in (
        (1, "final_test", {1}),
        (1, "validation", {3}),
        (2, "validation", {1, 2, 3}),
    ):
        made = make_subject(subject)
        _, k = np.unique(made.image[made.tier == tier], return_counts=True)
        assert set(k) == repeats
    one = make_subject(1)
    assert len(np.unique(one.image[one.tier == "validation"])) == 1


def test_expected_values_are_derived_without_the_scorer():
    tree = ast.parse(Path(expected_module.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    assert not any(name.startswith("nsd_bench") for name in imported)


def test_values_by_hand():
    """Figures that need no program: a sign turned, a sign squared away, and noise clipped to 0 or 100."""
    plain, flipped = values_of("plain"), values_of("flipped")
    assert flipped["signed_ratio"] == pytest.approx(-plain["signed_ratio"])
    assert flipped["brainscore"] == plain["brainscore"]
    zero = values_of("plain", roi="zero")["algonauts2023"]
    assert zero in (0.0, 50.0, 100.0)  # two units: each clips to 0 or 100


def test_the_set_is_made_again_with_the_same_bytes(tmp_path):
    make_set(tmp_path)
    made, shipped = (
        {path.name: path.read_bytes() for path in folder.iterdir()} for folder in (tmp_path, DATA)
    )
    del shipped["README.md"]  # written by hand
    assert sorted(made) == sorted(shipped)
    # The last digits of the values depend on the processor's linear algebra.
    values, known = (json.loads(files.pop("expected.json"))["checks"] for files in (made, shipped))
    assert [name for name in made if made[name] != shipped[name]] == []
    for one, other in zip(values, known, strict=True):
        numbers, wanted = (
            {name: math.nan if value is None else value for name, value in check.pop("values").items()}
            for check in (one, other)
        )
        assert numbers == pytest.approx(wanted, rel=1e-9, abs=1e-12, nan_ok=True)
        assert one == other


def test_wrong_formulas_are_found(monkeypatch):
    def spoilt(score):
        return dataclasses.replace(score, function=lambda subjects: 1.00001 * score.function(subjects))

    monkeypatch.setattr(registry, "LEGACY", {name: spoilt(score) for name, score in LEGACY.items()})
    code, lines = run()
    assert code == 1
    wrong = {line.split(": ")[1] for line in lines if line.startswith("WRONG")}
    assert wrong == set(LEGACY)


def test_list_names_the_checks_and_runs_none():
    code, lines = run("--list")
    assert (code, lines) == (0, names())
    assert "plain, subj01+subj02, test, main: algonauts2023" in lines


def test_values_of_another_implementation(tmp_path):
    assert run("--values", str(DATA / "expected.json"))[0] == 0
    theirs = json.loads((DATA / "expected.json").read_text())
    first = theirs["checks"][0]["values"]
    expected = first["brainscore"]
    first["brainscore"] = None
    del first["berg"]
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(theirs))
    code, lines = run("--values", str(path))
    assert code == 1
    assert [line for line in lines if line.startswith("WRONG")] == [
        f"WRONG  plain, subj01, test, main: brainscore: null, expected {expected:.10g}",
        f"WRONG  plain, subj01, test, main: berg: missing, expected {first['algonauts2023']:.10g}",
    ]
    assert lines[-1] == f"{len(names()) - 2} of {len(names())} checks agree"


def test_a_file_that_is_no_table_of_values_is_refused(tmp_path):
    path = tmp_path / "other.json"
    path.write_text('{"format": "nsd_bench.scores/2"}')
    error = CliRunner().invoke(command, ["--values", str(path)]).exception
    assert isinstance(error, SubmissionError)
    assert str(error) == (
        f"{path}: not a table of values (its format is 'nsd_bench.scores/2').\n"
        "  Expected: JSON of format 'nsd_bench.conformance/1' as in expected.json.\n"
        "  What to do: copy the set with 'nsd-bench conformance --copy FOLDER' and fill in its expected.json."
    )


def test_copy(tmp_path):
    target = tmp_path / "set"
    assert run("--copy", str(target)) == (0, [str(target)])
    assert sorted(path.name for path in target.iterdir()) == sorted(path.name for path in DATA.iterdir())


def test_one_thing_at_a_time(tmp_path):
    code, lines = run("--list", "--copy", str(tmp_path / "set"))
    assert code == 2
    assert lines[-1] == "Error: Give one of --list, --values and --copy."
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("found", "expected", "agrees"),
    [
        (1.0, 1.0 + 5e-7, True),
        (1.0, 1.0 + 5e-6, False),
        (1e-9, 0.0, True),
        (None, 0.0, False),
        (0.0, None, False),
        (None, None, True),
        ("missing", None, False),
    ],
)
def test_null_is_not_zero(found, expected, agrees):
    outcome = Outcome("x", found, expected)
    assert outcome.agrees is agrees
    assert str(outcome).startswith("ok " if agrees else "WRONG ")
