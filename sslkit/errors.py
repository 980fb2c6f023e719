"""The two kinds of failure that a user sees, each told in one sentence that names the fix."""


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
