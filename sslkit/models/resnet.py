"""torchvision's residual networks as trunks."""

import torchvision.models
from torch import Tensor, nn

from sslkit.errors import UserError
from sslkit.models.pixels import Normalise
from sslkit.models.trunk import Trunk
from sslkit.types import Reads

_DEPTHS = (18, 34, 50, 101, 152)


class ResNet(Trunk):
    """conv1 (the stem, before pooling) and res2 .. res5. The weights keep torchvision's names under `net.`.

    `small_pictures` replaces the stem by a 3x3 convolution of stride 1 without pooling, as is usual below 64 px.
    """

    name = "resnet"
    takes = Reads(frames=1)

    def __init__(self, depth: int = 50, side_px: int = 224, width: int = 64, small_pictures: bool = False) -> None:
        super().__init__()
        if depth not in _DEPTHS:
            raise UserError(f"A ResNet has a depth of {', '.join(map(str, _DEPTHS))}, not {depth}.")
        self.settings = {"depth": depth, "side_px": side_px, "width": width, "small_pictures": small_pictures}
        self.crop_px = side_px
        self.normalise = Normalise()
        self.front_end = self.normalise.constants()
        self.torchvision = f"resnet{depth}" if width == 64 and not small_pictures else None
        self.net = _torchvision(depth)
        if width != 64:
            self.net = _scaled(depth, width)
        if small_pictures:
            self.net.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
            self.net.maxpool = nn.Identity()
        self.net.fc = nn.Identity()
        grow = 1 if depth < 50 else 4
        self.widths = {"conv1": width} | {f"res{i + 2}": width * 2**i * grow for i in range(4)}

    def forward(self, raw: Tensor) -> dict[str, Tensor]:
        """Maps of the layers; see `Trunk.forward`."""
        net = self.net
        maps = {"conv1": net.relu(net.bn1(net.conv1(self.normalise(raw))))}
        x = net.maxpool(maps["conv1"])
        for i, stage in enumerate((net.layer1, net.layer2, net.layer3, net.layer4)):
            x = maps[f"res{i + 2}"] = stage(x)
        return maps


def _torchvision(depth: int) -> torchvision.models.ResNet:
    net: torchvision.models.ResNet = getattr(torchvision.models, f"resnet{depth}")()
    return net


def _scaled(depth: int, width: int) -> torchvision.models.ResNet:
    """A residual network of basic blocks whose first stage has `width` channels instead of 64."""
    if depth >= 50:
        raise UserError(f"width other than 64 is for ResNet-18 and -34, not {depth}.")
    net = _torchvision(depth)
    block = torchvision.models.resnet.BasicBlock
    net.inplanes = width
    net.conv1, net.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
    counts = [len(stage) for stage in (net.layer1, net.layer2, net.layer3, net.layer4)]
    for i, count in enumerate(counts):
        stage = net._make_layer(block, width * 2**i, count, stride=1 if i == 0 else 2)
        setattr(net, f"layer{i + 1}", stage)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net
