"""One process at a time on one folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from pathlib import Path

from sslkit.errors import UserError
from sslkit.files import unwritable

_TAKEN = (errno.EACCES, errno.EAGAIN)


class Lock:
    """A lock on a folder that the system takes away when its process ends, however it ends.

    It belongs to this process alone: children do not inherit it, so that workers which outlive a killed run for some
    seconds do not keep it. It holds across machines where the file system passes locks on, as NFS does; where there are
    no locks at all, it does nothing. The file `lock` stays in the folder, and says who had it last.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: int | None = None

    def take(self) -> None:
        """Take the lock; nothing if it is this object's already.

        Raises UserError when another process has it, naming it, and WorkError when the folder is not writable.
        """
        if self._file is not None:
            return
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise unwritable(self._path, error) from error
        try:
            # A record lock, not flock: that one would be shared with every forked worker.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                owner = os.pread(file, 200, 0).decode("utf-8", "replace").strip() or "another process"
                os.close(file)
                raise UserError(
                    f"{self._path.parent} is in use by {owner}: wait for it to end, or choose another --out."
                ) from error
        self._file = file
        with contextlib.suppress(OSError):  # a full disk is no reason not to have the lock
            os.ftruncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            os.close(self._file)
        self._file = None
