"""How data are prepared: one frozen block, written into every prepared dataset."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Word = Literal["command", "colour", "preposition", "letter", "digit", "adverb", "all"]


class PrepareSettings(BaseModel):
    """What prepare-data does with every source file. Options of single layouts come last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    short_side_px: int = Field(256, ge=16, le=4096)
    fps: float | None = Field(None, gt=0, le=240)
    """Constant rate of the prepared clips. None: the rate of each source, halved (or more) until it is at most 30."""
    clip_s: float = Field(10.0, gt=0)
    """Longest clip: longer shots and segments are cut."""
    min_s: float = Field(0.5, ge=0)
    """Shots, and what is left of them after cutting, are dropped when shorter; labelled segments are kept."""
    widen_s: float = Field(0.0, ge=0)
    """Segments shorter than this are widened to it around their middle, as far as the file goes."""
    sound: bool = True
    rate_hz: int = Field(16_000, ge=1000, le=192_000)
    channels: int = Field(1, ge=1, le=2)
    """2: sound is kept for each side, where it differs; else both are one."""
    flow: Literal["none", "dis", "tvl1"] = "none"
    flow_bound_px: float = Field(20.0, gt=0)
    backward: bool = True
    """With flow: also store the flow of the reversed frames."""
    shots: bool = True
    cut_labelled: bool = False
    """Also cut labelled clips and segments into shots."""
    remove_borders: bool = True
    """Cut black bars off. False: they stay, and their place is written down."""
    zero_borders: bool = False
    """With bars that stay: paint them black, without motion. Otherwise the clip is what it was."""
    faces: Literal["none", "face", "mouth"] = "none"
    """Clips show one face each, or its mouth, in squares of the short side."""
    synced: bool | None = None
    """Whether sound and picture are known to be in time. None: as the layout knows."""
    stabilise: bool = False
    max_skipped: float = Field(0.1, ge=0, le=1)
    """Share of the sources that may be unreadable."""
    time_limit_s: float = Field(300.0, gt=0)
    """A source is given up when a picture, or 10 s of a clip, takes longer; TV-L1 flow has 20 times as long."""
    limit: int | None = Field(None, gt=0)
    """At most so many items of each split, drawn by the hash of their names. None: all."""
    shard_mb: float = Field(256, gt=0)
    seed: int = Field(0, ge=0)

    val_share: float = Field(0.1, ge=0, lt=1)
    fold: int = Field(1, ge=1, le=20)
    """Which of the official splits, or which fold is test."""
    folds: int = Field(0, ge=0, le=20)
    """Of a folder of classes: each class's files, sorted by name, go into so many folds in turn. 0: none."""
    esc10: bool = False
    which: Word = "letter"
    clips: int = Field(200, ge=0)
    stills: int = Field(0, ge=0)
    seconds: float = Field(4.0, gt=0)
    scenes: Literal["all", "objects", "figure", "face"] = "all"
    camera_share: float = Field(0.0, ge=0, le=1)
    camera_habit: bool = False
    border_share: float = Field(0.0, ge=0, le=1)
    encoder_noise: bool = False
    aberration_share: float = Field(0.0, ge=0, le=1)

    @field_validator("short_side_px")
    @classmethod
    def _even(cls, side_px: int) -> int:
        if side_px % 2:
            raise ValueError("must be even, as the video format wants it")
        return side_px

    @model_validator(mode="after")
    def _bars_stay(self) -> PrepareSettings:
        if self.zero_borders and self.remove_borders:
            raise ValueError("zero_borders paints bars that stay: give remove_borders=false (--keep-borders) too")
        return self

    @property
    def step_limit_s(self) -> float:
        """Longest time between two signs of life of a worker."""
        return self.time_limit_s * max(1.0, self.clip_s / 10) * (20 if self.flow == "tvl1" else 1)

    def recorded(self, options: tuple[str, ...]) -> dict[str, Any]:
        """The settings as `dataset.json` keeps them: those of other layouts than this one (`options`) are left out."""
        foreign = LAYOUT_OPTIONS - set(options)
        return {name: value for name, value in self.model_dump().items() if name not in foreign}


LAYOUT_OPTIONS = {
    "val_share",
    "fold",
    "folds",
    "esc10",
    "which",
    "clips",
    "stills",
    "seconds",
    "scenes",
    "camera_share",
    "camera_habit",
    "border_share",
    "encoder_noise",
    "aberration_share",
}
"""Settings that only some layouts read; a layout names its own in OPTIONS."""
