"""Files looked for in a dataset, across the senses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from sslkit import pages
from sslkit.data import shards
from sslkit.demos import retrieve as demo
from sslkit.demos.retrieve import Gallery
from sslkit.engine.device import pick
from sslkit.engine.run import Run
from sslkit.errors import SslkitError, UserError
from sslkit.evals.senses import Sense, Space
from sslkit.jobs.data import Progress, split_of
from sslkit.jobs.runs import loaded
from sslkit.types import Result


def retrieve(
    queries: Sequence[Path],
    data: Sequence[Path],
    to: Sense,
    weights: Path,
    by: Sense | None = None,
    at_s: float | None = None,
    count: int = 9,
    out: Path | None = None,
    device: str = "auto",
    workers: int = 0,
    progress: Progress | None = None,
) -> Iterator[Result]:
    """The samples of prepared data that are nearest to each file; one that cannot be asked gives an error.

    to: the sense in which samples are compared. weights: a run of two networks. by: the sense that is asked, the other
    one of a video without. at_s: the moment of a video or sound, its middle without. A page with pictures and players,
    retrieve.html, is written into `out` when the last file is done, or work is stopped. Raises UserError where one is
    there already.
    """
    folder = out or Path("runs") / "retrieve"
    pages.free(folder, "retrieve.html")
    learner, run, match = loaded(weights)
    space = Space(learner, pick(device))
    splits = [one for split in shards.SPLITS if (one := split_of(data, split)) is not None]
    if not splits:
        raise UserError(f"{' + '.join(map(str, data))} holds no samples: name a prepared dataset.")
    if by != to and not space.shared:
        space = space.fitted(demo.holding(splits, space.reads("sight", "sound"))[0], workers)
    gallery = Gallery.of(space, splits, to, workers, progress)
    side_px, borders = _prepared(run)
    done: list[Result] = []
    try:
        for path in map(Path, queries):
            try:
                found = demo.retrieve(
                    path, space, gallery, by=by, at_s=at_s, count=count, short_side_px=side_px, remove_borders=borders
                )
                found.notes.append(f"{weights}: {match.told()}.")
                found.files["report"] = str(folder / "retrieve.html")
            except SslkitError as error:
                found = Result(name="retrieve", fields={"input": str(path), "error": str(error), "kind": error.kind})
            done.append(found)
            yield found
    finally:
        pages.of_retrieval(done, data, weights, folder)


def _prepared(run: Run) -> tuple[int, bool]:
    """Short side and black bars, as the data of a run had them."""
    try:
        settings = run.data[0]["settings"]
        return int(settings["short_side_px"]), bool(settings["remove_borders"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            f"{run.folder / 'data.json'} does not say how the data were prepared ({error!r}): copy it again."
        ) from error
