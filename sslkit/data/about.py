"""What a prepared folder says about itself in `dataset.json` and on each line of its indexes, and what it must say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sslkit.data import shards
from sslkit.errors import UserError, WorkError

_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# Offset, size and checksum; format 1 has none.
_Place = Annotated[list[_Count], Field(min_length=2, max_length=3)]


class About(BaseModel):
    """`dataset.json`; how it came to be (versions) is kept there too, but not needed. indexes: their checksums."""

    model_config = ConfigDict(frozen=True, strict=True)

    format: int
    layout: str
    settings: dict[str, Any]
    source_hash: str
    classes: list[str]
    counts: dict[str, dict[str, _Count | _Amount]]
    indexes: dict[str, str] = {}
    skipped: _Count = 0
    seconds: _Amount = 0.0

    @classmethod
    def of(cls, folder: Path) -> About:
        """What a folder says. Raises UserError where it says nothing, or in another format; WorkError if damaged."""
        path = folder / "dataset.json"
        if not path.is_file():
            raise UserError(f"{folder} is not a prepared dataset (it has no dataset.json); make one with prepare-data.")
        try:
            found = cls.model_validate_json(path.read_bytes())
        except (ValidationError, OSError) as error:
            raise _damaged(path, error) from error
        if found.format not in shards.READABLE:
            raise UserError(f"{path} has format {found.format}, not {shards.FORMAT}; prepare the data again.")
        return found


class Line(BaseModel):
    """One line of an index; further entries are passed over."""

    model_config = ConfigDict(frozen=True, strict=True)

    key: str
    kind: Literal["image", "video", "sound"]
    label: int = Field(ge=-1)
    label_name: str | None
    source: str
    group: str
    start_s: _Number
    end_s: _Number
    fps: _Amount
    frames: int = Field(ge=1)
    height: int = Field(ge=1, le=65_535)
    width: int = Field(ge=1, le=65_535)
    sound_s: _Amount
    fold: int | None = None
    tags: list[str] = []
    motion: list[Annotated[float, Field(ge=0, le=255)]]
    border: list[_Count] = Field(min_length=4, max_length=4)
    bars: list[_Count] = Field([0, 0, 0, 0], min_length=4, max_length=4)
    flow_bound: _Number = Field(gt=0)
    # A name, not a path: what lies outside of the folder is not the dataset's.
    shard: str = Field(pattern=r"\A[A-Za-z0-9_-]+\.tar\z")
    offset: _Count
    size: _Count
    members: dict[str, _Place]
    fwd: list[_Place]
    bwd: list[_Place]

    @classmethod
    def of(cls, text: bytes, place: str) -> Line:
        """A line of an index, checked. place: its file and number. Raises WorkError for one that cannot be."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise _damaged(place, error) from error

    @model_validator(mode="after")
    def _agrees(self) -> Line:
        holds = {"video": ("mp4", "pictures"), "image": ("jpg", "pictures"), "sound": ("flac", "sound")}[self.kind]
        if holds[0] not in self.members:
            raise ValueError(f"there is no {holds[1]}" if self.kind == "sound" else f"there are no {holds[1]}")
        if self.kind != "image" and not self.fps:
            raise ValueError("a clip needs a rate")
        if self.kind == "video" and len(self.motion) != self.frames:
            raise ValueError("a clip needs its motion at every frame")
        if self.kind == "image" and self.frames != 1:
            raise ValueError("a still has one frame")
        if len({len(place) for place in self.fwd}) > 1 or len({len(place) for place in self.bwd}) > 1:
            raise ValueError("flow fields are told alike")
        return self


def _damaged(place: object, error: ValidationError | OSError) -> WorkError:
    """The error that names the first thing that is wrong."""
    if isinstance(error, OSError):
        reason = (error.strerror or str(error)).lower()
    else:
        found = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step)[:40] for step in found["loc"])
        reason = f"{where}: {found['msg']}" if where else found["msg"]
    return WorkError(f"{place} is damaged ({reason[:200]}); copy it again, or prepare the data into a new folder.")
