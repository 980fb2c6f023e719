"""What is told of libraries that are missing, broken, or do not match: made-up ones, so that real ones stay."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from sslkit import cli, doctor
from sslkit.doctor import libraries, machine, trial
from sslkit.doctor.libraries import Requirement
from sslkit.doctor.row import Row

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a made-up library in front of the real ones: its version, and the code that its import runs."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, version: str, code: str = "", module: str = "") -> None:
        (tmp_path / f"{module or name}.py").write_text(code or f"__version__ = {version!r}\n")
        about = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")

    return install


def told(one: Requirement) -> Row:
    return libraries.library(one, trial.tried(libraries.modules([one])))


def test_only_the_standard_library_is_imported() -> None:
    code = (
        "import sys\nfrom sslkit import doctor\n"
        "others = {m.split('.')[0] for m in sys.modules} - sys.stdlib_module_names - {'sslkit', '__main__'}\n"
        "sys.exit(str({m for m in others if not m.startswith(('_', 'sitecustom'))} or ''))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env=_paths())
    assert done.stderr.strip() == "", done.stderr


def _paths() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_crash_and_a_hang_take_nothing_along(install: Install) -> None:
    install("fine", "1.2", "print('noise'); __version__ = '1.2'")
    install("raises", "1", "raise RuntimeError('operator torchvision::nms does not exist\\nand more')")
    install("crashes", "1", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    install("leaves", "1", "import os; os._exit(3)")
    install("hangs", "1", "import time; time.sleep(60)")
    found = trial.tried(["fine", "raises", "crashes", "leaves", "hangs", "fine"], longest_s=3)
    assert found["raises"]["error"] == "RuntimeError: operator torchvision::nms does not exist."
    assert found["crashes"]["error"] == "it dies of SIGSEGV."
    assert found["leaves"]["error"] == "it ends the process, code 3."
    assert found["hangs"]["error"] == "it does not answer within 3 s."
    assert found["fine"] == {"version": "1.2"}


def test_a_file_in_the_current_folder_is_not_taken_for_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemError")
    monkeypatch.chdir(tmp_path)
    assert "error" not in trial.tried(["json"])["json"]


def test_a_library_that_is_missing_too_old_or_broken(install: Install) -> None:
    assert told(Requirement("sslkit-no-such", ">=1")) == {
        "check": "sslkit-no-such",
        "state": "fail",
        "found": "It is not installed.",
        "fix": "python -m pip install 'sslkit-no-such>=1'",
    }
    install("oldish", "1.9.3")
    assert told(Requirement("oldish", ">=1.10,<2"))["found"] == "1.9.3 is installed, but sslkit needs >=1.10,<2."
    install("broken", "2.0", "import sslkit_no_such")
    row = told(Requirement("broken", ">=1"))
    assert row["state"] == "fail" and "No module named 'sslkit_no_such'" in row["found"] and "--force" in row["fix"]
    assert told(Requirement("no-such-extra", "", "cluster"))["state"] == "ok"
    assert "sslkit[cluster]" in told(Requirement("no-such-extra", "", "cluster"))["fix"]


def test_without_decord_sslkit_goes_on(install: Install) -> None:
    install("decord", "0.6.0", "raise OSError('libdecord.so: wrong ELF class')")
    row = told(Requirement("decord", ">=0.6"))
    assert row["state"] == "warn" and row["found"].endswith("wrong ELF class. PyAV decodes in its place.")


@pytest.mark.parametrize(
    ("torch", "vision", "state", "said"),
    [
        ("2.14.1+cu130", "0.29.2+cu132", "ok", "belong together"),
        ("2.11.0", "0.26.1", "ok", "belong together"),
        ("2.14.1", "0.26.1", "fail", "torch 2.14.1 goes with torchvision 0.29, not with 0.26.1."),
        ("2.14.1+cpu", "0.29.2+cu130", "fail", "different devices"),
        ("", "0.29.2", "fail", "torch is not there"),
    ],
)
def test_torch_and_torchvision_belong_together(
    torch: str, vision: str, state: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "_installed", lambda name: None)
    wanted = [Requirement("torch", ">=2.11,<2.15"), Requirement("torchvision", ">=0.26")]
    row = libraries.torch_family(wanted, {"torch": {"version": torch}, "torchvision": {"version": vision}})
    assert row["state"] == state and said in row["found"]
    if state == "fail":
        assert row["fix"] == "python -m pip install --upgrade 'torch>=2.11,<2.15' 'torchvision>=0.26'"


def test_opencv_without_cascades_or_overwritten(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [Requirement("opencv-python-headless", ">=4.10,<5")]
    assert libraries.opencv(wanted, {"version": "4.14.0", "cascades": 17})["state"] == "ok"
    bare = libraries.opencv(wanted, {"version": "5.0.0", "cascades": 0})
    assert bare["state"] == "warn" and "5.0.0 with 0 cascades" in bare["found"]
    install("opencv-python", "5.0.0", module="another_cv2")
    row = libraries.opencv(wanted, {"version": "5.0.0", "cascades": 17})
    assert row["state"] == "warn" and row["found"] == "opencv-python overwrites opencv-python-headless."
    assert row["fix"].startswith("python -m pip uninstall -y opencv-python opencv-python-headless && ")
    assert row["fix"].endswith("'opencv-python-headless>=4.10,<5'")


def test_formats_that_are_needed_fail_and_others_warn() -> None:
    rows = libraries.formats({"why_not": {"H.264": "no decoder", "AV1": "no decoder", "Opus": ""}})
    assert [row["state"] for row in rows] == ["fail", "warn", "ok"]
    assert libraries.formats({"error": "it dies of SIGILL."})[0]["state"] == "fail"


@pytest.mark.parametrize(
    ("version", "versions", "fits"),
    [
        ("2.14.1+cu130", ">=2.11,<2.15", True),
        ("2.15.0", ">=2.11,<2.15", False),
        ("13", ">=13.0", True),
        ("0.9", ">=0.10.2", False),
        ("5.0.0rc1", "<5", False),
        ("1.0", "", True),
    ],
)
def test_versions(version: str, versions: str, fits: bool) -> None:
    assert libraries._fits(version, versions) is fits


def test_requirements_are_those_of_the_package() -> None:
    wanted = {one.name: one for one in libraries.requirements()}
    assert wanted["torch"].versions in (">=2.11,<2.15", "<2.15,>=2.11") and not wanted["torch"].extra
    assert wanted["opencv-python-headless"].module == "cv2" and "pytest" not in wanted


# The machine.


def test_the_share_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert machine.cores(tmp_path)["state"] == "ok"
    (tmp_path / "cpu").mkdir()
    for name, value in (("quota", "-1"), ("period", "100000")):
        (tmp_path / "cpu" / f"cpu.cfs_{name}_us").write_text(value)
    assert machine.cores(tmp_path)["state"] == "ok"
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("250000")
    row = machine.cores(tmp_path)
    assert (row["state"], row["fix"]) == ("warn", "export OMP_NUM_THREADS=2") and "of 2.5" in row["found"]
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.cores(tmp_path)["state"] == "ok"


def test_memory_is_what_the_machine_and_the_container_leave(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 33554432 kB\nMemAvailable:   16777216 kB\n")
    assert machine.memory(meminfo, tmp_path)["found"] == "16.0 GiB free."
    (tmp_path / "memory.max").write_text(str(3 * 2**30))
    (tmp_path / "memory.current").write_text(str(2**30))
    assert machine.memory(meminfo, tmp_path)["found"] == "2.0 GiB free."
    assert machine.memory(meminfo, tmp_path)["state"] == "warn"
    assert machine.memory(tmp_path / "none", tmp_path / "none")["state"] == "ok"


def test_little_room_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=64 * 2**20))
    assert machine.shared_memory(tmp_path)["fix"] == "docker run --shm-size=8g ..."
    assert machine.disk()["state"] == "warn"
    assert machine.shared_memory(tmp_path / "none")["state"] == "ok"


def test_few_open_files_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert machine.open_files()["fix"] == "ulimit -n 65536"


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert machine.cache()["state"] == "ok"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    assert machine.cache()["fix"] == "export XDG_CACHE_HOME=SOME_FOLDER"


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    one = machine.device({"cuda": "13.0", "devices": ["NVIDIA H200 (139 of 140 GiB free)"]})
    assert one["found"] == "NVIDIA H200 (139 of 140 GiB free); CUDA 13.0."
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    assert "built without CUDA" in machine.device({"cuda": None, "devices": []})["found"]
    assert machine.device({"error": "it dies of SIGILL."})["state"] == "fail"


# The command.


def test_the_command_says_all_and_fails_when_something_required_does(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install("torchvision", "0.20.0", "raise RuntimeError('operator torchvision::nms does not exist')")
    wanted = [Requirement("torch", ">=2.11,<2.15"), Requirement("torchvision", ">=0.26")]
    monkeypatch.setattr(libraries, "requirements", lambda: wanted)
    assert cli.run(["doctor", "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(row.keys() == {"check", "state", "found", "fix"} for row in rows)
    assert [row["check"] for row in rows if row["state"] == "fail"] == ["torchvision", "torch family"]
    assert rows[-1]["state"] == "fail" and all(row["fix"] for row in rows if row["state"] != "ok")
    assert {"python", "torch", "device", "decode H.264", "memory", "shared memory"} <= {row["check"] for row in rows}


def test_the_command_on_this_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    good = [{"check": "python", "state": "ok", "found": "3.11.", "fix": None}]
    monkeypatch.setattr(doctor, "rows", lambda: good)
    assert cli.run(["doctor"]) == 0
    assert capsys.readouterr().out.split() == ["check", "state", "found", "fix", "python", "ok", "3.11.", "-"]
