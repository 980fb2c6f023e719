"""Devices by name, number formats, memory layout."""

import pytest
import torch
from torch import nn

from sslkit.engine import device as devices
from sslkit.errors import UserError

CPU = torch.device("cpu")


def test_names(monkeypatch):
    assert devices.pick("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.pick("auto") == CPU
    with pytest.raises(UserError, match="no CUDA device"):
        devices.pick("cuda")
    for name in ("gpu", "mps", ""):
        with pytest.raises(UserError, match="No device is called"):
            devices.pick(name)


def test_cuda_devices_are_counted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.pick("auto") == torch.device("cuda") and devices.pick("cuda:1").index == 1
    with pytest.raises(UserError, match="has 2 CUDA"):
        devices.pick("cuda:2")


def test_precision_and_kernels():
    layer = nn.Linear(2, 2)
    with devices.precision(CPU, "bfloat16"):
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
    with devices.precision(CPU, "float32"):
        assert layer(torch.ones(1, 2)).dtype == torch.float32
    before = torch.backends.cudnn.benchmark
    with devices.kernels(torch.device("cuda")):
        assert torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark == before


def test_convolutions_get_channels_last():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv3d(8, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    devices.channels_last(network)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert network[1].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_placing_on_cuda():
    placed = devices.place(nn.Conv2d(3, 8, 3), torch.device("cuda"))
    assert placed.weight.is_cuda and placed.weight.is_contiguous(memory_format=torch.channels_last)
