"""Charts as SVG text that takes its ink and font from the page around it, so that it reads on light and dark alike.

Every function returns one `<svg>` element, to be put into a page as it stands. Figures are built without pyplot: there
is no current figure, and nothing to close.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

Row = Mapping[str, Any]

# Mid-tones, at least 3:1 against both white and near-black.
COLOURS = ("#3f85c6", "#d07a2c", "#3c9a6b", "#9a70c0", "#c9566b", "#2f9aa3", "#97862f", "#808890")
_INK = "#010203"  # stands for the text colour of the page; replaced in the SVG
# So narrow that a page on a phone does not scale it down: text has one size, at least 12 px, wherever it is read.
_WIDTH_IN, _TEXT_PX = 4.4, 12
_MOST_POINTS = 400
_COUNT_PT = 24  # what three digits take
_STRONGEST = "8c"  # opacity of the darkest shade, on which text still reads
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": _TEXT_PX,
    "axes.labelsize": _TEXT_PX,
    "xtick.labelsize": _TEXT_PX,
    "ytick.labelsize": _TEXT_PX,
    "legend.fontsize": _TEXT_PX,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": _INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def curves(
    rows: Sequence[Row],
    series: Mapping[str, str],
    y_label: str = "",
    x_key: str = "step",
    chance: float | None = None,
    paper: float | None = None,
) -> str:
    """Lines over training: rows of metrics.jsonl, one line for each of `series` (its name in the legend -> row key).

    Rows without a key are passed over, so rows of training and validation may be mixed. Long series are drawn as the
    means of equal runs of points over their faint full spread. chance, paper: dashed and dotted lines to compare with.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(_WIDTH_IN, 3.0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        for place, (name, key) in enumerate(series.items()):
            points = [(float(r[x_key]), float(r[key])) for r in rows if _number(r.get(key)) and _number(r.get(x_key))]
            if points:
                _line(axes, np.array(points), COLOURS[place % len(COLOURS)], name)
        _reference_lines(axes, chance, paper, vertical=False)
        axes.set_xlabel(x_key)
        axes.set_ylabel(y_label)
        axes.grid(axis="y")
        _legend(figure, axes)
        return _svg(figure, f"curves {y_label} {list(series)}")


def confusion(counts: Any, classes: Sequence[str]) -> str:
    """What was taken for what: counts (C, C) with the truth in rows; shades are shares of a row.

    A few classes have their counts printed too, or the percentages of their rows where counts have many digits.
    """
    table = np.asarray(counts, dtype=np.float64)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    printed = table if table.max(initial=0) < 1000 else (100 * share).round()
    names = [_short(name, 14) for name in classes]
    # In points. A letter is about 0.6 of the size of the text wide; the label of an axis takes two lines.
    name_pt, line_pt = 0.6 * _TEXT_PX * max(map(len, names), default=1), 1.2 * _TEXT_PX
    cells_pt = min(72 * _WIDTH_IN - name_pt - 2 * line_pt, len(table) * max(34.0, name_pt + 6))
    every = max(1, math.ceil(len(table) * line_pt / cells_pt))
    ticks = np.arange(0, len(table), every)
    upright = len(ticks) * name_pt > cells_pt
    with matplotlib.rc_context(_STYLE):
        width_pt, height_pt = name_pt + cells_pt, (name_pt if upright else line_pt) + cells_pt
        figure, axes = _axes((width_pt + 2 * line_pt) / 72, (height_pt + 2 * line_pt) / 72)
        tint = LinearSegmentedColormap.from_list("tint", [COLOURS[0] + "0d", COLOURS[0] + _STRONGEST])
        axes.pcolormesh(share, cmap=tint, vmin=0, vmax=1, rasterized=len(table) > 30)
        shows_counts = len(table) * _COUNT_PT <= cells_pt
        if shows_counts:
            for (row, column), count in np.ndenumerate(printed):
                axes.text(column + 0.5, row + 0.5, f"{count:g}", ha="center", va="center")
        axes.set_xticks(ticks + 0.5, [names[i] for i in ticks], rotation=90 if upright else 0)
        axes.set_yticks(ticks + 0.5, [names[i] for i in ticks])
        axes.tick_params(length=0)
        unit = ", percent" if shows_counts and printed is not table else ""
        axes.set(xlabel="answered", ylabel=f"true{unit}", aspect="equal")
        axes.invert_yaxis()
        axes.spines[:].set_visible(False)
        return _svg(figure, f"confusion {table.tolist()}")


def bars(
    rows: Sequence[Row],
    by: str = "init",
    within: str | None = None,
    value: str = "value",
    x_label: str = "",
    chance: float | None = None,
    paper: float | None = None,
) -> str:
    """Mean of each group of rows as a bar, its spread (standard deviation over seeds) as a whisker, each row as a dot.

    Groups are the values of `by`, one colour each; with `within` (say "layer") they stand together under each of its
    values. Order is that of the rows.
    """
    used = [row for row in rows if _number(row.get(value))]
    outer = list(dict.fromkeys(str(row[within]) for row in used)) if within else [""]
    inner = list(dict.fromkeys(str(row[by]) for row in used))
    with matplotlib.rc_context(_STYLE):
        places = len(outer) * (len(inner) + (0.6 if within else 0))
        figure, axes = _axes(_WIDTH_IN, 1.1 + 0.34 * places)
        ticks: dict[float, str] = {}
        for o, outer_name in enumerate(outer):
            start = o * (len(inner) + 0.8)
            for i, inner_name in enumerate(inner):
                same = [
                    float(r[value])
                    for r in used
                    if str(r[by]) == inner_name and (not within or str(r[within]) == outer_name)
                ]
                if same:
                    _bar(
                        axes,
                        start + i,
                        np.array(same),
                        COLOURS[i % len(COLOURS)],
                        inner_name if within and o == 0 else "",
                    )
                if not within:
                    ticks[start + i] = _short(inner_name)
            if within:
                ticks[start + (len(inner) - 1) / 2] = _short(outer_name)
        axes.set_yticks(list(ticks), list(ticks.values()))
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel(x_label)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        _reference_lines(axes, chance, paper, vertical=True)
        _legend(figure, axes)
        return _svg(figure, f"bars {by} {within} {value} {len(used)} {x_label}")


def _axes(width_in: float, height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _line(axes: Axes, points: NDArray[np.float64], colour: str, name: str) -> None:
    if len(points) > _MOST_POINTS:
        runs = np.array_split(points, _MOST_POINTS // 4)
        x = np.array([run[:, 0].mean() for run in runs])
        low, middle, high = (np.array([f(run[:, 1]) for run in runs]) for f in (np.min, np.mean, np.max))
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, middle, color=colour, linewidth=1.8, label=name)
    else:
        dotted = "o" if len(points) <= 30 else None
        axes.plot(points[:, 0], points[:, 1], color=colour, linewidth=1.8, marker=dotted, markersize=3.5, label=name)


def _bar(axes: Axes, place: float, values: NDArray[np.float64], colour: str, name: str) -> None:
    mean = float(values.mean())
    axes.barh(place, mean, height=0.72, color=colour, alpha=0.5, label=name)
    if len(values) > 1:
        axes.errorbar(mean, place, xerr=float(values.std(ddof=1)), color=colour, capsize=3, linewidth=1.4)
        axes.plot(values, np.full(len(values), place), "o", color=colour, markersize=3)
    axes.annotate(
        f"{mean:.1f}",
        (float(values.max()), place),
        xytext=(12, 0),
        textcoords="offset points",
        va="center",
    )


def _reference_lines(axes: Axes, chance: float | None, paper: float | None, vertical: bool) -> None:
    line = axes.axvline if vertical else axes.axhline
    if chance is not None:
        line(chance, color=_INK, alpha=0.55, linewidth=1.1, linestyle=(0, (5, 4)), label=f"chance {chance:.4g}")
    if paper is not None:
        line(paper, color=_INK, alpha=0.8, linewidth=1.2, linestyle=(0, (1, 2)), label=f"paper {paper:.4g}")


def _legend(figure: Figure, axes: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda i: names[i].startswith(("chance ", "paper ")))
    # A letter is about half as wide as it is high; the key before it and the gap behind take as much as six.
    longest = (max(map(len, names), default=0) + 6) * 0.55 * _TEXT_PX
    if handles:
        figure.legend(
            [handles[i] for i in order],
            [names[i] for i in order],
            loc="outside upper left",
            ncols=min(4, max(1, int(figure.get_figwidth() * 72 / longest))),
            handlelength=1.4,
            columnspacing=1.2,
        )


def _svg(figure: Figure, title: str) -> str:
    # The salt keeps ids of two charts on one page apart, and makes equal charts equal text.
    salt = hashlib.blake2b(title.encode(), digest_size=6).hexdigest()
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    # A style element inside the page would apply to the whole page; group names repeat from chart to chart.
    svg = re.sub(r"<style.*?</style>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)
    svg = re.sub(r"font-family: [^;\"]+;? ?", "", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", svg)
    svg = re.sub(r'^<svg ([^>]*?) ?(?:width|height)="[^"]*"', r"<svg \1", svg)
    svg = re.sub(r'^<svg ([^>]*?) ?(?:width|height)="[^"]*"', r"<svg \1", svg)
    most_in = figure.get_figwidth()  # an inch is 96 px there and 72 units here: text is at most a third larger
    return svg.replace("<svg ", f'<svg stroke-linejoin="round" style="max-width:{most_in:.1f}in" ', 1).strip()


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool) and math.isfinite(float(value))


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
