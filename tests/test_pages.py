"""What all pages are made of: templates, tables and drawings."""

import re
import tomllib
from fnmatch import fnmatch
from functools import partial
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from jinja2 import UndefinedError

from kinoflow.reports import data_figures, page
from kinoflow.reports.drawing import vector
from stages import leaks_page, validate_page
from stages.validate_page import Check
from tests import pages
from tests.conftest import ROOT

TEMPLATES = ROOT / "kinoflow" / "reports" / "templates"
HOSTILE = "<script>alert('x')</script> & $\\frac{1$"


@pytest.fixture
def leaks() -> str:
    found = pd.DataFrame({"verdict": ["leaks"], "video": [HOSTILE]})
    numbers = dict.fromkeys(("grouped", "random", "random_lowest", "random_highest", "chance"), 0.5)
    return leaks_page.render(found, numbers, [], 5)


def test_figures_of_many_classes_and_odd_labels_can_be_drawn() -> None:
    labels = [HOSTILE, "体操", "a\nb", *(f"class {number}" for number in range(data_figures.MANY))]
    table = pd.DataFrame({"label": labels, "motion": 1.0, "motion_low": 0.5, "motion_high": 2.0})
    table["flow"] = 3.0
    histograms = np.full((len(labels), 3, 8), 1 / 8)
    for draw in (
        partial(data_figures.balance, labels, [3] * len(labels), [1] * len(labels)),
        partial(data_figures.optical_flow, table),
        partial(data_figures.colours, labels, histograms),
        partial(data_figures.colours, labels[:5], histograms[:5]),
        partial(data_figures.durations, np.array([1.0, 1.0, 2.0, 900.0])),
        partial(data_figures.durations, np.array([2.0, 2.0])),
    ):
        drawn = vector(draw)
        assert drawn == vector(draw)
        picture = ElementTree.fromstring(drawn)  # noqa: S314 our own
        # names are outlines: nothing of them is left that a browser could take for markup
        assert not [*picture.iter("{http://www.w3.org/2000/svg}text")]
        text = drawn.decode()
        assert "<!--" not in text
        assert "script" not in text
        # the background is the page's own, and ink has a colour for each theme
        assert "fill: var(--ink)" in text
        assert re.search(r"--ink:#\w+\}@media\(prefers-color-scheme:dark\)", text)


def test_a_table_shows_numbers_and_gaps() -> None:
    template = page.environment().from_string(
        '{% from "parts.html" import table %}{{ table(columns, rows, "<all>") }}'
    )
    rows = [("A", 1234, 0.25), ("B", 1, float("nan"))]
    text = template.render(columns=["class", "videos", "motion"], rows=rows)
    assert '<td class="number">1,234</td><td class="number">0.2</td>' in text
    assert '<td class="number">–</td>' in text
    assert "<caption>&lt;all&gt;</caption>" in text
    assert '<th scope="col">class</th>' in text
    assert '<th scope="col" class="number">videos</th>' in text
    # a table without rows still names its columns
    assert '<th scope="col">videos</th>' in template.render(columns=["class", "videos"], rows=[])


def test_a_page_that_lacks_a_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'splits' is undefined"):
        page.render("leaks.html", points=1.0, total=0, leaking=0, pairs=[])


def test_every_link_of_a_page_leads_to_a_section(leaks: str) -> None:
    checks = [Check(HOSTILE, "in_set", "it is known", False, False, 3, ((HOSTILE, "7"),))]
    for text in (leaks, validate_page.render({"catalog": checks, HOSTILE: checks})):
        assert pages.faults(text) == []
        links = re.findall(r'<a href="#(\w+)">(.+?)</a>', text)
        assert len(links) >= 2
        assert links == re.findall(r'<h2 id="(\w+)">(.+?)</h2>', text)


def test_no_template_lets_markup_through() -> None:
    environment = page.environment()
    assert environment.autoescape is True
    for path in TEMPLATES.iterdir():
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe|autoescape|Markup", source), path.name
        assert source.count("<script") == (path.name == "page.html"), path.name
        environment.parse(source)


def test_a_page_has_a_form_for_light_and_for_dark(leaks: str) -> None:
    assert "color-scheme: light dark" in leaks
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w+)", block))
        for block in re.findall(r":root \{(.*?)\}", leaks, re.DOTALL)
    )
    assert light.keys() == dark.keys()
    for colours in (light, dark):
        # WCAG asks for 4.5 between text and its background
        for text in ("ink", "faint", "link"):
            assert contrast(colours[text], colours["paper"]) > 4.5, (text, colours)
    # what drawings are coloured with, on which pages they lie
    for colour in (*data_figures.RGB, data_figures.BLUE):
        assert min(contrast(colour, page["paper"]) for page in (light, dark)) > 3, colour


def test_the_page_of_the_service_has_the_colours_of_the_others() -> None:
    styles = [TEMPLATES / "page.css", ROOT / "serving" / "page" / "page.css"]
    reports, service = (
        re.findall(r":root \{.*?\}", style.read_text(encoding="utf-8"), re.DOTALL)[:2]
        for style in styles
    )
    assert reports == service


def contrast(one: str, other: str) -> float:
    """The ratio of contrast of two colours as #rrggbb or #rgb, from 1 to 21 (WCAG 2)."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
        channels = np.array([int(digits[place : place + 2], 16) for place in (0, 2, 4)]) / 255
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_an_installation_holds_the_templates() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["kinoflow.reports"]
    for path in TEMPLATES.iterdir():
        assert any(fnmatch(f"templates/{path.name}", pattern) for pattern in patterns), path
