"""Sources that cannot be read, decoders that hang or crash, full disks and lists that lead elsewhere."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslkit import cli
from sslkit.data import task, worker
from sslkit.data.dataset import Dataset
from sslkit.data.layouts.base import Item
from sslkit.data.prepare import prepare
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError, WorkError
from sslkit.media import write

LISTED = PrepareSettings(short_side_px=32, max_skipped=1, min_s=0.1)
SETTINGS = PrepareSettings(short_side_px=32, max_skipped=1, min_s=0.1, val_share=0)
NAMED = re.compile(r"[^\n]+\.\Z")


def video(path: Path, frames: int = 12, fps: float = 25) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(frames).integers(30, 220, (6, 8, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
    write.video(path, np.stack([np.roll(noise, 2 * k, axis=1) for k in range(frames)]), fps)


def still(path: Path, level: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write.jpeg(np.full((40, 60, 3), level, np.uint8)))


def skipped(out: Path) -> dict[str, str]:
    """What was left out, and why; each reason is one sentence in our own words."""
    lines = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    for line in lines:
        assert NAMED.match(line["reason"]) and not re.search(r"\b\w+Error\b", line["reason"]), line
    return {line["source"]: line["reason"] for line in lines}


def kept(out: Path, split: str = "train") -> list[str]:
    return [entry.source for entry in Dataset(out, split).entries]


class TestSkipped:
    """What cannot be used is listed with its reason, and what can be used is there."""

    def test_a_folder_of_everything(self, tmp_path: Path) -> None:
        root = tmp_path / "src"
        video(root / "good.mp4")
        still(root / "good.jpg")
        whole, picture = (root / "good.mp4").read_bytes(), (root / "good.jpg").read_bytes()
        (root / "empty.mp4").write_bytes(b"")
        (root / "empty.jpg").write_bytes(b"")
        (root / "text.mkv").write_text("hello")
        (root / "cut.mp4").write_bytes(whole[: len(whole) // 2])
        (root / "cut.jpg").write_bytes(picture[: len(picture) // 2])
        (root / "video.jpg").write_bytes(whole)
        (root / "dangling.mp4").symlink_to(root / "nothing.mp4")
        (root / "loop.jpg").symlink_to(root / "loop.jpg")
        (root / "device.jpg").symlink_to("/dev/zero")
        os.mkfifo(root / "pipe.mp4")
        os.mkfifo(root / "pipe.png")
        video(root / "short.mp4", 1)
        line = Image.new("L", (2, 600))
        line.save(root / "narrow.png")
        buffer = io.BytesIO()
        Image.fromarray(np.full((40, 60), 90 * 257, np.uint16)).save(buffer, "PNG")
        (root / "deep.jpg").write_bytes(buffer.getvalue())  # with the wrong ending, but a picture
        done = prepare("folder", str(root), tmp_path / "out", SETTINGS)
        reasons = skipped(tmp_path / "out")
        assert sorted(kept(tmp_path / "out")) == ["deep.jpg", "good.jpg", "good.mp4"]
        assert done.skipped == len(reasons) == 13
        for name, words in {
            "empty.mp4": "cannot be read as media",
            "cut.jpg": "cannot be read as a picture",
            "video.jpg": "not a picture in a known format",
            "dangling.mp4": "does not exist",
            "device.jpg": "is not a file",
            "pipe.mp4": "is not a file",
            "pipe.png": "is not a file",
            "short.mp4": "no clip of at least",
            "narrow.png": "2x600 pixels, which are too narrow",
        }.items():
            assert words in reasons[name], reasons[name]

    def test_more_than_is_allowed_is_an_error(self, tmp_path: Path) -> None:
        for number in range(4):
            still(tmp_path / "src" / f"{number}.jpg")
        (tmp_path / "src" / "bad.jpg").write_bytes(b"no")
        strict = SETTINGS.model_copy(update={"max_skipped": 0.19})
        with pytest.raises(WorkError, match=r"1 of 5 sources could not be prepared .*skipped.jsonl says why"):
            prepare("folder", str(tmp_path / "src"), tmp_path / "out", strict)
        assert skipped(tmp_path / "out").keys() == {"bad.jpg"}
        loose = SETTINGS.model_copy(update={"max_skipped": 0.2})
        assert prepare("folder", str(tmp_path / "src"), tmp_path / "out", loose).skipped == 1

    def test_a_file_that_is_gone_or_another_when_it_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = tmp_path / "src"
        for name in "abcd":
            video(root / f"{name}.mp4")
        work = task.Task.work

        def meddled(one: task.Task, *given: object) -> None:
            name = one.jobs[0].item.source
            if name == "b.mp4":
                (root / name).unlink()
            if name == "c.mp4":
                video(root / name, 24)
            work(one, *given)

        monkeypatch.setattr(task.Task, "work", meddled)
        prepare("folder", str(root), tmp_path / "out", SETTINGS)
        reasons = skipped(tmp_path / "out")
        assert kept(tmp_path / "out") == ["a.mp4", "d.mp4"] and reasons.keys() == {"b.mp4", "c.mp4"}
        assert "does not exist" in reasons["b.mp4"] and "has changed since it was listed" in reasons["c.mp4"]

    def test_a_file_that_changes_while_it_is_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        video(tmp_path / "src" / "a.mp4")
        video(tmp_path / "src" / "b.mp4")
        whole = task.prepare_item

        def meddled(item: Item, *given: object) -> Iterator[object]:
            yield from whole(item, *given)
            if item.source == "a.mp4":
                os.utime(item.path, (1, 1))

        monkeypatch.setattr(task, "prepare_item", meddled)
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", SETTINGS)
        assert kept(tmp_path / "out") == ["b.mp4"]
        assert "changed while it was read" in skipped(tmp_path / "out")["a.mp4"]


class TestLists:
    """A list, a link or a folder may not lead elsewhere."""

    @pytest.mark.parametrize("name", ["../secret.mp4", "sub/../../secret.mp4", "{root}/secret.mp4"])
    def test_segments_that_lie_elsewhere(self, name: str, tmp_path: Path) -> None:
        video(tmp_path / "secret.mp4")
        video(tmp_path / "src" / "sub" / "a.mp4")
        named = name.format(root=tmp_path)
        (tmp_path / "src" / "s.csv").write_text(f"file,split,start_s,end_s,label\n{named},train,,,\n")
        with pytest.raises(UserError, match=r"secret.mp4 lies outside of .*src, where SOURCE may not lead"):
            prepare("segments", str(tmp_path / "src" / "s.csv"), tmp_path / "out", LISTED)
        assert not (tmp_path / "out").exists()

    def test_a_source_given_relative_to_where_one_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        video(tmp_path / "src" / "a.mp4")
        video(tmp_path / "secret.mp4")
        monkeypatch.chdir(tmp_path / "src")
        for name, good in (("a.mp4", True), ("../secret.mp4", False)):
            Path("s.csv").write_text(f"file,split,start_s,end_s,label\n{name},train,,,\n")
            if good:
                prepare("segments", "s.csv", tmp_path / "out", LISTED)
                continue
            with pytest.raises(UserError, match="lies outside of"):
                prepare("segments", "s.csv", tmp_path / "out2", LISTED)

    def test_published_lists_that_lie_elsewhere(self, tmp_path: Path) -> None:
        video(tmp_path / "evil.avi")
        video(tmp_path / "hmdb" / "wave" / "a.avi")
        (tmp_path / "hmdb" / "wave_test_split1.txt").write_text("a.avi 1\n../../evil.avi 1\n")
        with pytest.raises(UserError, match="lies outside of"):
            prepare("hmdb51", str(tmp_path / "hmdb"), tmp_path / "out", LISTED)

    def test_links_that_never_end(self, tmp_path: Path) -> None:
        still(tmp_path / "src" / "a" / "x.jpg")
        (tmp_path / "src" / "a" / "up").symlink_to(tmp_path / "src")
        with pytest.raises(UserError, match=r"src/a/up is a link to a folder that it lies in"):
            prepare("folder", str(tmp_path / "src"), tmp_path / "out", SETTINGS)

    def test_links_to_elsewhere_are_followed(self, tmp_path: Path) -> None:
        still(tmp_path / "disk" / "x.jpg")
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "a").symlink_to(tmp_path / "disk")
        (tmp_path / "src" / "b").symlink_to(tmp_path / "disk")
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", SETTINGS)
        assert kept(tmp_path / "out") == ["a/x.jpg", "b/x.jpg"]

    def test_a_folder_that_may_not_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        still(tmp_path / "src" / "shut" / "x.jpg")
        scan = os.scandir
        (tmp_path / "src" / "shut").chmod(0)

        def denied(path: object = ".") -> object:  # root may read everything
            if str(path).endswith("shut"):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", denied)
        with pytest.raises(UserError, match=r"folder cannot be read: .*src/shut: permission denied\."):
            prepare("folder", str(tmp_path / "src"), tmp_path / "out", SETTINGS)
        monkeypatch.undo()
        (tmp_path / "src" / "shut").chmod(0o755)

    @pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", b'file,split,start_s,end_s,label\n"' + b"x" * 200_000])
    def test_lists_that_are_no_text(self, content: bytes, tmp_path: Path) -> None:
        (tmp_path / "s.csv").write_bytes(content)
        with pytest.raises(UserError, match=r"segments cannot be read: a list in .*s.csv is not plain text"):
            prepare("segments", str(tmp_path / "s.csv"), tmp_path / "out", LISTED)


MEDDLE = """
import os, time
from sslkit.media import picture, read

