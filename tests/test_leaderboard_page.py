"""The site in a browser: sorted by click and by keyboard, and readable on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_leaderboard import season, write

from nsd_bench.leaderboard.reading import read_entries
from nsd_bench.leaderboard.site import write_site

webdriver = pytest.importorskip("selenium.webdriver")
By = pytest.importorskip("selenium.webdriver.common.by").By
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and its driver"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions")
EVIL = "<script>document.title = 'stolen'</script>"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Write a site of five, one of them missing on final_test, one partial, one with markup on its card."""
    folder = tmp_path_factory.mktemp("leaderboard")
    tiers = ("test", "final_test")
    regimes = {"imagery": {"vision": {"n_subjects": 2, "rois": []}}}
    paths = [
        write(folder, "zebra", 0.7, tiers=tiers, card={"compute": 100, "parameters": 2e6}, regimes=regimes),
        write(folder, "ape", 0.9, tiers=tiers, card={"compute": 3, "parameters": 5}),
        write(folder, "cow", -0.1, tiers=tiers, card={"title": EVIL, "compute": 20}),
        write(folder, "bee", 0.3, tiers=("test",)),
        write(folder, "one brain", 0.95, tiers=tiers, subjects=(2,)),
    ]
    write_site(folder / "site", read_entries(paths), season=season())
    return folder / "site"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Iterator:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def page(chromium, site):
    resize(chromium, 1200)
    chromium.get((site / "index.html").as_uri())
    return chromium


def resize(browser, width: int) -> None:
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def button(page, title: str):
    return page.find_element(By.XPATH, f"(//table)[1]//th/button[normalize-space()='{title}']")


def order(page, table: int = 1) -> list[str]:
    return [one.text for one in page.find_elements(By.XPATH, f"(//table)[{table}]/tbody/tr/th/a")]


def sorted_by(page, title: str) -> str:
    return button(page, title).find_element(By.XPATH, "..").get_attribute("aria-sort")


def test_ranks_come_first_and_the_missing_last(page):
    assert order(page) == ["ape", "zebra", EVIL, "one brain", "bee"]
    assert sorted_by(page, "Rank") == "ascending"
    assert page.title == "nsd_bench leaderboard"  # what stands on a card does not run


def test_a_click_sorts_and_another_turns_it_round(page):
    button(page, "final_test").click()
    assert order(page) == ["ape", "zebra", EVIL, "bee", "one brain"]  # partial ones never lead
    assert (sorted_by(page, "final_test"), sorted_by(page, "Rank")) == ("descending", "none")
    button(page, "final_test").click()
    assert order(page) == [EVIL, "zebra", "ape", "bee", "one brain"]  # missing and partial ones stay last
    button(page, "Submission").click()
    assert order(page) == [EVIL, "ape", "bee", "zebra", "one brain"]
    button(page, "GPU-hours").click()
    assert order(page)[:3] == ["zebra", EVIL, "ape"]


def test_the_keyboard_sorts(page):
    button(page, "Parameters").send_keys(Keys.ENTER)
    assert order(page)[:2] == ["zebra", "ape"]
    active = page.switch_to.active_element
    assert active.text.startswith("Parameters")
    active.send_keys(Keys.SPACE)
    assert order(page)[:2] == ["ape", "zebra"]


def test_the_keyboard_reaches_everything_in_order(page):
    reached = []
    body = page.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.TAB)
    for _ in range(14):
        active = page.switch_to.active_element
        reached.append(active.text.split("\n")[0] or active.tag_name)
        active.send_keys(Keys.TAB)
    assert reached[0] == "Skip to the content"
    names = ["Submission", "Rank", "final_test", "test", "vision", "Context", "GPU-hours", "Parameters"]
    assert [name for name in reached if name in names] == names
    assert "ape" in reached


def test_what_has_the_focus_is_seen(page):
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    active = page.switch_to.active_element
    assert active.value_of_css_property("outline-style") == "solid"
    assert active.rect["x"] >= 0


def test_tables_of_regions_sort_for_themselves(page):
    page.find_element(By.XPATH, "//summary[starts-with(., 'visual')]").click()
    page.find_element(By.XPATH, "(//table)[3]//button[normalize-space()='V1']").click()
    assert order(page, 3) == ["ape", "zebra", EVIL, "bee", "one brain"]
    assert order(page) == ["ape", "zebra", EVIL, "one brain", "bee"]


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_no_page_scrolls_sideways(chromium, site, width):
    resize(chromium, width)
    for path in sorted(site.rglob("*.html")):
        chromium.get(path.as_uri())
        for summary in chromium.find_elements(By.XPATH, "//details[not(@open)]/summary"):
            summary.click()
        assert chromium.execute_script("return document.documentElement.scrollWidth") <= width, path.name


def test_tables_scroll_on_a_phone_and_names_stay(page):
    resize(page, 390)
    box = page.find_element(By.CSS_SELECTOR, ".scroll")
    name = box.find_element(By.CSS_SELECTOR, "tbody th")
    before = name.rect["x"]
    page.execute_script("arguments[0].scrollLeft = 300", box)
    assert page.execute_script("return arguments[0].scrollLeft", box) > 100
    assert name.rect["x"] == pytest.approx(before, abs=1)
    size = page.execute_script("return parseFloat(getComputedStyle(arguments[0]).fontSize)", name)
    assert size >= 12


def test_every_submission_has_a_page(page):
    for name in order(page):
        page.find_element(By.LINK_TEXT, name).click()
        assert page.find_element(By.TAG_NAME, "h1").text == name
        page.find_element(By.LINK_TEXT, "nsd_bench leaderboard").click()
        assert page.find_element(By.TAG_NAME, "h1").text == "nsd_bench leaderboard"


def luminance(colour: str) -> float:
    channels = [float(one) / 255 for one in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_either_scheme(page, scheme):
    """Contrast of at least 4.5, WCAG 2.1 success criterion 1.4.3."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    paper = luminance(page.find_element(By.TAG_NAME, "main").value_of_css_property("background-color"))
    assert (paper > 0.5) == (scheme == "light")
    for selector in ("h1", "thead th", "tbody a", "td", ".soft", ".range", ".missing", ".letters", "summary"):
        text = luminance(page.find_element(By.CSS_SELECTOR, selector).value_of_css_property("color"))
        low, high = sorted((paper, text))
        assert (high + 0.05) / (low + 0.05) >= 4.5, selector


def test_nothing_goes_wrong_in_the_console(page):
    button(page, "test").click()
    assert [one for one in page.get_log("browser") if one["level"] == "SEVERE"] == []
