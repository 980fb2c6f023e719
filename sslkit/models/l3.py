"""The two networks that learn which sight belongs to which sound: one looks at a picture, one hears a second.

Both are four blocks of two 3x3 convolutions with batch norm and ReLU, with max-pooling between blocks; the sound
network makes its spectrogram itself, on the device. A vector is the maximum of the last map over its places.

Source: Arandjelovic and Zisserman, "Look, Listen and Learn", ICCV 2017 (`stride` 1, front end "l3"; code
marl/l3embedding), and "Objects that Sound", ECCV 2018 (`stride` 2, front end "ave").
Departures: pictures are standardised by torchvision's constants; spectrograms by a batch norm of one channel, as the
inputbn models of marl/l3embedding; sounds are first brought to one level, so that loudness tells nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor, nn

from sslkit.errors import UserError
from sslkit.models.pixels import Normalise
from sslkit.models.trunk import Trunk
from sslkit.ops import spectrum
from sslkit.ops.sound import levelled
from sslkit.ops.spectrum import Spectrum, log_spectrogram
from sslkit.types import Reads

FRONTS = {
    "l3": spectrum.L3,
    "ave": spectrum.AVE,
    "mel": Spectrum(16_000, 1024, 1024, 160, power=2, bands=64, low_hz=60.0, high_hz=7600.0, floor=1e-4),
}
"""Front ends by name; "mel" is ours, an eighth of the numbers, for a processor."""

_BLOCKS = (64, 128, 256, 512)


class _L3(Trunk):
    """conv1 .. conv4, each before pooling. `width` scales the channels."""

    def _build(self, inputs: int, width: float, stride: int, blocks: int = 4) -> None:
        wide = [max(8, round(channels * width)) for channels in _BLOCKS[:blocks]]
        self.widths = {f"conv{number}": channels for number, channels in enumerate(wide, 1)}
        self.pool = nn.MaxPool2d(2)
        self.blocks = nn.ModuleDict()
        for name, channels in self.widths.items():
            first = _conv(inputs, channels, stride if name == "conv1" else 1)
            self.blocks[name] = nn.Sequential(*first, *_conv(channels, channels))
            inputs = channels

    def _maps(self, x: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = {}
        for name, block in self.blocks.items():
            x = maps[name] = block(self.pool(x) if maps else x)
        return maps

    def vector(self, maps: Mapping[str, Tensor]) -> Tensor:
        """The maximum of the last layer over its places, (B, vector_width)."""
        return maps[self.last].amax((2, 3))


class L3Sight(_L3):
    """conv1 .. conv4 of pictures (B, 3, H, W); conv4 has an eighth of their side, with `stride` 2 a sixteenth.

    A place of conv4 sees 68 pixels, with `stride` 2 twice as many. With 3 `blocks` the network ends with conv3, whose
    places are half as far apart and see less than half as much (with `stride` 2: 8 and 61 pixels).
    """

    name = "l3_sight"
    takes = Reads(frames=1)

    def __init__(self, side_px: int = 224, width: float = 1.0, stride: int = 1, blocks: int = 4) -> None:
        super().__init__()
        self.settings = {"side_px": side_px, "width": width, "stride": stride, "blocks": blocks}
        self.crop_px = side_px
        self.normalise = Normalise()
        self.front_end = self.normalise.constants()
        self._build(3, width, stride, blocks)

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Maps of the layers; see `Trunk.forward`."""
        return self._maps(self.normalise(raw))


class L3Sound(_L3):
    """conv1 .. conv4 of waveforms (B, N) on the scale of int16, at the rate of the front end; maps are (B, C, F, T).

    N is `sound_s` long where the network is evaluated; any other length of a window or more will do.
    front: a name of `FRONTS`.
    """

    name = "l3_sound"

    def __init__(self, front: str = "l3", width: float = 1.0, stride: int = 1, sound_s: float = 1.0) -> None:
        super().__init__()
        if front not in FRONTS:
            raise UserError(f"l3_sound: no front end is called {front!r}; use one of {', '.join(FRONTS)}.")
        self.settings = {"front": front, "width": width, "stride": stride, "sound_s": sound_s}
        self.form = FRONTS[front]
        self.takes = Reads(sound_s=sound_s, rate_hz=self.form.rate_hz)
        self.crop_px = 0
        self.front_end = asdict(self.form)
        self.standardise = nn.BatchNorm2d(1)
        self._build(1, width, stride)

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Maps of the layers; see `Trunk.forward`."""
        return self._maps(self.standardise(log_spectrogram(levelled(raw), self.form)[:, None]))


def _conv(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
