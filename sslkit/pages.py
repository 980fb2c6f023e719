"""Report pages of runs and evaluations: what to show, taken from a run's folder and its result."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sslkit.engine import checkpoint
from sslkit.engine.run import Run, versions
from sslkit.engine.validate import Validation
from sslkit.errors import UserError, WorkError
from sslkit.evals.audit import Audited
from sslkit.media import read
from sslkit.recipe import Plan, Recipe, dump
from sslkit.report import chart, page, picture
from sslkit.tasks.base import Task
from sslkit.types import Panel, Reads, Result

# How much of it a page shows: it is for people.
_LABELS = 50
_VIDEOS, _STILLS = 24, 8

_ALONG = {
    "near_accuracy": ("frames", "frames averaged"),
    "mean_error_ms": ("frames", "frames averaged"),
    "at_ends": ("frames", "frames averaged"),
    "error_histogram": ("error", "frames by which the answer is off"),
    "answer_histogram": ("answer", "the answer in frames"),
}
"""Metrics that are curves over a number of their rows: which, and what it is."""


def free(folder: Path, *names: str) -> None:
    """Raise UserError where pages cannot be written to a folder, or one would take the place of another."""
    for there in (folder / name for name in names):
        if there.exists():
            raise UserError(f"{there} is already there: move it away or name another --out.")
    nearest = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    if not nearest.is_dir():
        raise UserError(f"{nearest} is a file: name a folder with --out.")
    if not os.access(nearest, os.W_OK):
        raise UserError(f"Nothing may be written in {nearest}: name another --out.")


def of_training(run: Run, plan: Plan, task: Task, judged: Validation | None, result: Result) -> None:
    """Write the report page of a finished training into its folder."""
    recipe = run.recipe
    paper = recipe.paper.value if recipe.paper and recipe.paper.metric == "pretext_accuracy" else None
    both = {"training": "train", "held out": "val"}
    loss = chart.curves(_by_split(run, "loss"), both, "loss")
    accuracy = chart.curves(_by_split(run, "accuracy"), both, "percent", chance=task.chance, paper=paper)
    plain = "Held-out media are asked the plain question, without augmentation."
    charts = [page.Chart("Loss", loss, plain), page.Chart("Accuracy on the pretext task", accuracy, plain)]
    if judged is not None and judged.confusion is not None:
        note = "Rows: the right answer. Columns: what the network said."
        charts.append(page.Chart("What was taken for what", chart.confusion(judged.confusion, task.classes), note))
    shown = [] if judged is None else task.show(judged.views, judged.answer)
    panels = [*shown, *result.panels, *_filters(task)]
    page.write(
        run.folder / "report.html",
        page.Page(
            title=f"{recipe.task}: {recipe.name}",
            lead=recipe.about,
            headline=_headline(result),
            notes=result.notes,
            panels=panels,
            charts=charts,
            recipe_yaml=dump(recipe),
            facts=_facts(result, plan),
            command=_command(),
        ),
    )


def of_rows(result: Result, folder: Path, name: str) -> Result:
    """Write `<name>.html` and `result.json` for an evaluation into `folder`, and return the result with both paths."""
    tables = [page.Table("All rows", result.rows, folded=result.shown is not None)] if result.rows else []
    if result.shown is not None:
        tables.insert(0, page.Table("In short", result.shown))
    written = page.Page(
        title=result.name,
        headline=_headline(result),
        notes=result.notes,
        panels=result.panels,
        charts=_bars(result),
        tables=tables,
        command=_command(),
    )
    return _with_record(result, written, folder, name)


def _with_record(result: Result, written: page.Page, folder: Path, name: str) -> Result:
    """The page of a result, its facts beside it, and the result as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path, record = folder / f"{name}.html", folder / "result.json"
    result.files = {**result.files, "report": str(path), "json": str(record)}
    page.write(path, replace(written, facts=_facts(result, None)))
    with checkpoint.replacing(record) as file:
        file.write(json.dumps(result.record(), indent=1).encode())
    return result


def _bars(result: Result) -> list[page.Chart]:
    """A chart for each metric of an evaluation, beside what guessing gives by the same metric."""
    by = "init" if any("init" in row for row in result.rows) else "label"
    main = [row for row in result.rows if isinstance(row.get("value"), (int, float)) and "spread" not in row]
    guessed = {row["metric"]: row["value"] for row in result.rows if row.get("init") == "chance"}
    if any(row.get("metric") == "near_accuracy" for row in main):  # the chance of no other metric of offsets
        guessed["near_accuracy"] = result.chance
    charts = []
    for metric in dict.fromkeys(str(row.get("metric", "")) for row in main):
        rows = [row for row in main if str(row.get("metric", "")) == metric]
        within = "layer" if len({row.get("layer") for row in rows}) > 1 else None
        chance = guessed.get(metric) if guessed else result.chance
        if metric in _ALONG:
            charts += _lines(metric, rows, chance)
            continue
        unit = "rank" if "rank" in metric else "frames" if "offset" in metric else "percent"
        svg = chart.bars(rows, by=by, within=within, chance=chance, x_label=unit)
        charts.append(page.Chart(metric.replace("_", " "), svg))
    return charts


