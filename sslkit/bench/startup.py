"""What `sslkit --help` costs against importing typer and rich, without which there is no command line at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from sslkit.bench.base import Bench, Row, Spent, compared, taking_turns, timed


def rows(bench: Bench) -> Iterator[Row]:
    """One row. A start costs so little that there are three turns for each one of other rows."""
    turns = taking_turns(
        lambda: _run("-m", "sslkit", "--help"), lambda: _run("-c", "import typer, rich"), 3 * bench.turns
    )
    yield compared("startup", "sslkit --help", turns, "python -c 'import typer, rich'", at_most=1.5)


def _run(*arguments: str) -> Spent:
    command = [sys.executable, *arguments]
    return timed(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))