def meddled(whole):
    def read_it(source, *given, **named):
        name = os.path.basename(str(source))
        if name.startswith("hang"):
            time.sleep(1000)
        if name.startswith("crash"):
            os.kill(os.getpid(), int(name.split("-")[1].split(".")[0]))
        if name.startswith("memory"):
            raise MemoryError
        if name.startswith("once") and not os.path.exists(str(source) + ".seen"):
            open(str(source) + ".seen", "w").close()
            os.kill(os.getpid(), 9)
        return whole(source, *given, **named)
    return read_it

picture.still = meddled(picture.still)
read.probe = meddled(read.probe)
"""


@pytest.fixture
def meddled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders in worker processes hang or crash at files that are called so."""
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text(MEDDLE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "patch"))


@pytest.mark.usefixtures("meddled")
class TestWorkers:
    """One bad file costs one file, whatever it does to the process that reads it."""

    @pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
    def test_what_hangs_crashes_or_needs_too_much(self, workers: int, tmp_path: Path) -> None:
        root = tmp_path / "src"
        for name in ("a", "b", "hang", "m", "crash-11", "crash-9", "memory", "z"):
            still(root / f"{name}.jpg")
        for name in ("v", "hang-v", "crash-6"):
            video(root / "w" / f"{name}.mp4")
        settings = SETTINGS.model_copy(update={"time_limit_s": 3.0})
        began = time.monotonic()
        prepare("folder", str(root), tmp_path / "out", settings, workers)
        assert time.monotonic() - began < 90
        reasons = skipped(tmp_path / "out")
        assert kept(tmp_path / "out") == ["a.jpg", "b.jpg", "m.jpg", "w/v.mp4", "z.jpg"]
        assert reasons.keys() == {
            "hang.jpg", "crash-11.jpg", "crash-9.jpg", "memory.jpg", "w/hang-v.mp4", "w/crash-6.mp4",
        }  # fmt: skip
        assert "hang.jpg took too long to read and was given up (time_limit_s is 3)" in reasons["hang.jpg"]
        assert "took too long" in reasons["w/hang-v.mp4"]
        assert "ended the process that read it, twice (signal SIGSEGV)" in reasons["crash-11.jpg"]
        assert "twice (signal SIGABRT)" in reasons["w/crash-6.mp4"]
        assert all("not enough memory" in reasons[name] for name in ("crash-9.jpg", "memory.jpg"))

    def test_what_crashed_by_another_fault_is_tried_again(self, tmp_path: Path) -> None:
        for name in ("a", "once", "z"):
            still(tmp_path / "src" / f"{name}.jpg")
        done = prepare("folder", str(tmp_path / "src"), tmp_path / "out", SETTINGS, 2)
        assert done.skipped == 0 and kept(tmp_path / "out") == ["a.jpg", "once.jpg", "z.jpg"]

    @pytest.mark.slow
    def test_the_same_shards_as_without_the_bad_files_around(self, tmp_path: Path) -> None:
        for name in ("a", "hang", "z"):
            still(tmp_path / "src" / f"{name}.jpg")
        settings = SETTINGS.model_copy(update={"time_limit_s": 2.0})
        prepare("folder", str(tmp_path / "src"), tmp_path / "one", settings, 1)
        prepare("folder", str(tmp_path / "src"), tmp_path / "two", settings, 2)
        for name in ("train-00000.tar", "train-index.jsonl", "skipped.jsonl"):
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_worker_that_cannot_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    still(tmp_path / "src" / "a.jpg")
    monkeypatch.setattr(worker, "_PROGRAM", "import sys; sys.exit(3)")
    with pytest.raises(WorkError, match=r"A worker process does not run: exit code 3"):
        prepare("folder", str(tmp_path / "src"), tmp_path / "out", SETTINGS, 1)


