"""The HTML report: one file that needs nothing else, holds every number as text, and draws what there is to draw."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from entirespace.experiments.compare import compare
from entirespace.methods import BASE, ESMM
from entirespace.reports.comparison import Comparison
from entirespace.reports.page import page


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


def test_each_picture_has_a_caption(made):
    sections = made[0].read_text().split("<section ")[1:]
    drawn = [s for s in sections if "<svg" in s]
    # Table 2, against BASE and ESMM, both curves, reliability (3), deciles (2), truth (3), histogram, learning
    assert len(drawn) == 15
    assert all('class="caption"' in s for s in drawn)


def test_a_name_is_never_markup(made):
    first, *others = made[1].methods
    named = first.model_copy(update={"label": "<x>"})
    text = page(made[1].model_copy(update={"description": "a <b>field</b> & more", "methods": [named, *others]}))
    assert "a &lt;b&gt;field&lt;/b&gt; &amp; more" in text
    assert '<td class="word">&lt;x&gt;</td>' in text
    assert "<x>" not in text
