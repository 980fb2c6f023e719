"""Batch norm over two processes is that of one with all samples: values, gradients and running statistics."""

import pytest
import torch
from torch import nn

from sslkit.engine import norms


def trained(net, x, target):
    """One step's outputs and gradients of a network, and its state afterwards."""
    x = x.clone().requires_grad_()
    out = net(x)
    ((out - target) ** 2).flatten(1).sum(1).mean().backward()
    return [out.detach(), x.grad, *(p.grad for p in net.parameters()), *net.state_dict().values()]


def network(momentum=0.1, affine=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=momentum, affine=affine), nn.Conv2d(4, 2, 1))


def test_one_process_keeps_its_norms():
    net = network()
    norms.share(net, torch.device("cpu"))
    assert type(net[1]) is nn.BatchNorm2d


@pytest.mark.own_process
def test_two_processes_share_their_statistics(tiny):
    x, target = torch.randn(8, 3, 5, 5) * 3 + 7, torch.randn(8, 2, 3, 3)
    cases = [dict(momentum=0.1), dict(momentum=None), dict(affine=False)]
    expected = [trained(network(**case).double(), x.double(), target.double()) for case in cases]

    def work(rank):
        rows = slice(4 * rank, 4 * rank + 4)
        for case, whole in zip(cases, expected, strict=True):
            net = network(**case).double()
            norms.share(net, tiny.CPU)
            assert type(net[1]) is norms.SharedNorm
            found = trained(net, x[rows].double(), target[rows].double())
            parameters = len(list(net.parameters()))
            torch.testing.assert_close(found[0], whole[0][rows])
            torch.testing.assert_close(found[1], 2 * whole[1][rows])  # of the sum of two means
            for mine, all_of_it in zip(found[2 : 2 + parameters], whole[2 : 2 + parameters], strict=True):
                torch.distributed.all_reduce(mine)
                torch.testing.assert_close(mine / 2, all_of_it)
            torch.testing.assert_close(found[2 + parameters :], whole[2 + parameters :])
            plain = network(**case).double().eval()
            plain.load_state_dict(net.state_dict())
            torch.testing.assert_close(net.eval()(x.double()), plain(x.double()))

    assert tiny.in_two_processes(work) == []
