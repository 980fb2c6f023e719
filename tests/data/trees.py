"""Small trees of files in the layouts of public datasets, and what a layout makes of them."""

from pathlib import Path

from sslkit import catalog
from sslkit.data.layouts.base import Item
from sslkit.data.settings import PrepareSettings


def items(layout: str, source: Path | str, **settings: object) -> list[Item]:
    module = catalog.load("sslkit.data.layouts", layout)
    return list(module.items(str(source), PrepareSettings(**settings)))


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def facts(items: list[Item]) -> list[tuple[str, str, str | None]]:
    return [(item.source, item.split, item.label_name) for item in items]
