"""The command line under torchrun: the same run on several processes, which survives that one of them is killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sslkit import cli, jobs
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.engine.run import Run

ROOT = Path(__file__).parents[2]
# Plain steps of a small size: Adam and large steps blow rounding up (see the note of the first test).
SGD = ("train.optimizer=sgd", "train.lr=0.005")
WATCH = """
import os, sys
if "RANK" in os.environ:
    log = open(os.environ["WRITES"] + os.environ["RANK"], "a", buffering=1)
    def hook(event, given):
        flags = given[2] if event == "open" and len(given) > 2 else 0
        if event == "open" and isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            print(given[0], file=log)
        elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"):
            print(given[0], file=log)
    sys.addaudithook(hook)
"""


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stills") / "data"
    prepare("toybox", "", out, PrepareSettings(short_side_px=80, clips=0, stills=48))
    return out


def pretrain(data: Path, out: Path, *settings: str, workers: int = 0) -> list[str]:
    changes = [word for setting in (*SGD, *settings) for word in ("--set", setting)]
    words = ["pretrain", "--task", "rotation", "--tiny", "--data", str(data), "--out", str(out), "--json"]
    return [*words, "--workers", str(workers), *changes]


class Torchrun:
    """`torchrun --nproc-per-node 2 -m sslkit ...`, started. Every folder and file that a rank writes is logged."""

    def __init__(self, folder: Path, words: list[str], *options: str, processes: int = 2) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(WATCH)
        self.folder = folder
        path = os.pathsep.join([str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "WRITES": f"{folder}/writes-", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), *options]
        with open(folder / "out", "w") as out, open(folder / "err", "w") as err:
            self.process = subprocess.Popen(
                [*command, "-m", "sslkit", *words], cwd=ROOT, env=environment, stdout=out, stderr=err
            )

    def wait(self, limit_s: float = 400) -> int:
        try:
            return self.process.wait(limit_s)
        finally:
            self.end()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(60)
            self.process.kill()

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / "out").read_text().splitlines()]

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def sentences(self) -> list[str]:
        """What sslkit itself complained of, on either stream; that little was learnt is no complaint here."""
        told = [str(line["error"]) for line in self.lines if "error" in line]
        return told + re.findall(r"^sslkit: (?!After step)(.*)$", self.err, re.MULTILINE)

    def ranks(self) -> dict[int, int]:
        """Process numbers by rank."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                rank = re.search(rb"\0RANK=(\d+)\0", (process / "environ").read_bytes())
                if parent == self.process.pid and rank:
                    found[int(rank[1])] = int(process.name)
        return found

    def written(self, rank: int, under: Path) -> list[str]:
        log = self.folder / f"writes-{rank}"
        return [line for line in log.read_text().splitlines() if line.startswith(str(under))]


def until(true: Callable[[], bool], limit_s: float = 300) -> None:
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def rows(out: Path) -> list[dict[str, float]]:
    return Run(out).rows()


def weights(out: Path) -> dict[str, torch.Tensor]:
    state = Run(out).load()
    assert state is not None
    return dict(state["task"])


def same(first: Path, second: Path) -> bool:
    """Whether two runs ended with the same weights and rows, bit for bit."""
    equal = all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())
    return equal and (first / "metrics.jsonl").read_bytes() == (second / "metrics.jsonl").read_bytes()


def test_two_processes_end_as_one_does_and_the_first_one_writes(stills: Path, tmp_path: Path) -> None:
    # Six steps: the pictures of the toybox have flat areas, on which rounding decides now and then which pixel of a
    # pool is the largest. A single process whose weights are disturbed by 1e-7 departs as much after ten steps.
    short = ("train.steps=6", "train.accumulate=2")
    running = Torchrun(tmp_path / "torchrun", pretrain(stills, tmp_path / "two", *short))
    jobs.pretrain("rotation", data=[stills], out=tmp_path / "one", tiny=True, overrides=[*SGD, *short], workers=0)
    assert running.wait() == 0, running.err
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert [row["step"] for row in one] == [1, 2, 3, 4, 5, 6, 6] and len(one) == len(two)
    for row, other in zip(one, two, strict=True):
        assert other["loss"] == pytest.approx(row["loss"], rel=1e-4) and other.get("lr") == row.get("lr")
    theirs = weights(tmp_path / "two")
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-4, atol=5e-5)
    assert Run(tmp_path / "two").plan.world == 2
    assert len(running.lines) == 1 and running.lines[0]["steps"] == 6 and running.sentences == []
    assert "Warning" not in running.err
    assert running.written(0, tmp_path / "two") and not running.written(1, tmp_path / "two")


