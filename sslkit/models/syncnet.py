"""SyncNet as it was released: two networks whose vectors are near where a face moves with what is heard.

Both take raw media, make of them what the released networks were trained on, and are dense: a clip gives one vector for
each window of five frames, 25 a second. Pictures are whole faces of 224 px, blue first, 0 to 255; sound is MFCC of
int16 samples, 20 columns of 10 ms a window.

Source: Chung and Zisserman, "Out of time: automated lip sync in the wild", ACCV workshops 2016; layers and names of
weights as in joonson/syncnet_python, whose state dict `fill` takes.
Departures: on request narrower, for tests. While training, windows of one clip share statistics of the normalisation
with all others of the batch, as there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sslkit.errors import UserError
from sslkit.models.lips import FPS, HOP, RATE_HZ, WINDOW, WINDOW_FRAMES, WINDOW_S
from sslkit.models.trunk import Trunk
from sslkit.ops.spectrum import mfcc
from sslkit.types import Reads

SIDE_PX = 224
LATE_SAMPLES = (WINDOW - WINDOW_FRAMES * HOP) // 2
"""The released network's window of sound begins with its first frame; here both have the same middle."""

_COEFFICIENTS, _COLUMNS, _COLUMNS_A_FRAME = 13, 20, 4
# Windows that are computed at once where nothing is learnt: 150 and 50 MB in the largest layer.
_SEEN_AT_ONCE, _HEARD_AT_ONCE = 32, 256
# Names in the released state dict: in which of the two networks, and where there.
_RELEASED = {"netcnnlip": (0, "cnn"), "netfclip": (0, "fc"), "netcnnaud": (1, "cnn"), "netfcaud": (1, "fc")}
_COUNTER = "num_batches_tracked"


