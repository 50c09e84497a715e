"""The page with the cortex to turn around: its content, and what a browser shows of it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from packages import UNIT_IDS, make_package
from PIL import Image

from exporters.cortex.placing import transform_placement
from nsd_bench.cli.flatmap import view_command as command
from nsd_bench.cortex.cortex_page import Atlas, BrainMap, ViewSurface, package_page, view_page
from nsd_bench.cortex.figure import Scale
from nsd_bench.cortex.geometry import join_hemispheres
from nsd_bench.cortex.maps import package_map
from nsd_bench.cortex.placing import Placement
from nsd_bench.cortex.surfaces import read_cortex, read_inflated, read_mesh, read_scalars, write_mesh
from nsd_bench.errors import OptionError, PackageError, SourceError
from nsd_bench.outputs import write_npz
from nsd_bench.package.read import Package

SIDE = np.array([[0.0, 0, 0], [30, 0, 0], [30, 40, 0], [0, 40, 0], [10, 10, 0]])
FLAT_TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]])
WHOLE_TRIANGLES = np.array([[0, 1, 2], [0, 2, 3], [2, 1, 4]])
N = 10


def toy_surface() -> ViewSurface:
    """Two squares of two triangles, and on each side a vertex that is cut out of the map."""
    flat = join_hemispheres((SIDE, FLAT_TRIANGLES), (SIDE, FLAT_TRIANGLES))
    inflated = np.random.default_rng(0).normal(scale=50, size=(N, 3))
    triangles = np.concatenate([WHOLE_TRIANGLES, WHOLE_TRIANGLES + 5])
    return ViewSurface(flat, inflated, triangles, np.linspace(-1, 1, N))


def toy_map(name: str = "r") -> BrainMap:
    return BrainMap(name, np.where(np.arange(N) == 3, np.nan, np.arange(N) / 10), "r of image means")


def content(page: str) -> dict:
    found = re.search(r'<script id="content" type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(found.group(1))


def decoded(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


# What is on the page


def test_the_page_holds_the_surface_and_its_maps():
    surface = toy_surface()
    atlas = Atlas("toy", np.repeat([1, 2], 5), {2: "V2"})
    units = np.arange(N)[::-1]
    page = view_page(surface, [toy_map()], atlases=[atlas], units=units, title="A & B")
    assert page == view_page(surface, [toy_map()], atlases=[atlas], units=units, title="A & B")
    assert page.count("A &amp; B") == 2
    found = content(page)
    assert found["n_left"] == 5
    np.testing.assert_array_equal(decoded(found["units"], "<i4"), units)
    np.testing.assert_array_equal(decoded(found["curvature"], "i1"), np.sign(surface.curvature))
    (shown,) = found["maps"]
    assert (shown["name"], shown["label"], shown["low"]) == ("r", "r of image means", 0)
    np.testing.assert_array_equal(decoded(shown["values"], "<f4"), toy_map().values.astype(np.float32))
    assert decoded(shown["palette"], "u1").size == 256 * 3
    assert found["atlases"][0]["names"] == {"2": "V2"}
    np.testing.assert_array_equal(decoded(found["atlases"][0]["labels"], "<i2"), atlas.labels)


def test_positions_lose_less_than_a_hundredth_of_a_millimetre_and_cut_vertices_lie_in_the_middle():
    surface = toy_surface()
    found = content(view_page(surface, [toy_map()]))
    places = decoded(found["inflated"]["data"], "<i2").reshape(N, 3) * found["inflated"]["step"]
    np.testing.assert_allclose(places, surface.inflated, atol=0.01)
    flat = decoded(found["flat"]["data"], "<i2").reshape(N, 2) * found["flat"]["step"]
    assert not flat[[4, 9]].any()
    np.testing.assert_allclose(flat[:4], surface.flat.points[:4] - (0, 20), atol=0.01)


def test_triangles_of_the_flat_map_come_first_the_left_ones_before_the_right_ones():
    found = content(view_page(toy_surface(), [toy_map()]))
    assert found["n_triangles"] == [2, 2, 1, 1]
    triangles = decoded(found["triangles"], "<u2").reshape(-1, 3)
    expected = [*FLAT_TRIANGLES.tolist(), *(FLAT_TRIANGLES + 5).tolist(), [2, 1, 4], [7, 6, 9]]
    assert triangles.tolist() == expected


def test_a_scale_that_is_given_is_kept():
    shown = BrainMap("d", np.linspace(-1, 1, N), scale=Scale("RdBu_r", -0.5, 2.0))
    (found,) = content(view_page(toy_surface(), [shown]))["maps"]
    assert (found["low"], found["high"], found["label"]) == (-0.5, 2.0, "d")
    (found,) = content(view_page(toy_surface(), [BrainMap("d", np.linspace(-1, 1, N))]))["maps"]
    assert found["low"] == -found["high"] < 0


def test_the_page_needs_no_other_file_and_names_cannot_break_out_of_it():
    page = view_page(toy_surface(), [toy_map("</script><b>")], title="<i>")
    assert not re.findall(r"(?:https?:|src=|href=|@import|url\()", page)
    assert page.count("</script>") == 2
    assert "<title>&lt;i&gt;</title>" in page
    assert content(page)["maps"][0]["name"] == "</script><b>"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"maps": []}, "there is no map"),
        ({"maps": [toy_map(), toy_map()]}, "two maps have the same name"),
        ({"maps": [BrainMap("r", np.zeros(7))]}, "map 'r' has shape (7,)"),
        ({"units": np.arange(3)}, "units has shape (3,)"),
        ({"atlases": [Atlas("toy", np.zeros(2, dtype=int), {})]}, "atlas 'toy' has shape (2,)"),
    ],
)
def test_what_does_not_fit_the_surface_is_refused(options, problem):
    with pytest.raises(OptionError) as error:
        view_page(toy_surface(), **{"maps": [toy_map()], **options})
    assert error.value.problem == problem
    assert str(error.value).startswith("view_page: ")


# Surfaces


def test_the_inflated_hemispheres_do_not_touch():
    pytest.importorskip("nilearn")
    flat = read_cortex("fsaverage5").flat
    inflated = read_inflated("fsaverage5", flat)
    assert inflated.points.shape == (20484, 3)
    assert inflated.triangles.shape == (40960, 3)
    assert inflated.points[10242:, 0].min() - inflated.points[:10242, 0].max() == pytest.approx(4)
    np.testing.assert_allclose(inflated.points.min(axis=0), -inflated.points.max(axis=0))


def test_the_inflated_surface_of_a_pycortex_subject_is_read(tmp_path):
    (tmp_path / "surfaces").mkdir()
    for side in ("lh", "rh"):
        write_mesh(tmp_path / f"surfaces/inflated_{side}.gii", SIDE, WHOLE_TRIANGLES)
        write_mesh(tmp_path / f"surfaces/flat_{side}.gii", SIDE, FLAT_TRIANGLES)
    flat = toy_surface().flat
    assert read_inflated(tmp_path, flat).points[:, 0].tolist() == [-32, -2, -2, -32, -22, 2, 32, 32, 2, 12]
    write_mesh(tmp_path / "surfaces/inflated_rh.gii", SIDE[:4], FLAT_TRIANGLES)
    with pytest.raises(SourceError, match="inflated surface of 4 vertices for a flat map of 5"):
        read_inflated(tmp_path, flat)
    with pytest.raises(SourceError, match="two flat files have no inflated surface"):
        read_inflated("lh.gii,rh.gii", flat)


def test_files_that_are_no_surfaces_are_refused(tmp_path):
    path = tmp_path / "lh.gii"
    path.write_text("not xml")
    with pytest.raises(SourceError, match="cannot be read as a surface"):
        read_mesh(path)
    write_mesh(path, SIDE, WHOLE_TRIANGLES + 9)
    with pytest.raises(SourceError, match="triangles name vertices up to 13 of 5"):
        read_mesh(path)
    write_mesh(path, SIDE[:, :2], WHOLE_TRIANGLES)
    with pytest.raises(SourceError, match=r"coordinates \(5, 2\)"):
        read_mesh(path)
    with pytest.raises(SourceError, match="holds no single array"):
        read_scalars(path)


# Packages


def toy_placement(is_approximate: bool = False) -> Placement:
    units = np.array([[3], [8], [-1], [10], [40], [77], [3], [8], [40], [77]])
    return Placement(units, (80, 1), "toy", is_approximate=is_approximate)


def test_units_of_a_package_are_put_on_their_vertices(tmp_path):
    package = Package(make_package(tmp_path))
    shown = package_map(package, "ncsnr")
    page = package_page(toy_surface(), toy_placement(), package, [shown])
    found = content(page)
    assert decoded(found["units"], "<i4").tolist() == [3, 8, -1, -1, 40, 77, 3, 8, 40, 77]
    by_unit = dict(zip(UNIT_IDS.tolist(), shown.values.tolist(), strict=True))
    expected = [by_unit.get(unit, np.nan) for unit in toy_placement().units[:, 0].tolist()]
    np.testing.assert_allclose(decoded(found["maps"][0]["values"], "<f4"), expected)
    assert [atlas["name"] for atlas in found["atlases"]] == sorted(package.roi_names)
    assert f"<h1>{package.name}</h1>" in page
    approximate = package_page(toy_surface(), toy_placement(True), package, [shown], title="T")
    assert "<h1>T, approximate places</h1>" in approximate
    labels = package_map(package, f"roi:{next(iter(package.roi_names))}")
    with pytest.raises(OptionError, match="holds labels"):
        package_page(toy_surface(), toy_placement(), package, [labels])


def test_the_command_writes_the_page(tmp_path):
    pytest.importorskip("nilearn")
    package = make_package(tmp_path)
    units = np.full((20484, 1), -1)
    units[:5, 0] = UNIT_IDS
    placement = Placement(units, (80, 1), "toy")
    write_npz(tmp_path / "tiny-subj02.placement.npz", placement.arrays())
    out = tmp_path / "view.html"
    arguments = [str(package), "--out", str(out), "--placements", str(tmp_path)]
    result = CliRunner().invoke(command, [*arguments, "--map", "ncsnr", "--map", "mean"])
    assert result.exit_code == 0, result.output
    assert result.output == f"{out}: open it in a browser with WebGL 2; it needs no network\n"
    found = content(out.read_text())
    assert [shown["name"] for shown in found["maps"]] == ["ncsnr (NSD)", "mean of training responses"]
    assert decoded(found["units"], "<i4")[:6].tolist() == [*UNIT_IDS.tolist(), -1]
    assert "exists already" in str(CliRunner().invoke(command, arguments).exception)


def test_a_transform_of_a_pycortex_subject_places_voxels(tmp_path):
    import nibabel as nib

    from exporters.cortex.transforms import save_transform
    from nsd_bench.cortex.store import PycortexSubject

    subject = PycortexSubject(tmp_path, "toy")
    (subject.path / "surfaces").mkdir(parents=True)
    for side in ("lh", "rh"):
        write_mesh(subject.surface("flat", side), SIDE, FLAT_TRIANGLES)
        for kind in ("wm", "pia", "inflated"):
            write_mesh(subject.surface(kind, side), SIDE / 10, WHOLE_TRIANGLES)
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 4), np.int16), np.eye(4)), tmp_path / "grid.nii")
    save_transform(subject, "full", np.eye(4), tmp_path / "grid.nii")
    package = Package(make_package(tmp_path / "packages"))
    surface = toy_surface()
    placement = transform_placement(subject, "full")
    assert placement.units[:5, 2].tolist() == [0, 60, 76, 16, 24]
    with pytest.raises(PackageError, match="another grid"):  # the package was exported from another one
        package_page(surface, placement, package, [package_map(package, "ncsnr")])
    arguments = [str(package.path), "--surface", str(subject.path), "--transform", "full"]
    result = CliRunner().invoke(command, [*arguments, "--out", str(tmp_path / "view.html")])
    assert isinstance(result.exception, PackageError)
    assert not (tmp_path / "view.html").exists()


# In a browser


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.common.exceptions import WebDriverException

    program = shutil.which("chromedriver")
    if program is None:
        pytest.skip("no browser")

    options = webdriver.ChromeOptions()
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1100,760"),
        *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # WebGL without a graphics card
    ):
        options.add_argument(argument)
    try:
        driver = webdriver.Chrome(options, webdriver.ChromeService(program))
    except WebDriverException:
        pytest.skip("no browser")
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def shown(browser, tmp_path_factory):
    """A page on fsaverage5: the back of the left hemisphere is 1, that of the right one 0.5, the front 0."""
    pytest.importorskip("nilearn")
    cortex = read_cortex("fsaverage5")
    inflated = read_inflated("fsaverage5", cortex.flat)
    left = np.arange(20484) < 10242
    back = cortex.middle_mm[:, 1] < -40
    maps = [
        BrainMap("planted", np.where(back, np.where(left, 1.0, 0.5), 0.0), "r", Scale("gray", 0.0, 1.0)),
        BrainMap("sides", np.where(left, -1.0, 1.0), "difference", Scale("RdBu_r", -1.0, 1.0)),
        BrainMap("height", np.sign(cortex.middle_mm[:, 2] - 10), "up"),
    ]
    surface = ViewSurface(cortex.flat, inflated.points, inflated.triangles, cortex.curvature)
    atlas = Atlas("toy", back.astype(int), {1: "back"})
    page = tmp_path_factory.mktemp("view") / "view.html"
    page.write_text(view_page(surface, maps, atlases=[atlas], units=np.arange(20484) * 2, title="T"))
    return page


def visit(browser, page, view: str) -> None:
    browser.get("about:blank")
    browser.get(f"{page.as_uri()}#{view}")
    assert browser.get_log("browser") == []


def wait_for_two_frames(browser) -> None:
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")


def screen(browser) -> np.ndarray:
    """Return the canvas as it is on the screen, shape (height, width, 3)."""
    wait_for_two_frames(browser)
    png = base64.b64decode(browser.find_element("id", "canvas").screenshot_as_base64)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def point(browser, across: float, up: float) -> str:
    """Point at a place, as fractions of half the canvas from its middle; return what is read there."""
    from selenium.webdriver import ActionChains

    canvas = browser.find_element("id", "canvas")
    x, y = across * canvas.size["width"] / 2, -up * canvas.size["height"] / 2
    ActionChains(browser, duration=0).move_to_element_with_offset(canvas, round(x), round(y)).perform()
    wait_for_two_frames(browser)
    return browser.find_element("id", "readout").text


def change(browser, name: str, value: str) -> None:
    script = (
        "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change'));"
    )
    browser.execute_script(script, name, value)


def test_the_pointer_reads_hemisphere_unit_region_and_value(browser, shown):
    visit(browser, shown, "flat")
    left = point(browser, -0.2, -0.1)
    assert re.fullmatch(r"hemisphere left vertex \d+ unit \d+ region back r 1\.00", left)
    vertex, unit = (int(number) for number in re.findall(r"\d+", left)[:2])
    assert unit == 2 * vertex
    right = point(browser, 0.2, -0.1)
    assert re.fullmatch(r"hemisphere right vertex \d+ unit \d+ region back r 0\.500", right)
    vertex, unit = (int(number) for number in re.findall(r"\d+", right)[:2])
    assert unit == 2 * (vertex + 10242)
    assert point(browser, -0.85, 0.0).endswith("region none r 0.00")  # the front lies outside on the left
    assert point(browser, 0.98, 0.98) == "Nothing under the pointer."
    change(browser, "map", "1")
    assert point(browser, 0.2, -0.1).endswith("difference 1.00")


def test_patterns_come_out_where_they_belong(browser, shown):
    """From behind, left is left; from the left, the front is on the left; on the map, the back is inside."""
    visit(browser, shown, "back")
    picture = screen(browser)
    height, width, _ = picture.shape
    assert picture[height // 2, int(width * 0.4)].min() > 1.5 * picture[height // 2, int(width * 0.6)].max()
    assert point(browser, -0.3, 0).startswith("hemisphere left")
    browser.find_element("id", "view-left").click()
    assert point(browser, 0.6, 0).endswith("region back r 1.00")
    assert point(browser, -0.6, 0).endswith("region none r 0.00")
    browser.find_element("id", "view-right").click()
    assert point(browser, -0.6, 0).startswith("hemisphere right")
    assert point(browser, -0.6, 0).endswith("region back r 0.500")


def test_top_and_bottom_are_not_swapped_and_the_front_is_up_from_above(browser, shown):
    visit(browser, shown, "top")
    assert point(browser, -0.2, 0.7).endswith("region none r 0.00")
    assert point(browser, -0.2, -0.7).endswith("region back r 1.00")
    change(browser, "map", "2")
    assert point(browser, -0.2, 0).endswith("up 1.00")
    browser.find_element("id", "view-below").click()
    assert point(browser, -0.2, 0).endswith("up -1.00")
    assert point(browser, -0.2, 0).startswith("hemisphere left")


def test_the_threshold_shows_the_folds_instead(browser, shown):
    visit(browser, shown, "flat")
    change(browser, "atlas", "-1")
    change(browser, "threshold", "0.7")
    text = browser.find_element("id", "hidden-below").text
    assert text == "values below 0.700 are hidden"
    picture = screen(browser)
    height, width, _ = picture.shape
    row = int(height * 0.55)
    assert picture[row, int(width * 0.4)].tolist() == [255] * 3
    assert all(94 <= level <= 160 for level in picture[row, int(width * 0.6)])  # grey: 0.375 or 0.625
    change(browser, "map", "1")
    assert browser.find_element("id", "hidden-below").text == "absolute values below 0.700 are hidden"
    red, _, blue = screen(browser)[row, int(width * 0.6)]
    assert red > blue


def test_dragging_turns_and_the_slider_unfolds(browser, shown):
    from selenium.webdriver import ActionChains

    visit(browser, shown, "back")
    before, canvas = screen(browser), browser.find_element("id", "canvas")
    ActionChains(browser, duration=0).move_to_element(canvas).click_and_hold().move_by_offset(
        90, 20
    ).release().perform()
    turned = screen(browser)
    assert (before != turned).any(axis=2).mean() > 0.05
    change(browser, "shape", "1")
    unfolded = screen(browser)
    assert (turned != unfolded).any(axis=2).mean() > 0.05
    change(browser, "shown", "left")
    half = screen(browser)[:, unfolded.shape[1] // 2 + 20 :]
    ground = half[0, 0]
    assert (half == ground).all(axis=2).mean() > 0.95
    canvas.send_keys("\ue014")  # the right arrow
    assert browser.get_log("browser") == []


def test_half_way_between_both_shapes_the_pointer_still_reads(browser, shown):
    visit(browser, shown, "back")
    change(browser, "shape", "0.5")
    assert point(browser, -0.3, 0).startswith("hemisphere left")
    assert point(browser, 0.3, 0).startswith("hemisphere right")
