"""T-CAM: a VGG-16 on chunks of optical flow, fused by convolutions that keep the map, for class activation maps.

Source: donglaiw/AoT_TCAM (Wei et al., CVPR 2018): 20 fields in two chunks of 10; VGG-16 convolutions with batch norm
after ReLU (eps 1e-3), the last pooling removed; both chunks through the same weights, concatenated, then two 3x3
convolutions of 1024 with batch norm and dropout 0.5.
"""

from torch import Tensor, nn

from sslkit.models.trunk import Trunk
from sslkit.types import Reads

_BLOCKS = {"conv1": (64, 2), "conv2": (128, 2), "conv3": (256, 3), "conv4": (512, 3), "conv5": (512, 3)}
_FUSE = 1024


class TCAM(Trunk):
    """conv1 .. conv5 (the chunks' maps side by side as channels), fuse1, fuse2.

    Takes packed flow (B, fields, 2, H, W), values 0 to 255 where 128 is no motion. `width` scales all channels.
    `full_scale` packed units become 1 at the input, so that usual motion has about unit size.
    """

    name = "tcam"

    def __init__(
        self, fields: int = 20, chunks: int = 2, side_px: int = 224, width: float = 1.0, dropout: float = 0.5,
        full_scale: float = 16.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.settings = {
            "fields": fields, "chunks": chunks, "side_px": side_px, "width": width, "dropout": dropout,
            "full_scale": full_scale,
        }  # fmt: skip
        self.takes = Reads(flow=fields)
        self.crop_px = side_px
        self.chunks, self.full_scale = chunks, full_scale
        self.front_end = {"zero": 128, "full_scale": full_scale}
        inputs = 2 * fields // chunks
        self.blocks = nn.ModuleDict()
        self.widths = {}
        for name, (full, convs) in _BLOCKS.items():
            wide = max(8, round(full * width))
            layers: list[nn.Module] = [] if name == "conv1" else [nn.MaxPool2d(2)]
            for _ in range(convs):
                layers += _conv(inputs, wide)
                inputs = wide
            self.blocks[name] = nn.Sequential(*layers)
            self.widths[name] = wide * chunks
        fuse = max(16, round(_FUSE * width))
        self.fuse = nn.ModuleDict(
            {
                "fuse1": nn.Sequential(*_conv(inputs * chunks, fuse), nn.Dropout(dropout)),
                "fuse2": nn.Sequential(*_conv(fuse, fuse), nn.Dropout(dropout)),
            }
        )
        self.widths |= {"fuse1": fuse, "fuse2": fuse}

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Maps of the layers; see `Trunk.forward`."""
        batch, fields, _, height, width = raw.shape
        x = (raw.float() - 128) / self.full_scale
        x = x.reshape(batch * self.chunks, 2 * fields // self.chunks, height, width)
        maps = {}
        for name, block in self.blocks.items():
            x = block(x)
            maps[name] = x.reshape(batch, -1, *x.shape[2:])
        x = maps["conv5"]
        for name, block in self.fuse.items():
            x = maps[name] = block(x)
        return maps


def _conv(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return [conv, nn.ReLU(inplace=True), nn.BatchNorm2d(outputs, eps=1e-3)]
