"""Reports: one page that needs nothing else, says what was scored, and draws it where it belongs."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import packages as tiny
import pytest
from click.testing import CliRunner
from PIL import Image

from nsd_bench.cli import cli
from nsd_bench.cortex.placing import NOWHERE, Placement
from nsd_bench.errors import NsdBenchError, PackageError
from nsd_bench.figures import ceiling_figure, example_figure, roi_figure
from nsd_bench.outputs import write_npz
from nsd_bench.package import spec
from nsd_bench.package.read import Package
from nsd_bench.package.submission import Submission
from nsd_bench.package.truth import Truth, load_truth
from nsd_bench.reports import Evidence, example_images, report_page
from nsd_bench.scoring.records import read_record
from nsd_bench.scoring.scores import Anchors, RegionScores, Scores
from nsd_bench.scoring.values import Score

N_IMAGES, K = 14, 2
TEXT = re.compile(r"<text[^>]*>([^<]*)</text>")


def show_more_images(folder: Path) -> None:
    """Give a tiny package, in its test tier, 14 images that were seen twice each, permuted."""
    rng = np.random.default_rng(4)
    tiers = np.array(["train"] * 6 + ["validation"] * 2 + ["test"] * (N_IMAGES * K))
    image = np.r_[tiny.IMAGE_OF_TRIAL[:8], 30 + rng.permutation(np.repeat(np.arange(N_IMAGES), K))]
    grey = {number: np.full((1, 4, 6), 5 * number, np.uint8) for number in np.unique(image)}
    for row, number in enumerate(image):
        (folder / spec.data_file("images", row)).unlink(missing_ok=True)  # files of one image are linked
        np.save(folder / spec.data_file("images", row), grey[number])
        response = np.float32([1, 2, 0.5, 3, 1]) * (number + np.arange(5)) ** 2 % 17 + rng.normal(0, 1, 5)
        np.save(folder / spec.data_file("responses", row), response.astype(np.float32))
        np.save(folder / spec.data_file("behavior", row), rng.normal(size=2).astype(np.float32))
    columns = {
        "tiers": tiers,
        "trial_idx": np.arange(len(tiers)) * 10,
        "frame_image_id": image,
        "frame_image_class": np.full(len(tiers), "none"),
        "nsd_id": image,
        "session": np.ones(len(tiers), np.int64),
    }
    for name, values in columns.items():
        np.save(folder / spec.trials_file(name), values)


@pytest.fixture
def package(tmp_path) -> Package:
    folder = tiny.make_package(tmp_path / "packages")
    (folder.parent / f"{folder.name}.zip").unlink()
    show_more_images(folder)
    return Package(folder)


@pytest.fixture
def evidence(package) -> Evidence:
    """The truth's image means, with noise, in an order of their own."""
    truth = load_truth(package.path)
    rng = np.random.default_rng(8)
    values = truth.standardised()
    means = np.stack([values[truth.frame_image_id == i].mean(axis=0) for i in truth.frame_image_id])
    trials, units = rng.permutation(len(truth.trial_idx)), rng.permutation(len(truth.unit_ids))
    predictions = (means + rng.normal(0, 0.3, means.shape))[trials][:, units].astype(np.float32)
    card = {"package": package.name, "manifest_sha256": package.manifest_sha256, "model": "<b>mine</b>"}
    return Evidence(
        package, Submission(truth.trial_idx[trials], truth.unit_ids[units], predictions, card), truth
    )


@pytest.fixture
def folder(tmp_path, evidence) -> Path:
    """Score it by the command; returns the folder of scores.json."""
    evidence.submission.write(tmp_path / "submissions" / f"{evidence.package.name}.submission.npz")
    arguments = ["submissions", "packages", "--out", "scores.json", "--tier", "test", "--draws", "50"]
    run(tmp_path, "score", *arguments)
    return tmp_path


def run(folder: Path, command: str, *arguments: str) -> str:
    """Run a command; words that are files or folders in `folder` stand for them."""
    at = [str(folder / word) if "." in word or (folder / word).exists() else word for word in arguments]
    result = CliRunner().invoke(cli, [command, *at])
    if result.exception:
        raise result.exception
    return result.output


