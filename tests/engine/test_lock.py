"""One process on one folder: the second is told so, and a process that is gone holds nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sslkit.engine.lock import Lock
from sslkit.errors import UserError, WorkError

# Takes the lock, forks a child that lives on, and waits.
HOLDS = """
import os, sys, time
from pathlib import Path
from sslkit.engine.lock import Lock
lock = Lock(Path(sys.argv[1]))
lock.take()
child = os.fork()
if child == 0:
    time.sleep(600)
print(os.getpid(), child, flush=True)
time.sleep(600)
"""


def test_the_second_process_is_told_and_a_killed_one_is_no_obstacle(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    owner, child = map(int, holder.stdout.readline().split())
    try:
        with pytest.raises(UserError, match=rf"^{tmp_path} is in use by process {owner} on .*: wait .* --out\.$"):
            Lock(tmp_path).take()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    lock = Lock(tmp_path)
    lock.take()  # although the child of the killed process still runs
    os.kill(child, signal.SIGKILL)
    assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")
    lock.release()


def test_it_is_taken_once_and_given_back(tmp_path: Path) -> None:
    lock = Lock(tmp_path)
    lock.take()
    lock.take()
    tried = "from sslkit.engine.lock import Lock; from pathlib import Path; import sys; Lock(Path(sys.argv[1])).take()"
    command = [sys.executable, "-c", tried, str(tmp_path)]
    assert subprocess.run(command, capture_output=True).returncode == 1
    lock.release()
    assert subprocess.run(command, capture_output=True).returncode == 0


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"lock cannot be written"):
        Lock(tmp_path / "none").take()


def test_where_the_file_system_has_no_locks_it_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.lockf", no_locks)
    Lock(tmp_path).take()
