"""Two gloo processes with synchronized batch norms give what one gives on the joint batch."""

import pytest
import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_functional
import torch.multiprocessing as mp
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from tests.conftest import free_port
from vil_mm.models import DWNet
from vil_mm.registry import MODELS

KINDS = 'static', 'dynamic'
ARCH = dict(embed_dims=[8, 16, 16, 32], depths=[1, 2, 1, 1])


@MODELS.register_module()
class GlooSyncBN(_BatchNorm):
    """Takes the statistics of all processes, by sums with a gradient. DDP and PyTorch's own refuse the CPU."""

    def forward(self, x):
        shape = (1, -1, 1, 1)
        count = dist.get_world_size() * x.numel() // x.shape[1]
        mean = dist_functional.all_reduce(x.sum((0, 2, 3))) / count
        deviation = x - mean.view(shape)
        variance = dist_functional.all_reduce(deviation.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        normed = deviation / (variance + self.eps).sqrt().view(shape)
        return normed * self.weight.view(shape) + self.bias.view(shape)


def train(conv_type, share, num_shares):
    """Gradients of the mean loss over a share of the batch, in a group over all shares; and what the norms keep."""
    torch.manual_seed(0)
    norm_cfg = dict(type='vil_mm.GlooSyncBN' if num_shares > 1 else 'BN')
    model = DWNet(ARCH, conv_type=conv_type, norm_cfg=norm_cfg, output_norm='each', drop_path_rate=0.0).double()
    model.init_weights()
    images = torch.randn(2, 3, 48, 64, dtype=torch.float64)
    weights = torch.randn(2, 4, dtype=torch.float64)
    part = slice(share * 2 // num_shares, (share + 1) * 2 // num_shares)
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if num_shares > 1 else model
    outputs = wrapped(images[part])
    losses = torch.stack([x.square().mul(x.sin()).sum((1, 2, 3)) for x in outputs], dim=1)
    (losses * weights[part]).sum(1).mean().backward()
    return {name: p.grad for name, p in model.named_parameters()} | dict(model.named_buffers())


def work(rank, port, target):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    found = {conv_type: train(conv_type, rank, 2) for conv_type in KINDS}
    torch.save(found, f'{target}{rank}')
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def of_two(tmp_path_factory):
    target = tmp_path_factory.mktemp('two') / 'found'
    mp.start_processes(work, (free_port(), target), nprocs=2, start_method='forkserver')
    return [torch.load(f'{target}{rank}') for rank in range(2)]


@pytest.mark.parametrize('conv_type', KINDS)
def test_two_processes_are_one(conv_type, of_two):
    """Each with one image, which dynamic kernels can be trained on only so."""
    expected = train(conv_type, 0, 1)
    for found in of_two:
        assert found[conv_type].keys() == expected.keys()
        for name, value in expected.items():
            largest = max(1.0, value.abs().max().item())
            assert (found[conv_type][name] - value).abs().max() <= 1e-9 * largest, name
