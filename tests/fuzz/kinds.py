"""What a kind of input is. Every file *_kinds.py in this folder lists its own in KINDS, and they are found by that."""

from __future__ import annotations

import importlib
import os
import random
from abc import ABC, abstractmethod
from pathlib import Path

from mutate import mutated


class Substituted(Exception):
    """What was damaged has been replaced by something else, and nobody was told."""


class Kind(ABC):
    """One kind of input: how a good one is made, what of it is damaged, and how it is consumed.

    An input is a folder of files, of which one is damaged.
    """

    name: str

    @abstractmethod
    def make(self, folder: Path) -> None:
        """Write a good input into an empty folder; the same bytes each time. Called once."""

    def targets(self, folder: Path) -> list[Path]:
        """The files of which one is damaged."""
        return sorted(path for path in folder.rglob("*") if path.is_file())

    def damage(self, target: Path, rng: random.Random, other: bytes) -> str:
        """Damage one file in place, and say how."""
        data, how = mutated(target.read_bytes(), rng, other)
        # What a tool left read-only, or linked to the good file, is replaced, not written through.
        target.unlink()
        target.write_bytes(data)
        return how

    @abstractmethod
    def consume(self, folder: Path, good: Path) -> str | None:
        """Do with a damaged input what sslkit does with it.

        Returns None when all went well and the reason when it was skipped with one. UserError and WorkError are
        counted as such. Raises Substituted when something else came out in place of what was damaged; any other
        exception is a trace that a user would see.
        """


def all_kinds() -> dict[str, Kind]:
    """Every kind by name, in the order of files and lists."""
    here = Path(__file__).parent
    modules = [importlib.import_module(path.stem) for path in sorted(here.glob("*_kinds.py"))]
    return {kind.name: kind for module in modules for kind in module.KINDS}


def linked(good: Path, folder: Path) -> None:
    """A copy of a good input that costs no space: files are links, and whoever changes one replaces it."""
    folder.mkdir(parents=True)
    for path in sorted(good.rglob("*")):
        there = folder / path.relative_to(good)
        if path.is_dir():
            there.mkdir()
        else:
            os.link(path, there)
