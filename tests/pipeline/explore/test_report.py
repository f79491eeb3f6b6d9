"""The page: everything in one file, safe whatever files are called, and alive in a browser."""

import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from dfghdr_cli.pipeline.explore.explorer import load_explorer
from dfghdr_cli.pipeline.explore.grid import Photograph, explore_grid, explore_walk
from dfghdr_cli.pipeline.explore.metrics import MetricsConfig, measure_disentanglement
from dfghdr_cli.pipeline.explore.report import encode_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
EVIL = '<img src=x onerror="alert(1)">.png'


@pytest.fixture
def page(install, hdr, tmp_path):
    """The page of three photographs, one of them with an evil name."""
    explorer = load_explorer(install(), "cpu")
    rng = np.random.default_rng(0)
    inputs = [
        Photograph(name, (level * rng.random((40, 64, 3))).astype(np.float32), stops)
        for name, level, stops in (("dark.png", 0.3, -2.0), (EVIL, 0.6, 0.0), ("c.png", 1.0, 2.0))
    ]
    path = tmp_path / "report.html"
    small = MetricsConfig(side=64, views=1, stops=(-1.0, 0.0, 1.0))
    content = encode_report(
        explorer,
        grid=explore_grid(explorer, inputs),
        walk=explore_walk(explorer, inputs, 3),
        metrics=measure_disentanglement(explorer, hdr, config=small),
    )
    path.write_bytes(content)
    return path


class Reader(HTMLParser):
    """Every tag with its attributes, and where it would load something from."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.sources += [attributes[key] for key in ("src", "href") if attributes.get(key)]


def test_the_page_is_whole_in_itself_and_escapes_names(page):
    text = page.read_text(encoding="utf-8")
    found = Reader(text)
    assert found.sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in found.sources)
    assert not re.search(r"https?://|@import|url\(", text)
    assert not any("onerror" in attributes for _, attributes in found.tags)
    cells = [attributes for tag, attributes in found.tags if tag == "button"]
    assert {(cell["data-row"], cell["data-column"]) for cell in cells} == {
        (str(i), str(j)) for i in range(3) for j in range(3)
    }
    assert sum(tag == "circle" for tag, _ in found.tags) == 12
    assert text.count("PSNR") > 3


@pytest.fixture
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program)
        yield running
        running.close()


def test_the_page_lives_in_a_browser(page, browser):
    tab = browser.new_page(viewport={"width": 1200, "height": 900})
    complaints, requests = [], []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: complaints.append(dialog.message))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page.as_uri())

    def shown():
        return [
            tab.get_attribute(f"#pair [data-shows={name}]", "src")
            for name in ("both", "where", "bright")
        ]

    def picture(selector):
        return tab.get_attribute(f"{selector} img", "src")

    def expected(row, column):
        return [
            picture(f'button[data-row="{row}"][data-column="{column}"]'),
            picture(f'th[data-row="{row}"]'),
            picture(f'th[data-column="{column}"]'),
        ]

    assert len({*expected(1, 2), *expected(0, 0)}) == 5  # two heads show the same photograph
    assert shown() == expected(0, 0)
    tab.hover('button[data-row="1"][data-column="2"]')
    assert shown() == expected(1, 2)
    assert tab.inner_text("#pair [data-says=where]") == f"what is where: 0 EV, {EVIL}"
    assert tab.inner_text("#pair [data-says=bright]") == "how bright: +2 EV, c.png"
    assert tab.locator("#grid .lit").count() == 3
    tab.focus('button[data-row="1"][data-column="2"]')
    tab.keyboard.press("ArrowDown")
    assert shown() == expected(2, 2)
    assert "PSNR" in tab.inner_text("#pair [data-says=both]")
    tab.keyboard.press("ArrowRight")  # the edge: stays
    assert shown() == expected(2, 2)

    assert tab.locator(".walk img:visible").count() == 1
    assert tab.inner_text(".walk output") == "0.00: -2 EV"
    tab.focus(".walk input")
    tab.keyboard.press("ArrowRight")
    assert tab.inner_text(".walk output") == "0.50: 0 EV"
    assert tab.locator(".walk img:visible").get_attribute("alt") == "0.50: 0 EV"

    widths = tab.eval_on_selector_all(
        "img:not([hidden])", "images => images.map(i => i.naturalWidth)"
    )
    assert min(widths) > 0  # every picture can be decoded
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert complaints == []
    assert all(url.startswith(("file:", "data:")) for url in requests)
