"""The program: what every command has in common. It says what went wrong in one sentence, and returns the exit code."""

from __future__ import annotations

import os
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from sslkit.cli.overview import overview
from sslkit.errors import FIRST, Alarm, Elsewhere, SslkitError, UserError, is_out_of_memory
from sslkit.report.console import Output

_GIVEN = "input: "
_COMPLETING = "_SSLKIT_COMPLETE"
"""Set by a shell that asks which words may come next: typer answers, and leaves."""
_TOGETHER = ("pretrain", "finetune")
"""Commands that several processes may share."""

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)


def _version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        Output().text(f"sslkit {importlib.metadata.version('sslkit')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error; may stand anywhere.")] = False,
) -> None:
    """Learn from images, video and sound without labels, and put what was learnt to use.

    Example: sslkit pretrain --task aot --out runs/aot
    """
    if _several() and context.invoked_subcommand not in _TOGETHER:
        raise UserError(f"{context.invoked_subcommand} works in one process: start it without torchrun.")


@contextmanager
def telling(as_json: bool, given: str | None = None) -> Iterator[Output]:
    """The console of one command; its failures are told together with the input that they are about."""
    try:
        # Under torchrun every process runs this; the first one speaks for all.
        with _alarms():
            yield Output(as_json, speaks=_leads())
    except Exception as error:
        if given:
            error.add_note(_GIVEN + given)
        raise


@contextmanager
def _alarms() -> Iterator[None]:
    """Within, what is noticed about a run is told on stderr; other warnings are shown as Python does."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", Alarm)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if issubclass(category, Alarm):
                print(f"sslkit: {message}", file=sys.stderr, flush=True)
            else:
                usual(message, category, *where)

        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _several() -> bool:
    """Whether torchrun has started more processes than this one."""
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


def _leads() -> bool:
    """Whether this is the process that speaks for all."""
    return (os.environ.get("RANK") or "0") == "0"


def main() -> None:
    """The `sslkit` program: exit code 0 done, 1 the work failed, 2 the request was wrong, 130 interrupted."""
    if _COMPLETING in os.environ:
        app(prog_name="sslkit")
    signal.signal(signal.SIGTERM, _interrupt)
    if _several():
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch's hints would come once a process
    sys.exit(run(sys.argv[1:]))


def _interrupt(number: int, frame: object) -> None:
    """A batch system that ends a job is told the same as somebody who presses Ctrl-C."""
    raise KeyboardInterrupt


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code."""
    words = [word for word in arguments if word != "--debug"]
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        if _leads():
            Output().complain("interrupted.")
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            return 0
        if "--debug" in arguments:
            traceback.print_exc()
        return _tell(error, "--json" in words)


def _dispatch(words: Sequence[str]) -> int:
    if not words or list(words) == ["--help"]:
        Output().text(overview(app))
        return 0 if words else 2
    command = typer.main.get_command(app)
    try:
        with command.make_context("sslkit", list(words)) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def _reader_left() -> bool:
    """Whether nobody reads stdout any more (`sslkit recipes | head -1`), as against a pipe that broke in the work."""
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # not a file at all
        return False
    watched = select.poll()
    watched.register(descriptor, 0)  # errors are reported in any case
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0)):
        return False
    # Python would complain once more when it flushes on its way out.
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return True


def _tell(error: Exception, as_json: bool) -> int:
    """One sentence about a failure; returns the exit code."""
    added = getattr(error, "__notes__", [])
    notes = [note.removeprefix(_GIVEN) for note in added if note.startswith(_GIVEN)]
    sentence, kind, code = str(error), "work", 1
    if isinstance(error, SslkitError):
        kind, code = error.kind, error.exit_code
    elif hasattr(error, "format_message"):  # of the parser: an unknown option, a missing argument
        if type(error).__name__ == "NoArgsIsHelpError":  # the help has been printed
            return 2
        said = f"{error.format_message().rstrip('.')}. ".replace("?. ", "? ")
        sentence, kind, code = f"{said}Add --help to see what can be given.", UserError.kind, 2
    elif is_out_of_memory(error):
        sentence = "The memory is used up: lower train.batch or raise train.accumulate, or use fewer --workers."
    else:
        sentence = f"{type(error).__name__}: {str(error).strip() or 'no message'} (add --debug for the trace)."
    if FIRST in added or (_leads() and not isinstance(error, Elsewhere)):
        Output(as_json).failure(sentence, kind, notes[-1] if notes else None)
    return code
