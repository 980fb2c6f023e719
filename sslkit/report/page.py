"""The report page: one HTML file that holds everything it shows, for any width, light or dark, no script."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from sslkit.errors import WorkError
from sslkit.types import Panel, Published

MOST_BYTES = 6_000_000
# Longest side in pixels and JPEG quality, tried in this order until all pictures of a page fit together.
_SIZES = ((640, 90), (480, 86), (384, 84), (288, 82), (224, 78), (160, 72), (112, 65))
_SMALL_PX = 96  # pictures up to this side are kept exactly and enlarged without smoothing


@dataclass(frozen=True)
class Figure:
    """A headline number beside what guessing gives and what the paper printed.

    value, chance, paper: in `unit`. low, high: ends of the scale on which they are drawn; None: 0 to 100 for percent,
    else from 0 (or the least of them) to a little above the largest. spread: standard deviation over seeds.
    """

    name: str
    value: float
    unit: str = "%"
    chance: float | None = None
    paper: Published | None = None
    spread: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart from `sslkit.report.chart` (SVG text) or a picture (H, W, 3) uint8, with a sentence on what it shows."""

    title: str
    image: str | NDArray[np.uint8]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows with the same keys; numbers are aligned to the right. columns: which keys in which order, None for all.

    folded: only the number of rows is shown until the reader unfolds the table.
    """

    title: str
    rows: Sequence[Mapping[str, Any]]
    note: str = ""
    columns: Sequence[str] | None = None
    folded: bool = False


@dataclass
class Page:
    """Everything a report says.

    lead: one or two sentences on what was done and what came out. notes: caveats, shown with the headline.
    facts: device, seed, versions, plan, ...; a value that is a mapping becomes a group of its own. command: as typed.
    """

    title: str
    lead: str = ""
    headline: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    recipe_yaml: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


def write(path: Path, page: Page) -> None:
    """Write a page to `path`, whole or not at all; pictures are scaled down until the file is below `MOST_BYTES`.

    Raises WorkError if the file cannot be written.
    """
    text = render(page)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise WorkError(f"{path} cannot be written: {error.strerror or error}.") from error


def render(page: Page) -> str:
    """The page as HTML.

    Texts are escaped; a chart's SVG goes in as it stands, so it must come from `sslkit.report.chart`.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = _shown
    environment.filters["exact"] = _exact
    environment.tests["numeric"] = _numeric
    markup = sum(len(chart.image) for chart in page.charts if isinstance(chart.image, str))
    sounds = _played(page)
    heard = sum(len(uri) for listed in sounds for uri in listed if uri)
    pictures = _embedded(list(_pictures(page)), 0.97 * MOST_BYTES - markup - heard - 100_000)
    return environment.get_template("page.html").render(
        page=page,
        headline=[_scaled(figure) for figure in page.headline],
        panels=[
            (panel, [next(pictures) for _ in panel.pictures], listed)
            for panel, listed in zip(page.panels, sounds, strict=True)
        ],
        charts=[(c, Markup(c.image) if isinstance(c.image, str) else next(pictures)) for c in page.charts],
        tables=[(table, _columns(table)) for table in page.tables],
        facts=[(name, value) for name, value in page.facts.items() if not isinstance(value, Mapping)],
        groups=[(name, value) for name, value in page.facts.items() if isinstance(value, Mapping)],
    )


@dataclass(frozen=True)
class _Embedded:
    uri: str
    width: int
    height: int
    exact: bool


def _pictures(page: Page) -> Iterator[NDArray[np.uint8]]:
    for panel in page.panels:
        yield from panel.pictures
    for chart in page.charts:
        if not isinstance(chart.image, str):
            yield chart.image


def _played(page: Page) -> list[list[str | None]]:
    """The sounds of each panel as data, as many from the first on as half of the page can hold."""
    left, found = 0.5 * MOST_BYTES, []
    for panel in page.panels:
        listed: list[str | None] = []
        for sound in panel.sounds:
            uri = None if sound is None else f"data:audio/flac;base64,{base64.b64encode(sound).decode()}"
            left -= len(uri or "")
            listed.append(uri if left >= 0 else None)
        found.append(listed)
    return found


def _embedded(pictures: Sequence[NDArray[np.uint8]], most_bytes: float) -> Iterator[_Embedded]:
    shown = []
    for side_px, quality in _SIZES:
        shown = [_embed(picture, side_px, quality) for picture in pictures]
        if sum(len(picture.uri) for picture in shown) <= most_bytes:
            break
    return iter(shown)


def _embed(picture: NDArray[np.uint8], side_px: int, quality: int) -> _Embedded:
    image = Image.fromarray(np.ascontiguousarray(picture)).convert("RGB")
    exact = max(image.size) <= min(_SMALL_PX, side_px)
    data = io.BytesIO()
    if exact:
        image.save(data, "PNG", optimize=True)
    else:
        image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
        image.save(data, "JPEG", quality=quality, subsampling=0)
    kind = "png" if exact else "jpeg"
    uri = f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"
    return _Embedded(uri, *image.size, exact=exact)


@dataclass(frozen=True)
class _Scaled:
    """A figure with its places on the scale, in percent of its width."""

    figure: Figure
    value_at: float
    chance_at: float | None
    paper_at: float | None
    low: float
    high: float


def _scaled(figure: Figure) -> _Scaled:
    paper = None if figure.paper is None else figure.paper.value
    shown = [v for v in (figure.value, figure.chance, paper) if v is not None and np.isfinite(v)]
    percent = figure.unit == "%"
    low = figure.low if figure.low is not None else min([0.0, *shown])
    high = figure.high if figure.high is not None else 100.0 if percent else 1.1 * max([0.0, *shown])

    def at(value: float | None) -> float | None:
        if value is None or not np.isfinite(value):
            return None
        return round(100 * min(max((value - low) / ((high - low) or 1.0), 0), 1), 2)

    return _Scaled(figure, at(figure.value) or 0.0, at(figure.chance), at(paper), low, high)


def _columns(table: Table) -> list[str]:
    if table.columns is not None:
        return list(table.columns)
    return list(dict.fromkeys(key for row in table.rows for key in row))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return _rounded(float(value))
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return ", ".join(_shown(item) for item in value) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(below)}" for name, below in value.items()) or "-"
    return str(value)


def _rounded(number: float) -> str:
    if not np.isfinite(number):
        return "-"
    if 10 <= abs(number) < 100_000:
        return f"{number:.1f}"
    return f"{number:.3g}"


def _exact(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else _shown(value)


def _numeric(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