def _lines(metric: str, rows: Sequence[Mapping[str, Any]], chance: float | None) -> list[page.Chart]:
    """A line a network along a number, over all groups; a chart for each number of frames where it is another one.

    Rows without such a number ("not found") are told in words.
    """
    along, label = _ALONG[metric]
    grouped = any(row["group"] == "all" for row in rows)
    chosen = [row for row in rows if not grouped or row["group"] == "all" or not row["clips"]]
    charts = []
    for frames in [None] if along == "frames" else dict.fromkeys(row["frames"] for row in chosen):
        these = [row for row in chosen if frames in (None, row["frames"])]
        points = [{label: row[along], row["init"]: row["value"]} for row in these if not isinstance(row[along], str)]
        said = [f"{row['init']}, {row[along]}: {row['value']:.3g}" for row in these if isinstance(row[along], str)]
        names = {row["init"]: row["init"] for row in these if not isinstance(row[along], str)}
        unit = "ms" if metric.endswith("_ms") else "percent"
        title = metric.replace("_", " ") + ("" if frames is None else f", {frames} frames averaged")
        note = f"In {unit}; {'; '.join(said)}." if said else ""
        charts.append(page.Chart(title, chart.curves(points, names, unit, label, chance), note))
    return charts


def of_browsing(
    result: Result, recipe: Recipe, plan: Plan, task: Task, labels: Sequence[Mapping[str, Any]], folder: Path
) -> Result:
    """Write browse.html into `folder`: questions with their right answers, known ways to cheat, and the data."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "browse.html"
    result.files = {**result.files, "report": str(path)}
    tables = [page.Table("The data", result.rows, "Usable: long enough, and with all that the task reads.")]
    if labels:
        left = f"The {_LABELS} first of {len(labels)}." if len(labels) > _LABELS else ""
        tables.append(page.Table("Labels", labels[:_LABELS], left))
    cheats = [{"name": one.name, "cue": one.cue, "control": one.control} for one in task.shortcuts]
    if cheats:
        tables.append(page.Table("Known shortcuts", cheats, "Ways to answer without learning what is meant."))
    reads = {mode: _read(task.train(mode == "training").reads()) for mode in ("training", "validation")}
    facts = {**{k: v for k, v in result.fields.items() if k != "plan"}, "versions": versions()}
    facts |= {"plan": plan.model_dump(), **{f"read in {mode}": what for mode, what in reads.items()}}
    page.write(
        path,
        page.Page(
            title=result.name,
            lead=recipe.about,
            notes=result.notes,
            panels=result.panels,
            tables=tables,
            recipe_yaml=dump(recipe),
            facts=facts,
            command=_command(),
        ),
    )
    return result


def _read(reads: Reads) -> dict[str, Any]:
    """What is read of a sample, without what is not."""
    return {name: value for name, value in vars(reads).items() if value and (name != "rate_hz" or reads.sound_s)}


def of_retrieval(results: Sequence[Result], data: Sequence[Path], weights: Path, folder: Path) -> None:
    """Write retrieve.html into `folder`: for each query what was found, with its sounds to be played."""
    asked = [result for result in results if "neighbours" in result.fields]
    if not asked:
        return
    folder.mkdir(parents=True, exist_ok=True)
    near = [{"query": Path(one.fields["input"]).name, **row} for one in asked for row in one.fields["neighbours"]]
    page.write(
        folder / "retrieve.html",
        page.Page(
            title="Found across the senses",
            lead=f"{len(asked)} of {len(results)} files were asked about, in {', '.join(path.name for path in data)}.",
            notes=list(dict.fromkeys(note for one in asked for note in one.notes)),
            panels=[panel for one in asked[:_VIDEOS] for panel in one.panels],
            tables=[page.Table("Neighbours", near, folded=True)],
            facts={"weights": str(weights), "versions": versions()},
            command=_command(),
        ),
    )


def of_arrow(results: Sequence[Result], weights: Path, folder: Path) -> None:
    """Write arrow.html into `folder`: verdicts of videos, and stills of their overlays where most was decided."""
    judged = [result for result in results if "clips" in result.fields]
    bars = [{**clip, "value": 100 * clip["p_forward"]} for clip in _clips(judged[:_VIDEOS])]
    note = "Each dot is a clip, the bar their mean; the verdict goes by the mean of the logits."
    charts = [page.Chart("Forwards", chart.bars(bars, "video", x_label="percent", chance=50), note)] if bars else []
    page.write(
        folder / "arrow.html",
        page.Page(
            title="Forwards or backwards?",
            lead=f"{len(judged)} of {len(results)} videos were judged.",
            notes=list(dict.fromkeys(note for one in judged for note in one.notes)),
            panels=[_stills(one) for one in judged[:_VIDEOS]],
            charts=charts,
            tables=[
                page.Table("Videos", [{k: v for k, v in one.fields.items() if k != "clips"} for one in results]),
                page.Table("Clips", _clips(judged), folded=True),
            ],
            facts={"weights": str(weights), "versions": versions()},
            command=_command(),
        ),
    )


def _clips(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [{"video": Path(one.fields["input"]).name, **clip} for one in results for clip in one.fields["clips"]]


def _stills(result: Result) -> Panel:
    """Pictures of a video's overlay, of the clips that are farthest from undecided, in the order of time."""
    about, overlay = result.fields, Path(result.files["overlay"])
    decided = sorted(about["clips"], key=lambda clip: -abs(clip["p_forward"] - 0.5))[:_STILLS]
    panel = Panel(f"{Path(about['input']).name}: {about['verdict']}, {about['p_forward']:.0%} forwards", [], columns=4)
    panel.note = "The clearest clips, with the evidence for the verdict in colour: bright is what decided."
    for clip in sorted(decided, key=lambda clip: clip["start_s"]):
        middle_s = (clip["start_s"] + clip["end_s"]) / 2
        with suppress(WorkError):  # the last picture of an odd file: the verdicts are worth a page without it
            still = read.video(overlay, short_side_px=240, start_s=middle_s, end_s=clip["end_s"]).frames[0]
            panel.pictures.append(still)
            panel.captions.append(f"{middle_s:.1f} s: {clip['p_forward']:.0%} forwards")
    return panel


