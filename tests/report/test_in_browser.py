"""The page in a real Chromium: nothing to complain of, every film plays, readable narrow and wide, light and dark."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from vsr.report import write_report

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here (Debian: chromium-driver)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
WIDTHS, SCHEMES = (390, 1280), ("light", "dark")
# A film plays where its clock moves on. Chromium plays those in sight, and on a busy machine may need a second look.
PLAYS = """
const [film, done] = [arguments[0], arguments[1]];
const begun = Date.now();
let first = null, looks = 0;
(function look() {
  if (looks++ % 300 === 0) {
    window.scrollTo({top: 0, behavior: "instant"});
    film.scrollIntoView({block: "center", behavior: "instant"});
  }
  if (film.error) return done("error " + film.error.code + " " + film.error.message);
  if (film.readyState >= 3 && !film.paused) {
    if (first === null) first = film.currentTime;
    else if (film.currentTime !== first && film.videoWidth > 0) return done("plays");
  }
  if (Date.now() - begun > 120000) return done("stands: readyState " + film.readyState + ", paused " + film.paused);
  setTimeout(look, 30);
})();
"""
# Letters against what lies behind them (WCAG 2.1), of elements that have letters of their own and are shown.
CONTRAST = """
const parts = text => text.match(/[\\d.]+/g).map(Number);
const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const behind = element => {
  for (let e = element; e; e = e.parentElement) {
    const found = parts(getComputedStyle(e).backgroundColor);
    if (found.length < 4 || found[3] > 0) return found;
  }
  return [255, 255, 255];
};
const worst = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || !element.getClientRects().length) continue;
  const style = getComputedStyle(element);
  const [a, b] = [light(parts(element instanceof SVGElement ? style.fill : style.color)), light(behind(element))];
  worst.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.tagName + "." + element.className]);
}
return worst.sort((a, b) => a[0] - b[0]).slice(0, 3);
"""


@pytest.fixture(scope="module")
def page(real_runs, tmp_path_factory) -> Path:
    """With the gallery of all 34 datasets."""
    return write_report(real_runs, tmp_path_factory.mktemp("gallery"), gallery=True)


@pytest.fixture(scope="module")
def browser(page, tmp_path_factory) -> Iterator[object]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    driver.set_script_timeout(150)
    yield driver
    driver.quit()


def show(browser, page: Path, width: int, **features: str) -> None:
    """Load the page as a screen of that width would."""
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.get(page.as_uri())


def test_every_film_plays_and_nothing_is_complained_of(browser, page):
    show(browser, page, 1280)
    films = browser.find_elements("tag name", "video")
    assert len(films) == 36 + 1 + 2  # of two mixtures both parts; the runs' own dataset; two reconstructions
    said = [(film.get_attribute("aria-label"), browser.execute_async_script(PLAYS, film)) for film in films]
    assert [film for film in said if film[1] != "plays"] == []
    assert browser.get_log("browser") == []
    assert page.stat().st_size < 10e6


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_readable(browser, page, width, scheme):
    show(browser, page, width, prefers_color_scheme=scheme)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return innerWidth") == width
    root = browser.find_element("tag name", "html")
    assert root.get_property("scrollWidth") == root.get_property("clientWidth")
    outside = (
        "return [...document.querySelectorAll('body *')].filter(e => e.getClientRects().length && !e.closest('.scroll, "
        ".visually-hidden') && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 99))"
    )
    assert browser.execute_script(outside) == []
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    bright = sum(map(int, re.findall(r"\d+", paper)[:3])) / 3
    assert bright > 230 if scheme == "light" else bright < 40
    assert browser.execute_script(CONTRAST)[0][0] >= 4.5
    sizes = "return [...document.querySelectorAll('body *')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    assert min(browser.execute_script(sizes)) >= 11


def test_motion_stops_where_it_is_not_wanted(browser, page):
    shown = "return [...document.querySelectorAll(arguments[0])].filter(e => e.getClientRects().length).length"
    show(browser, page, 1280)
    films = browser.execute_script(shown, ".film video")
    assert browser.execute_script(shown, ".film img") == 0
    browser.find_element("id", "still").click()
    assert (browser.execute_script(shown, ".film video"), browser.execute_script(shown, ".film img")) == (0, films)
    show(browser, page, 1280, prefers_reduced_motion="reduce")
    assert (browser.execute_script(shown, ".film video"), browser.execute_script(shown, ".film img")) == (0, films)


def test_stand_ins_for_images_are_named(page):
    written = page.read_text(encoding="utf-8")
    entries = dict(re.findall(r'<article class="dataset" id="([^"]*)">(.*?)</article>', written, re.DOTALL))
    assert len(entries) == 34 + 1  # the runs' own
    for name, entry in entries.items():
        assert ("Stand-in: high-frequency StyleGAN textures in the place of images" in entry) == ("images" in name), (
            name
        )