@pytest.mark.parametrize(("rank", "told"), [("0", 1), ("1", 0)])
def test_what_is_no_training_takes_one_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str, told: int
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    assert cli.run(["probe", "run", "--on", "data"]) == 2
    assert cli.run(["pretrain", "--no-such-option"]) == 2
    said = capsys.readouterr().err
    assert said.count("works in one process") == told and said.count("No such option") == told


def test_half_a_description_of_the_group_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert cli.run(["pretrain", "--task", "rotation", "--out", str(tmp_path / "run")]) == 2
    assert "RANK and MASTER_ADDR and MASTER_PORT" in capsys.readouterr().err


LONG = ("train.steps=40", "train.validate_epochs=0.25")
"""With a checkpoint every five steps."""


@pytest.fixture(scope="module")
def undisturbed(stills: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    running = Torchrun(folder / "torchrun", pretrain(stills, folder / "run", *LONG, workers=1))
    assert running.wait() == 0, running.err
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_started_again_and_the_run_ends_the_same(
    stills: Path, undisturbed: Path, tmp_path: Path, rank: int
) -> None:
    running = Torchrun(tmp_path / "torchrun", pretrain(stills, tmp_path / "run", *LONG, workers=1), "--max-restarts=2")
    try:
        until(lambda: len(rows(tmp_path / "run")) >= 12)
        first = running.ranks()
        os.kill(first[rank], signal.SIGKILL)
        killed_s, saved = time.monotonic(), Run(tmp_path / "run").step
        assert 0 < saved < 40
        until(lambda: len(now := running.ranks()) == 2 and not {*now.values()} & {*first.values()})
        restarted_s = time.monotonic() - killed_s
        until(lambda: Run(tmp_path / "run").step > saved)
        print(f"rank {rank} killed: started again after {restarted_s:.1f} s, on from step {saved} with the next "
              f"checkpoint after {time.monotonic() - killed_s:.1f} s")  # fmt: skip
    finally:
        assert running.wait() == 0, running.err
    assert same(undisturbed, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_of_torchrun_saves_first(
    stills: Path, undisturbed: Path, tmp_path: Path, number: signal.Signals
) -> None:
    words = pretrain(stills, tmp_path / "run", *LONG, workers=1)
    running = Torchrun(tmp_path / "first", words)
    until(lambda: len(rows(tmp_path / "run")) >= 4)
    began_s = time.monotonic()
    running.process.send_signal(number)
    assert running.wait() != 0
    assert time.monotonic() - began_s < 40
    step = Run(tmp_path / "run").step
    print(f"{number.name}: saved step {step}, torchrun ended after {time.monotonic() - began_s:.1f} s")
    assert 3 <= step < 40 and step >= rows(tmp_path / "run")[-1]["step"]
    assert running.sentences == ["interrupted."]
    again = Torchrun(tmp_path / "again", words)
    assert again.wait() == 0, again.err
    assert same(undisturbed, tmp_path / "run")


@pytest.mark.slow
def test_another_number_of_processes_goes_on_with_a_run(stills: Path, undisturbed: Path, tmp_path: Path) -> None:
    running = Torchrun(tmp_path / "torchrun", pretrain(stills, tmp_path / "run", *LONG, workers=1))
    until(lambda: len(rows(tmp_path / "run")) >= 4)
    running.process.terminate()
    running.wait()
    jobs.pretrain("rotation", data=[stills], out=tmp_path / "run", tiny=True, overrides=[*SGD, *LONG], workers=0)
    mine, theirs = rows(tmp_path / "run"), rows(undisturbed)
    assert [row["step"] for row in mine] == [row["step"] for row in theirs]
    assert [row["loss"] for row in mine] == pytest.approx([row["loss"] for row in theirs], rel=0.1)


@pytest.mark.slow
def test_an_error_of_one_process_ends_all_with_its_sentence(stills: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "data"
    damaged.mkdir()
    for file in stills.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    entry = json.loads((damaged / "train-index.jsonl").read_text().splitlines()[3])
    with open(damaged / entry["shard"], "r+b") as shard:
        shard.seek(entry["members"]["jpg"][0])
        shard.write(bytes(entry["members"]["jpg"][1]))
    began_s = time.monotonic()
    running = Torchrun(tmp_path / "torchrun", pretrain(damaged, tmp_path / "run", *LONG))
    assert running.wait(120) == 1
    print(f"a damaged sample ended both after {time.monotonic() - began_s:.1f} s: {running.sentences}")
    assert len(running.sentences) == 1 and entry["key"] in running.sentences[0]


@pytest.mark.slow
def test_the_same_error_of_all_processes_is_told_once(tmp_path: Path) -> None:
    running = Torchrun(tmp_path / "torchrun", pretrain(tmp_path / "nothing", tmp_path / "run"))
    assert running.wait(120) == 1
    assert len(running.sentences) == 1 and str(tmp_path / "nothing") in running.sentences[0]


@pytest.mark.slow
def test_without_data_the_first_process_makes_the_toybox(tmp_path: Path) -> None:
    words = ["pretrain", "--task", "rotation", "--out", str(tmp_path / "runs" / "run"), "--workers", "0", "--json"]
    running = Torchrun(tmp_path / "torchrun", [*words, "--set", "train.steps=2"])
    assert running.wait() == 0, running.err
    assert len(running.lines) == 1 and not running.written(1, tmp_path / "runs")


@pytest.mark.slow
def test_finetuning_is_shared_too(stills: Path, toybox: Path, tmp_path: Path) -> None:
    arrow = ["train.steps=2", "train.batch=4"]
    jobs.pretrain("aot", data=[toybox], out=tmp_path / "aot", tiny=True, overrides=arrow, workers=0)
    settings = ["train.epochs=2", "train.batch=4", "train.optimizer=sgd", "train.lr=0.001", "dropout=0"]
    words = ["finetune", str(tmp_path / "aot"), "--on", str(toybox), "--out", str(tmp_path / "two"), "--workers", "0"]
    changes = [word for setting in settings for word in ("--set", setting)]
    running = Torchrun(tmp_path / "torchrun", [*words, "--json", *changes])
    one = jobs.finetune(
        [tmp_path / "aot"], [toybox], recipe="clips", overrides=settings, out=tmp_path / "one", workers=0
    )
    assert running.wait() == 0, running.err
    (two,) = running.lines
    assert not running.written(1, tmp_path / "two")
    (first,) = (tmp_path / "one").glob("*/metrics.jsonl")
    (second,) = (tmp_path / "two").glob("*/metrics.jsonl")
    losses = [[row["loss"] for row in rows(file.parent)] for file in (first, second)]
    assert losses[0][:2] == pytest.approx(losses[1][:2], rel=1e-5)
    assert losses[0] == pytest.approx(losses[1], rel=0.05), "batches of four blow rounding up"
    assert isinstance(two["metrics"], dict) and two["metrics"].keys() == one.metrics.keys()


@pytest.mark.slow
def test_two_hosts_meet_again_after_a_kill(stills: Path, undisturbed: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--nnodes=2", "--max-restarts=3", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
    words = pretrain(stills, tmp_path / "run", *LONG, workers=1)
    hosts = [
        Torchrun(tmp_path / f"host-{n}", words, *options, f"--rdzv-conf=is_host={1 - n}", processes=1) for n in (0, 1)
    ]
    try:
        until(lambda: len(rows(tmp_path / "run")) >= 12)
        (killed,) = (host.ranks()[1] for host in hosts if 1 in host.ranks())
        os.kill(killed, signal.SIGKILL)
    finally:
        codes = [host.wait() for host in hosts]
    assert codes == [0, 0], hosts[0].err + hosts[1].err
    assert same(undisturbed, tmp_path / "run")
