"""Where pages cannot be written is told before any work."""

import os
from pathlib import Path

import pytest

from sslkit import pages
from sslkit.errors import UserError


def test_a_folder_that_can_be_made_is_free(tmp_path: Path) -> None:
    pages.free(tmp_path / "a" / "b", "page.html")
    assert not list(tmp_path.iterdir())


def test_pages_that_are_there_and_files_in_the_way_are_told(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(UserError, match=r"page\.html is already there: move it away or name another --out"):
        pages.free(tmp_path, "other.html", "page.html")
    with pytest.raises(UserError, match=r"page\.html is a file: name a folder with --out"):
        pages.free(tmp_path / "page.html" / "within")


def test_a_folder_in_which_nothing_may_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UserError, match=r"Nothing may be written in .*: name another --out"):
        pages.free(tmp_path / "new")
