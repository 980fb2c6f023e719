"""The pretext task on held-out media: what is counted, by label."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sslkit.engine.validate import Validation
from sslkit.errors import UserError
from sslkit.evals import pretext
from sslkit.types import Reads, Result


def evaluated(monkeypatch: pytest.MonkeyPatch, target: list[int]) -> Result:
    """Of three samples of two classes, two questions each, which are all answered with 1."""
    scores, sample = torch.tensor([[0.0, 1.0]]).repeat(6, 1), torch.arange(3).repeat_interleave(2)
    found = Validation({}, 50.0, 3, {}, None, scores, torch.tensor(target), sample)  # type: ignore[arg-type]
    monkeypatch.setattr(pretext, "validate", lambda *_, **__: found)
    info = SimpleNamespace(classes=("dog", "cat"), folders=["data"], records=[])
    entries = [SimpleNamespace(label=label) for label in (0, 0, 1)]
    task: Any = SimpleNamespace(reads=Reads, chance=50.0, show=lambda *_: [])
    dataset: Any = SimpleNamespace(entries=entries, info=info, split="test")
    return pretext.evaluate(task, dataset, torch.device("cpu"))


def test_what_is_not_asked_is_neither_right_nor_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = evaluated(monkeypatch, [1, 1, -1, 0, -1, -1]).rows
    assert [(row["label"], row["samples"], row["questions"], row["value"]) for row in rows] == [
        ("all", 2, 3, 66.67),
        ("dog", 2, 3, 66.67),
    ]


def test_nothing_asked_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="Nothing is asked about the test split"):
        evaluated(monkeypatch, [-1] * 6)