def of_localised(results: Sequence[Result], weights: str, folder: Path, vouched: bool = True) -> None:
    """Write localize-sound.html into `folder`: the clearest moments of each file, and its best places.

    vouched: whether the probabilities may be claimed; those of weights that learnt from other media may not.
    """
    judged = [result for result in results if "frames" in result.fields]
    page.write(
        folder / "localize-sound.html",
        page.Page(
            title="What makes the sound?",
            lead=f"{len(judged)} of {len(results)} files were judged.",
            notes=list(dict.fromkeys(note for one in judged for note in one.notes)),
            panels=[_moments(one, vouched) for one in judged[:_VIDEOS]],
            tables=[
                page.Table("Files", [{k: v for k, v in one.fields.items() if k != "frames"} for one in results]),
                page.Table("Moments", _all_moments(judged), folded=True),
            ],
            facts={"weights": weights, "versions": versions()},
            command=_command(),
        ),
    )


def _moments(result: Result, vouched: bool) -> Panel:
    about, sure = result.fields, ""
    if vouched and about["probability"] is not None:
        sure = f": {about['probability']:.0%} that something in it makes the sound"
    panel = Panel(Path(about["sight"]).name + sure, [], columns=1)
    panel.note = "The clearest moments: as seen; the similarity to the sound, in the scale of the file, so that "
    panel.note += "something is always bright; and "
    judged = "the evidence in a fixed scale, dark where nothing fits."
    panel.note += judged if about["probability"] is not None else "the same in the scale of each moment."
    panel.pictures.append(read.image(Path(result.files["picture"])))
    panel.captions.append(Path(about["sound"]).name)
    panel.right.append(None)
    return panel


