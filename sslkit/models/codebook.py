"""Codebooks: what is seen or heard is known by the stored example that is nearest to it.

Each holds a front end, vectors of its own, and a class for each of them; a sample belongs to the class of its nearest
vector. One watches where in the picture something changes, the other hears mel bands over time.

Source: de Sa, "Learning classification with unlabeled data", NIPS 1994, after Kohonen's learning vector quantisation:
motion in 5 x 5 areas over 5 steps, and 24 mel bands over 9 steps [mem].
Departures: motion is the size of the change, not its direction; entries are standardised over the training data.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sslkit.models.trunk import Trunk
from sslkit.ops.sound import levelled
from sslkit.ops.spectrum import Spectrum, log_spectrogram
from sslkit.types import Reads

FPS, RATE_HZ = 25.0, 16_000
_AREAS, _BANDS, _STEPS = 5, 24, 9
_LEAST_DEVIATION = 1e-3


class Codebook(Trunk):
    """entries (the standardised input) and nearness, (B, vectors): minus the distance to each vector.

    vectors: (M, D) parameters. label: (M,) int64, the class of each. mean, deviation: (D,), of the entries.
    """

    vectors: nn.Parameter
    label: Tensor
    mean: Tensor
    deviation: Tensor

    def _build(self, size: int, vectors: int) -> None:
        self.vectors = nn.Parameter(torch.randn(vectors, size))
        self.register_buffer("label", torch.zeros(vectors, dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        self.widths = {"entries": size, "nearness": vectors}

    def measured(self, raw: Tensor) -> Tensor:
        """The entries (B, D) of raw media before they are standardised."""
        raise NotImplementedError

    def standardise(self, measured: Tensor) -> None:
        """Let the entries of (N, D) samples have mean 0 and deviation 1 from now on."""
        self.mean.copy_(measured.mean(0))
        self.deviation.copy_(measured.std(0, correction=0) + _LEAST_DEVIATION)

    def entries(self, measured: Tensor) -> Tensor:
        """Standardised entries (B, D)."""
        return (measured - self.mean) / self.deviation

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Vectors of the layers; see `Trunk.forward`."""
        entries = self.entries(self.measured(raw))
        return {"entries": entries, "nearness": -torch.cdist(entries, self.vectors)}


class SightCodebook(Codebook):
    """Takes clips (B, T, 3, H, W): how much each of 5 x 5 areas changes from one frame to the next."""

    name = "codebook_sight"

    def __init__(self, vectors: int = 30, frames: int = 6, side_px: int = 60) -> None:
        super().__init__()
        self.settings = {"vectors": vectors, "frames": frames, "side_px": side_px}
        self.takes = Reads(frames=frames, fps=FPS)
        self.crop_px = side_px
        self.front_end = {"areas": _AREAS, "compressed": "square root"}
        self._build((frames - 1) * _AREAS**2, vectors)

    def measured(self, raw: Tensor) -> Tensor:
        """Roots of the mean changes, (B, 25 (T - 1))."""
        change = raw.float().mean(2).diff(dim=1).abs()
        return F.adaptive_avg_pool2d(change, _AREAS).sqrt().flatten(1)


class SoundCodebook(Codebook):
    """Takes sound (B, N) on the scale of int16 at 16 kHz, of any loudness: the level of 24 mel bands at 9 moments."""

    name = "codebook_sound"

    def __init__(self, vectors: int = 30, sound_s: float = 0.24) -> None:
        super().__init__()
        self.settings = {"vectors": vectors, "sound_s": sound_s}
        self.takes = Reads(sound_s=sound_s, rate_hz=RATE_HZ)
        self.crop_px = 0
        self.form = Spectrum(RATE_HZ, 512, 400, 160, padding="reflect", power=2, bands=_BANDS, low_hz=60.0, floor=1e-6)
        self.front_end = {"bands": _BANDS, "steps": _STEPS, "window": 400, "hop": 160, "low_hz": 60, "level_db": -26}
        self._build(_BANDS * _STEPS, vectors)

    def measured(self, raw: Tensor) -> Tensor:
        """Log energies, (B, 24 x 9)."""
        return F.adaptive_avg_pool1d(log_spectrogram(levelled(raw), self.form), _STEPS).flatten(1)
