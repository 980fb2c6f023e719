"""Results of runs, probes and finetunings side by side, where they were measured alike."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslkit.engine.run import first_difference
from sslkit.errors import UserError
from sslkit.evals.base import Row
from sslkit.types import Result

_IMMATERIAL = {"max_skipped", "shard_mb", "time_limit_s"}
"""Settings of prepare-data that change nothing in a sample."""
_OF_THE_NETWORK = {"pooled"}
"""Parts of a preprocessing that follow from the network, which is what is compared."""
_LONGEST_VALUE = 60


@dataclass(frozen=True)
class Measured:
    """One result. name: its folder, or its file. like: under which conditions its figures were measured."""

    name: str
    record: Mapping[str, Any]
    like: Mapping[str, Any]


def compare(paths: Sequence[Path], loose: bool = False) -> Result:
    """One table over results: folders that hold a result.json, or such files.

    Rows: {"result", "init", "layer", "metric", "value", "spread", "runs", "chance"}, those of one metric together with
    the best first; of a probe the best layer of each network. With `loose` also "differs": the first condition that is
    other than in the first result. Raises UserError for what is no result, and for results with different protocols,
    data, splits or preprocessing unless `loose`.
    """
    found = [read(path) for path in dict.fromkeys(map(Path, paths))]
    if not found:
        raise UserError("There is nothing to compare: name folders of runs, probes or finetunings.")
    differs = {one.name: _differs(found[0], one) for one in found}
    unlike = [name for name, difference in differs.items() if difference]
    if unlike and not loose:
        key, there, here = differs[unlike[0]] or ("", "", "")
        raise UserError(
            f"{found[0].name} and {unlike[0]} were not measured alike ({key}: {there!r} in the first, {here!r} in the "
            "second); compare others, or give --loose to see them in one table all the same."
        )
    rows = _ranked([row for one in found for row in _rows(one)])
    if loose:
        rows = [{**row, "differs": (differs[row["result"]] or (None,))[0]} for row in rows]
    chances = {row["chance"] for row in rows}
    return Result(
        name="Results side by side",
        fields={
            "results": [one.name for one in found],
            "protocol": found[0].like["protocol"],
            "unlike": unlike or None,
        },
        chance=chances.pop() if len(chances) == 1 else None,
        rows=rows,
        notes=[f"Not measured like {found[0].name}, as `differs` says: {', '.join(unlike)}."] if unlike else [],
    )


def read(path: Path) -> Measured:
    """The result in a file or in a folder's result.json. Raises UserError when there is none."""
    file = path / "result.json" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file} does not exist: name the folder of a finished run, of a probe or of a finetuning.")
    record = _json(file)
    if not isinstance(record, dict) or not isinstance(record.get("metrics"), dict):
        raise UserError(f"{file} is no result with figures: name that of a run, a probe or a finetuning.")
    name = str(path)
    return Measured(name, record, _of_evaluation(record) if "protocol" in record else _of_run(record, file))


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} is missing or damaged: measure again.") from error


def _of_evaluation(record: Mapping[str, Any]) -> dict[str, Any]:
    preprocessing = record.get("preprocessing")
    if isinstance(preprocessing, dict):
        preprocessing = {key: value for key, value in preprocessing.items() if key not in _OF_THE_NETWORK}
    return {
        "protocol": record["protocol"],
        "task": record.get("task"),
        "data": _data(record["prepared"]) if "prepared" in record else record.get("data"),
        "classes": record.get("classes"),
        "split": record.get("split"),
        "preprocessing": preprocessing,
    }


def _of_run(record: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Of a pretraining: its figures are of the held-out part of its own data."""
    data = file.with_name("data.json")
    if not data.is_file():
        raise UserError(f"{file} does not say what was learnt from: name it where its run's data.json lies, too.")
    split = "val" if "val_pretext_accuracy" in record["metrics"] else "test"
    protocol = f"pretext task {record.get('task')}, held out"
    return {"protocol": protocol, "task": record.get("task"), "data": _data(_json(data)), "split": split}


def _data(records: Any) -> Any:
    """Prepared folders told by what they hold, not by where they lie."""
    if not (isinstance(records, list) and all(isinstance(one, dict) for one in records)):
        return records
    plain = {}
    for number, one in enumerate(records):
        settings = {key: value for key, value in dict(one.get("settings", {})).items() if key not in _IMMATERIAL}
        plain[str(number)] = {"source_hash": one.get("source_hash"), "settings": settings}
    return plain


def _differs(first: Measured, other: Measured) -> tuple[str, str, str] | None:
    found = first_difference(dict(first.like), dict(other.like))
    if found is None:
        return None
    key, there, here = found
    return key, textwrap.shorten(str(there), _LONGEST_VALUE), textwrap.shorten(str(here), _LONGEST_VALUE)


def _rows(one: Measured) -> list[Row]:
    """The headline figures of a result: means over seeds where networks are named, else its metrics."""
    rows = [row for row in one.record.get("rows", []) if isinstance(row, dict) and "init" in row]
    return list(_means(one, rows) if rows else _metrics(one))


def _means(one: Measured, rows: Sequence[Row]) -> Iterator[Row]:
    chances = {row["metric"]: row["value"] for row in rows if row["init"] == "chance"}
    for row in rows:
        metric, headline = row.get("metric", ""), f"{row['init']}_{row.get('metric')}" in one.record["metrics"]
        if headline and row.get("seed") is None and row.get("runs") and row.get("best", True) and _number(row["value"]):
            # svm_top1 is guessed as well as top1.
            chance = next((value for name, value in chances.items() if metric.endswith(name)), None)
            yield _row(one, row, chance)


def _metrics(one: Measured) -> Iterator[Row]:
    init = one.record.get("recipe") or Path(str(one.record.get("run", one.name))).name
    for metric, value in one.record["metrics"].items():
        if not metric.startswith("train_") and metric != "val_pretext_accuracy" and _number(value):
            chance = one.record.get("chance") if metric.endswith("accuracy") else None
            yield _row(one, {"init": init, "metric": metric, "value": value, "runs": 1}, chance)


def _row(one: Measured, row: Row, chance: float | None) -> Row:
    columns = ("init", "layer", "metric", "value", "spread", "runs")
    return {"result": one.name, **{column: row.get(column) for column in columns}, "chance": chance}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _ranked(rows: list[Row]) -> list[Row]:
    """Rows of one metric together, in the order in which the metrics came; the best first."""
    metrics = list(dict.fromkeys(row["metric"] for row in rows))

    def place(row: Row) -> tuple[int, float]:
        sign = 1 if row["metric"].endswith("loss") else -1
        return metrics.index(row["metric"]), sign * row["value"]

    return sorted(rows, key=place)
