"""How fast `sslkit sync` is on a talking face, what takes the time, and whether memory grows with the length of a file.

The command is run as a user would, start included. Pictures are decoded while the last ones are worked on: what is told
of decoding is the waiting for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sslkit.bench.base import Bench, Row, aimed
from sslkit.media import read, remux

_SHORT_S = 60.0
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_PER_MIB = 1 << 20 if sys.platform == "darwin" else 1 << 10


def rows(bench: Bench) -> Iterator[Row]:
    """Speed in times real time, on one core; each stage; and the peak memory of a longer file against a minute's."""
    source = bench.talk
    length_s = read.probe(source).duration_s
    short, long = bench.scratch / f"short{source.suffix}", bench.scratch / f"long{source.suffix}"
    repeats = max(1, round(_SHORT_S / length_s))
    remux.repeated(source, short, repeats)
    about = read.probe(short)
    told, cpu_s, short_mib = _run(short)
    what = f"{about.duration_s:.0f} s of {about.width}x{about.height}"
    faces = f"{len(told['tracks'])} faces followed, {told['coverage']:.0%} of the frames compared"
    yield Row(
        "sync", what, about.duration_s / cpu_s, "times real time", clock="cpu", note=f"all of the command; {faces}"
    )
    for stage, spent_s in told["spent_s"].items():
        yield Row("sync", stage, 1000 * spent_s / about.duration_s, "ms for a second of video", clock="wall")
    remux.repeated(source, long, repeats * bench.longer)
    _, _, long_mib = _run(long)
    aim, met = aimed(long_mib / short_mib, at_most=1.1)
    what, ratio = f"peak memory, {bench.longer} times as long", long_mib / short_mib
    yield Row("sync", what, long_mib, "MiB", "short", short_mib, ratio, aim=aim, met=met)


def _run(video: Path) -> tuple[dict[str, Any], float, float]:
    """What the command says of a video, its seconds of processor time, and its peak memory in MiB."""
    command = [sys.executable, "-m", "sslkit", "sync", str(video), "--json", "--device", "cpu"]
    told = video.with_suffix(".json")
    with told.open("wb") as out, subprocess.Popen(command, stdout=out, env=os.environ | _ONE_THREAD) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return json.loads(told.read_text()), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / _PER_MIB