class _Windows(Trunk):
    """conv1 .. conv6, fc, embedding, computed window by window."""

    cnn: nn.Sequential

    def __init__(self, narrow: int, dimensions: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.settings = {"narrow": narrow, "dimensions": dimensions}
        hidden = channels[-1]
        self.fc = nn.Sequential(
            nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, dimensions)
        )
        self.widths = {f"conv{number}": count for number, count in enumerate(channels, 1)}
        self.widths |= {"fc": hidden, "embedding": dimensions}

    def dense(self, raw: Tensor) -> Tensor:
        """(B, windows, dimensions), one vector for each window."""
        return self._layers(raw, ("embedding",))["embedding"]

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Maps of the layers, those of all windows one above the other; see `Trunk.forward`."""
        return {n: x.mean(1) if x.dim() == 3 else x.flatten(2, 3) for n, x in self._layers(raw, self.widths).items()}

    def _layers(self, raw: Tensor, keep: Iterable[str]) -> dict[str, Tensor]:
        """Maps (B, C, windows, H, W) of the convolutions, vectors (B, windows, C) after them; those that are kept."""
        raise NotImplementedError

    def _convolved(self, x: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = {}
        for layer in self.cnn:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps[f"conv{len(maps) + 1}"] = x
        return maps

    def _with_vectors(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        last = maps["conv6"].transpose(1, 2)
        rows = last.flatten(0, 1).flatten(1)
        fc = self.fc[:3](rows)
        vectors = {"fc": fc, "embedding": self.fc[3](fc)}
        return maps | {name: x.reshape(*last.shape[:2], -1) for name, x in vectors.items()}

    def _in_pieces(
        self, windows: int, at_once: int, layers: Callable[[int, int], dict[str, Tensor]], keep: Iterable[str]
    ) -> dict[str, Tensor]:
        """Layers of all windows from those of (first, last); at once while training, as statistics are of the batch."""
        step, kept = max(1, windows if self.training else at_once), defaultdict[str, list[Tensor]](list)
        for first in range(0, windows, step):
            found = layers(first, min(first + step, windows))
            for name in keep:
                kept[name].append(found[name])
        return {name: torch.cat(parts, 2 if parts[0].dim() == 5 else 1) for name, parts in kept.items()}


class SyncNetSight(_Windows):
    """Takes frames (B, T, 3, 224, 224) of a face, 25 a second, red first, T >= 5; `dense` gives T - 4 vectors.

    narrow: how many times fewer channels than published.
    """

    name = "syncnet_sight"

    def __init__(self, narrow: int = 1, dimensions: int = 1024) -> None:
        channels = tuple(count // narrow for count in (96, 256, 256, 256, 256, 512))
        super().__init__(narrow, dimensions, channels)
        self.takes = Reads(frames=WINDOW_FRAMES, fps=FPS)
        self.crop_px = SIDE_PX
        self.front_end = {"order": "blue, green, red", "range": [0, 255], "side_px": SIDE_PX}
        one, two, three, four, five, six = channels
        self.cnn = nn.Sequential(
            *_block(nn.Conv3d(3, one, (WINDOW_FRAMES, 7, 7), (1, 2, 2))),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block(nn.Conv3d(one, two, (1, 5, 5), (1, 2, 2), (0, 1, 1))),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_block(nn.Conv3d(two, three, (1, 3, 3), padding=(0, 1, 1))),
            *_block(nn.Conv3d(three, four, (1, 3, 3), padding=(0, 1, 1))),
            *_block(nn.Conv3d(four, five, (1, 3, 3), padding=(0, 1, 1))),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_block(nn.Conv3d(five, six, (1, 6, 6))),
        )

    def _layers(self, raw: Tensor, keep: Iterable[str]) -> dict[str, Tensor]:
        def piece(first: int, last: int) -> dict[str, Tensor]:
            frames = raw[:, first : last + WINDOW_FRAMES - 1].float().flip(2)
            return self._with_vectors(self._convolved(frames.transpose(1, 2)))

        return self._in_pieces(raw.shape[1] - WINDOW_FRAMES + 1, _SEEN_AT_ONCE, piece, keep)


class SyncNetSound(_Windows):
    """Takes sound (B, N) on the scale of int16 at 16 kHz, N >= 3440; `dense` gives (N - 3440) / 640 + 1 vectors.

    narrow: how many times fewer channels than published. late_samples: by how much each window begins after its time;
    the last one then ends in as many zeros.
    """

    name = "syncnet_sound"

    def __init__(self, narrow: int = 1, dimensions: int = 1024, late_samples: int = 0) -> None:
        channels = tuple(count // narrow for count in (64, 192, 384, 256, 256, 512))
        super().__init__(narrow, dimensions, channels)
        self.settings |= {"late_samples": late_samples}
        self.takes = Reads(sound_s=WINDOW_S, rate_hz=RATE_HZ)
        self.crop_px = 0
        self.front_end = {"mfcc": _COEFFICIENTS, "columns": _COLUMNS, "hop": 160, "late_samples": late_samples}
        self._late = late_samples
        one, two, three, four, five, six = channels
        self.cnn = nn.Sequential(
            *_block(nn.Conv2d(1, one, 3, padding=1)),
            nn.MaxPool2d(1, 1),
            *_block(nn.Conv2d(one, two, 3, padding=1)),
            nn.MaxPool2d(3, (1, 2)),
            *_block(nn.Conv2d(two, three, 3, padding=1)),
            *_block(nn.Conv2d(three, four, 3, padding=1)),
            *_block(nn.Conv2d(four, five, 3, padding=1)),
            nn.MaxPool2d(3, 2),
            *_block(nn.Conv2d(five, six, (5, 4))),
        )

    def _layers(self, raw: Tensor, keep: Iterable[str]) -> dict[str, Tensor]:
        heard = self.heard(raw)

        def piece(first: int, last: int) -> dict[str, Tensor]:
            rows = heard[:, first:last].flatten(0, 1)[:, None]
            maps = {
                name: x.reshape(len(raw), last - first, *x.shape[1:]).transpose(1, 2)
                for name, x in self._convolved(rows).items()
            }
            return self._with_vectors(maps)

        return self._in_pieces(heard.shape[1], _HEARD_AT_ONCE, piece, keep)

    def heard(self, raw: Tensor) -> Tensor:
        """What is heard of sound (B, N) in each window, MFCC (B, windows, 13, 20)."""
        steps = (raw.shape[-1] - WINDOW) // HOP
        sound = F.pad(raw[..., self._late : steps * HOP + WINDOW], (0, self._late))
        return mfcc(sound, RATE_HZ).unfold(1, _COLUMNS, _COLUMNS_A_FRAME)


def _block(conv: nn.Conv2d | nn.Conv3d) -> tuple[nn.Module, ...]:
    norm = nn.BatchNorm2d if isinstance(conv, nn.Conv2d) else nn.BatchNorm3d
    return conv, norm(conv.out_channels), nn.ReLU(inplace=True)


def fill(sight: SyncNetSight, sound: SyncNetSound, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Take the weights of a released state dict. where: the file, for the sentence.

    Raises UserError that names the first weight which is missing or has another shape.
    """
    for released, (side, own) in _RELEASED.items():
        network = (sight, sound)[side].get_submodule(own)
        wanted, found = network.state_dict(), {}
        for name, value in wanted.items():
            given = tensors.get(f"{released}.{name}")
            # How many batches a norm has seen changes nothing here, and files of before torch 0.4.1 do not say.
            given = value if given is None and name.endswith(_COUNTER) else given
            if given is None or given.shape != value.shape:
                what = "is missing" if given is None else f"is {_size(given)} and not {_size(value)}"
                raise UserError(
                    f"{where} does not have the weights of the released SyncNet: {released}.{name} {what}; "
                    "give a whole syncnet_v2.model, or the folder of a run."
                )
            found[name] = given
        network.load_state_dict(found)


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"
