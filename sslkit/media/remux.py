"""Move the sound of a file against its pictures without decoding anything: packets are copied, their times change."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av

from sslkit.errors import UserError, WorkError
from sslkit.media.container import opened

_TIMELESS = {"avi"}


def with_sound_moved(source: Path, target: Path, by_s: float, sound: int | None = None) -> None:
    """Write a copy of a file whose sound is heard `by_s` later (earlier where negative); all streams are kept as coded.

    sound: which of several streams of sound is moved, from 0; None moves all of them.

    The times of sound packets move by whole ticks of their stream, which are at most a sample or a millisecond. Players
    hear no sound until the first packet of a sound that is moved later. Chapters, and what each stream is meant for, go
    along; attachments and data do not. Raises UserError when `target` exists or its name asks for a format that cannot
    hold the streams and their times, WorkError when the source cannot be read or the copy written.
    """
    if target.exists():
        raise UserError(f"{target} is already there: move it away or name another file.")
    partial = _partial(target)
    try:
        with opened(source) as given:
            _copied(given, partial, target, by_s, sound)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def require_room(source: Path, target: Path) -> None:
    """Raise UserError for a target that `with_sound_moved` could not write; nothing is left of it.

    Raises WorkError for a source that cannot be read.
    """
    partial = _partial(target)
    try:
        with opened(source) as given:
            _copied(given, partial, target, 0.0, None, header_only=True)
    finally:
        partial.unlink(missing_ok=True)


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.stem}.partial{target.suffix}")


def repeated(source: Path, target: Path, times: int) -> None:
    """Write a file that shows and plays another so many times in a row, without decoding it.

    Lossy sound begins with some silence that players leave out at the beginning only: it is late by as much after.
    Raises WorkError when the source cannot be read or the file not written.
    """
    with opened(source) as given, av.open(str(target), "w") as copy:
        streams = [stream for stream in given.streams if stream.type in ("video", "audio")]
        into = {stream.index: copy.add_stream_from_template(stream) for stream in streams}
        packets = list(_timed(given.demux(streams)))
        ends_s = [float((packet.dts + (packet.duration or 1)) * packet.time_base) for packet in packets]
        # Pictures that others lean on are decoded before the first is shown.
        length_s = max(ends_s) - min(float(packet.dts * packet.time_base) for packet in packets)
        for turn in range(times):
            for packet in packets:
                moved = av.Packet(bytes(packet))
                ticks = round(turn * length_s / float(packet.time_base))
                moved.dts, moved.pts = packet.dts + ticks, packet.pts + ticks
                moved.time_base, moved.duration, moved.is_keyframe = (
                    packet.time_base,
                    packet.duration,
                    packet.is_keyframe,
                )
                moved.stream = into[packet.stream.index]
                copy.mux(moved)


def _copied(given: Any, partial: Path, target: Path, by_s: float, sound: int | None, header_only: bool = False) -> None:
    moved = {stream.index for number, stream in enumerate(given.streams.audio) if sound in (None, number)}
    streams = [stream for stream in given.streams if stream.type in ("video", "audio", "subtitle")]
    try:
        with av.open(str(partial), "w") as copy:
            if copy.format.name in _TIMELESS:
                raise ValueError("it does not keep when its sound begins")
            into = {stream.index: copy.add_stream_from_template(stream) for stream in streams}
            for stream in streams:
                into[stream.index].metadata.update(stream.metadata)
                into[stream.index].disposition = stream.disposition
            copy.metadata.update(given.metadata)
            copy.set_chapters(given.chapters())
            if header_only:
                copy.start_encoding()
                return
            for packet in _packets(given, streams, moved, by_s):
                packet.stream = into[packet.stream.index]
                copy.mux(packet)
    except (av.FFmpegError, OSError, ValueError) as error:
        kinds = ", ".join(sorted({stream.codec_context.name for stream in streams if stream.codec_context}))
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, OSError) and not isinstance(error, av.FFmpegError):
            raise WorkError(f"{target} cannot be written: {reason}.") from error
        raise UserError(
            f"{target} cannot hold what the source holds ({kinds}): {reason}; name a file that ends in .mkv."
        ) from error


def _packets(given: Any, streams: list[Any], moved: set[int], by_s: float) -> Iterator[Any]:
    """All packets in the order of the file, those of the streams `moved` with other times."""
    for packet in _timed(given.demux(streams)):
        if packet.stream.index in moved:
            ticks = round(by_s / float(packet.time_base))
            packet.dts += ticks
            packet.pts = None if packet.pts is None else packet.pts + ticks
        yield packet


def _timed(packets: Iterable[Any]) -> Iterator[Any]:
    """The packets in order, without the empty ones at the ends of streams, each with a time of decoding.

    Matroska has none for the first pictures of a stream whose pictures are shown in another order than decoded: they
    come one duration apart before the first that has one.
    """
    waiting: dict[int, list[Any]] = {}
    for packet in packets:
        if packet.size == 0:
            continue
        if packet.dts is None and packet.pts is not None:
            waiting.setdefault(packet.stream.index, []).append(packet)
            continue
        early = waiting.pop(packet.stream.index, [])
        for number, one in enumerate(early):
            one.dts = min(packet.dts - (len(early) - number) * (one.duration or 1), one.pts)
            yield one
        yield packet
    for early in waiting.values():
        for one in early:
            one.dts = one.pts
            yield one
