"""The command line with made-up jobs: what is passed on, what is printed where, and every exit code."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sslkit
from sslkit import cli
from sslkit.errors import FIRST, Alarm, UserError, WorkError
from sslkit.report.console import Output, plain, shown
from sslkit.types import Published, Result

RESULT = Result(
    name="arrow of time",
    fields={"run": "runs/aot", "task": "arrow_of_time", "steps": 60},
    metrics={"pretext_accuracy": 93.25},
    chance=50.0,
    paper=Published(81.0, "section 4", "pretext_accuracy"),
    files={"report": "runs/aot/report.html"},
    notes=["Learnt from the toybox."],
    seconds=12.3456,
)
PROBE = Result(
    name="linear",
    fields={"run": "runs/aot", "protocol": "linear", "data": "data/x"},
    rows=[
        {"init": "runs/aot", "layer": "conv1", "metric": "accuracy", "value": 61.25, "seed": 0},
        {"init": "random", "layer": "conv1", "metric": "accuracy", "value": float("nan"), "seed": None},
    ],
)


class Jobs:
    """Stands in for `sslkit.jobs`: keeps what it was called with, returns or raises what it was told to."""

    def __init__(self) -> None:
        self.called: dict[str, tuple[Any, ...]] = {}
        self.outcome: Result | BaseException = RESULT
        self.each: list[Result | BaseException] = []

    def __getattr__(self, name: str) -> Any:
        def job(*arguments: Any) -> Result:
            self.called[name] = arguments
            if isinstance(self.outcome, BaseException):
                raise self.outcome
            return self.outcome

        return job

    def arrow(self, *arguments: Any) -> Iterator[Result]:
        self.called["arrow"] = arguments
        for one in self.each:
            if isinstance(one, BaseException):
                raise one
            yield one


@pytest.fixture(autouse=True)
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    fake = Jobs()
    monkeypatch.setattr(sslkit, "jobs", fake, raising=False)
    monkeypatch.delenv("RANK", raising=False)
    return fake


def judged(path: str, p_forward: float) -> Result:
    clips = [{"start_s": 0.0, "end_s": 1.0, "p_forward": p_forward}]
    verdict = "forwards" if p_forward > 0.5 else "backwards"
    return Result(
        name="arrow", fields={"input": path, "p_forward": p_forward, "verdict": verdict, "clips": clips}, seconds=0.5
    )


def refused(path: str) -> Result:
    return Result(name="arrow", fields={"input": path, "error": f"{path} has no pictures.", "kind": "work"})


# What is passed on.


def test_prepare_data_passes_on_only_what_was_given(jobs: Jobs) -> None:
    line = (
        "prepare-data ucf101 in out --flow tvl1 --stabilise --keep-borders --no-sound --fps 12.5 --fold 2 --workers 3"
    )
    assert cli.run(line.split()) == 0
    layout, source, out, options, workers, progress, cluster = jobs.called["prepare_data"]
    assert (layout, source, out, workers, cluster) == ("ucf101", "in", Path("out"), 3, None)
    assert options == {
        "flow": "tvl1",
        "stabilise": True,
        "remove_borders": False,
        "sound": False,
        "fps": 12.5,
        "fold": 2,
    }
    progress(1, 2, "clips")


def test_every_option_of_prepare_data_is_a_setting(jobs: Jobs) -> None:
    from sslkit.data.settings import PrepareSettings

    line = (
        "prepare-data folder in out --short-side-px 64 --fps 12 --clip-s 3 --flow dis --no-stabilise --remove-borders "
        "--no-shots --no-sound --val-share 0.2 --fold 1 --seed 3 --clips 5 --stills 6 --limit 7 --max-skipped 0.5"
    )
    assert cli.run(line.split()) == 0
    options = jobs.called["prepare_data"][3]
    assert len(options) == 15
    assert PrepareSettings(**options).model_dump(include=set(options)) == options


def test_the_toybox_has_no_source(jobs: Jobs) -> None:
    assert cli.run(["prepare-data", "toybox", "out", "--clips", "8"]) == 0
    assert jobs.called["prepare_data"][:4] == ("toybox", "", Path("out"), {"clips": 8})


@pytest.mark.parametrize("paths", [["in"], ["a", "b", "c"]])
def test_prepare_data_wants_source_and_out(paths: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["prepare-data", "folder", *paths]) == 2
    assert f"needs SOURCE and OUT, but {len(paths)} paths were given" in capsys.readouterr().err


def test_pretrain_passes_everything_on(jobs: Jobs) -> None:
    line = (
        "pretrain --task aot --recipe mine.yaml --data a --data b --out run --tiny --set train.lr=1 "
        "--set train.batch=2 --seed 7 --device cpu --workers 0 --dry-run"
    )
    assert cli.run(line.split()) == 0
    changes = ["train.lr=1", "train.batch=2", "train.seed=7"]
    expected = ("aot", "mine.yaml", [Path("a"), Path("b")], Path("run"), True, changes, "cpu", 0, True)
    assert jobs.called["pretrain"][:-1] == expected


def test_pretrain_has_defaults_for_all_but_the_task(jobs: Jobs) -> None:
    assert cli.run(["pretrain", "--task", "aot"]) == 0
    task, recipe, data, out, tiny, changes, device, workers, dry_run, _ = jobs.called["pretrain"]
    assert (task, recipe, data, out, tiny, changes, device, dry_run) == (
        "aot",
        None,
        [],
        None,
        False,
        [],
        "auto",
        False,
    )
    assert 1 <= workers <= 8


@pytest.mark.parametrize("command", ["probe", "finetune"])
def test_measuring_passes_everything_on(
    jobs: Jobs, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.outcome = PROBE
    monkeypatch.setattr(sys, "stdin", io.StringIO("runs/b\n"))
    line = (
        f"{command} runs/a - --on d --on e --init random --init w.safetensors --recipe r --seeds 3 --set k=v --out o "
        "--workers 2"
    )
    assert cli.run(line.split()) == 0
    runs, inits = [Path("runs/a"), Path("runs/b")], ["random", "w.safetensors"]
    expected = (runs, [Path("d"), Path("e")], inits, "r", 3, ["k=v"], Path("o"), "auto", 2)
    assert jobs.called[command][:-1] == expected


def test_audit_passes_everything_on(jobs: Jobs) -> None:
    line = (
        "audit --task aot --data d --cleaned e --cleaned f --shortcut camera-motion --recipe r --steps 9 --seed 3 "
        "--set k=v --out o --device cpu --workers 0"
    )
    assert cli.run(line.split()) == 0
    folders, changes = ([Path("d")], [Path("e"), Path("f")]), ["k=v", "train.seed=3"]
    expected = ("aot", *folders, ["camera-motion"], "r", 9, changes, Path("o"), "cpu", 0)
    assert jobs.called["audit"][:-1] == expected
    assert cli.run(["audit", "--task", "rotation"]) == 0
    assert jobs.called["audit"][:7] == ("rotation", [], [], [], None, None, [])
    assert cli.run(["audit"]) == 2


def test_arrow_reads_a_list_from_stdin(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("# clips\n\n  a.mp4  \r\nb #2.mp4\n"))
    assert cli.run(["arrow", "x.mp4", "-", "--weights", "runs/aot", "--no-overlay"]) == 0
    videos = [Path("x.mp4"), Path("a.mp4"), Path("b #2.mp4")]
    assert jobs.called["arrow"] == (videos, Path("runs/aot"), None, False, "auto")


def test_an_empty_list_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("# nothing\n"))
    assert cli.run(["arrow", "-", "--weights", "w"]) == 2
    assert "Nothing was read from stdin" in capsys.readouterr().err


# What is printed.


def test_json_is_one_object_with_the_fields_that_scripts_rely_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["pretrain", "--task", "aot", "--json"]) == 0
    printed = capsys.readouterr()
    (line,) = printed.out.splitlines()
    assert json.loads(line) == {
        "run": "runs/aot",
        "task": "arrow_of_time",
        "steps": 60,
        "metrics": {"pretext_accuracy": 93.25},
        "chance": 50.0,
        "paper": {"value": 81.0, "where": "section 4"},
        "files": {"report": "runs/aot/report.html"},
        "notes": ["Learnt from the toybox."],
        "seconds": 12.346,
    }
    assert printed.err == ""


def test_json_has_null_for_what_is_no_number(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.outcome = PROBE
    assert cli.run(["probe", "runs/aot", "--on", "d", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["value"] for row in rows] == [61.25, None]


def test_a_pipe_gets_aligned_text(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.outcome = PROBE
    assert cli.run(["probe", "runs/aot", "--on", "d"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "linear",
        "init      layer  metric    value  seed",
        "runs/aot  conv1  accuracy  61.25     0",
        "random    conv1  accuracy    nan     -",
        "run       runs/aot",
        "protocol  linear",
        "data      data/x",
        "seconds   0.0",
    ]


def test_a_result_shows_chance_paper_files_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["pretrain", "--task", "aot"]) == 0
    shown_lines = capsys.readouterr().out.splitlines()
    assert "chance            50" in shown_lines
    assert "paper             81 (section 4)" in shown_lines
    assert "report            runs/aot/report.html" in shown_lines
    assert shown_lines[-1] == "Learnt from the toybox."


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_table_and_no_colour_is_respected(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs.outcome, terminal = PROBE, Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert cli.run(["probe", "runs/aot", "--on", "d"]) == 0
    assert "┃ init" in re.sub(r"\x1b\[[0-9]*m", "", terminal.getvalue())
    assert not re.search(r"\x1b\[(3|4|9)[0-9]", terminal.getvalue())


def test_results_that_say_what_is_shown_show_that_and_their_files_once(capsys: pytest.CaptureFixture[str]) -> None:
    files = {"report": "out/page.html"}
    found = [
        Result(name="x", fields={"input": name, "many": [{"a": 1}]}, shown=[{"input": name, "x": 2.5}], files=files)
        for name in ("a", "b")
    ]
    assert Output().results(found) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["input", "x"], ["a", "2.5"], ["b", "2.5"], ["report", "out/page.html"]]


def test_a_table_shows_brackets_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    Output().table([{"file": "[red]clip[/].mp4"}])
    assert "[red]clip[/].mp4" in terminal.getvalue()


def test_progress_is_drawn_on_a_terminal_only_and_lines_always(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Output().progress() as progress:
        progress(1, 2, "clips")
        progress.log("epoch 1: [half] done")
    assert capsys.readouterr() == ("", "epoch 1: [half] done\n")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with Output().progress() as progress:
        progress(1, 2, "clips [a]")
    assert "clips [a]" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())


def test_other_processes_of_torchrun_speak_only_of_what_went_wrong_there_first(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert cli.run(["pretrain", "--task", "aot", "--json"]) == 0
    assert cli.run(["pretrain", "--task", "aot"]) == 0
    assert capsys.readouterr() == ("", "")
    jobs.outcome = WorkError("The disk is full.")
    assert cli.run(["pretrain", "--task", "aot"]) == 1
    assert capsys.readouterr() == ("", "")  # the first process says the same
    jobs.outcome.add_note(FIRST)
    assert cli.run(["pretrain", "--task", "aot"]) == 1
    assert capsys.readouterr().err == "sslkit: The disk is full.\n"


def test_values_as_json_and_as_people_read_them() -> None:
    assert plain({"a": np.float32(0.5), "b": np.arange(2), "c": Path("x"), "d": float("inf"), "e": (True, None)}) == {
        "a": 0.5,
        "b": [0, 1],
        "c": "x",
        "d": None,
        "e": [True, None],
    }
    assert [shown(v) for v in (0.123456, 1234567, None, True, ["a", 1.0], [{}, {}], {"a": 1})] == [
        "0.1235",
        "1234567",
        "-",
        "yes",
        "a, 1",
        "2",
        "a 1",
    ]


# Many inputs.


def test_a_bad_input_does_not_stop_the_others(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.each = [judged("a.mp4", 0.9), refused("b.mp4"), judged("c.mp4", 0.125)]
    assert cli.run(["arrow", "a.mp4", "b.mp4", "c.mp4", "--weights", "w", "--json"]) == 1
    first, second, third = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["input"] == "a.mp4" and first["verdict"] == "forwards" and first["clips"][0]["p_forward"] == 0.9
    assert (second["input"], second["error"], second["kind"]) == ("b.mp4", "b.mp4 has no pictures.", "work")
    assert third["verdict"] == "backwards"


def test_without_json_a_bad_input_is_told_on_stderr(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.each = [judged("a.mp4", 0.9), refused("b.mp4")]
    assert cli.run(["arrow", "a.mp4", "b.mp4", "--weights", "w"]) == 1
    printed = capsys.readouterr()
    assert printed.err == "sslkit: b.mp4 has no pictures.\n"
    assert printed.out.splitlines() == [
        "input  p_forward  verdict   clips",
        "a.mp4        0.9  forwards  1",
    ]


def test_all_good_is_exit_0(jobs: Jobs) -> None:
    jobs.each = [judged("a.mp4", 0.9)]
    assert cli.run(["arrow", "a.mp4", "--weights", "w", "--json"]) == 0


def test_what_was_done_before_an_interruption_is_shown(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.each = [judged("a.mp4", 0.9), KeyboardInterrupt()]
    assert cli.run(["arrow", "a.mp4", "b.mp4", "--weights", "w"]) == 130
    assert "a.mp4        0.9  forwards" in capsys.readouterr().out


# Failures.


@pytest.mark.parametrize(
    ("error", "code", "kind", "sentence"),
    [
        (UserError("The recipe is wrong."), 2, "request", "The recipe is wrong."),
        (WorkError("The disk is full."), 1, "work", "The disk is full."),
        (BrokenPipeError("worker"), 1, "work", "BrokenPipeError: worker (add --debug for the trace)."),
        (ValueError("bad shape"), 1, "work", "ValueError: bad shape (add --debug for the trace)."),
    ],
)
def test_failures_have_an_exit_code_a_kind_and_one_sentence(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], error: Exception, code: int, kind: str, sentence: str
) -> None:
    jobs.outcome = error
    assert cli.run(["pretrain", "--task", "aot"]) == code
    assert capsys.readouterr() == ("", f"sslkit: {sentence}\n")
    assert cli.run(["pretrain", "--task", "aot", "--json"]) == code
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"input": "aot", "error": sentence, "kind": kind}
    assert printed.err == ""


def test_debug_shows_the_trace_wherever_it_stands(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.outcome = ValueError("bad shape")
    for line in (["--debug", "pretrain", "--task", "aot"], ["pretrain", "--task", "aot", "--debug"]):
        assert cli.run(line) == 1
        told = capsys.readouterr().err
        assert "Traceback" in told and told.endswith("sslkit: ValueError: bad shape (add --debug for the trace).\n")


def test_what_is_noticed_about_a_run_is_told_on_stderr(
    jobs: Jobs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def noticing(*_: Any) -> Result:
        warnings.warn("The accuracy is that of guessing.", Alarm, stacklevel=1)
        return RESULT

    monkeypatch.setattr(jobs, "pretrain", noticing, raising=False)
    assert cli.run(["pretrain", "--task", "aot", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == "sslkit: The accuracy is that of guessing.\n" and json.loads(out)["steps"] == 60


def test_memory_that_runs_out_names_the_fix(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.outcome = type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2 GiB")
    assert cli.run(["pretrain", "--task", "aot"]) == 1
    assert "lower train.batch or raise train.accumulate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("pretran", "No such command 'pretran'. Did you mean 'pretrain'?"),
        ("pretrain --lr 0.1", "No such option"),
        ("pretrain --seed x", "'--seed'"),
        ("pretrain --device tpu", "'--device'"),
        ("probe runs/a", "Missing option '--on'"),
        ("probe runs/a --on d --seeds 0", "'--seeds'"),
        ("arrow a.mp4", "Missing option '--weights'"),
        ("pretrain", "Nothing says what to train: give --task or --recipe"),
        ("recipes rotatoin", "No recipe is called 'rotatoin'; did you mean 'rotation'?"),
    ],
)
def test_a_wrong_request_is_exit_2_and_one_line(line: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(line.split()) == 2
    printed = capsys.readouterr()
    assert told in printed.err and len(printed.err.splitlines()) == 1 and printed.out == ""
    assert cli.run([*line.split(), "--json"]) == 2
    record = json.loads(capsys.readouterr().out)
    assert record["kind"] == "request" and told in record["error"] and "input" in record


def test_ctrl_c_is_130(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.outcome = KeyboardInterrupt()
    assert cli.run(["pretrain", "--task", "aot"]) == 130
    assert capsys.readouterr() == ("", "sslkit: interrupted.\n")


# Lists.


def test_recipes_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["recipes", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"name": "rotation", "kind": "pretrain", "task": "rotation"}.items() <= {
        k: v for row in rows if row["name"] == "rotation" for k, v in row.items()
    }.items()
    assert cli.run(["recipes", "rotation"]) == 0
    file = Path(cli.__file__).parents[2] / "recipes" / "pretrain" / "rotation.yaml"
    assert capsys.readouterr().out.strip() == file.read_text().strip()
    assert cli.run(["recipes", "rotation", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == file.read_text()


def test_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["tasks", "--json"]) == 0
    rows = {row["task"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    arrow = rows["arrow_of_time"]
    assert arrow["about"].startswith("Arrow of time: ") and "camera motion" in arrow["shortcuts"]
    assert (arrow["short"], rows["rotation"]["short"]) == ("aot", None)


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert re.fullmatch(r"sslkit \d+\.\d+\.\d+\n", capsys.readouterr().out)
    for command in ("prepare-data", "pretrain", "probe", "finetune", "arrow", "tasks", "recipes"):
        assert cli.run([command, "--help"]) == 0
        assert f"Example: sslkit {command}" in capsys.readouterr().out


def test_without_a_command_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    assert "prepare-data" in "".join(capsys.readouterr())


# The program itself.

PROGRAM = [sys.executable, "-c", "from sslkit.cli import main; main()"]


@pytest.mark.parametrize(("word", "code"), [("recipes", 0), ("--help", 0)])
def test_a_reader_that_left_is_met_with_silence(word: str, code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*PROGRAM, word], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (code, "")


def test_head_takes_one_line_in_silence() -> None:
    line = f'set -o pipefail; {sys.executable} -c "from sslkit.cli import main; main()" recipes --json | head -n 1'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "name" in json.loads(done.stdout)


def test_the_interrupt_key_ends_the_program_with_130() -> None:
    code = (
        "import sys, time, types, sslkit\n"
        "def pretrain(*_):\n    print('training', flush=True)\n    time.sleep(60)\n"
        "sslkit.jobs = types.SimpleNamespace(pretrain=pretrain)\n"
        "sys.argv = ['sslkit', 'pretrain', '--task', 'aot']\n"
        "from sslkit.cli import main\nmain()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background of a shell inherit that the key is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as program:
        assert program.stdout is not None and program.stderr is not None
        assert program.stdout.readline() == "training\n"
        program.send_signal(signal.SIGINT)
        assert program.wait(timeout=30) == 130
        assert program.stderr.read() == "sslkit: interrupted.\n"