def _all_moments(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [{"file": Path(one.fields["sight"]).name, **peak} for one in results for peak in one.fields["frames"]]


def of_bench(result: Result, folder: Path) -> Result:
    """Write bench.html and `result.json` into `folder`, and return the result with both paths."""
    table = page.Table("All rows", result.shown or result.rows)
    written = page.Page(result.name, notes=result.notes, tables=[table], command=_command())
    return _with_record(result, written, folder, "bench")


def of_comparison(result: Result, folder: Path) -> Result:
    """Write compare.html, a table and a chart a metric, into `folder`, and return the result with its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "compare.html"
    result.files = {**result.files, "report": str(path)}
    charts, short = [], _told_apart([row["result"] for row in result.rows])
    for metric in dict.fromkeys(row["metric"] for row in result.rows):
        rows = [row for row in result.rows if row["metric"] == metric]
        named = [{**row, "who": f"{row['init']} ({short[row['result']]})"} for row in rows]
        chances = {row["chance"] for row in rows}
        chance = chances.pop() if len(chances) == 1 else None
        charts.append(page.Chart(metric, chart.bars(named, by="who", chance=chance, x_label=metric)))
    table = page.Table("All results", result.rows)
    facts = {key: str(value) for key, value in result.fields.items()}
    page.write(
        path, page.Page(result.name, notes=result.notes, charts=charts, tables=[table], facts=facts, command=_command())
    )
    return result


def of_audit(result: Result, audited: Sequence[Audited], classes: Sequence[str], folder: Path) -> Result:
    """Write audit.html and result.json into `folder`, and return the result with both paths.

    What each cheater was shown and said, the accuracies beside the paper's, and what the task took for what.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, record = folder / "audit.html", folder / "result.json"
    result.files = {**result.files, "report": str(path), "json": str(record)}
    headline, panels, charts, tables = [], [], [], []
    for one in audited:
        name, said = one.shortcut.name, {"original": "without the control", "cleaned": "with the control"}
        tables.append(page.Table(name, one.table(), f"Cue: {one.shortcut.cue}. Control: {one.shortcut.control}."))
        for found in one.findings:
            if found.network == "cheater":
                title = f"{name}: the cue alone, {said[found.tested]}"
                note = one.shortcut.cue if found.tested == "original" else f"Control: {one.shortcut.control}"
                panels.append(replace(found.panel, title=title, note=f"{note[0].upper()}{note[1:]}.", columns=8))
                if found.value is not None:
                    headline.append(page.Figure(title, found.value, chance=result.chance))
            elif found.trained == found.tested and len(classes) > 2:
                title = f"{name}: the task {said[found.tested]}, turn by turn"
                charts.append(page.Chart(title, chart.confusion(found.confusion, classes), "Rows: the right answer."))
    page.write(
        path,
        page.Page(
            title=result.name,
            lead="A cheater sees the cue alone. Where it is above chance, the task can be solved without learning what "
            "is meant; with the control it must be at chance (or, where a shortcut only makes answers contradict each "
            "other, right more often). The task itself is trained and asked both without and with the control.",
            headline=headline,
            notes=result.notes,
            panels=panels,
            charts=charts,
            tables=[*tables, page.Table("All rows", result.rows, folded=True)],
            facts=_facts(result, None),
            command=_command(),
        ),
    )
    with checkpoint.replacing(record) as file:
        file.write(json.dumps(result.record(), indent=1).encode())
    return result


def _told_apart(names: Sequence[str]) -> dict[str, str]:
    """Paths by those of their parts in which they differ, for labels that are short."""
    parts = {name: Path(name).parts for name in names}
    same = [len(set(column)) == 1 for column in zip(*parts.values(), strict=False)]
    first = same.index(False) if False in same else max(0, len(same) - 1)
    ends = [len(set(column)) == 1 for column in zip(*(reversed(p[first:]) for p in parts.values()), strict=False)]
    last = ends.index(False) if False in ends else 0
    return {name: "/".join(p[first : len(p) - last]) or name for name, p in parts.items()}


def _by_split(run: Run, name: str) -> list[dict[str, Any]]:
    return [{"step": row["step"], row["split"]: row[name]} for row in run.rows() if name in row]


def _headline(result: Result) -> list[page.Figure]:
    names = [n for n in ("pretext_accuracy", *result.metrics) if n in result.metrics]
    known = {name: result.metrics[name] for name in names if "accuracy" in name or "top1" in name}
    shown = [name for name in known if name != "val_pretext_accuracy" or "pretext_accuracy" not in known][:3]
    return [
        page.Figure(
            name.replace("_", " "),
            result.metrics[name],
            chance=result.chance,
            paper=result.paper if name == names[0] else None,
        )
        for name in shown
    ]


def _filters(task: Task) -> list[Panel]:
    """First-layer filters of each trunk, largest kernels first found."""
    panels = []
    for name, trunk in task.trunks.items():
        first = next((m for m in trunk.modules() if isinstance(m, torch.nn.Conv2d)), None)
        if first is None:  # convolutions over time are no pictures
            continue
        pictures = picture.filters(first.weight.detach())
        panels.append(
            Panel(f"First-layer filters ({name})", [pictures], note="Each filter has its own scale.", columns=1)
        )
    return panels


def _facts(result: Result, plan: Plan | None) -> dict[str, Any]:
    facts = {**result.fields, "seconds": round(result.seconds, 1), "metrics": result.metrics, "versions": versions()}
    return facts if plan is None else {**facts, "plan": plan.model_dump(mode="json")}


def _command() -> str:
    """As it was typed; nothing where another program uses the Python API."""
    program = Path(sys.argv[0])
    ours = program.name == "sslkit" or program.parts[-2:] == ("sslkit", "__main__.py")
    return shlex.join(["sslkit", *sys.argv[1:]]) if ours else ""
