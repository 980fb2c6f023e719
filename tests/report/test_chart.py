import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from sslkit.report import chart

_ROWS = [{"step": s, "loss": 2.0 / (1 + s), "accuracy": float(s)} for s in range(20)] + [
    {"step": 19, "val_accuracy": 17.0, "loss": None},
    {"step": 20, "loss": float("nan")},
]


def _texts(svg: str) -> list[str]:
    return [e.text or "" for e in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def _charts() -> dict[str, str]:
    seeds = [{"init": i, "layer": "conv5", "value": v} for i, v in (("ours", 50.0), ("ours", 54.0), ("random", 30.0))]
    return {
        "curves": chart.curves(
            _ROWS, {"training": "accuracy", "validation": "val_accuracy"}, "accuracy, %", chance=25.0
        ),
        "confusion": chart.confusion(np.array([[3, 1], [0, 7]]), ["cat", "dog"]),
        "bars": chart.bars(seeds, by="init", within="layer", chance=10.0, paper=60.0),
    }


@pytest.mark.parametrize("kind", ["curves", "confusion", "bars"])
def test_charts_take_ink_and_font_from_the_page(kind):
    svg = _charts()[kind]
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg") and "viewBox" in root.attrib and "width" not in root.attrib
    assert "currentColor" in svg and "#010203" not in svg
    assert "font-family" not in svg and "<style" not in svg and "<metadata" not in svg
    assert not re.search(r"(?:fill|stroke): ?(?:#000000|#ffffff|black|white)", svg)


def test_ids_differ_between_charts_and_equal_charts_are_equal():
    once, again = _charts(), _charts()
    assert once == again
    ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in once.values()]
    assert not ids[0] & ids[1] and not ids[0] & ids[2] and not ids[1] & ids[2]


def test_references_inside_a_chart_lead_to_its_own_ids():
    for svg in _charts().values():
        used = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
        assert used <= set(re.findall(r'id="([^"]+)"', svg))


def test_curves_name_series_and_reference_lines_and_skip_missing_values():
    texts = _texts(_charts()["curves"])
    assert {"training", "validation", "chance 25"} <= set(texts)
    assert "missing" not in _texts(chart.curves(_ROWS, {"missing": "no_such_key"}))


def test_long_curves_stay_small():
    rows = [{"step": s, "loss": np.sin(s / 1000) + s % 7} for s in range(20_000)]
    assert len(chart.curves(rows, {"training": "loss"})) < 60_000


def test_confusion_shows_counts_of_small_tables_only():
    assert {"3", "1", "0", "7", "cat", "dog"} <= set(_texts(_charts()["confusion"]))
    large = chart.confusion(np.full((40, 40), 7777), [f"c{i}" for i in range(40)])
    assert "7777" not in _texts(large) and len(large) < 100_000
    assert {"25", "75", "true, percent"} <= set(_texts(chart.confusion([[2000, 6000], [3, 0]], ["cat", "dog"])))


def _light(colour: np.ndarray) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    share = colour / 255
    linear = np.where(share <= 0.03928, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(("ink", "card"), [("1d2126", "ffffff"), ("e6e4df", "1b1f24")])
def test_counts_read_on_the_darkest_shade(ink, card):
    """In the colours of the page, light and dark."""
    html = (Path(chart.__file__).parent / "page.html").read_text()
    assert f"--ink: #{ink}" in html and f"--card: #{card}" in html
    shade, opacity = chart.COLOURS[0].lstrip("#"), int(chart._STRONGEST, 16) / 255
    ink, card, shade = (np.array([int(text[i : i + 2], 16) for i in (0, 2, 4)]) for text in (ink, card, shade))
    high, low = sorted([_light(ink), _light(opacity * shade + (1 - opacity) * card)], reverse=True)
    assert (high + 0.05) / (low + 0.05) > 4.5


def test_bars_show_the_mean_of_each_group():
    texts = _texts(_charts()["bars"])
    assert {"52.0", "30.0", "ours", "random", "conv5", "chance 10", "paper 60"} <= set(texts)


def test_class_names_are_escaped():
    svg = chart.confusion(np.eye(2), ["<script>alert(1)</script>", "a & b"])
    assert "<script" not in svg and "a &amp; b" in svg


def test_matplotlib_settings_are_left_as_they_were():
    before = dict(matplotlib.rcParams)
    _charts()
    assert dict(matplotlib.rcParams) == before
