"""What a shell offers after Tab: names, runs and datasets. It runs at every press, so nothing heavy is imported."""

from __future__ import annotations

import os
import textwrap
from collections import deque
from collections.abc import Callable

from sslkit import catalog

Offers = list[tuple[str, str]]
"""What may be typed, and what it is (which only some shells show)."""

_DEPTH = 3
_MOST_FOLDERS = 2000


def tasks() -> Offers:
    """Names of tasks that have a recipe of their own, and their short names."""
    named = [row for row in catalog.tasks() if row["task"] in catalog.recipes("pretrain")]
    long = [(row["task"].replace("_", "-"), _short(row["about"])) for row in named]
    return long + [(row["short"], _short(row["about"])) for row in named if row["short"]]


def recipes(*kinds: str) -> Callable[[str], Offers]:
    """Names of the packaged recipes of some kinds; a name that is begun with underscores is offered with them."""

    def offers(incomplete: str) -> Offers:
        found = [(name, path) for kind in kinds for name, path in catalog.recipes(kind).items()]
        short = {row["task"]: row["short"] for row in catalog.tasks() if row["short"]}
        found += [(name.replace(task, short[task]), path) for task in short for name, path in found if task in name]
        dash = "_" if "_" in incomplete else "-"
        return [(name.replace("_", dash), _about(path.read_text(encoding="utf-8"))) for name, path in found]

    return offers


def bench() -> Offers:
    """Rows of the benchmark."""
    return [(name, "") for name in catalog.names("sslkit.bench")]


def layouts() -> Offers:
    """Layouts that prepare-data knows."""
    return [(name, "") for name in catalog.names("sslkit.data.layouts")]


def runs(incomplete: str) -> Offers:
    """Folders of runs."""
    return [(folder, "run") for folder in _folders(incomplete, "recipe.yaml")]


def datasets(incomplete: str) -> Offers:
    """Folders of prepared datasets."""
    return [(folder, "dataset") for folder in _folders(incomplete, "dataset.json")]


def inits(incomplete: str) -> Offers:
    """Controls of an evaluation, and runs."""
    return [("random", "untrained"), ("supervised", "trained with labels"), *runs(incomplete)]


def _about(text: str) -> str:
    return _short(next((line.removeprefix("about: ") for line in text.splitlines() if line.startswith("about: ")), ""))


def _short(text: str) -> str:
    """What stays on one line: fish would take a second one for something to offer."""
    return textwrap.shorten(text, 60, placeholder=" ...")


def _folders(incomplete: str, marker: str) -> list[str]:
    """Folders with a file called `marker` whose path begins with what was typed, a few levels down at most."""
    base, begun = os.path.split(incomplete)
    waiting, found = deque([(base, begun, 1)]), []
    for _ in range(_MOST_FOLDERS):
        if not waiting:
            break
        parent, begun, depth = waiting.popleft()
        for folder in _children(parent, begun):
            if os.path.isfile(os.path.join(folder, marker)):
                found.append(folder)
            elif depth < _DEPTH:
                waiting.append((folder, "", depth + 1))
    return found


def _children(parent: str, begun: str) -> list[str]:
    try:
        with os.scandir(parent or ".") as entries:
            names = [e.name for e in entries if e.name.startswith(begun) and e.name[0] != "." and e.is_dir()]
    except OSError:
        return []
    return [os.path.join(parent, name) for name in sorted(names)]
