"""The whole way through the real commands: one planted number, from a beta file to a score."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import stats

from exporters.simulate import read_answer
from nsd_bench.package.read import Package
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth

RECIPE = """
title = "Journey"
name = "way"
kind = "track1"
subjects = [1]
[responses]
format = "nii.gz"
[units]
labels = ["prf-visualrois"]
[images]
height = 24
width = 32
colour = "grey"
"""
BETAS = "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"


def nsd_bench(*arguments: object) -> str:
    command = [sys.executable, "-c", "from nsd_bench.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def way(nsd_root, tmp_path_factory) -> Path:
    """Export, train, submit, score and report by the commands of the README."""
    folder = tmp_path_factory.mktemp("way")
    (folder / "recipe.toml").write_text(RECIPE)
    packages, models, submissions = folder / "packages", folder / "models", folder / "submissions"
    nsd_bench("export", folder / "recipe.toml", "--nsd-root", nsd_root, "--out", packages, "--quiet")
    assert nsd_bench("validate", packages / "way-subj01", packages / "way-subj01.zip").count(": ok") == 2
    assert "way-subj01: Journey" in nsd_bench("info", packages / "way-subj01.zip")
    nsd_bench("train", packages, "--out", models)
    nsd_bench("submit", models, "--package", packages, "--out", submissions)
    nsd_bench("score", submissions, packages, "--out", folder / "scores.json", "--draws", 200)
    nsd_bench(
        *("report", folder / "scores.json", "--package", packages, "--submission", submissions),
        *("--truth", packages, "--out", folder / "report.html"),
    )
    return folder


def test_one_number_from_beta_file_to_score(nsd_root, way):
    """Follow one voxel of one withheld trial, and redo by hand what the commands did with it."""
    truth = Truth.read(way / "packages/way-subj01.truth.npz")
    package = Package(way / "packages/way-subj01")
    row, unit = 5, 7
    # Which trial it is, nobody can say from the package; here we look for its beta in NSD's files.
    voxel = np.unravel_index(truth.unit_ids[unit], package_grid(nsd_root))
    betas = np.concatenate(
        [
            nib.load(nsd_root / BETAS / f"betas_session{s:02}.nii.gz").dataobj[(*voxel, slice(None))]
            for s in (1, 2)
        ]
    )
    found = np.flatnonzero(np.isclose(betas / 300, truth.responses[row, unit], atol=1e-6))
    assert found.size
    # Its image's other repeats are in the truth, too, and give the mean that is scored.
    tier = truth.tier[row]
    rows = np.flatnonzero(truth.tier == tier)
    images = np.unique(truth.frame_image_id[rows])
    std = package.statistic("responses", "std")[unit]
    y = np.array([truth.responses[rows][truth.frame_image_id[rows] == i, unit].mean() for i in images]) / std
    submission = Submission.read(way / "submissions/way-subj01.submission.npz")
    place = {trial: number for number, trial in enumerate(submission.trial_idx.tolist())}
    order = [place[trial] for trial in truth.trial_idx[rows].tolist()]
    predicted = submission.predictions[order, unit]
    p = np.array([predicted[truth.frame_image_id[rows] == i].mean() for i in images])
    units = np.load(way / "scores.units.npz")
    assert units[f"subj01/{tier}/r"][unit] == pytest.approx(stats.pearsonr(y, p)[0], abs=1e-5)
    assert units[f"subj01/{tier}/unit_ids"][unit] == truth.unit_ids[unit]


def package_grid(nsd_root: Path) -> tuple[int, ...]:
    return nib.load(nsd_root / "nsddata/ppdata/subj01/func1pt8mm/brainmask.nii.gz").shape


def test_the_baseline_beats_chance_and_the_oracle_reaches_one(way):
    scores = json.loads((way / "scores.json").read_text())
    (subject,) = scores["subjects"]
    for found in subject["tiers"].values():
        early = [row for row in found["rois"] if row["roi"] in ("V1", "V2", "V3")]
        assert len(early) == 3
        for row in early:
            assert row["scores"]["signed_ratio"]["interval"][0] > row["anchors"]["null"]["interval"][1]
        oracle = found["rois"][0]["anchors"]["oracle"]
        assert oracle["value"] == pytest.approx(1, abs=0.1)
        assert oracle["interval"] is None and oracle["reason"].endswith("and 150 are needed")


def test_the_ceiling_is_that_of_the_answer(nsd_root, way):
    units = np.load(way / "scores.units.npz")
    answer = read_answer(nsd_root, 1)
    place = np.searchsorted(answer.unit_ids, units["subj01/test/unit_ids"])
    true = answer.ncsnr[place] ** 2 / (answer.ncsnr[place] ** 2 + 1 / 3)
    assert np.corrcoef(units["subj01/test/noise_ceiling"], true)[0, 1] > 0.9


def test_the_report_is_one_page_that_needs_nothing_else(way):
    page = (way / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "way-subj01" in page
    assert page.count("<svg") >= 2
    assert 'src="http' not in page
    assert 'href="http' not in page