class TestFullDisk:
    """One sentence, nothing half written, and the next call goes on."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        for number in range(4):
            video(tmp_path / "src" / f"{number}.mp4", 12 + number)
        return tmp_path / "src"

    def same(self, source: Path, tmp_path: Path, out: Path) -> None:
        """Started again, with room, it is what it would have been."""
        prepare("folder", str(source), out, SETTINGS)
        prepare("folder", str(source), tmp_path / "whole", SETTINGS)
        for name in ("train-00000.tar", "train-index.jsonl"):
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert {path.name for path in out.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}

    @pytest.mark.parametrize("workers", [0, 1])
    def test_files_that_may_not_grow(self, workers: int, source: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        command = f"ulimit -f 12; exec {shlex.join(call(tmp_path, source, out, SETTINGS, workers))}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=200)
        assert done.returncode == 1, done.stderr
        assert done.stderr == f"{out} cannot be written: file too large; mend that, and start again to go on from here."
        assert not (out / "dataset.json").exists() and not list(out.glob("*.tar*"))
        self.same(source, tmp_path, out)

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_small_file_system(self, workers: int, source: Path, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
        if mounted.returncode:
            pytest.skip("a small file system cannot be mounted here")
        try:
            with pytest.raises(WorkError, match=r"disk/out cannot be written: no space left on device; mend that"):
                prepare("folder", str(source), disk / "out", SETTINGS, workers)
            assert not (disk / "out" / "dataset.json").exists() and not list((disk / "out").glob("*.tar*"))
            subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
            self.same(source, tmp_path, disk / "out")
        finally:
            subprocess.run(["umount", "-l", disk], check=True)

    @pytest.mark.parametrize(
        "at", ["train-00000.tar", "train-index.jsonl", "dataset.json", "skipped.jsonl", "plan.json"]
    )
    def test_the_disk_fills_up_at_the_end(
        self, at: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out, whole = tmp_path / "out", Path.open

        def full(path: Path, *given: object, **named: object) -> io.IOBase:
            if path.name == f"{at}.partial":
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            return whole(path, *given, **named)

        monkeypatch.setattr(Path, "open", full)
        with pytest.raises(WorkError, match=r"out cannot be written: no space left on device"):
            prepare("folder", str(source), out, SETTINGS)
        monkeypatch.undo()
        assert not (out / "dataset.json").exists() and not list(out.glob("*.partial"))
        self.same(source, tmp_path, out)

    def test_a_folder_that_may_not_be_written(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises((UserError, WorkError), match=r"file"):
            prepare("folder", str(source), tmp_path / "file" / "out", SETTINGS)


def test_the_command_says_how_many_and_exits_1_above_the_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        still(tmp_path / "src" / f"{number}.jpg")
    (tmp_path / "src" / "bad.jpg").write_bytes(b"no")
    words = ["prepare-data", "folder", str(tmp_path / "src"), str(tmp_path / "out"), "--short-side-px", "32"]
    words += ["--val-share", "0", "--workers", "0"]
    assert cli.run(words) == 1
    assert "1 of 4 sources could not be prepared" in " ".join(capsys.readouterr().err.split())
    assert cli.run([*words, "--max-skipped", "0.25", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[0])["skipped"] == 1


def call(folder: Path, source: Path, out: Path, settings: PrepareSettings, workers: int) -> list[str]:
    """The words of a program that prepares, without what the command line needs beside that."""
    program = folder / "call.py"
    program.write_text(
        "import sys\nfrom pathlib import Path\nfrom sslkit.data.prepare import prepare\n"
        "from sslkit.data.settings import PrepareSettings\nfrom sslkit.errors import WorkError\n"
        "settings = PrepareSettings.model_validate_json(sys.argv[3])\n"
        "try:\n    prepare('folder', sys.argv[1], Path(sys.argv[2]), settings, int(sys.argv[4]))\n"
        "except WorkError as error:\n    sys.stderr.write(str(error))\n    sys.exit(1)\n"
    )
    stated = settings.model_dump_json(exclude_unset=True)
    return [sys.executable, str(program), str(source), str(out), stated, str(workers)]


def killed(command: list[str], out: Path, after_s: float, sent: signal.Signals) -> tuple[int, float]:
    """Start a command, and send it a signal some time after it has begun to work in OUT.

    Returns its exit code and how long it took: to end after the signal, or in all from where it began to work.
    """
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, start_new_session=True, stderr=quiet, stdout=quiet)
    while not (out / ".parts" / "plan.json").exists() and process.poll() is None:
        time.sleep(0.002)
    began = time.monotonic()
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        began = time.monotonic()
        process.send_signal(sent)
    code = process.wait(60)
    took_s = time.monotonic() - began
    until = time.monotonic() + 30
    while _alive(process.pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _alive(process.pid), "workers outlive their parent"
    return code, took_s


def _alive(session: int) -> bool:
    """Whether a process of the session is left that is not a zombie."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, own = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(own) == session and state != "Z":
            return True
    return False


