"""`sslkit sync` from end to end: the sound of files is moved, the command is asked by how much, and mends a copy."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslkit.errors import WorkError
from sslkit.evals.base import Row
from sslkit.jobs.timing import sync
from sslkit.media import remux
from sslkit.models.lips import FPS

_NEAR_FRAMES = 1


@dataclass(frozen=True)
class Asked:
    """One file whose sound was moved by `moved` frames, and what was said of it.

    offset: in frames; None where none was told. mended_s: of the copy that `--fix` wrote, measured again; nothing where
    none was written, "not found" where no offset was found any more, "not kept" where it was not in time.
    """

    input: str
    group: str
    moved: int
    offset: int | None
    verdict: str
    mended_s: float | str | None

    @property
    def right(self) -> bool:
        """Whether the offset was told, within a frame."""
        return self.offset is not None and abs(self.offset - self.moved) <= _NEAR_FRAMES


def asked(
    video: Path, group: str, shifts: Sequence[int], weights: Path | None, device: str = "auto"
) -> Iterator[Asked]:
    """Ask of a video whose sound is moved by each of some shifts, in frames of 1/25 s; nothing of it is kept.

    Raises WorkError for a video that cannot be read or measured.
    """
    with tempfile.TemporaryDirectory(prefix="sslkit-moved-") as folder:
        mended = Path(folder) / "mended"
        late = {Path(folder) / f"{shift}.mkv": shift for shift in shifts}
        for target, shift in late.items():
            remux.with_sound_moved(video, target, shift / FPS)
        for (target, shift), result in zip(
            late.items(), sync(list(late), weights, fix=mended, device=device), strict=True
        ):
            fields = result.fields
            if "offset_frames" not in fields:
                raise WorkError(str(fields["error"]).replace(str(target), str(video)))
            mended_s = fields.get("fixed_offset_s")
            if mended_s is None and "fixed" in fields:
                mended_s = "not found"
            elif "error" in fields:  # a copy that did not measure in time
                mended_s = "not kept"
            yield Asked(str(video), group, shift, fields["offset_frames"], fields["verdict"], mended_s)


def rows(init: str, answers: Sequence[Asked]) -> list[Row]:
    """Of each group, and of all where there are several, in percent of the files that were asked.

    "file_right", "file_wrong" and "file_unanswered"; "mended_zero", of the copies that were written after a right
    answer those that are then in time to the frame.
    """
    groups = {group: [one for one in answers if one.group == group] for group in sorted({one.group for one in answers})}
    if len(groups) > 1:
        groups["all"] = list(answers)
    found: list[Row] = []
    for group, members in groups.items():
        kinds = {
            "file_right": [one.right for one in members],
            "file_wrong": [one.offset is not None and not one.right for one in members],
            "file_unanswered": [one.offset is None for one in members],
            "mended_zero": [one.mended_s == 0 for one in members if one.right and one.mended_s is not None],
        }
        for metric, which in kinds.items():
            if which:
                row = {"init": init, "group": group, "metric": metric, "frames": "file", "clips": len(which)}
                found.append(row | {"value": round(100 * sum(which) / len(which), 2)})
    return found


def told(answers: Sequence[Asked]) -> list[dict[str, Any]]:
    """What was said of each file, for a record."""
    return [
        {
            "input": one.input,
            "moved_frames": one.moved,
            "offset_frames": one.offset,
            "verdict": one.verdict,
            "mended_s": one.mended_s,
        }
        for one in answers
    ]
