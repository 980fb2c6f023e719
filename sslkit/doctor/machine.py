"""The machine: what computes, and is there room to work?"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from sslkit.doctor.row import Row, judged, row
from sslkit.doctor.trial import Facts

_GIB = 2**30
_CGROUP = Path("/sys/fs/cgroup")


def device(about: Facts) -> Row:
    """Whether torch computes on a device, and why not if there is one."""
    if about.get("error"):
        return row("device", "fail", f"torch cannot be asked for a device: {about['error']}", "nvidia-smi")
    if about["devices"]:
        return row("device", "ok", f"{', '.join(about['devices'])}; CUDA {about['cuda']}.")
    if Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi"):
        build = f"built for CUDA {about['cuda']}" if about["cuda"] else "built without CUDA"
        return row("device", "warn", f"There is an NVIDIA device, but torch ({build}) cannot use it.", "nvidia-smi")
    return row("device", "ok", "No GPU: everything is computed on the CPU.")


def cores(root: Path = _CGROUP) -> Row:
    """Cores that may be used, and whether the container's share of time is smaller than that."""
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota_cores(root)
    if quota is not None and quota < seen - 0.5:
        found = f"{seen} cores are seen, but the container gets the time of {quota:g}."
        return row("cores", "warn", found, f"export OMP_NUM_THREADS={max(1, int(quota))}")
    return row("cores", "ok", f"{seen}.")


def _quota_cores(root: Path) -> float | None:
    """Cores that a container may use at a time, None if that is not limited; version 2 of cgroups, then 1."""
    with suppress(OSError, ValueError):
        limit, period = (root / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    with suppress(OSError, ValueError):
        limit, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(limit) / int(period) if int(limit) > 0 else None
    return None


def memory(meminfo: Path = Path("/proc/meminfo"), root: Path = _CGROUP) -> Row:
    """Memory that is free on the machine and within the container's limit."""
    free = _free_bytes(meminfo, root)
    if free is None:
        return row("memory", "ok", "Not known on this system.")
    fix = "sslkit pretrain ... --workers 1 --set train.batch=16"
    return judged("memory", free >= 4 * _GIB, f"{free / _GIB:.1f} GiB free.", fix)


def _free_bytes(meminfo: Path, root: Path) -> int | None:
    found = []
    with suppress(OSError):
        found += [1024 * int(kib) for kib in re.findall(r"MemAvailable:\s+(\d+)", meminfo.read_text())]
    pairs = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
    for limit, used in pairs:
        with suppress(OSError, ValueError):
            found.append(int((root / limit).read_text()) - int((root / used).read_text()))
    return min(found, default=None)


def disk() -> Row:
    """Room where this was started."""
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    return judged("disk", free >= 5 * _GIB, f"{free / _GIB:.0f} GiB free in {here}.", "sslkit ... --out ANOTHER_DISK")


def shared_memory(folder: Path = Path("/dev/shm")) -> Row:
    """Room for the batches that workers hand over; a container has 64 MB unless told otherwise."""
    if not folder.is_dir():
        return row("shared memory", "ok", f"There is no {folder} on this system.")
    free = shutil.disk_usage(folder).free
    return judged("shared memory", free >= _GIB, f"{free / _GIB:.1f} GiB free.", "docker run --shm-size=8g ...")


def open_files() -> Row:
    """How many files may be open: workers need several for each batch."""
    try:
        import resource
    except ImportError:
        return row("open files", "ok", "Not limited in this way on this system.")
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = most == resource.RLIM_INFINITY
    found = f"{'Any number' if unlimited else most} may be open at a time."
    return judged("open files", unlimited or most >= 1024, found, "ulimit -n 65536")


def cache() -> Row:
    """Whether matplotlib, torch.compile and temporary files have a place."""
    places = {
        "TMPDIR": Path(os.environ.get("TMPDIR") or "/tmp"),
        "XDG_CACHE_HOME": Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()),
    }
    for variable, folder in places.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            found = f"{folder} cannot be written to ({error.strerror})."
            return row("cache", "warn", found, f"export {variable}=SOME_FOLDER")
    return row("cache", "ok", f"{' and '.join(map(str, places.values()))} can be written to.")
