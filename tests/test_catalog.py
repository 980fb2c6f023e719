"""What is found by name without being imported, held against what the modules say once they are."""

import subprocess
import sys
from pathlib import Path

import pytest

from sslkit import catalog
from sslkit.errors import UserError
from sslkit.tasks import base


def test_rows_of_tasks_say_what_the_classes_say() -> None:
    rows = catalog.tasks()
    assert [row["task"] for row in rows] == base.names()
    for row in rows:
        task = base.load(row["task"])
        assert row["short"] == task.short_name
        assert row["shortcuts"] == [cheat.name for cheat in task.shortcuts]
        said = " ".join((sys.modules[task.__module__].__doc__ or "").split())
        assert said.startswith(row["about"]) and row["about"][-1] in ".?" and "\n" not in row["about"]


def test_a_task_in_other_words(tmp_path: Path) -> None:
    path = tmp_path / "turns.py"
    path.write_text(
        '"""Turns: which\n  way?\n\nMore."""\nfrom typing import ClassVar\nclass Turns(Task):\n'
        '    short_name: ClassVar[str | None] = "tt"\n    shortcuts = ()\nclass Other:\n    short_name = "no"\n'
        "TASK = Turns\n"
    )
    assert catalog._task(path) == {"task": "turns", "short": "tt", "about": "Turns: which way?", "shortcuts": []}


@pytest.mark.parametrize("typed", ["arrow_of_time", "arrow-of-time", "aot"])
def test_every_name_of_a_task_finds_its_file(typed: str) -> None:
    assert catalog.task_name(typed) == "arrow_of_time"


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"^No task is called 'rotatoin'; did you mean 'rotation'\?$"):
        catalog.task_name("rotatoin")


def test_recipes_of_each_kind() -> None:
    found = {kind: set(catalog.recipes(kind)) for kind in catalog.RECIPE_KINDS}
    assert "rotation_small" in found["pretrain"] and "linear" in found["probe"] and "clips" in found["finetune"]


def test_lists_need_no_torch() -> None:
    code = (
        "import sys\nfrom sslkit import catalog, cli\ncatalog.task_name('aot')\n"
        "for line in (['tasks'], ['recipes'], ['recipes', 'aot-small']):\n    assert cli.run(line) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
