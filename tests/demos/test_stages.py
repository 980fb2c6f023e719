"""Stages count their time, and what is drawn ahead comes in order, whole."""

from types import SimpleNamespace

import pytest

from sslkit.demos import stages
from sslkit.demos.stages import Stages


def test_items_come_in_order_and_freed_memory_is_given_back_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    given_back, found, work = [], [], Stages()
    monkeypatch.setattr(stages, "_give_back", lambda: given_back.append(len(found)))
    for item in work.drawn("decode", range(1, 51)):
        found.append(item)
    assert found == list(range(1, 51)) and given_back == [20, 40]
    assert work.seconds.keys() == {"decode"}


def test_memory_is_given_back_where_the_system_can(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    glibc, other = SimpleNamespace(malloc_trim=asked.append), SimpleNamespace()
    for platform, library, expected in (("linux", glibc, [0]), ("linux", other, [0]), ("darwin", glibc, [0])):
        monkeypatch.setattr(stages.sys, "platform", platform)
        monkeypatch.setattr(stages.ctypes, "CDLL", lambda name, library=library: library)
        stages._give_back()
        assert asked == expected
