"""The page of a flat-map data set: a sample, whole, in one file that a browser can leaf through."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from exporters.flat.pictures import encode_png
from nsd_bench.cli.flat import view_flat_command as command
from nsd_bench.cortex.flat import FORMAT, FlatMap, load
from nsd_bench.cortex.flat_page import viewer_page
from nsd_bench.cortex.raster import PixelGrid, gaussian_raster
from nsd_bench.errors import OptionError, PackageError
from nsd_bench.outputs import write_npz

GRID = PixelGrid(1.0, -6.0, 0.0, 12, 9)


def feature(name: str | None, *boxes: tuple[float, float, float, float]) -> dict:
    """Rectangles: left, right, bottom and top in mm."""
    rings = [[[a, c], [b, c], [b, d], [a, d], [a, c]] for a, b, c, d in boxes]
    properties = {"atlas": name and "toy", "label": 1, "name": name, "hemisphere": "left", "area_mm2": 1.0}
    return {
        "properties": properties,
        "geometry": {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]},
    }


V1, SPECK, FAR = (
    feature("V1", (-5, -1, 2, 6), (1, 4, 2, 4)),
    feature("s", (-2, -1, 7, 8)),
    feature("f", (50, 60, 0, 9)),
)
FEATURES = [feature(None, (-5, 5, 1, 8)), V1, SPECK, FAR]
N = 7


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Seven records of subject 2, written by hand: no caption in the first, an odd one in the second."""
    folder = tmp_path_factory.mktemp("flat") / "toy"
    (folder / "train").mkdir(parents=True)
    rng = np.random.default_rng(0)
    points = np.array([(x + 0.5, y + 0.5) for x in range(-5, 5) for y in range(1, 8)])
    flat = FlatMap(gaussian_raster(points, GRID), np.arange(len(points)), {})
    write_npz(folder / "maps/subj02.npz", flat.arrays(1.0))
    (folder / "maps/subj02.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": FEATURES})
    )
    rows = []
    for number in range(N):
        rows.append(
            {
                "subject_id": 1,
                "trial_id": 750 + number,
                "session_id": 1,
                "nsd_id": 10 * number,
                "image": {"bytes": encode_png(rng.integers(0, 256, (8, 8, 3), np.uint8)), "path": None},
                "activity": {"bytes": encode_png(rng.integers(0, 256, GRID.shape, np.uint8)), "path": None},
                "subject": "subj02",
                "flagged": False,
                "BOLD5000": False,
                "shared1000": number == 3,
                "coco_split": "val2017",
                "coco_id": 5000 + number,
                "objects": {
                    "category": ["cup"],
                    "bbox": [[10.0, 20.0, 100.0, 50.5]],
                    "segmentation": [{"poly": None if number == 2 else [[10.0, 20, 110, 20, 10, 70.5]]}],
                },
                "captions": [] if number == 0 else [f"</script><b>caption {number}</b> "],
            }
        )
    pq.write_table(pa.Table.from_pylist(rows), folder / "train/part.parquet")
    manifest = {
        "format": FORMAT,
        "name": "toy & co",
        "n_records": {"train": N},
        "terms": "https://example.org/terms",
        "citation": "Allen et al. 2022",
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def content(page: str) -> dict:
    found = re.search(r'<script id="content" type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(found.group(1))


def decoded(uri: str) -> Image.Image:
    assert uri.startswith("data:image/png;base64,")
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_the_sample_is_drawn_at_random_and_the_same_every_time(dataset):
    page = viewer_page(dataset, n_records=4)
    assert page == viewer_page(dataset, "train", n_records=4)
    trials = [record["trial"] for record in content(page)["records"]]
    assert len(set(trials)) == 4
    assert trials == sorted(trials)
    samples = {
        tuple(r["trial"] for r in content(viewer_page(dataset, n_records=3, seed=s))["records"])
        for s in range(6)
    }
    assert len(samples) > 1
    assert "4 of 7 records" in page
    assert "toy &amp; co: train" in page


def test_a_sample_larger_than_the_split_is_all_of_it(dataset):
    records = content(viewer_page(dataset, n_records=100))["records"]
    assert [record["nsd_id"] for record in records] == [10 * number for number in range(N)]
    assert [record["session"] for record in records] == [2] * N
    assert records[3]["flags"] == ["shared1000"]
    assert records[3]["coco"] == "val2017 5003"
    assert records[0]["captions"] == []
    cup = {"category": "cup", "bbox": [10.0, 20.0, 100.0, 50.5]}
    assert records[1]["objects"] == [{**cup, "path": "M10.0 20.0L110.0 20.0L10.0 70.5Z"}]
    assert records[2]["objects"] == [{**cup, "path": ""}]  # a crowd


def test_captions_cannot_break_out_of_the_page(dataset):
    page = viewer_page(dataset, n_records=N)
    assert content(page)["records"][2]["captions"] == ["</script><b>caption 2</b>"]
    assert page.count("</script>") == 2


def test_the_page_needs_no_other_file(dataset):
    page = viewer_page(dataset, n_records=2)
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) == {
        "https://example.org/terms",
        "http://www.w3.org/2000/svg",
    }
    assert not re.search(r"<link|<script src|@import|url\(", page)


def test_activity_is_coloured_and_clear_outside_the_mask(dataset):
    from nsd_bench.cortex.flat import load

    page = content(viewer_page(dataset, n_records=N))
    mask = FlatMap.read(dataset, 2).mask
    levels = np.asarray(load(dataset, "train")[5]["activity"])
    shown = np.asarray(decoded(page["records"][5]["activity"]).convert("RGBA"))
    assert shown.shape == (9, 12, 4)
    assert np.array_equal(shown[..., 3] == 0, ~mask)
    red, blue = shown[..., 0].astype(int), shown[..., 2].astype(int)
    assert (red > blue)[mask & (levels > 150)].all()
    assert (red < blue)[mask & (levels < 100)].all()


def test_photographs_are_unchanged(dataset):
    from nsd_bench.cortex.flat import load

    page = content(viewer_page(dataset, n_records=N))
    photograph = np.asarray(load(dataset, "train")[4]["image"])
    assert np.array_equal(np.asarray(decoded(page["records"][4]["image"])), photograph)


def test_regions_are_outlined_and_named_in_their_largest_part(dataset):
    regions = content(viewer_page(dataset, n_records=1))["regions"]["subj02"]
    assert [region["name"] for region in regions] == ["V1"]  # not the speck, nor what is beside the picture
    # x from the left edge at -6, y from the upper edge at 9
    assert regions[0]["path"] == "M1.0 7.0L5.0 7.0L5.0 3.0L1.0 3.0ZM7.0 7.0L10.0 7.0L10.0 5.0L7.0 5.0Z"
    assert regions[0]["place"] == [3.0, 5.0]


def test_what_reaches_into_the_picture_from_beside_it_has_no_name(dataset, tmp_path):
    shutil.copytree(dataset, tmp_path / "plain")
    (tmp_path / "plain/maps/subj02.geojson").write_text(
        json.dumps({"features": [feature("V4", (-30, -3, 2, 6))]})
    )
    (region,) = content(viewer_page(tmp_path / "plain", n_records=1))["regions"]["subj02"]
    assert (region["name"], region["place"]) == ("V4", None)


def test_without_atlases_what_is_drawn_is_outlined(dataset, tmp_path):
    shutil.copytree(dataset, tmp_path / "plain")
    file = tmp_path / "plain/maps/subj02.geojson"
    file.write_text(json.dumps({"features": FEATURES[:1]}))
    (region,) = content(viewer_page(tmp_path / "plain", n_records=1))["regions"]["subj02"]
    assert (region["name"], region["path"]) == (None, "M1.0 8.0L11.0 8.0L11.0 1.0L1.0 1.0Z")
    file.write_text("{}")
    problem = r"subj02.geojson: not the outlines of regions \(there is no 'features' in it\)"
    with pytest.raises(PackageError, match=problem):
        viewer_page(tmp_path / "plain", n_records=1)


def test_an_empty_sample_is_refused(dataset):
    with pytest.raises(OptionError) as error:
        viewer_page(dataset, n_records=0)
    assert str(error.value) == (
        "viewer_page: n_records = 0 is not possible.\n  Expected: 1 or more.\n"
        "  What to do: give a larger number."
    )


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(PackageError, match="not the manifest of a flat-map data set"):
        viewer_page(tmp_path)


def test_the_command_writes_the_page(dataset, tmp_path):
    out = tmp_path / "flat.html"
    result = CliRunner().invoke(command, [str(dataset), "--out", str(out), "--sample", "2"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{out}: open it in a browser")
    assert out.read_text() == viewer_page(dataset, n_records=2)
    again = CliRunner().invoke(command, [str(dataset), "--out", str(out)])
    assert "exists already" in str(again.exception)


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.common.exceptions import WebDriverException

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    try:
        driver = webdriver.Chrome(options=options)
    except WebDriverException:
        pytest.skip("no browser")
    yield driver
    driver.quit()


def test_a_browser_leafs_through_it(dataset, tmp_path, browser):
    from selenium.webdriver.common.keys import Keys

    page = tmp_path / "flat.html"
    page.write_text(viewer_page(dataset, n_records=3))
    browser.get(page.as_uri())

    def text(name):
        return browser.find_element("id", name).text

    trials = [str(record["trial"]) for record in content(page.read_text())["records"]]
    assert text("count") == "1 / 3"
    assert f"trial {trials[0]}" in text("facts")
    browser.find_element("id", "next").click()
    assert text("count") == "2 / 3"
    browser.find_element("tag name", "body").send_keys(Keys.ARROW_RIGHT)
    assert f"trial {trials[2]}" in text("facts")
    browser.find_element("tag name", "body").send_keys(Keys.ARROW_RIGHT)
    assert text("count") == "1 / 3"
    browser.find_element("id", "previous").click()
    assert (text("count"), text("objects")) == ("3 / 3", "cup")
    assert len(browser.find_elements("css selector", "#boxes rect")) == 1
    assert len(browser.find_elements("css selector", "#regions text")) == 1
    browser.find_element("id", "show-regions").click()
    assert not browser.find_element("id", "regions").is_displayed()
    assert browser.get_log("browser") == []


def test_a_damaged_data_set_is_told(dataset, tmp_path):
    folder = tmp_path / "toy"
    shutil.copytree(dataset, folder)
    (file,) = folder.glob("train/*.parquet")
    file.write_bytes(b"PAR1")
    result = CliRunner().invoke(command, [str(folder), "--out", str(tmp_path / "flat.html")])
    assert isinstance(result.exception, PackageError)
    problem, expected, fix = str(result.exception).splitlines()
    assert problem.startswith(f"{file}: is missing or damaged (") and "Parquet" in problem
    assert expected == "  Expected: every file that 'nsd-bench export-flat' wrote, whole."
    assert fix == "  What to do: copy the data set again, or export it again."
    assert not (tmp_path / "flat.html").exists()
    with pytest.raises(PackageError, match="is missing or damaged"):
        load(folder, "train")
