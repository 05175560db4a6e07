"""The HTML report: one file that needs nothing else, holds every number as text, and draws what there is to draw."""

from __future__ import annotations

import html
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest

from entirespace.experiments.compare import compare
from entirespace.methods import BASE, ESMM
from entirespace.reports.cautions import warnings
from entirespace.reports.comparison import Comparison
from entirespace.reports.diagnosis import details
from entirespace.reports.findings import findings
from entirespace.reports.page import page
from entirespace.reports.report import markdown


@pytest.fixture(scope="module")
def made(dataset, quick, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    out = tmp_path_factory.mktemp("page") / "report"
    found = compare((BASE(), ESMM()), dataset, seeds=2, config=quick, out=out, jobs=1, sampling_rates=(0.3, 1.0))
    return out / "report.html", found


class Seen(HTMLParser):
    """Text, ids, and whatever would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [i for i in [found.get("id")] if i]
        links = [found.get("src"), found.get("href"), found.get("xlink:href")]
        self.fetched += [link for link in links if link and not link.startswith(("#", "data:"))]
        assert tag != "script"
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "link", "br"):
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_is_whole_and_alone(made):
    seen = Seen(made[0].read_text())
    assert seen.open == []
    assert seen.fetched == []
    assert len(seen.ids) == len(set(seen.ids)), "pictures must not share ids"


def test_what_pictures_refer_to_is_in_the_page(made):
    text = made[0].read_text()
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    assert set(re.findall(r'(?:xlink:href="|url\()#([^")]+)', text)) <= ids


def test_every_number_is_text(made):
    text, about = "".join(Seen(made[0].read_text()).words), made[1].as_dict()
    for line in about["methods"]:
        for task in ("cvr", "ctcvr"):
            auc = line["tasks"][task]["auc"]
            assert f"{100 * auc['mean']:.2f}±{100 * auc['std']:.2f}" in text
            for point in about["sampling_curve"]:
                assert f"{100 * point['auc'][line['label']][task]['mean']:.2f}" in text
    assert f"{about['dataset']['train']['impressions']:,}" in text
    assert "Audit of the raw log" in text
    assert "training.batch_size = 256" in text
    assert "--sampling-rates 30,100" in text


def test_each_picture_has_a_caption_and_its_numbers_folded_under_it(made):
    sections = made[0].read_text().split("<h2>")[1:]
    drawn = [s for s in sections if "<svg" in s]
    # Table 2, against BASE and ESMM, both curves, reliability (3), deciles (2), truth (3), histogram, learning
    assert sum(s.count("<svg") for s in drawn) == 15
    folded = re.compile(r'\s*<details><summary>.*?</summary>\s*<div class="wide".*?<table>', re.DOTALL)
    for section in drawn:
        assert 'class="caption"' in section
        assert all(folded.match(under) for under in section.split("</figure>")[1:])


def test_the_page_begins_with_findings_and_warnings_then_contents(made):
    text, comparison = made[0].read_text(), made[1]
    shown = html.unescape(text)
    for sentence in (*findings(comparison), *warnings(comparison)):
        assert f"<li>{sentence}</li>" in shown
        assert f"- {sentence}" in str(comparison)
    places = [text.index(part) for part in ('id="findings"', 'id="warnings"', "<nav", "<svg")]
    assert places == sorted(places)


def test_the_numbers_of_an_axis_are_plain(made):
    assert "mathdefault" not in made[0].read_text(), "dollar signs are no formulas, so no label may be one"


def test_contents_lead_to_every_section(made):
    text = made[0].read_text()
    linked = re.findall(r'<a href="#([^"]+)"', text)
    assert linked[0] == "table2"
    assert set(linked) <= set(Seen(text).ids)
    assert len(linked) == text.count("<h2>") - 3, "all but the findings, the warnings and the contents"
    report = made[0].with_name("report.md").read_text()
    links, titles = re.findall(r"^- \[.*\]\(#(.+)\)$", report, re.M), re.findall(r"^## (.+)$", report, re.M)
    assert titles[:3] == ["What came out", "Warnings", "Contents"]
    assert links == [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles[3:]]


def test_sections_of_one_form_stand_side_by_side(made):
    summary = made[0].read_text().split('<section id="truth">')[1].split("<h2>")[1]
    assert re.findall("<h3>(.*?)</h3>", summary) == ["Clicked impressions", "Un-clicked impressions", "All impressions"]
    assert summary.count('<div class="beside tables">') == 1
    truth = made[0].read_text().split('<section id="truth-deciles">')[1].split("<h2>")[1]
    assert re.findall("<h3>(.*?)</h3>", truth) == ["Clicked impressions", "Un-clicked impressions", "All impressions"]
    assert truth.count('<div class="beside">') == 1
    assert truth.count("<svg") == 3


def test_every_table_and_picture_scrolls_in_its_own_box(made):
    text = made[0].read_text()
    assert text.count("<table>") == len(re.findall(r'<div class="wide"[^>]*><table>', text)) > 10
    assert text.count("<svg") == len(re.findall(r'<figure class="wide"[^>]*><svg', text))


def test_a_log_that_gives_the_truth_is_not_called_simulated(made):
    for told in (made[0].read_text(), made[0].with_name("report.md").read_text(), str(made[1])):
        assert "true pCVR" in told
        assert not re.search("simulat", told.replace(made[1].dataset.path, ""), re.I)


def test_the_losses_of_the_learning_curves_are_text(made):
    checks = [check.validation_loss for check in made[1].learning["ESMM"]["1"]]
    at = checks.index(min(checks))
    assert f"{checks[0]:.5g} → {checks[at]:.5g} ({at + 1} / {len(checks)})" in made[0].read_text()


def test_a_name_is_never_markup(made):
    first, *others = made[1].methods
    named = first.model_copy(update={"label": "<x>"})
    text = page(made[1].model_copy(update={"description": "a <b>field</b> & more", "methods": [named, *others]}))
    assert "a &lt;b&gt;field&lt;/b&gt; &amp; more" in text
    assert '<td class="word">&lt;x&gt;</td>' in text
    assert "<x>" not in text


def test_a_name_is_never_markup_in_markdown_either(made):
    name = "<img src=x> | [a](javascript:b) `c`"
    first, *others = made[1].methods
    counts = made[1].dataset.model_copy(update={"path": name, "unseen": {name: 0.5}})
    changes = {"dataset": counts, "warnings": [name], "methods": [first.model_copy(update={"label": name}), *others]}
    hostile = made[1].model_copy(update=changes)
    prose = markdown(hostile, details(hostile)).partition("```")[0]
    assert prose.count("&lt;img src=x&gt;") > 5
    plain = re.sub(r"\\.", "", prose)  # without the characters that a backslash escapes
    assert "<img" not in plain
    assert "[a](" not in plain
    assert "`c`" not in plain
    row = next(line for line in plain.splitlines() if line.startswith("| &lt;img"))
    assert row.count("|") == 7, "Table 2 has six columns"


def test_the_command_to_repeat_can_be_pasted(made):
    counts = made[1].dataset.model_copy(update={"path": "my data; rm x"})
    text = html.unescape(page(made[1].model_copy(update={"dataset": counts})))
    words = shlex.split(text.split('<pre class="words">')[1].partition("</pre>")[0])
    assert words[:3] == ["entirespace", "compare", "my data; rm x"]
    assert words[words.index("--methods") + 1] == "BASE,ESMM"
