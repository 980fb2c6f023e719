"""The two kinds of failure that a user sees, each told in one sentence that names the fix."""

FIRST = "the first of the processes of this run to fail"
"""A note on the error that is told when several processes work together and end because one of them failed."""


class SslkitError(Exception):
    """Base of both kinds; `kind` goes into `--json` output, `exit_code` to the shell."""

    exit_code = 1
    kind = "error"


class WorkError(SslkitError):
    """The work failed: media that cannot be read, a loss that is not finite, a full disk. Exit code 1."""

    exit_code = 1
    kind = "work"


class UserError(SslkitError):
    """The request was wrong: a recipe with mistakes, a folder of another layout, an unknown name. Exit code 2."""

    exit_code = 2
    kind = "request"


class Alarm(UserWarning):
    """Something about a run that its owner should look at; the run goes on. The command line tells it on stderr."""


class Elsewhere(WorkError):
    """Another process of the same run failed first and says why: this one ends without a word. Exit code 1."""


_NO_MEMORY = ("out of memory", "allocate memory", "insufficient memory", "cublas_status_alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, numpy, torch, CUDA or OpenCV says that memory is used up.

    Each has a type of its own for that, or none, so that some can only be told by their words.
    """
    if isinstance(error, SslkitError):
        return False
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(sign in words for sign in _NO_MEMORY)
