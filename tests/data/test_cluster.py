"""prepare-data on a Dask cluster of two worker processes: the bytes of a local call, also when one is killed."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from sslkit import cli
from sslkit.data import cluster
from sslkit.data.layouts.base import Item
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.data.task import Job, Task
from sslkit.errors import UserError, WorkError
from sslkit.media import write

pytest.importorskip("distributed", reason="Dask is not installed")

ROOT = Path(__file__).parents[2]
SETTINGS = PrepareSettings(short_side_px=48, shots=False, remove_borders=False, min_s=0.2, flow="dis", max_skipped=0.5)
FLAGS = ["--short-side-px", "48", "--no-shots", "--keep-borders", "--set", "min_s=0.2", "--flow", "dis"]


class Cluster:
    """A scheduler and workers, each a process of its own. They run in a folder where relative paths lead nowhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        self.scheduler = self._start("dask_scheduler", "--host", self.address)

    def hire(self, count: int) -> None:
        """Have so many workers."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < count:
            words = ["--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder)]
            self.workers.append(self._start("dask_worker", self.address, *words))

    def fire(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def _start(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", f"distributed.cli.{program}", *words, "--no-dashboard"]
        with open(self.folder / f"{len(self.processes)}.log", "wb") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("dask"))
    yield started
    started.end()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight short videos, six pictures, and two files that are neither."""
    root = tmp_path_factory.mktemp("tree")
    for number in range(8):
        texture = (
            np.random.default_rng(number).integers(40, 220, (12, 16, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
        )
        frames = np.stack([np.roll(texture, 2 * frame, axis=1) for frame in range(12)])
        write.video(root / f"clip-{number}.mp4", frames, 10)
    for number in range(6):
        (root / f"still-{number}.jpg").write_bytes(write.jpeg(np.full((60, 90, 3), 30 * number, np.uint8)))
    (root / "broken.mp4").write_bytes(b"no video" * 100)
    (root / "broken.jpg").write_bytes(b"no picture" * 100)
    return root


def digests(out: Path) -> dict[str, str]:
    paths = [path for path in out.iterdir() if path.name != "dataset.json"]
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def helpers(parents: list[int]) -> list[int]:
    """Processes that workers of the cluster have started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[1]) in parents:
                found.append(int(process.name))
    return found


def when(done: int, act: Callable[[], object]) -> Callable[[int, int, str], None]:
    """Progress that acts when so many tasks are done."""

    def progress(now: int, total: int, name: str) -> None:
        if now == done:
            act()

    return progress


def test_an_address_without_a_scheduler_or_workers(
    dask: Cluster, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dask.fire()
    monkeypatch.setattr(cluster, "_ANSWER_S", 3.0)
    began_s = time.monotonic()
    for number, address in enumerate(["tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1"]):
        words = ["prepare-data", "folder", str(tree), str(tmp_path / f"{number}"), "--cluster", address]
        assert cli.run(words) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and f"No Dask scheduler answers at {address}" in lines[0]
    while not up(dask.address):
        assert time.monotonic() < began_s + 60
    with pytest.raises(UserError, match="has no workers: start some with `dask worker tcp"):
        prepare("folder", str(tree), tmp_path / "out", SETTINGS, cluster=dask.address)


def test_a_client_that_failed_is_not_cleared_away_while_another_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distributed.Client", lambda *_, **__: gc.isenabled())
    assert gc.isenabled() and cluster._client("tcp://host:1") is False and gc.isenabled()


def test_a_cluster_that_loses_a_worker_writes_what_one_machine_does(dask: Cluster, tree: Path, tmp_path: Path) -> None:
    dask.hire(2)
    prepare("folder", str(tree), tmp_path / "here", SETTINGS)
    names: list[str] = []
    kill = when(3, lambda: dask.workers[0].send_signal(signal.SIGKILL))

    def progress(done: int, total: int, name: str) -> None:
        names.append(name)
        kill(done, total, name)

    prepared = prepare("folder", str(tree), tmp_path / "there", SETTINGS, progress=progress, cluster=dask.address)
    assert prepared.skipped == 2 and dask.workers[0].wait(10) == -signal.SIGKILL
    assert len(names) == len(set(names)) >= 9
    assert digests(tmp_path / "here") == digests(tmp_path / "there")
    assert helpers([dask.workers[1].pid]) == [], "the processes that did the work have ended"


def test_relative_paths_and_other_versions(
    dask: Cluster, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dask.hire(1)
    monkeypatch.chdir(tree.parent)
    flags = [*FLAGS, "--max-skipped", "0.5", "--cluster", dask.address]
    with monkeypatch.context() as patched:
        patched.setattr(cluster, "_versions", lambda: {**dict.fromkeys(cluster._ALIKE, "1"), "sslkit": "0.0.1"})
        assert cli.run(["prepare-data", "folder", tree.name, "out", *flags]) == 2
    assert "has sslkit 0.1.0, but here it is 0.0.1: install the same versions" in capsys.readouterr().err
    assert cli.run(["prepare-data", "folder", tree.name, "out", "--json", *flags]) == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == 2
    prepare("folder", tree.name, tmp_path / "here", SETTINGS)
    assert {k: v for k, v in digests(tmp_path / "here").items() if "tar" in k} == {
        k: v for k, v in digests(Path("out")).items() if "tar" in k
    }


def up(address: str) -> bool:
    host, port = address.removeprefix("tcp://").split(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
        return True
    return False


def test_a_worker_that_does_not_see_a_file_is_told_apart_from_a_file_that_is_gone(tmp_path: Path) -> None:
    there, gone = tmp_path / "there.jpg", tmp_path / "gone.jpg"
    for path in (there, gone):
        path.write_bytes(b"x")
    jobs = [Job.of(n, -1, Item(path.name, "train", path.name, path.stem, path)) for n, path in enumerate((there, gone))]
    task = Task(tmp_path / "0", tuple(jobs), SETTINGS)
    cluster._require_reach(task)
    gone.unlink()
    with pytest.raises(cluster._Unseen) as unseen:
        cluster._require_reach(task)
    assert unseen.value.args == (socket.gethostname(), gone)
    cluster._require_reach(cluster._without(task, "far", gone))
    with pytest.raises(UserError, match="far does not see .*there.jpg: all workers must find"):
        cluster._without(task, "far", there)
    with pytest.raises(UserError, match="far does not see /nowhere"):
        cluster._without(task, "far", Path("/nowhere"))
    with pytest.raises(cluster._Unseen, match="nowhere"):
        cluster._require_reach(replace(task, path=Path("/nowhere/0")))


def test_what_workers_write_elsewhere_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_SEEN_S", 0.2)
    with pytest.raises(UserError, match="OUT must be in a folder that hosts share"):
        cluster._require_seen(Task(tmp_path / "0", (), SETTINGS))


@pytest.mark.slow
def test_lost_schedulers_and_workers_are_told_and_the_work_goes_on_later(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    dask = Cluster(tmp_path)
    request.addfinalizer(dask.end)
    monkeypatch.setattr(cluster, "_WORKERS_S", 3.0)
    prepare("folder", str(tree), tmp_path / "here", SETTINGS)
    dask.hire(1)
    with pytest.raises(WorkError, match="has lost all workers"):
        prepare("folder", str(tree), tmp_path / "out", SETTINGS, 0, when(2, dask.workers[0].kill), dask.address)
    dask.hire(1)
    with pytest.raises(WorkError, match="scheduler at .* is gone"):
        prepare("folder", str(tree), tmp_path / "out", SETTINGS, 0, when(4, dask.scheduler.kill), dask.address)
    prepare("folder", str(tree), tmp_path / "out", SETTINGS)
    assert digests(tmp_path / "here") == digests(tmp_path / "out")


@pytest.mark.slow
def test_an_interrupt_ends_what_the_workers_do(dask: Cluster, tree: Path, tmp_path: Path) -> None:
    dask.hire(2)

    def interrupt() -> None:
        raise KeyboardInterrupt

    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        prepare("folder", str(tree), tmp_path / "out", SETTINGS, 0, when(1, interrupt), dask.address)
    assert helpers([worker.pid for worker in dask.workers]) == []
    assert not list((tmp_path / "out").glob("*.tar")) and time.monotonic() - began_s < 60
