"""What `sslkit --help` prints: every command in a line.

Written here and not by typer, which would make the options of all commands first and import what draws them: twice the
time of everything else. `sslkit COMMAND --help` is typer's.
"""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import typer
from typer.utils import get_params_from_function

_WIDEST = 100
_COMPLETION = [
    ("--install-completion", "Install completion for the current shell."),
    ("--show-completion", "Print completion for the current shell."),
]


def overview(app: typer.Typer) -> str:
    """The page: what the program is for, its options, and its commands in the order and panels of their files."""
    assert app.registered_callback is not None and app.registered_callback.callback is not None
    about = app.registered_callback.callback
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    parts = [
        "Usage: sslkit [OPTIONS] COMMAND [ARGS]...",
        *_paragraphs(about, width),
        _block("Options", _options(about), width),
    ]
    panels: dict[str, list[tuple[str, str]]] = {}
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        panels.setdefault(str(command.rich_help_panel), []).append((name, _doc(command.callback)[0]))
    parts += [_block(panel, rows, width) for panel, rows in panels.items()]
    return "\n\n".join([*parts, "sslkit COMMAND --help says more."])


def _options(about: Callable[..., Any]) -> list[tuple[str, str]]:
    described = [parameter.default for parameter in get_params_from_function(about).values()]
    own = [(option.param_decls[0], str(option.help)) for option in described if getattr(option, "param_decls", None)]
    return [*own, *_COMPLETION, ("--help", "Print this and stop.")]


def _doc(function: Callable[..., Any]) -> list[str]:
    """The paragraphs of a docstring, each in one line."""
    return [" ".join(paragraph.split()) for paragraph in (inspect.getdoc(function) or "").split("\n\n")]


def _paragraphs(function: Callable[..., Any], width: int) -> list[str]:
    return [textwrap.fill(paragraph, width) for paragraph in _doc(function)]


def _block(title: str, rows: Iterable[tuple[str, str]], width: int) -> str:
    rows = list(rows)
    column = max(len(name) for name, _ in rows) + 4
    hanging = " " * column
    lines = [
        textwrap.fill(text, width, initial_indent=f"  {name}".ljust(column), subsequent_indent=hanging)
        for name, text in rows
    ]
    return "\n".join([f"{title}:", *lines])
