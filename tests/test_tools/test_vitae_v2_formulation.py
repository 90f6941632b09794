"""What ViTAEv2*-VSA is measured against computes the same."""

import sys

import pytest
import torch

from tests.conftest import ROOT
from tests.test_models.test_backbones.test_vitae_v2 import SMALL
from vil_mm.models import ViTAEv2


@pytest.fixture
def publication(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools/benchmarks'))
    from sibling_formulations.vitae_v2 import publication

    yield publication
    for name in [name for name in sys.modules if name.startswith('sibling_formulations')]:
        del sys.modules[name]


def test_publication_formulation_computes_the_same(publication):
    model = ViTAEv2(SMALL, drop_path_rate=0.0).double()
    model.init_weights()
    results = []
    for other in (model, publication(model)):
        outputs = other(torch.linspace(-1, 1, 2 * 3 * 224 * 192, dtype=torch.float64).sin().view(2, 3, 224, 192))
        sum(x.square().mean() for x in outputs).backward()
        results.append([*outputs, *(parameter.grad for parameter in other.parameters())])
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-9)
