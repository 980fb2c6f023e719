"""Libraries are tried in a process of their own, so that one that crashes or hangs takes nothing along."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Facts = dict[str, Any]

_LONGEST_S = 180
_GIB = 2**30
_CHILD = "import sys; from sslkit.doctor import trial; trial.answer(sys.argv[1:])"


def tried(names: Sequence[str], longest_s: float = _LONGEST_S) -> dict[str, Facts]:
    """What trying each name (of a module, or "formats", "device", "cv2 data") gave: facts, or {"error": a sentence}.

    What follows a crash is tried by another process.
    """
    found: dict[str, Facts] = {}
    left = list(names)
    while left:
        told, reason = _asked(left, longest_s)
        if len(told) < len(left):
            told.append({"error": reason})
        found |= dict(zip(left, told, strict=False))
        left = left[len(told) :]
    return found


def _asked(names: Sequence[str], longest_s: float) -> tuple[list[Facts], str]:
    """What a process told of the first names, and why it told no more."""
    command = [sys.executable, "-P", "-c", _CHILD, *names]
    # The same modules as here, and none that lie about in the current folder.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        try:
            said, _ = child.communicate(timeout=longest_s)
            code = child.returncode
            reason = f"it dies of {signal.Signals(-code).name}." if code < 0 else f"it ends the process, code {code}."
        except subprocess.TimeoutExpired:
            child.kill()
            said, _ = child.communicate()
            reason = f"it does not answer within {longest_s:g} s."
    return [json.loads(line) for line in said.decode().splitlines() if line.endswith("}")], reason


def answer(names: Sequence[str]) -> None:
    """Try each of the names in this process, and print what came of it as a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not the answer
    trials: dict[str, Callable[[], Facts]] = {"formats": _formats, "device": _device, "cv2 data": _cv2_data}
    for name in names:
        try:
            told = trials[name]() if name in trials else _imported(name)
        except BaseException as error:
            lines = str(error).strip().splitlines()
            told = {"error": f"{type(error).__name__}{': ' + lines[0] if lines else ''}"[:300].rstrip(".") + "."}
        print(json.dumps(told), file=answers, flush=True)


def _imported(name: str) -> Facts:
    version = getattr(importlib.import_module(name), "__version__", None)
    return {"version": version if isinstance(version, str) else None}


def _cv2_data() -> Facts:
    import cv2

    cascades = Path(cv2.__file__).with_name("data").glob("haarcascade_*.xml")
    return {"version": cv2.__version__, "cascades": len(list(cascades))}


def _formats() -> Facts:
    from sslkit.media import decoders

    return {"why_not": decoders.tried()}


def _device() -> Facts:
    import torch

    devices = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        torch.ones(8, device=f"cuda:{number}").sum().item()  # a build without kernels for this device says so here
        free, total = torch.cuda.mem_get_info(number)
        devices.append(f"{torch.cuda.get_device_name(number)} ({free / _GIB:.0f} of {total / _GIB:.0f} GiB free)")
    return {"cuda": torch.version.cuda, "devices": devices}
