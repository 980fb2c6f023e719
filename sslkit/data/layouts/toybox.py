"""The synthetic world that ships with the package: nothing is read, so there is no SOURCE."""

from __future__ import annotations

from collections.abc import Iterator

from sslkit.data import toybox
from sslkit.data.layouts.base import Item
from sslkit.data.settings import PrepareSettings
from sslkit.errors import UserError

SYNCED = True
OPTIONS: tuple[str, ...] = (
    "clips",
    "stills",
    "seconds",
    "scenes",
    "camera_share",
    "camera_habit",
    "border_share",
    "encoder_noise",
    "aberration_share",
)
_FACES_PX = 192


def items(source: str, settings: PrepareSettings) -> Iterator[Item]:
    """Every scene, to be rendered. Raises UserError when a SOURCE is given or nothing is asked for."""
    if source:
        raise UserError(f"The layout toybox makes its own data, but {source!r} was given; leave SOURCE out.")
    if not settings.clips and not settings.stills:
        raise UserError("The layout toybox was asked for no clips and no stills; set --clips or --stills.")
    # Faces are cut out of the picture: it must be large enough for them.
    side_px = settings.short_side_px if settings.faces == "none" else max(settings.short_side_px, _FACES_PX)
    scenes = toybox.scenes(
        seed=settings.seed,
        clips=settings.clips,
        stills=settings.stills,
        camera_share=settings.camera_share,
        border_share=settings.border_share,
        aberration_share=settings.aberration_share,
        camera_habit=settings.camera_habit,
        encoder_noise=settings.encoder_noise,
        seconds=settings.seconds,
        types=toybox.TYPES if settings.scenes == "all" else (settings.scenes,),
        width_px=round(side_px * 2 / 3) * 2,
        height_px=side_px,
    )
    for scene in scenes:
        yield Item(scene.key, scene.split, scene.key, scene.key, label_name=scene.label_name, scene=scene)
