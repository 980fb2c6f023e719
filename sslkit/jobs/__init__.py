"""The Python API: one function a command. Each takes plain values and returns a Result that the command line prints."""

from sslkit.jobs.audit import audit
from sslkit.jobs.browse import browse
from sslkit.jobs.data import prepare_data
from sslkit.jobs.dub import dub
from sslkit.jobs.learn import compare, finetune, load_task, pretrain
from sslkit.jobs.localize_sound import localize_sound, top_responses
from sslkit.jobs.measure import bench
from sslkit.jobs.overlap import duplicates
from sslkit.jobs.probe import probe
from sslkit.jobs.retrieve import retrieve
from sslkit.jobs.sync import sync
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
