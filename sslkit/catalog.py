"""What there is, by name: tasks, data layouts, recipes. The folder is the registry."""

from __future__ import annotations

import ast
import difflib
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from sslkit.errors import UserError

RECIPE_KINDS = ("pretrain", "probe", "finetune")
_NOT_ENTRIES = {"base", "correspondence"}
"""What the entries share."""


def names(package: str) -> list[str]:
    """Names of the entries of a package such as `sslkit.tasks`, sorted; nothing is imported but the package itself."""
    folder = importlib.import_module(package)
    return sorted(m.name for m in pkgutil.iter_modules(folder.__path__) if m.name not in _NOT_ENTRIES)


def load(package: str, name: str) -> ModuleType:
    """The module `package.name`, where dashes and underscores are alike.

    Raises UserError naming the nearest entry when there is none of that name.
    """
    wanted, known = name.replace("-", "_"), names(package)
    if wanted not in known:
        what = package.rsplit(".", 1)[-1].rstrip("s")
        raise UserError(f"No {what} is called {name!r}; {nearest(wanted, known)}.")
    return importlib.import_module(f"{package}.{wanted}")


def tasks() -> list[dict[str, Any]]:
    """One row a task: `task` (its name), `short` (its second name or None), `about`, `shortcuts` (their names).

    The files are parsed, not run, so that lists and completion do without torch.
    """
    folder = Path(next(iter(importlib.import_module("sslkit.tasks").__path__)))
    return [_task(folder / f"{name}.py") for name in names("sslkit.tasks")]


def task_name(name: str) -> str:
    """The name of the task's file for any name that a user may type: with dashes, or its short name.

    Raises UserError naming the nearest when there is none of that name.
    """
    known, wanted = names("sslkit.tasks"), name.replace("-", "_")
    if wanted in known:
        return wanted
    short = {row["short"]: row["task"] for row in tasks() if row["short"]}
    if wanted not in short:
        raise UserError(f"No task is called {name!r}; {nearest(wanted, [*known, *short])}.".replace("?.", "?"))
    return str(short[wanted])


def _task(path: Path) -> dict[str, Any]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assigned = _assigned(tree.body)
    entry = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == ast.unparse(assigned["TASK"]))
    members = _assigned(entry.body)
    short, shortcuts = members.get("short_name"), members.get("shortcuts")
    listed = shortcuts.elts if isinstance(shortcuts, ast.Tuple) else []
    return {
        "task": path.stem,
        "short": None if short is None else ast.literal_eval(short),
        "about": " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split()),
        "shortcuts": [ast.literal_eval(one.args[0]) for one in listed if isinstance(one, ast.Call)],
    }


def _assigned(body: list[ast.stmt]) -> dict[str, ast.expr]:
    """The expressions that a module or a class gives to names of its own."""
    plain = {ast.unparse(n.targets[0]): n.value for n in body if isinstance(n, ast.Assign)}
    annotated = {ast.unparse(n.target): n.value for n in body if isinstance(n, ast.AnnAssign) and n.value}
    return plain | annotated


def recipes(kind: str) -> dict[str, Path]:
    """Recipes of one of RECIPE_KINDS: they lie inside the package when installed, beside it in a checkout."""
    package = Path(__file__).parent
    folder = next((f for f in (package / "recipes", package.parent / "recipes") if f.is_dir()), package)
    return {path.stem.replace("-", "_"): path for path in sorted((folder / kind).glob("*.yaml"))}


def nearest(wanted: str, known: list[str]) -> str:
    """`did you mean 'x'?` when something known is close, else the list of what is known."""
    close = difflib.get_close_matches(wanted, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(known)
