"""SoundNet: convolutions on the waveform itself.

Source: Aytar, Vondrick and Torralba, "SoundNet: learning sound representations from unlabeled video", NIPS 2016;
kernels, strides and scale as in cvondrick/soundnet, the network of eight layers without its two heads.
Departures: none but `width` and `rate_hz`, for smaller networks and other data.
"""

from __future__ import annotations

from torch import Tensor, nn

from sslkit.errors import UserError
from sslkit.models.trunk import Trunk
from sslkit.ops.sound import scaled
from sslkit.types import Reads

FULL_SCALE = 256.0
_CHANNELS = (16, 32, 64, 128, 256, 512, 1024)
_KERNELS = (64, 32, 16, 8, 4, 4, 4)
_PADDING = (32, 16, 8, 4, 2, 2, 2)
_POOLED = {"conv1": 8, "conv2": 8, "conv5": 4}


class SoundNet(Trunk):
    """conv1 .. conv7, each with stride 2. Takes sound (B, N) on the scale of int16; maps are (B, C, 1, T).

    `width` scales the channels. `sound_s` is the length that evaluations give it; any other that leaves a step of conv7
    will do, 0.55 s at 22,050 Hz.
    """

    name = "soundnet"

    def __init__(self, width: float = 1.0, rate_hz: int = 22_050, sound_s: float = 5.0) -> None:
        super().__init__()
        self.settings = {"width": width, "rate_hz": rate_hz, "sound_s": sound_s}
        self.takes = Reads(sound_s=sound_s, rate_hz=rate_hz)
        self.crop_px = 0
        self.front_end = {"rate_hz": rate_hz, "full_scale": FULL_SCALE}
        self.widths = {f"conv{n}": max(8, round(wide * width)) for n, wide in enumerate(_CHANNELS, 1)}
        if self.steps(round(sound_s * rate_hz)) < 1:
            raise UserError(
                f"soundnet: {sound_s:g} s of sound at {rate_hz} Hz are too short for its strides; use more."
            )
        self.blocks = nn.ModuleDict()
        before = 1
        for (name, wide), kernel, padding in zip(self.widths.items(), _KERNELS, _PADDING, strict=True):
            conv = nn.Conv1d(before, wide, kernel, 2, padding)
            nn.init.normal_(conv.weight, 0, 0.01)
            self.blocks[name] = nn.Sequential(conv, nn.BatchNorm1d(wide), nn.ReLU(inplace=True))
            before = wide

    def steps(self, samples: int) -> int:
        """Columns of conv7 for so many samples of sound, 0 where they are too few."""
        for (name, _), kernel, padding in zip(self.widths.items(), _KERNELS, _PADDING, strict=True):
            samples = (samples + 2 * padding - kernel) // 2 + 1
            if samples < _POOLED.get(name, 1):
                return 0
            samples //= _POOLED.get(name, 1)
        return samples

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Maps of the layers, before pooling; see `Trunk.forward`."""
        x, maps = scaled(raw, FULL_SCALE)[:, None], {}
        for name, block in self.blocks.items():
            x = block(x)
            maps[name] = x[:, :, None]
            if name in _POOLED:
                x = nn.functional.max_pool1d(x, _POOLED[name])
        return maps
