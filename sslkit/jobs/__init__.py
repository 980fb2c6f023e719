"""The Python API: one function a command. Each takes plain values and returns a Result that the command line prints.

A function is imported when it is first asked for: to find the offset of a sound, nobody waits for what trains networks.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslkit.jobs.auditing import audit
    from sslkit.jobs.browsing import browse
    from sslkit.jobs.data import prepare_data
    from sslkit.jobs.dubbing import dub
    from sslkit.jobs.learn import compare, finetune, pretrain
    from sslkit.jobs.measure import bench
    from sslkit.jobs.overlap import duplicates
    from sslkit.jobs.probing import probe
    from sslkit.jobs.retrieval import retrieve
    from sslkit.jobs.runs import load_task
    from sslkit.jobs.sources import localize_sound, top_responses
    from sslkit.jobs.timing import sync
    from sslkit.jobs.use import arrow, embed, export

__all__ = [
    "arrow",
    "audit",
    "bench",
    "browse",
    "compare",
    "dub",
    "duplicates",
    "embed",
    "export",
    "finetune",
    "load_task",
    "localize_sound",
    "prepare_data",
    "pretrain",
    "probe",
    "retrieve",
    "sync",
    "top_responses",
]
# No file has the name of a function: imported, it would take its place here.
_HOMES = {
    "arrow": "use",
    "audit": "auditing",
    "bench": "measure",
    "browse": "browsing",
    "compare": "learn",
    "dub": "dubbing",
    "duplicates": "overlap",
    "embed": "use",
    "export": "use",
    "finetune": "learn",
    "load_task": "runs",
    "localize_sound": "sources",
    "prepare_data": "data",
    "pretrain": "learn",
    "probe": "probing",
    "retrieve": "retrieval",
    "sync": "timing",
    "top_responses": "sources",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found
