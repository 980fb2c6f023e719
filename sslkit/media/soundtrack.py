"""Cut the sound of a file to the clock of its pictures, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import floor, gcd
from typing import Any

import av
import numpy as np
import soxr

from sslkit.errors import WorkError
from sslkit.media.container import ROUNDING_S, Damaged, Source, decoded, name, opened, sound_stream, video_stream

# Timestamps that stray less than this from the running count of samples are rounding, not a pause.
_PAUSE_S = 0.03
_LONGEST_GAP_S = 600.0
_HIGHEST_HZ = 768_000
# Lossy codecs need some blocks before their output is right, and the resampler some samples on either side.
_RUN_IN_S = 0.5
_RUN_OUT_S = 0.1
_WEIGHTS = {"FC": 1.0, "FL": 0.5**0.5, "FR": 0.5**0.5, "LFE": 0.0}


def whole(
    source: Source,
    rate_hz: int,
    start_s: float = 0.0,
    end_s: float | None = None,
    stream: int = 0,
    channels: int = 1,
) -> np.ndarray:
    """Sound as (N,), or (N, 2) with two channels, int16 at `rate_hz`, sample 0 at `start_s`: see `read.sound`."""
    pieces = _heard_from(source, rate_hz, start_s, end_s, stream, channels)
    ours = np.concatenate([_silence(0, channels, np.int16), *pieces])
    if end_s is None:
        return ours
    wanted = max(0, round(end_s * rate_hz) - round(start_s * rate_hz))
    return np.concatenate([ours[:wanted], _silence(max(0, wanted - len(ours)), channels, np.int16)])


def chunks(
    source: Source,
    rate_hz: int,
    chunk: int,
    start_s: float = 0.0,
    end_s: float | None = None,
    stream: int = 0,
    channels: int = 1,
    damaged: Damaged | None = None,
) -> Iterator[np.ndarray]:
    """The same samples by the `chunk`, the last ones fewer, for sound of any length; it ends where the sound does."""
    left = None if end_s is None else max(0, round(end_s * rate_hz) - round(start_s * rate_hz))
    held = _silence(0, channels, np.int16)
    for piece in _heard_from(source, rate_hz, start_s, end_s, stream, channels, damaged):
        held = np.concatenate([held, piece[:left]])
        left = None if left is None else max(0, left - len(piece))
        while len(held) >= chunk:
            yield held[:chunk]
            held = held[chunk:]
    if len(held):
        yield held


def _silence(samples: int, channels: int, dtype: type) -> np.ndarray:
    return np.zeros(samples if channels == 1 else (samples, channels), dtype)


def _heard_from(
    source: Source,
    rate_hz: int,
    start_s: float,
    end_s: float | None,
    stream: int,
    channels: int,
    damaged: Damaged | None = None,
) -> Iterator[np.ndarray]:
    """Pieces (N,) or (N, 2) int16 at `rate_hz` from `start_s` to the end of the sound or a little after `end_s`."""
    zero_s, file_hz = _clock(source, stream)
    first = round(start_s * rate_hz)
    # Starting on an instant where samples of both rates fall makes a window equal to that part of the whole.
    common = gcd(file_hz, rate_hz)
    block = floor((first / rate_hz - _RUN_IN_S) * common)
    begin = block * (file_hz // common)
    end = None if end_s is None else round((end_s + _RUN_OUT_S) * file_hz)
    lead = first - block * (rate_hz // common)

    def told(time_s: float) -> None:
        if damaged is not None:
            damaged(time_s - zero_s)

    blocks = ((time_s - zero_s, frame) for time_s, frame in _heard(source, zero_s + begin / file_hz, stream, told))
    pieces = _timeline(blocks, name(source), file_hz, begin, end, channels)
    for piece in _resampled(pieces, file_hz, rate_hz, channels):
        yield piece[lead:]
        lead = max(0, lead - len(piece))


def _clock(source: Source, stream: int) -> tuple[float, int]:
    """When the clock of the pictures (without any: of the sound) starts in the file's own time; the sound's rate."""
    with opened(source) as container:
        asked = sound_stream(container, stream)
        if asked is None:
            count = len(container.streams.audio)
            raise WorkError(f"{name(source)} has {f'only {count} streams of sound' if count else 'no sound stream'}.")
        heard = next(decoded(container, asked), None)
        if heard is None:
            raise WorkError(f"{name(source)} has a sound stream, but nothing of it can be decoded.")
        if heard[1].sample_rate > _HIGHEST_HZ:
            raise WorkError(f"{name(source)} claims to have {heard[1].sample_rate} samples of sound a second.")
        if video_stream(container) is None:
            return heard[0], heard[1].sample_rate
    with opened(source) as container:
        shown = next(decoded(container, video_stream(container)), None)
    return (heard if shown is None else shown)[0], heard[1].sample_rate


def _timeline(
    blocks: Iterator[tuple[float, Any]], file: str, file_hz: int, begin: int, end: int | None, channels: int
) -> Iterator[np.ndarray]:
    """Pieces of float32 sound that cover the samples [begin, end) without a gap, from blocks (time_s, frame).

    Blocks follow each other by their length; only where timestamps say otherwise by more than rounding is there a
    pause, filled with zeros, or an overlap, cut off.
    """
    cursor, running = begin, None
    for time_s, frame in blocks:
        samples = _floats(frame, channels)
        if frame.sample_rate != file_hz:
            raise WorkError(f"{file} changes its sampling rate at {time_s:.1f} s, which is not supported.")
        stamped = round(time_s * file_hz)
        start = stamped if running is None or abs(stamped - running) > _PAUSE_S * file_hz else running
        running = start + len(samples)
        if start - cursor > _LONGEST_GAP_S * file_hz:
            raise WorkError(f"{file} has a pause of more than ten minutes in its sound at {time_s:.1f} s.")
        pause = _silence(max(0, start - cursor), channels, np.float32)
        piece = np.concatenate([pause, samples[max(0, cursor - start) :]])
        piece = piece if end is None else piece[: max(0, end - cursor)]
        cursor += len(piece)
        yield piece
        if end is not None and cursor >= end:
            return


def _heard(source: Source, from_s: float, number: int, damaged: Damaged) -> Iterator[tuple[float, Any]]:
    """Blocks (time_s, frame) from before `from_s`; from the beginning where the container cannot seek well."""
    with opened(source) as container:
        stream = sound_stream(container, number)
        frames = decoded(container, stream, damaged)
        if from_s <= 0:
            yield from frames
            return
        try:
            container.seek(int(from_s / stream.time_base), stream=stream)
            first = next(frames, None)
        except av.FFmpegError:
            first = None
        if first is not None and first[0] <= from_s + ROUNDING_S:
            yield from chain([first], frames)
            return
    with opened(source) as container:
        yield from decoded(container, sound_stream(container, number), damaged)


def _floats(frame: Any, channels: int) -> np.ndarray:
    """A block of sound as (N,) float32 in -1..1, a mean of its channels, or with two (N, 2), the first two.

    A single one is given twice. Of more than two, the others are heard from both sides; to one they become as
    `_shares` has it.
    """
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype.kind == "u":
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples / float(2 ** (8 * samples.itemsize - 1))
    if channels == 1:
        mixed = samples.mean(axis=0) if len(samples) < 3 else _shares(frame.layout) @ samples
    elif len(samples) > channels:
        mixed = (samples[:channels].T + samples[channels:].mean(axis=0)[:, None]) / 2
    else:
        mixed = np.broadcast_to(samples, (channels, samples.shape[1])).T
    return np.asarray(np.nan_to_num(mixed, posinf=1.0, neginf=-1.0), dtype=np.float32)


def _shares(layout: Any) -> np.ndarray:
    """How much of each channel one channel holds, (channels,) float32; the sum is 1, so that nothing clips.

    As in ITU-R BS.775: what is said is in the centre, the sides are 3 dB and what is behind is 6 dB softer, and the
    channel of low effects is left out.
    """
    weights = np.array([_WEIGHTS.get(channel.name, 0.5) for channel in layout.channels], np.float32)
    return np.asarray(weights / max(float(weights.sum()), 1e-9))


def _resampled(pieces: Iterator[np.ndarray], file_hz: int, rate_hz: int, channels: int) -> Iterator[np.ndarray]:
    """All pieces at the new rate as int16, without a delay."""
    if file_hz == rate_hz:
        yield from map(_int16, pieces)
        return
    stream = soxr.ResampleStream(file_hz, rate_hz, channels, dtype="float32")
    yield from (_int16(stream.resample_chunk(piece)) for piece in pieces)
    yield _int16(stream.resample_chunk(_silence(0, channels, np.float32), last=True))


def _int16(samples: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(samples * 32768), -32768, 32767), dtype=np.int16)
