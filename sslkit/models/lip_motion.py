"""Linear filters on how a mouth moves and on what is heard: few people are enough to learn them.

Pictures come as the movement of 8 x 8 places of a mouth (Lucas and Kanade, IJCAI 1981: least squares over a place),
sound as 40 mel bands, 50 a second. Both are made even by clip: what is left says when, and not who. A filter over about
half a second of each gives the vectors; where they belong together they are near.

Source: linear maps of two senses into one space, as in Slaney and Covell, "FaceSync", NIPS 2000.
Departures: movement instead of pixels; several dimensions; places of the left and the right half are averaged after one
is mirrored, so that a mirrored mouth gives the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.models.lips import FPS, HOP, RATE_HZ, WINDOW, WINDOW_FRAMES, WINDOW_S
from sslkit.models.trunk import Trunk
from sslkit.ops.flow import local_flow
from sslkit.ops.precision import in_float32
from sslkit.ops.spectrum import Spectrum, log_spectrogram
from sslkit.types import Reads

_LUMA = (0.299, 0.587, 0.114)
_CELLS = 8
_BANDS = 40
_COLUMNS = 4
"""Columns of 10 ms in the time of a frame."""
PARTS = 2
"""Parts of the time of a frame whose sound is told apart."""
_EDGE = (WINDOW_FRAMES - 1) // 2


class _Filters(Trunk):
    """What both have in common: `features`, a filter over a time, and vectors that are even by clip."""

    def __init__(self, inputs: int, dimensions: int, context: int) -> None:
        super().__init__()
        self.settings = {"dimensions": dimensions, "context": context}
        self.context = context
        self.filters = nn.Conv1d(inputs, dimensions, 2 * context + 1, bias=False)
        self.gain = nn.Parameter(torch.ones(dimensions))
        self.widths = {"features": inputs, "embedding": dimensions}

    def features(self, raw: Tensor) -> Tensor:
        """(B, T, inputs) of the T frames of a clip, or of the sound of that time."""
        raise NotImplementedError

    @torch.no_grad()
    def set(self, turn: Tensor, gain: Tensor) -> None:
        """Take filters (taps * inputs, dimensions), and the length (dimensions,) of the vectors' parts."""
        weight = self.filters.weight
        weight.copy_(turn.T.reshape(len(weight), -1, weight.shape[1]).transpose(1, 2))
        self.gain.copy_(gain)

    def dense(self, raw: Tensor) -> Tensor:
        """(B, T - 4, dimensions): vector t is of the time of the frames t .. t + 4, and of some more around it."""
        return self._filtered(self.features(raw))

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Features and vectors, means over the clip; see `Trunk.forward`."""
        features = self.features(raw)
        return {"features": features.mean(1), "embedding": self._filtered(features).mean(1)}

    def _filtered(self, features: Tensor) -> Tensor:
        around = F.pad(features.transpose(1, 2), (self.context, self.context), mode="replicate")
        found = self.filters(around)
        spread = found.std(2, keepdim=True, correction=0) + 1e-4
        even = (found - found.mean(2, keepdim=True)) / spread
        vectors: Tensor = even.transpose(1, 2) * self.gain
        return vectors[:, _EDGE:-_EDGE]


class LipMotion(_Filters):
    """features, embedding. Takes frames (B, T, 3, S, S) of a mouth, 25 a second, T >= 5."""

    name = "lip_motion"

    def __init__(self, dimensions: int = 20, context: int = 5, side_px: int = 32) -> None:
        super().__init__(_CELLS * _CELLS, dimensions, context)
        self.settings |= {"side_px": side_px}
        self.takes = Reads(frames=WINDOW_FRAMES, fps=FPS)
        self.crop_px = side_px
        self.front_end = {"luma": list(_LUMA), "cells": _CELLS}

    def features(self, raw: Tensor) -> Tensor:
        """How each place moves from the frame before, (B, T, 64): across, then down."""
        with in_float32(raw):
            gray = torch.einsum("btchw,c->bthw", raw.float(), torch.tensor(_LUMA, device=raw.device))
        size = (self.crop_px, self.crop_px)
        if gray.shape[-2:] != size:
            gray = F.interpolate(gray, size, mode="bilinear", antialias=True, align_corners=False)
        places = F.adaptive_avg_pool2d(local_flow(gray).flatten(0, 1), _CELLS)
        places = places.reshape(len(gray), -1, 2, _CELLS, _CELLS)
        places = F.pad(places, (0, 0, 0, 0, 0, 0, 1, 0))  # nothing is before the first frame
        places = places - places.mean((3, 4), keepdim=True)  # of the head
        mirrored = places.flip(-1) * places.new_tensor([-1.0, 1.0])[:, None, None]
        half = ((places + mirrored) / 2)[..., : _CELLS // 2].flatten(2)
        half = half / (half.square().mean((1, 2), keepdim=True) + 1e-6).sqrt()
        half = half.sign() * half.abs().log1p()
        half = half - half.mean(1, keepdim=True)
        return half / (half.std((1, 2), keepdim=True) + 1e-6)


class SpeechBands(_Filters):
    """features, embedding. Takes sound (B, N) on the scale of int16 at 16 kHz, N >= 3440."""

    name = "speech_bands"

    def __init__(self, dimensions: int = 20, context: int = 6) -> None:
        super().__init__(_BANDS * PARTS, dimensions, context)
        self.takes = Reads(sound_s=WINDOW_S, rate_hz=RATE_HZ)
        self.crop_px = 0
        self.form = Spectrum(RATE_HZ, 400, 400, 160, power=2, bands=_BANDS, low_hz=60.0, high_hz=7600.0, floor=1e-6)
        self.front_end = {"bands": _BANDS, "window": 400, "hop": 160, "low_hz": 60, "high_hz": 7600}

    def features(self, raw: Tensor) -> Tensor:
        """Level of each band in two parts of the time of each frame, (B, T, 80); the first is half a window early."""
        frames = (raw.shape[-1] - WINDOW) // HOP + WINDOW_FRAMES
        level = log_spectrogram(raw, self.form)[..., : frames * _COLUMNS]
        parts = level.reshape(len(level), _BANDS, frames * PARTS, -1).mean(3)
        parts = parts - parts.mean(2, keepdim=True)
        parts = parts / (parts.std((1, 2), keepdim=True) + 0.1)
        return parts.reshape(len(parts), _BANDS, frames, PARTS).permute(0, 2, 3, 1).flatten(2)