def report(folder: Path, *more: str) -> str:
    arguments = ["scores.json", "--package", "packages", "--submission", "submissions", "--truth", "packages"]
    run(folder, "report", *arguments, "--out", "report.html", *more)
    return (folder / "report.html").read_text()


def scored(folder: Path) -> tuple[dict, dict]:
    return json.loads((folder / "scores.json").read_text()), dict(np.load(folder / "scores.units.npz"))


# -- the page -------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Checks that every element is closed, and collects links and text."""

    EMPTY = ("meta", "img", "br", "path", "use", "rect", "image")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data", "action")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_page_is_whole_and_asks_for_nothing(folder):
    page = Page(report(folder))
    assert page.open == []
    assert page.links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert "@import" not in report(folder, "--force")
    assert "url(http" not in report(folder, "--force")


def test_same_arguments_same_bytes(folder):
    first = report(folder)
    assert report(folder, "--force") == first


def test_halves_of_characters_in_what_an_entrant_says_are_shown_escaped(folder):
    scores, _ = scored(folder)
    scores["subjects"][0]["card"]["title"] = "half \ud800"
    scores["subjects"][0]["warnings"].append("half \udfff")
    (folder / "scores.json").write_text(json.dumps(scores))
    page = report(folder)
    assert "half \\ud800" in page and "half \\udfff" in page


def test_numbers_are_those_of_the_scores(folder):
    scores, _ = scored(folder)
    row = scores["subjects"][0]["tiers"]["test"]["rois"][0]
    text = " ".join(" ".join(Page(report(folder)).words).split())
    low, high = (f"{end:.2f}" for end in row["scores"]["signed_ratio"]["interval"])
    assert f"{row['scores']['signed_ratio']['corrected']:.2f}" in text
    assert f"[{low}, {high}]" in text
    assert f"{row['anchors']['oracle']['corrected']:.2f}" in text
    assert "for these subjects, over new images like these (delete-one-image jackknife, t quantile)" in text
    assert "Values are corrected for few images (fewer than 100): test." in text
    assert "28 trials of 14 images, 5 units" in text


def test_the_ladder_of_difficulty_is_told_by_an_audit(folder):
    package = next((folder / "packages").iterdir())
    CliRunner().invoke(cli, ["tiers", "audit", str(package), "--out", str(folder / "audit.json")])
    assert "By distance to the nearest training image" not in report(folder)
    arguments = ["submissions", "packages", "--out", "scores.json", "--draws", "50", "--force"]
    run(folder, "score", *arguments, "--audit", "audit.json")
    text = " ".join(" ".join(Page(report(folder, "--force")).words).split())
    ladder = scored(folder)[0]["subjects"][0]["tiers"]["test"]["rois"][0]["difficulty"]
    assert "By distance to the nearest training image (colours of 16 x 16 pixels), all units: near" in text
    for level in ("near", "mid", "far"):
        assert ladder[level]["reason"].startswith("too few images: ")
        assert f"{level} {ladder[level]['value']:.2f} ".replace("-", "\u2212") in text
    assert ladder["slope"]["reason"] == "all images are equally far"


def test_flat_maps_are_drawn_where_a_surface_is_given(folder, package):
    pytest.importorskip("nilearn")
    units = np.full((20_484, 1), NOWHERE)
    units[:5, 0] = package.units["unit_ids"]
    (folder / "placements").mkdir()
    write_npz(
        folder / "placements" / f"{package.name}.placement.npz", Placement(units, (4, 5, 6), "toy").arrays()
    )
    assert "flattened cortex" not in report(folder)
    page = report(folder, "--force", "--placements", "placements")
    assert page == report(folder, "--force", "--surface", "fsaverage5", "--placements", "placements")
    assert page.count('<img class="flatmap" src="data:image/png;base64,') == 1
    assert Page(page).open == []


