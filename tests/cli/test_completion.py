"""What Tab offers, asked as the shells ask."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sslkit.cli import completion

ASKED = (
    "import sys\nfrom sslkit.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
    "heavy = {'torch', 'numpy', 'av', 'cv2', 'yaml', 'matplotlib'} & set(sys.modules)\n"
    "sys.exit(f'imported {sorted(heavy)}' if heavy else 0)"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two runs, a dataset, and folders that are neither."""
    for name in ("runs/aot/recipe.yaml", "runs/aot/finetune-x/aot-0/recipe.yaml", "runs/more/deep/recipe.yaml",
                 "data/pictures/dataset.json", "runs/empty/notes.txt", ".hidden/recipe.yaml"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def offered(shell: str, line: str, folder: Path) -> list[str]:
    words = line.split(" ")
    environment = {
        **os.environ,
        "_SSLKIT_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [sys.executable, "-c", ASKED], env=environment, cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sslkit pretrain --task ro", ["rotation"]),
        ("sslkit pretrain --recipe aot", ["aot", "aot-small"]),
        ("sslkit prepare-data toy", ["toybox"]),
        ("sslkit probe runs/", ["runs/aot", "runs/more/deep"]),
        ("sslkit probe runs/aot --on ", ["data/pictures"]),
        ("sslkit pretrain --device c", ["cpu", "cuda"]),
    ],
)
def test_bash_is_offered_values_without_anything_heavy(line: str, words: list[str], folder: Path) -> None:
    assert offered("bash", line, folder) == words


def test_zsh_and_fish_are_told_what_each_is(folder: Path) -> None:
    assert '"runs/aot":"run"' in "".join(offered("zsh", "sslkit probe runs/a", folder))
    lines = offered("fish", "sslkit pretrain --task ", folder)
    assert len(lines) >= 3 and all("\t" in line for line in lines)


def test_names_of_recipes_follow_what_was_begun() -> None:
    offers = completion.recipes("pretrain", "finetune")
    assert {"rotation-small", "aot-small", "clips"} <= {name for name, _ in offers("")}
    assert "rotation_small" in {name for name, _ in offers("rotation_")}


def test_folders_that_cannot_be_read_offer_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert completion.runs("nowhere/x") == [] and completion.datasets("") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_shown(shell: str) -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    code = "from sslkit.cli import main; main()"
    line = [sys.executable, "-c", code, "--show-completion", shell]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and f"_SSLKIT_COMPLETE=complete_{shell}" in done.stdout, done.stderr
