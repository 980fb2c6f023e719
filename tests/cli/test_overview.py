"""The first page of help: all commands are on it, in panels, and it costs little to print."""

import subprocess
import sys

import pytest

from sslkit import cli
from sslkit.cli.overview import overview


def test_every_command_stands_in_its_panel_with_its_first_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("Usage: sslkit") and "--version" in page
    panels = page.split("\n\n")
    for command in cli.app.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")
        panel = next(panel for panel in panels if panel.startswith(f"{command.rich_help_panel}:"))
        line = next(line for line in panel.splitlines() if line.startswith(f"  {name} "))
        first = command.callback.__doc__.split("\n\n")[0].split()
        assert line.split()[1:] == first[: len(line.split()) - 1]


def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, overview(cli.app).splitlines())) <= 60


def test_nothing_is_imported_to_draw_it() -> None:
    code = "import sys\nfrom sslkit import cli\ncli.run(['--help'])\nsys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