def content(out: Path) -> dict[str, bytes]:
    """Every file of a prepared dataset; of dataset.json all but the seconds that it took."""
    files = {path.name: path.read_bytes() for path in sorted(out.iterdir())}
    about = json.loads(files["dataset.json"])
    return files | {"dataset.json": json.dumps({**about, "seconds": 0}).encode()}


class TestKilled:
    """Killed at any moment and started again, the dataset is byte for byte what it is without."""

    SETTINGS = PrepareSettings(short_side_px=32, min_s=0.1, shard_mb=0.02)

    @pytest.fixture
    def source(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        root = tmp_path_factory.mktemp("killed")
        for number in range(10):
            video(root / f"v{number}.mp4", 25 + number)
        for number in range(70):
            still(root / "stills" / f"{number:02d}.jpg", number)
        (root / "bad.mp4").write_bytes(b"no")
        return root

    @pytest.mark.parametrize("moments", [2, pytest.param(20, marks=pytest.mark.slow)])
    def test_kill_9(self, moments: int, source: Path, tmp_path: Path) -> None:
        code, seconds = killed(self.call(tmp_path, source, "whole"), tmp_path / "whole", 600, signal.SIGKILL)
        assert code == 0
        whole, random, stages = content(tmp_path / "whole"), np.random.default_rng(0), []
        for moment in range(moments):
            out = tmp_path / str(moment)
            # Every fifth is killed again on its way to the end.
            for _ in range(2 if moment % 5 == 4 else 1):
                killed(self.call(tmp_path, source, out.name), out, float(random.uniform(0, seconds)), signal.SIGKILL)
            done = len(list((out / ".parts").glob("0*.json")))
            stages.append("finished" if (out / "dataset.json").exists() else f"{done} tasks done")
            prepare("folder", str(source), out, self.SETTINGS)
            assert content(out) == whole
        print(stages)
        assert moments < 20 or len(set(stages)) > 3, f"the kills met too few stages: {stages}"

    def call(self, tmp_path: Path, source: Path, name: str) -> list[str]:
        return call(tmp_path, source, tmp_path / name, self.SETTINGS, 2)

    @pytest.mark.parametrize("sent", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
    def test_asked_to_end(self, sent: signal.Signals, source: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        command = [sys.executable, "-m", "sslkit", "prepare-data", "folder", str(source), str(out), "--workers", "2"]
        command += ["--short-side-px", "32", "--set", "min_s=0.1", "--set", "shard_mb=0.02"]
        code, took_s = killed(command, out, 0.3, sent)
        assert code == 130 and took_s < 10
        prepare("folder", str(source), out, self.SETTINGS)
        prepare("folder", str(source), tmp_path / "whole", self.SETTINGS)
        assert content(out) == content(tmp_path / "whole")


def test_a_process_that_ended_leaves_no_half_names(tmp_path: Path) -> None:
    """What a killed call left under a name of its own is cleared away by the next."""
    still(tmp_path / "src" / "a.jpg")
    prepare("folder", str(tmp_path / "src"), tmp_path / "one", SETTINGS)
    parts = tmp_path / "two" / ".parts"
    parts.mkdir(parents=True)
    (parts / "0000000.12ab.partial").write_bytes(b"half")
    (parts / "plan.json.partial").write_bytes(b"half")
    prepare("folder", str(tmp_path / "src"), tmp_path / "two", SETTINGS)
    assert content(tmp_path / "one") == content(tmp_path / "two")
