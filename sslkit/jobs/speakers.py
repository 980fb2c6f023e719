"""Who speaks: how well that is told of marked faces, and in films that are composed of people who talk alone."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from sslkit.data.layouts.base import VIDEOS, media_files
from sslkit.demos import people
from sslkit.demos.watchers import Opening, Watcher
from sslkit.errors import SslkitError, UserError
from sslkit.evals import duets, speakers
from sslkit.evals.inits import RANDOM
from sslkit.evals.speakers import Watched
from sslkit.jobs.data import Progress
from sslkit.jobs.runs import named
from sslkit.jobs.watchers import Method, blanks, sure_from, trained
from sslkit.media import detectors
from sslkit.models.lips import FPS
from sslkit.types import Result

_LEAST_S, _LEAST_PX = 1.5, 40


def speakers_measured(
    runs: Sequence[Path], on: Sequence[Path], seeds: int = 1, device: str = "auto", progress: Progress | None = None
) -> Result:
    """Who speaks on marked faces, by runs of lip_sync, by networks of the same kind with random weights, and by cca.

    Without a run by the weights that come with the package.
    """
    if len(on) != 1:
        raise UserError("Active speakers are measured on one set as it is published: sslkit probe --on FOLDER.")
    found = speakers.evaluate(_watching(runs, seeds, device), Path(on[0]), progress=progress)
    found.fields["run"] = ", ".join(map(str, runs)) or "shipped"
    return found


def duets_measured(
    runs: Sequence[Path],
    on: Sequence[Path],
    folder: Path,
    seeds: int = 1,
    device: str = "auto",
    progress: Progress | None = None,
) -> Result:
    """The same in films of two people, composed from the videos below some folders and kept as `folder`/films.

    Of two folders and more, people of the first stand beside people of the others.
    """
    films = folder / "films"
    if films.exists():
        raise UserError(f"{films} is already there: move it away, or measure it with --recipe speakers --on {films}.")
    groups, without = [], []
    for source in map(Path, on):
        videos = [path for path in media_files(source) if path.suffix.lower() in VIDEOS]
        met = [_person(path) for path in videos]
        groups.append([one for one in met if isinstance(one, duets.Person)])
        without += [one for one in met if isinstance(one, str)]
        if not groups[-1]:
            raise UserError(f"No video in {source} shows a person who talks: name a folder of such videos.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".films-", dir=folder) as beside:
        # Composed elsewhere: what is called films is whole, however the work was stopped.
        whole = Path(beside) / films.name
        duets.compose(duets.pairs(groups), whole, progress)
        whole.rename(films)
    found = speakers_measured(runs, [films], seeds, device, progress)
    found.name = f"Who of two talks, people of {', '.join(Path(source).name for source in on)}"
    found.fields |= {"protocol": "duets", "data": [str(source) for source in on]}
    found.files["films"] = str(films)
    found.notes += without
    return found


def _person(video: Path) -> duets.Person | str:
    """Who talks in a video, or why nobody does."""
    try:
        found = people.followed(video, round(_LEAST_S * FPS), _LEAST_PX, detectors.finder())
        longest = max(found.tracks, key=lambda track: len(track.boxes), default=None)
        person = None if longest is None else duets.person(video, longest)
    except SslkitError as error:
        return str(error)
    return person or f"No face with a voice could be followed in {video.name}."


def _watching(runs: Sequence[Path], seeds: int, device: str) -> list[tuple[str, int, Watched]]:
    """(name, seed, what watches): each run, networks of each of their kinds with random weights, and cca."""
    networks = {name: trained(run, device) for name, run in named(runs).items()}
    networks = networks or {"lip_sync (shipped)": trained(None, device)}
    found = [(name, 0, _watched(one)) for name, one in networks.items()]
    found += [(name, seed, _watched(one)) for name, seed, one in blanks(networks.values(), RANDOM, seeds)]
    return [*found, ("cca", 0, _watched(Opening(), "cca"))]


def _watched(one: Watcher, method: Method = "lip-sync") -> Watched:
    return Watched(one.see, one.hear, one.side_px, one.part, one.squared, sure_from(one, method))
