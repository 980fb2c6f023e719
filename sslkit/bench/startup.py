"""What starting costs: `sslkit --help` against importing typer and rich, a command against importing torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from sslkit.bench.base import Bench, Row, Spent, compared, taking_turns, timed


def rows(bench: Bench) -> Iterator[Row]:
    """Two rows. A start costs so little that there are three turns for each one of other rows."""
    turns = taking_turns(
        lambda: _run("-m", "sslkit", "--help"), lambda: _run("-c", "import typer, rich"), 3 * bench.turns
    )
    yield compared("startup", "sslkit --help", turns, "python -c 'import typer, rich'", at_most=1.5)
    missing = str(bench.scratch / "missing.mp4")
    turns = taking_turns(
        lambda: _run("-m", "sslkit", "sync", missing, exits=1), lambda: _run("-c", "import torch"), bench.turns
    )
    note = "until it says that there is no such file"
    yield compared("startup", "sslkit sync", turns, "python -c 'import torch'", note=note)


def _run(*arguments: str, exits: int = 0) -> Spent:
    """What a start costs that ends with an exit code. Raises CalledProcessError for another one."""

    def start() -> None:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if done.returncode != exits:
            raise subprocess.CalledProcessError(done.returncode, command)

    return timed(start)
