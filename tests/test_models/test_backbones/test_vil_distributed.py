"""Two gloo processes give the gradients of one on the joint batch, with every mechanism."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from tests.conftest import free_port
from vil_mm.models import ViL

ARCH = 'l1,h1,d8,n2,s1,g1,p4,f3,a{a}_l2,h2,d16,n1,s1,g2,p2,f2,a{a}_l3,h2,d16,n1,s0,g1,p2,f7,a{a}'
MECHANISMS = {
    'full': dict(type='vil_mm.FullAttention'),
    'sliding window': None,
    'random shift': dict(neighbors='random'),
    'linformer': dict(type='vil_mm.LinformerAttention', num_features=5),
    # as published, an image's output depends on its batch: not with this stabilizer
    'performer': dict(type='vil_mm.PerformerAttention', num_features=5, stabilizer='image'),
    'spatial reduction': dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=2),
    'global memory': dict(only_global=True),
}


def gradients(attn_cfg, absolute, share, num_shares):
    """Gradients of the mean loss over a share of the batch; in a group of processes, over all shares."""
    torch.manual_seed(0)
    model = ViL(ARCH.format(a=int(absolute)), img_size=(48, 64), attn_cfg=attn_cfg, drop_path_rate=0.0).double()
    model.init_weights()
    images, weights = (torch.randn(4, *shape, dtype=torch.float64) for shape in ((3, 48, 64), (16, 3, 4)))
    wrapped = DistributedDataParallel(model) if num_shares > 1 else model
    for _ in range(2):  # so that in the second forward another neighbour is drawn
        wrapped.zero_grad()
        part = slice(share * 4 // num_shares, (share + 1) * 4 // num_shares)
        (wrapped(images[part])[-1] * weights[part]).sum(dim=(1, 2, 3)).mean().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def work(rank, port, target):
    dist.init_process_group('gloo', init_method=f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    found = {
        (name, absolute): gradients(attn_cfg, absolute, rank, 2)
        for name, attn_cfg in MECHANISMS.items()
        for absolute in (False, True)
    }
    if rank == 0:
        torch.save(found, target)
    dist.destroy_process_group()


@pytest.fixture(scope='module')
def of_two(tmp_path_factory):
    target = tmp_path_factory.mktemp('two') / 'gradients.pth'
    mp.start_processes(work, (free_port(), target), nprocs=2, start_method='forkserver')
    return torch.load(target)


@pytest.mark.parametrize('absolute', [False, True], ids=['relative', 'absolute'])
@pytest.mark.parametrize('name', MECHANISMS)
def test_gradients(name, absolute, of_two):
    expected = gradients(MECHANISMS[name], absolute, 0, 1)
    assert of_two[name, absolute].keys() == expected.keys() and expected
    for parameter, gradient in expected.items():
        largest = max(1.0, gradient.abs().max().item())
        assert (of_two[name, absolute][parameter] - gradient).abs().max() <= 1e-9 * largest, parameter