def test_provenance_is_told_and_cards_are_no_markup(folder, package, evidence):
    page = report(folder)
    assert "&lt;b&gt;mine&lt;/b&gt;" in page
    assert "<b>mine</b>" not in page
    assert package.manifest_sha256 in page
    assert scored(folder)[0]["subjects"][0]["submission_sha256"] in page
    assert "train 6 trials of 5 images; validation 2 trials of 1 images; test 28 trials" in page
    assert "Nature Neuroscience 25" in page


def test_photographs_can_be_left_out(folder):
    with_images, without = report(folder), report(folder, "--force", "--no-images")
    assert with_images.count("data:image/png") == 6
    assert "Its terms forbid passing them on" in with_images
    assert "data:image" not in without
    assert "Its terms forbid passing them on" not in without
    assert without.count('class="example bare"') == 6


def test_two_subjects_share_an_axis_and_are_pooled(folder, evidence):
    scores, units = scored(folder)
    other = json.loads(json.dumps(scores["subjects"][0])) | {"subject": 7, "package": "other"}
    for row in other["tiers"]["test"]["rois"]:
        row["anchors"]["oracle"]["interval"] = [0.4, 3.9]
    scores["subjects"].append(other)
    units |= {name.replace("subj02", "subj07"): values for name, values in units.items()}
    page = report_page(
        read_record(Scores, scores), units, {evidence.package.name: evidence, "other": evidence}
    )
    assert "Subject 7: other" in page
    assert "Mean of subjects, test" in page
    figures = [svg for svg in page.split("<svg")[1:] if "Score by region" in svg]
    assert len(figures) == 2
    ticks = [[text for text in TEXT.findall(svg) if re.fullmatch(r"[\d.]+", text)] for svg in figures]
    assert ticks[0] == ticks[1]
    assert float(ticks[0][-1]) >= 3


def test_without_ceiling_there_are_dashes_with_reasons_and_no_region_figure(folder, evidence):
    scores, units = scored(folder)
    nothing = {"value": None, "interval": None, "reason": "no unit has a ceiling"}
    for row in scores["subjects"][0]["tiers"]["test"]["rois"]:
        row["scores"] = dict.fromkeys(row["scores"], nothing)
        row["anchors"] = dict.fromkeys(row["anchors"], nothing)
        row["noise_ceiling"] = None
    scores["pooled"] = {}
    units["subj02/test/noise_ceiling"] = np.full(5, np.nan, np.float32)
    page = report_page(read_record(Scores, scores), units, {evidence.package.name: evidence})
    assert 'title="no unit has a ceiling">\u2013</td>' in page
    assert "Score by region" not in page
    assert Page(page).open == []


def test_cards_may_be_empty(folder, evidence):
    scores, units = scored(folder)
    scores["subjects"][0]["card"] = {}
    page = report_page(read_record(Scores, scores), units, {evidence.package.name: evidence})
    assert "<h1>submission</h1>" in page


def test_unknown_tier(folder, evidence):
    scores, units = scored(folder)
    with pytest.raises(PackageError) as caught:
        report_page(read_record(Scores, scores), units, {evidence.package.name: evidence}, tier="final_test")
    assert str(caught.value) == (
        "scores: nothing was scored on tier 'final_test'.\n"
        "  Expected: one of 'test'.\n"
        "  What to do: choose one of these, or score again."
    )


# -- examples -------------------------------------------------------------------------------------

REGIONS = [("visual", "V1"), ("visual", "V2")]


def by_hand(evidence: Evidence) -> dict[int, float]:
    """Correlate over units, image by image, with loops."""
    truth, given = evidence.truth, evidence.submission
    rows = np.flatnonzero(truth.tier == "test")
    images = np.unique(truth.frame_image_id[rows])
    y, p = {}, {}
    for image in images:
        own = [row for row in rows if truth.frame_image_id[row] == image]
        y[image] = truth.standardised()[own].mean(axis=0)
        at = [list(given.trial_idx).index(truth.trial_idx[row]) for row in own]
        columns = [list(given.unit_ids).index(unit) for unit in truth.unit_ids]
        p[image] = given.predictions[at].mean(axis=0)[columns]
    my, mp = np.mean(list(y.values()), axis=0), np.mean(list(p.values()), axis=0)
    out = {}
    for image in images:
        a, b = y[image] - my, p[image] - mp
        out[int(image)] = float(a @ b / np.sqrt(a @ a * (b @ b)))
    return out


