"""What makes the sound of videos and pictures, by networks that learnt from videos alone or by none at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from sslkit import pages
from sslkit.data import shards
from sslkit.data.dataset import Dataset
from sslkit.demos import localize_sound as demo
from sslkit.demos import responses
from sslkit.demos.scene import Scene
from sslkit.demos.sounding import Aligned, Finder, Moving, Still
from sslkit.engine.device import pick, place
from sslkit.errors import SslkitError, UserError
from sslkit.jobs.data import Progress, split_of
from sslkit.jobs.runs import loaded
from sslkit.jobs.shipped import packaged
from sslkit.tasks.av_object import AvObject
from sslkit.tasks.av_sync import AvSync
from sslkit.tasks.base import Task
from sslkit.types import Result

Method = Literal["av_object", "av_sync", "cca"]
_SHIPPED = "localize_sound"


def localize_sound(
    inputs: Sequence[Path],
    weights: Path | None = None,
    method: Method | None = None,
    sound: Path | None = None,
    out: Path | None = None,
    overlay: bool = True,
    device: str = "auto",
    progress: Progress | None = None,
) -> Iterator[Result]:
    """Where the sound of each input comes from; one that cannot be judged gives a result with an error.

    inputs: videos, or a picture and a sound as `picture+sound`. weights: a run of av_object or av_sync. method: that of
    the weights; with neither, "cca" for what moves to its own sound, and the weights that come with the package for
    the rest: see `_Finders`. sound: hear this file with every input instead. With `overlay`, pictures, videos and the
    page localize-sound.html are written to `out`. Raises UserError where such a page is there already.
    """
    folder = out or Path("runs") / "localize-sound"
    pages.free(folder, *(["localize-sound.html"] if overlay else []))
    finders = _Finders(weights, method, device)
    done: list[Result] = []
    try:
        for given in inputs:
            try:
                scene = _scene(Path(given), sound)
                finder, chosen = finders.of(scene)
                target = folder if overlay else None
                found = demo.localize_sound(scene, finder, chosen, target, overlay, progress)
                found.fields["input"] = str(given)
                if weights is None and chosen != "cca":
                    found.notes.append(_guessed(scene))
                if overlay:
                    found.files["report"] = str(folder / "localize-sound.html")
            except SslkitError as error:
                fields = {"input": str(given), "error": str(error), "kind": error.kind}
                found = Result(name="localize-sound", fields=fields)
            done.append(found)
            yield found
    finally:
        if overlay and folder.is_dir():
            pages.of_localised(done, _called(weights), folder, vouched=weights is not None)


def top_responses(
    on: Sequence[Path],
    weights: Path | None,
    out: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Result:
    """The clips of each class of prepared data that respond most, of all splits, with top-responses.html in `out`.

    Raises UserError where such a page is there already.
    """
    folder = out or Path("runs") / "top-responses"
    pages.free(folder, "top-responses.html", "result.json")
    learner, task = _learner(weights)
    if not isinstance(learner, AvObject | AvSync):
        raise UserError(f"{weights} learnt {task}: top responses need a run of av_object or av_sync.")
    chosen = pick(device)
    place(learner, chosen)
    result = responses.top_responses(learner, _whole(on), chosen, progress=progress)
    result.name = f"top responses in {', '.join(map(str, on))}"
    result.fields |= {"data": [str(folder) for folder in on], "run": _called(weights), "task": task}
    return pages.of_rows(result, folder, "top-responses")


def _guessed(scene: Scene) -> str:
    """What is to be known of an answer by the weights that ship."""
    other = "weights of your own (--weights)" if scene.still else "--method cca, or weights of your own (--weights)"
    return (
        "The weights that ship learnt from drawn scenes and from people who talk: on other media the places are a "
        f"guess, and a high probability says little. Try {other}."
    )


def _whole(data: Sequence[Path]) -> Dataset:
    """All splits of prepared data as one."""
    splits = [one for split in shards.SPLITS if (one := split_of(data, split)) is not None]
    if not splits:
        raise UserError(f"{' + '.join(map(str, data))} holds no samples: name a prepared dataset.")
    # Folders need not have the same splits; their rates are told by that which most of them have.
    whole = max(splits, key=lambda one: len(one.info.folders))
    whole.entries = [entry for one in splits for entry in one.entries]
    whole.split = ", ".join(one.split for one in splits)
    return whole


class _Finders:
    """What finds the places of a sound: as was asked for, or what suits a scene.

    What moves to its own sound is found best by that alone: the weights that ship know drawn things and few people. On
    15 clips of people who talk, whom they never saw, "cca" points to the mouth in 38 % of the windows, they in 12 %
    (README). A picture, a sound of another file and a video too short for "cca" are left to the weights.
    """

    def __init__(self, weights: Path | None, method: Method | None, device: str) -> None:
        self._device, self._known = device, dict[Method, tuple[Finder, Method]]()
        self._asked = _finder(weights, method, device) if weights is not None or method is not None else None

    def of(self, scene: Scene) -> tuple[Finder, Method]:
        """The finder for a scene, and its name. Raises WorkError for what cannot be read."""
        if self._asked is not None:
            return self._asked
        moves = not scene.still and scene.sound == scene.sight and scene.seconds >= Moving.LEAST_S
        method: Method = "cca" if moves else "av_object"
        if method not in self._known:
            self._known[method] = _finder(None, method, self._device)
        return self._known[method]


def _finder(weights: Path | None, method: Method | None, device: str) -> tuple[Finder, Method]:
    if method == "cca":
        if weights is not None:
            raise UserError("The method cca learns nothing: leave --weights out, or --method.")
        return Moving(), "cca"
    if weights is None and method == "av_sync":
        raise UserError("No weights of av_sync come with sslkit: give --weights RUN, or leave --method out.")
    learner, task = _learner(weights)
    if method is not None and task != method:
        raise UserError(f"{weights} learnt {task}, not {method}: leave --method out.")
    chosen = pick(device)
    place(learner, chosen)
    if isinstance(learner, AvObject):
        return Still(learner, chosen), "av_object"
    if isinstance(learner, AvSync):
        return Aligned(learner, chosen), "av_sync"
    raise UserError(f"{weights} learnt {task}; sslkit localize-sound needs a run of av_object or av_sync.")


def _learner(weights: Path | None) -> tuple[Task, str]:
    """The network of a run, or of the package, and the name of its task."""
    if weights is None:
        learner, about = packaged(_SHIPPED, "cpu")
        return learner, str(about["task"])
    learner, run, _ = loaded(weights)
    return learner, run.recipe.task


def _called(weights: Path | None) -> str:
    """What pages call the weights."""
    return str(weights) if weights else "shipped"


def _scene(given: Path, sound: Path | None) -> Scene:
    """A video, or `picture+sound`; the name of a file may itself hold a plus."""
    for before, after in () if given.exists() else _parted(str(given)):
        if Path(before).is_file():
            if sound is not None:
                raise UserError(f"{given} names its own sound: leave that out, or --sound.")
            return Scene(Path(before), Path(after))
    return Scene(given, sound or given)


def _parted(words: str) -> Iterator[tuple[str, str]]:
    """What is before and after each plus, the last one first."""
    places = [place for place, letter in enumerate(words) if letter == "+"]
    return ((words[:place], words[place + 1 :]) for place in reversed(places))
