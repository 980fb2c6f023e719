"""Consumes damaged inputs one after the other in a process of its own, which may be killed: see fuzzing.py."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import kinds

from sslkit.errors import UserError, WorkError

_ONE_SENTENCE = re.compile(r"[^\n]{5,1500}\.\Z")
_OF_PYTHON = re.compile(r"Traceback|\b[A-Z][A-Za-z]+(Error|Exception)\b: ")


def consumed(kind: kinds.Kind, folder: Path, good: Path) -> tuple[str, str]:
    """(outcome, what was said) of one damaged input."""
    try:
        reason = kind.consume(folder, good)
    except kinds.Substituted as error:
        return "substitute", str(error)
    except UserError as error:
        return _said("user error", str(error))
    except WorkError as error:
        return _said("work error", str(error))
    except Exception as error:
        return "trace", f"{type(error).__name__}: {error}"
    return ("ok", "") if reason is None else _said("skipped", reason)


def _said(outcome: str, sentence: str) -> tuple[str, str]:
    """The outcome, or "trace" when what was said is not one sentence of ours."""
    good = _ONE_SENTENCE.search(sentence) and not _OF_PYTHON.search(sentence)
    return (outcome if good else "trace"), sentence


def one(kind: kinds.Kind, seed: int, number: int, work: Path) -> dict[str, Any]:
    """Make input `number` of a kind, consume it, and tell how it went."""
    rng = random.Random(f"{seed}/{kind.name}/{number}")
    good, folder = work / "good" / kind.name, work / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    kinds.linked(good, folder)
    target = rng.choice(kind.targets(folder))
    how = kind.damage(target, rng, rng.choice(kind.targets(good)).read_bytes())
    _forget_peak()
    started = time.monotonic()
    outcome, said = consumed(kind, folder, good)
    seconds = round(time.monotonic() - started, 3)
    file = str(target.relative_to(folder))
    return {"outcome": outcome, "said": said, "how": how, "file": file, "seconds": seconds, "peak_mb": _peak_mb()}


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    """Most memory that this process held since `_forget_peak`, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def main() -> None:
    """Argument: the folder of work. Each line of standard input is [kind, seed, number], each of output the answer."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not look like an answer
    work, known = Path(sys.argv[1]), kinds.all_kinds()
    for line in sys.stdin:
        name, seed, number = json.loads(line)
        print(json.dumps(one(known[name], seed, number, work)), file=answers, flush=True)


if __name__ == "__main__":
    main()
