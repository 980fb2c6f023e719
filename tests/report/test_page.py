import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from sslkit.errors import WorkError
from sslkit.report import chart, page
from sslkit.types import Panel, Published

_VOID = {"meta", "img", "br", "link", "input"}


class _Checked(HTMLParser):
    """Checks that tags nest, and keeps what was seen."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def _parsed(html: str) -> _Checked:
    parser = _Checked()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    parser.text = " ".join(parser.text.split())
    return parser


def _noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def _page() -> page.Page:
    return page.Page(
        title="rotation on toys",
        lead="What came out.",
        headline=[
            page.Figure("pretext_accuracy", 71.25, chance=25.0, paper=Published(84.1, "table 3"), spread=0.8),
            page.Figure("error", 0.0125, unit="s", chance=0.5),
        ],
        notes=["one seed only"],
        panels=[
            Panel("What was asked", [_noise(40, 40), _noise(200, 300)], ["0 or 90?", "180"], [True, False], "Look.")
        ],
        charts=[
            page.Chart(
                "Loss", chart.curves([{"step": 0, "loss": 1.0}, {"step": 1, "loss": 0.5}], {"training": "loss"})
            ),
            page.Chart("A picture", _noise(120, 160)),
        ],
        tables=[page.Table("Rows", [{"init": "ours", "value": 71.25}, {"init": "random", "seed": None}])],
        recipe_yaml="task: rotation\ntrain:\n  lr: 0.01\n",
        facts={"device": "cpu", "plan": {"lr": 0.0123456, "milestones": (10, 20)}},
        command="sslkit pretrain --task rotation",
    )


def test_a_page_says_everything_and_loads_nothing():
    html = page.render(_page())
    parsed = _parsed(html)
    for text in (
        "rotation on toys", "71.2 %", "± 0.8", "Chance 25.0 %", "84.1", "table 3", "one seed only",
        "not the paper\u2019s data", "0 or 90?", "lr: 0.01", "0.0123456", "10, 20",
        "sslkit pretrain --task rotation", "0.0125",
    ):  # fmt: skip
        assert text in parsed.text.replace("\u202f", " "), text
    assert not [tag for tag, _ in parsed.seen if tag in ("script", "link", "iframe")]
    assert all(str(a.get("src", "data:")).startswith("data:") for _, a in parsed.seen)
    assert not re.search(r"url\((?!#)|@import", html)


def test_every_picture_has_a_description_and_a_size():
    images = [a for tag, a in _parsed(page.render(_page())).seen if tag == "img"]
    assert len(images) == 3
    assert all(a["alt"] and a["width"] and a["height"] for a in images)
    assert "What was asked, 1 of 2: 0 or 90?" in str(images[0]["alt"])


def test_small_pictures_are_kept_exactly_and_large_ones_as_jpeg():
    sources = [str(a["src"])[:15] for tag, a in _parsed(page.render(_page())).seen if tag == "img"]
    assert sources == ["data:image/png;", "data:image/jpeg", "data:image/jpeg"]


def test_right_and_wrong_are_told_in_words_too():
    assert "right: 0 or 90?" in _parsed(page.render(_page())).text.replace("✓", "").replace("  ", " ")
    assert "wrong: 180" in _parsed(page.render(_page())).text


def test_texts_are_escaped():
    evil = '<script>alert("x")</script>'
    told = page.Page(
        title=evil, lead=evil, notes=[evil], recipe_yaml=evil, command=evil, facts={evil: evil, "group": {evil: evil}},
        headline=[page.Figure(evil, 1.0, unit=evil, paper=Published(2.0, evil, evil), note=evil)],
        panels=[Panel(evil, [_noise(9, 9)], [evil], note=evil)], tables=[page.Table(evil, [{evil: evil}], evil)],
        charts=[page.Chart(evil, _noise(9, 9), evil)],
    )  # fmt: skip
    parsed = _parsed(page.render(told))
    assert "script" not in {tag for tag, _ in parsed.seen}
    assert all(name in _KNOWN_ATTRIBUTES for _, attributes in parsed.seen for name in attributes)


_KNOWN_ATTRIBUTES = {
    "lang", "charset", "name", "content", "class", "style", "href", "id", "src", "alt", "width", "height", "role",
    "title", "aria-label", "aria-hidden", "tabindex", "scope",
}  # fmt: skip


def test_an_empty_page_is_still_a_page():
    parsed = _parsed(page.render(page.Page(title="nothing yet")))
    assert "nothing yet" in parsed.text
    parsed = _parsed(page.render(page.Page("x", panels=[Panel("none", [])], tables=[page.Table("none", [])])))
    assert "No pictures." in parsed.text and "No rows." in parsed.text


def test_many_pictures_are_scaled_down_below_the_limit(monkeypatch):
    monkeypatch.setattr(page, "MOST_BYTES", 600_000)
    crowded = page.Page("many", panels=[Panel("noise", [_noise(240, 320, seed) for seed in range(40)])])
    html = page.render(crowded)
    assert 150_000 < len(html.encode()) < 600_000
    assert html.count("data:image/jpeg") == 40


@pytest.mark.parametrize(
    ("figure", "places"),
    [
        (page.Figure("a", 75.0, chance=50.0), (75.0, 50.0, None)),
        (page.Figure("a", 2.0, unit="s", chance=10.0), (18.18, 90.91, None)),
        (page.Figure("a", 0.5, unit="", low=-1.0, high=1.0, paper=Published(3.0, "x")), (75.0, None, 100.0)),
        (page.Figure("a", float("nan"), paper=Published(20.0, "x")), (0.0, None, 20.0)),
        (page.Figure("a", 0.0, unit="s"), (0.0, None, None)),
    ],
)
def test_places_on_the_scale(figure, places):
    scaled = page._scaled(figure)
    assert (scaled.value_at, scaled.chance_at, scaled.paper_at) == places


def test_writing_replaces_the_page_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "report.html"
    page.write(target, page.Page("first"))
    page.write(target, page.Page("second"))
    assert "second" in target.read_text(encoding="utf-8")
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_failed_write_leaves_the_old_page(tmp_path, monkeypatch):
    target = tmp_path / "report.html"
    page.write(target, page.Page("first"))

    def broken(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(WorkError, match="disk full"):
        page.write(target, page.Page("second"))
    assert "first" in target.read_text(encoding="utf-8")
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_folder_that_is_missing_is_told_in_one_sentence(tmp_path):
    with pytest.raises(WorkError, match="cannot be written"):
        page.write(tmp_path / "nowhere" / "report.html", page.Page("x"))


def test_a_folded_table_says_how_many_rows_it_has():
    rows = [{"init": "ours", "value": 1.0}] * 3
    parsed = _parsed(page.render(page.Page("x", tables=[page.Table("All", rows, folded=True)])))
    assert [tag for tag, _ in parsed.seen if tag in ("details", "summary", "table")] == ["details", "summary", "table"]
    assert "3 rows" in parsed.text


def test_the_first_of_each_row_is_marked():
    panel = Panel("near", [_noise(9, 9)] * 6, right=[None, True, False, None, None, None], columns=3, leads=True)
    kinds = [a.get("class") for tag, a in _parsed(page.render(page.Page("x", panels=[panel]))).seen if tag == "figure"]
    assert kinds == ["lead", "right", "wrong", "lead", None, None]
