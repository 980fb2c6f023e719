"""What people and scripts see: results on stdout, everything else on stderr.

A terminal gets tables, a pipe gets aligned text, `--json` gets one object a line. Importing this imports no torch, and
rich only when something is drawn, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from sslkit.types import Result

Row = Mapping[str, Any]


class Progress:
    """How far the work is: called with (done, total, text). A bar on a terminal, else nothing; `log` lines always.

    Used as a context manager, which draws the bar and takes it away again.
    """

    def __init__(self, stream: TextIO, speaks: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._console = Console(file=stream, highlight=False)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        self._speaks = speaks
        live = speaks and self._console.is_terminal and not self._console.is_dumb_terminal
        self._bar = RichProgress(
            *columns, TimeRemainingColumn(), console=self._console, transient=True, disable=not live
        )
        self._task = self._bar.add_task("", total=None, visible=False)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int, text: str) -> None:
        """`done` of `total` of what `text` names; a total of 0 means that it is not known."""
        self._bar.update(self._task, completed=done, total=total or None, description=text, visible=True)

    def log(self, text: str) -> None:
        """One line that stays, above the bar."""
        if self._speaks:
            self._console.print(text, soft_wrap=True, markup=False)


class Output:
    """Where one command writes. as_json: one object a line instead of tables. speaks: False tells errors only."""

    def __init__(self, as_json: bool = False, speaks: bool = True) -> None:
        self.as_json, self._speaks = as_json, speaks
        self._stdout, self._stderr = sys.stdout, sys.stderr

    def progress(self) -> Progress:
        """A progress display on stderr, to be used as a context manager."""
        return Progress(self._stderr, self._speaks)

    def result(self, result: Result) -> None:
        """The one result of a command."""
        if self.as_json:
            self._line(result.record())
            return
        self._write(result.name)
        self.table(result.rows if result.shown is None else result.shown)
        self._pairs(_summary(result))
        for note in result.notes:
            self._write(note)

    def results(self, results: Iterable[Result]) -> int:
        """The results of many inputs, as they come; without JSON, an `error` of them goes to stderr. How many failed.

        What was done before an interruption is shown too; what else is to be said of each input follows the table, and
        so do the files of those that say which rows of theirs are to be shown.
        """
        failed, rows, files, notes = 0, list[Row](), list[tuple[str, str]](), list[str]()
        try:
            for result in results:
                error = result.fields.get("error")
                failed += error is not None
                if self.as_json:
                    self._line(result.record())
                    continue
                if error is not None:
                    self.each(result)
                if result.shown is not None:
                    rows += result.shown
                    files += result.files.items()
                    notes += result.notes
                elif error is None:
                    brief = {key: value for key, value in result.fields.items() if not isinstance(value, Mapping)}
                    rows.append({**brief, **result.metrics, **result.files})
                    notes += result.notes
        finally:
            self.table(rows)
            self._pairs(list(dict.fromkeys(files)))
            for note in dict.fromkeys(notes):  # what holds for every input is said once
                self._write(note)
        return failed

    def each(self, result: Result) -> None:
        """One of many inputs whose results make one file: its object in JSON, else only what is wrong with it."""
        if self.as_json:
            self._line(result.record())
        elif "error" in result.fields:
            given, error = str(result.fields.get("input")), str(result.fields["error"])
            self.complain(error if given in error else f"{given}: {error}")

    def rows(self, rows: Sequence[Row]) -> None:
        """A list of things, one object a row in JSON."""
        if self.as_json:
            for row in rows:
                self._line(row)
        else:
            self.table(rows)

    def failure(self, sentence: str, kind: str, given: str | None) -> None:
        """Why the command failed; `given` is the input that it was about."""
        if self.as_json:
            self._line({"input": given, "error": sentence, "kind": kind})
        else:
            self.complain(sentence)

    def complain(self, text: str) -> None:
        """A line on stderr."""
        print(f"sslkit: {text}", file=self._stderr, flush=True)

    def text(self, text: str) -> None:
        """Text as it is."""
        self._write(text.rstrip("\n"))

    def table(self, rows: Sequence[Row]) -> None:
        """Rows under the union of their keys; numbers stand to the right."""
        if not rows or not self._speaks:
            return
        keys = list(dict.fromkeys(key for row in rows for key in row))
        cells = [[shown(row.get(key)) for key in keys] for row in rows]
        right = [all(isinstance(row.get(key), int | float | None) for row in rows) for key in keys]
        if not self._stdout.isatty():
            self._aligned([keys, *cells], right)
            return
        self._drawn(keys, cells, right)

    def _drawn(self, keys: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
        """A table on a terminal."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table()
        for key, to_right in zip(keys, right, strict=True):
            table.add_column(Text(key), justify="right" if to_right else "left", overflow="fold")
        for line in cells:
            table.add_row(*map(Text, line))
        Console(file=self._stdout, highlight=False).print(table)

    def _pairs(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._aligned([list(pair) for pair in pairs], [False, False])

    def _aligned(self, lines: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True))
            self._write("  ".join(cells).rstrip())

    def _line(self, record: Row) -> None:
        self._write(json.dumps(plain(record), ensure_ascii=False, allow_nan=False))

    def _write(self, text: str) -> None:
        if self._speaks:
            print(text, file=self._stdout, flush=True)


def _summary(result: Result) -> list[tuple[str, str]]:
    brief = {key: _brief(value) for key, value in result.fields.items()}
    pairs = [(key, shown(value)) for key, value in brief.items() if value not in (None, {}, [])]
    pairs += [(key, shown(value)) for key, value in result.metrics.items()]
    if result.chance is not None:
        pairs.append(("chance", shown(result.chance)))
    if result.paper is not None:
        pairs.append(("paper", f"{shown(result.paper.value)} ({result.paper.where})"))
    pairs += [(key, str(path)) for key, path in result.files.items()]
    return [*pairs, ("seconds", f"{result.seconds:.1f}")]


def _brief(value: Any) -> Any:
    """What of a field people get to see on a line: no lists of things, and nothing nested deeper than once."""
    if isinstance(value, Mapping):
        return {key: below for key, below in value.items() if not isinstance(below, Mapping | list | tuple)}
    nested = isinstance(value, list | tuple) and any(isinstance(below, Mapping | list | tuple) for below in value)
    return None if nested else value


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a table in Markdown, under the union of their keys; numbers stand to the right."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    right = [all(isinstance(row.get(key), int | float) for row in rows) for key in keys]
    lines = [keys, ["---:" if r else "---" for r in right], *([shown(row.get(key)) for key in keys] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def shown(value: Any) -> str:
    """A value as people read it: four digits of a number, the length of a list of things."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {shown(below)}" for key, below in value.items())
    if isinstance(value, list | tuple):
        return str(len(value)) if any(isinstance(v, Mapping) for v in value) else ", ".join(map(shown, value))
    return str(value)


def plain(value: Any) -> Any:
    """A value as JSON has it: arrays become lists, paths text, and numbers that JSON cannot write null."""
    if isinstance(value, Mapping):
        return {str(key): plain(below) for key, below in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(below) for below in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)