def test_examples_are_the_best_the_middle_and_the_worst(evidence):
    examples = example_images(evidence, "test", REGIONS)
    ranked = sorted(by_hand(evidence).values(), reverse=True)
    assert [example["kind"] for example in examples] == ["best", "best", "median", "median", "worst", "worst"]
    expected = [*ranked[:2], *ranked[6:8], *ranked[-2:]]
    np.testing.assert_allclose([example["r"] for example in examples], expected, rtol=1e-4)


def test_the_picture_is_that_of_the_image(evidence):
    """Image n is grey 5 n, so the picture says which image it is."""
    r = by_hand(evidence)
    for example in example_images(evidence, "test", REGIONS):
        data = base64.b64decode(example["picture"].removeprefix("data:image/png;base64,"))
        picture = np.asarray(Image.open(io.BytesIO(data)))
        assert picture.min() == picture.max()
        assert r[int(picture[0, 0]) // 5] == pytest.approx(example["r"], rel=1e-4)


def test_order_of_a_submission_does_not_matter(evidence):
    given = evidence.submission
    reversed_ = Submission(
        given.trial_idx[::-1], given.unit_ids[::-1], given.predictions[::-1, ::-1], given.card
    )
    again = example_images(replace(evidence, submission=reversed_), "test", REGIONS)
    assert again == example_images(evidence, "test", REGIONS)


def test_examples_leave_arrays_alone(evidence):
    before = evidence.submission.predictions.tobytes(), evidence.truth.responses.tobytes()
    example_images(evidence, "test", REGIONS)
    assert (evidence.submission.predictions.tobytes(), evidence.truth.responses.tobytes()) == before


def test_too_few_images_give_no_examples(evidence):
    assert example_images(evidence, "validation", REGIONS) == []
    assert example_images(evidence, "test", []) == []


# -- figures --------------------------------------------------------------------------------------


def region(atlas: str, roi: str, value: float, interval: tuple[float, float] | None) -> RegionScores:
    anchors = Anchors(Score(0.0, (-0.1, 0.1)), Score(0.0), Score(1.0, (0.9, 1.1)))
    return RegionScores(
        atlas=atlas, roi=roi, scores={"signed_ratio": Score(value, interval)}, anchors=anchors
    )


def test_regions_are_named_from_top_to_bottom_under_their_atlas():
    rows = [region("all", "all", 0.5, [0.4, 0.6]), region("a", "V1", 0.7, [0.6, 0.8])]
    rows += [region("a", "V2", 0.6, None), region("b", "FFA", 0.2, [0.1, 0.3])]
    found = re.findall(
        r'<text style="[^"]*" x="[\d.]+" y="([\d.]+)"[^>]*>([^<]*)<', roi_figure(rows, (-1, 2))
    )
    heights = {name: float(y) for y, name in found}
    order = ["all units", "a", "V1", "V2", "b", "FFA"]
    assert sorted((name for name in heights if name in order), key=heights.__getitem__) == order


def test_figures_know_only_what_they_are_given():
    rows = [region("all", "all", 0.5, [0.4, 0.6])]
    assert roi_figure(rows, (-1, 2)) == roi_figure(rows, (-1, 2))
    assert roi_figure(rows, (-1, 2)) != roi_figure(rows, (-1, 3))


@pytest.mark.parametrize("n_units", [5, 2100])
def test_ceiling_figure_of_few_and_many_units(n_units):
    rng = np.random.default_rng(0)
    ceiling = rng.uniform(0, 1, n_units).astype(np.float32)
    r = (0.8 * np.sqrt(ceiling)).astype(np.float32)
    ceiling[0] = np.nan
    svg = ceiling_figure(r, ceiling)
    assert svg.startswith('<svg role="img" aria-label="Correlation of every unit')
    assert "highest possible r: √noise ceiling" in TEXT.findall(svg)
    # Points are drawn one by one as long as there are few; the first unit has no ceiling.
    points = len(re.findall(r'<use [^>]*style="fill: #0072b2', svg))
    assert points == (4 if n_units == 5 else 0)
    assert len(svg) < 1_000_000


def test_example_figure_names_its_regions():
    svg = example_figure(["V1", "FFA"], np.array([0.5, -0.2]), np.array([0.4, 0.0]), bound=1.5)
    assert {"V1", "FFA", "response (sd)"} <= set(TEXT.findall(svg))
    assert "<dc:date>" not in svg


# -- the command, given what is wrong -------------------------------------------------------------


def refused(folder: Path, *more: str) -> str:
    with pytest.raises(NsdBenchError) as caught:
        report(folder, *more)
    assert not (folder / "report.html").exists()
    return f"{type(caught.value).__name__}: {caught.value}"


def test_an_existing_page_is_kept(folder):
    (folder / "report.html").write_text("mine")
    with pytest.raises(OSError, match="exists already; nothing was written"):
        report(folder)
    assert (folder / "report.html").read_text() == "mine"


@pytest.mark.parametrize("name", ["scores.json", "scores.units.npz"])
@pytest.mark.parametrize("how", ["missing", "cut off", "empty"])
def test_broken_score_files(folder, name, how):
    path = folder / name
    whole = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes(whole[: len(whole) // 2] if how == "cut off" else b"")
    text = refused(folder)
    assert text.startswith(f"SubmissionError: {path}: not a score file (")
    if name == "scores.json":
        expected = "JSON of format 'nsd_bench.scores/2', as 'nsd-bench score' wrote it"
        fix = "check the path, or run that again"
    else:
        expected = "scores.json with scores.units.npz beside it, as 'nsd-bench score' wrote them"
        fix = "check the path, or score again"
    assert text.endswith(f"\n  Expected: {expected}.\n  What to do: {fix}.")


def test_scores_of_another_format(folder):
    (folder / "scores.json").write_text('{"format": "nsd_bench.scores/1"}')
    assert "not a score file (its format is 'nsd_bench.scores/1')" in refused(folder)
    (folder / "scores.json").write_text('{"format": "nsd_bench.scores/2"}')
    assert "not a score file ('scorer' is missing)" in refused(folder)


def test_another_submission_than_was_scored(folder, evidence):
    path = folder / "submissions" / f"{evidence.package.name}.submission.npz"
    given = evidence.submission
    replace(given, predictions=given.predictions * 2).write(path)
    wanted = scored(folder)[0]["subjects"][0]["submission_sha256"][:12]
    text = refused(folder)
    assert re.fullmatch(
        re.escape(f"SubmissionError: {path}: is not what was scored: its submission_sha256 is ")
        + "[0-9a-f]{12}"
        + re.escape(
            f".\n  Expected: {wanted}, as the score file says."
            "\n  What to do: give the files that were scored, or score again."
        ),
        text,
    )


def test_another_export_of_the_package(folder, package):
    path = package.path / spec.MANIFEST
    path.write_text(path.read_text().replace('"Tiny"', '"Other"'))
    assert "is not what was scored: its manifest_sha256 is" in refused(folder)


def test_a_package_that_was_scored_is_not_there(folder, package):
    package.path.rename(package.path.parent / "hidden")
    tiny.make_package(package.path.parent, name="other")
    (package.path.parent / "hidden").rename(folder / "hidden")
    assert refused(folder) == (
        "SubmissionError: --package: nothing for 'tiny-subj02', which was scored."
        "\n  Expected: 'tiny-subj02' beside 'other'."
        "\n  What to do: give a folder that has it with --package, or score again without it."
    )


def test_truth_files_serve_as_truth(folder, evidence):
    Truth.write(evidence.truth, folder / "truths" / f"{evidence.package.name}.truth.npz")
    arguments = ["scores.json", "--package", "packages", "--submission", "submissions", "--truth", "truths"]
    run(folder, "report", *arguments, "--out", "other.html")
    assert (folder / "other.html").read_text() == report(folder)
