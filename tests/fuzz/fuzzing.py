"""Run damaged inputs through sslkit in a process of its own, with a time limit each, and count how it ended."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import kinds

GOOD = ("ok", "skipped", "user error", "work error")
BAD = ("crash", "hang", "trace", "substitute", "memory")
_START_S = 180.0


@dataclass
class Tally:
    """How many inputs of each kind ended how, what went wrong, and the most memory and time that one input took."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    peak_mb: dict[str, float] = field(default_factory=dict)
    slowest_s: dict[str, float] = field(default_factory=dict)

    def add(self, kind: str, answer: dict[str, Any]) -> None:
        """Count one input."""
        self.counts.setdefault(kind, Counter())[answer["outcome"]] += 1
        self.peak_mb[kind] = max(self.peak_mb.get(kind, 0.0), answer["peak_mb"])
        self.slowest_s[kind] = max(self.slowest_s.get(kind, 0.0), answer["seconds"])
        if answer["outcome"] in BAD:
            self.wrong.append({"kind": kind, **answer})

    def table(self) -> str:
        """One line a kind, and one for all."""
        outcomes = [*GOOD, *BAD]
        total = sum(self.counts.values(), Counter())
        rows = [(kind, counts, self.peak_mb[kind], self.slowest_s[kind]) for kind, counts in self.counts.items()]
        rows.append(("all", total, max(self.peak_mb.values()), max(self.slowest_s.values())))
        lines = [f"{'kind':20}" + "".join(f"{name:>11}" for name in (*outcomes, "inputs", "peak MiB", "longest s"))]
        for kind, counts, peak_mb, slowest_s in rows:
            cells = [*(counts[name] for name in outcomes), sum(counts.values()), round(peak_mb), round(slowest_s, 1)]
            lines.append(f"{kind:20}" + "".join(f"{cell:>11}" for cell in cells))
        return "\n".join(lines)


def run(
    names: Sequence[str], seed: int, inputs: int, limit_s: float = 20.0, most_mb: float = 2048, first: int = 0
) -> Tally:
    """`inputs` damaged inputs, the kinds in turn, numbered from `first`.

    One that takes longer than `limit_s` is a hang; one that ends the process, or prints a trace, is a crash or a trace;
    one that needs more memory than `most_mb` MiB counts as "memory".
    """
    known, tally = kinds.all_kinds(), Tally()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        work = Path(folder)
        for name in names:
            good = work / "good" / name
            good.mkdir(parents=True)
            known[name].make(good)
        with Child(work) as child:
            for number in range(inputs):
                name, turn = names[number % len(names)], first + number // len(names)
                answer = child.ask(name, seed, turn, limit_s)
                if answer["outcome"] in GOOD and answer["peak_mb"] > most_mb:
                    answer["outcome"] = "memory"
                tally.add(name, {**answer, "seed": seed, "number": turn})
    return tally


class Child:
    """The process that consumes; when it dies or hangs there is a new one."""

    def __init__(self, work: Path) -> None:
        self._work, self._process = work, None
        self._errors = work / "stderr.txt"

    _process: subprocess.Popen[str] | None

    def ask(self, kind: str, seed: int, number: int, limit_s: float) -> dict[str, Any]:
        """How it went with one input; a crash, a hang and a printed trace are told apart."""
        allowed_s = limit_s if self._process else limit_s + _START_S
        process = self._process = self._process or self._started()
        said_before = self._errors.stat().st_size
        stdin, stdout = _pipes(process)
        stdin.write(json.dumps([kind, seed, number]) + "\n")
        stdin.flush()
        answered, _, _ = select.select([stdout], [], [], allowed_s)
        line = stdout.readline() if answered else ""
        printed = self._errors.read_bytes()[said_before:].decode(errors="replace")
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer | ({"outcome": "trace", "said": printed} if "Traceback" in printed else {})
        outcome = "crash" if answered else "hang"
        self._end()
        said = f"exit code {process.returncode}; {printed[-500:]}"
        return {"outcome": outcome, "said": said, "how": "", "file": "", "seconds": limit_s, "peak_mb": 0.0}

    def _started(self) -> subprocess.Popen[str]:
        command = [sys.executable, str(Path(__file__).with_name("child.py")), str(self._work)]
        with self._errors.open("ab") as errors:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in _pipes(self._process):
                pipe.close()
        self._process = None

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None and process.stdout is not None
    return process.stdin, process.stdout
