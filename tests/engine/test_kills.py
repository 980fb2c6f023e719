"""Runs that are killed at random moments, and start again: they end with what one that was left alone ends with."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sslkit import jobs
from sslkit.data import samples, shards
from sslkit.engine.run import Run

RECIPE = """
task: rotation
settings:
  trunk: nin
  trunk_settings: {side_px: 16, width: 0.05}
train: {batch: 8, steps: 60, epoch_steps: 6, lr: 0.02}
"""
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 stills to train on and 24 to validate with, brighter above than below."""
    folder, noise = tmp_path_factory.mktemp("kills") / "data", np.random.default_rng(0)
    runs = []
    for split, count in (("train", 48), ("val", 24)):
        for number in range(count):
            picture = noise.integers(0, 110, (24, 30, 3), dtype=np.uint8)
            picture[:8] += 100
            key = f"{split}{number}"
            runs.append((split, shards.pack(samples.still({"key": key, "source": key, "group": key}, picture))))
    about = {"layout": "folder", "settings": {"short_side_px": 24}, "classes": [], "source_hash": "0"}
    shards.write(folder, runs, about)
    (folder.parent / "tiny.yaml").write_text(RECIPE)
    return folder


def pretrain(data: Path, out: Path) -> None:
    torch.set_num_threads(1)
    jobs.pretrain(recipe=str(data.parent / "tiny.yaml"), data=[data], out=out, device="cpu", workers=1)


def forked(data: Path, out: Path) -> tuple[int, Callable[[], int]]:
    """Start in a child of this process, in no time. Returns its process id, and a function that waits for its end."""
    child = FORK.Process(target=pretrain, args=(data, out))
    child.start()
    assert child.pid is not None

    def ended() -> int:
        child.join()
        assert child.exitcode is not None
        return child.exitcode

    return child.pid, ended


def started(data: Path, out: Path, *more: str) -> tuple[int, Callable[[], int]]:
    """Start as users do."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    nowhere = subprocess.DEVNULL
    child = subprocess.Popen([*command(data, out), *more], env=environment, stdout=nowhere, stderr=nowhere)
    return child.pid, child.wait


def command(data: Path, out: Path) -> list[str]:
    recipe, program = str(data.parent / "tiny.yaml"), [sys.executable, "-m", "sslkit"]
    return [*program, "pretrain", "--recipe", recipe, "--data", str(data), "--out", str(out), "--device", "cpu"]


def begun(out: Path, process: int) -> None:
    """Wait until a process has the run."""
    lock = out / "lock"
    while not (lock.exists() and lock.read_text().startswith(f"process {process} ")):
        time.sleep(0.01)


def saved(out: Path) -> int:
    """Steps that are in the last checkpoint."""
    return Run.read(out).step if (out / "recipe.yaml").exists() else 0


def require_same(one: Path, other: Path) -> None:
    """Weights, state and rows of two runs are equal bit for bit."""
    for name in ("checkpoint.pt", "best.pt"):
        states = [Run.read(folder).load(name) for folder in (one, other)]
        texts = [repr({key: value for key, value in (state or {}).items() if key != "versions"}) for state in states]
        assert texts[0] == texts[1] and "tensor" in texts[0]
        first, second = (_tensors(state) for state in states)
        assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    for name in ("metrics.jsonl", "trunk.safetensors", "recipe.yaml", "plan.json", "data.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert not list(other.glob("*.partial"))


def _tensors(tree: object, at: str = "") -> dict[str, torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return {at: tree}
    below = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    return {name: value for key, part in below for name, value in _tensors(part, f"{at}/{key}").items()}


def killed(data: Path, folder: Path, start: Callable[[Path, Path], tuple[int, Callable[[], int]]], kills: int) -> None:
    """Kill a run `kills` times, starting another one when one has come to its end, and compare the ends."""
    whole, rng = folder / "whole", random.Random(0)
    process, ended = start(data, whole)
    begun(whole, process)
    began = time.monotonic()
    assert ended() == 0
    seconds, number, steps = time.monotonic() - began, 0, []
    while len(steps) < kills:
        out, code = folder / f"cut-{number}", -1
        number += 1
        while code:
            process, ended = start(data, out)
            begun(out, process)
            if len(steps) < kills:
                # What is left, of which the page at the end is a part.
                time.sleep(rng.uniform(0, 0.6) * seconds * (1.1 - saved(out) / saved(whole)))
                os.kill(process, signal.SIGKILL)
            code = ended()
            assert code in (0, -signal.SIGKILL)
            steps += [saved(out)] if code else []
        require_same(whole, out)
    print(f"killed {len(steps)} times in {number} runs of {seconds:.1f} s, with these steps saved: {steps}")


@pytest.mark.own_process
def test_three_kills(data: Path, tmp_path: Path) -> None:
    killed(data, tmp_path, forked, 3)


@pytest.mark.slow
def test_twenty_kills_of_the_program(data: Path, tmp_path: Path) -> None:
    killed(data, tmp_path, started, 20)


def test_sigterm_and_a_second_process(data: Path, tmp_path: Path) -> None:
    """The documented exit codes: 130 for the run that is ended, 2 for another one on the same folder."""
    out, endless = tmp_path / "run", ("--set", "train.steps=100000", "--workers", "1")
    process, ended = started(data, out, *endless)
    begun(out, process)
    second = subprocess.run([*command(data, out), *endless], capture_output=True, text=True)
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr.startswith(f"sslkit: {out} is in use by process {process} on ")
    os.kill(process, signal.SIGTERM)
    began = time.monotonic()
    assert ended() == 130 and time.monotonic() - began < 10
    assert Run.read(out).step > 0
