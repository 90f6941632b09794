"""The bases of datasets that the libraries download."""

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from tests.conftest import ROOT


def write_idx(path, values):
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, '>i4').tobytes()
    path.write_bytes(header + values.tobytes())


def test_mnist_is_tested_on_its_test_images(tmp_path):
    for name, count in (('train', 5), ('t10k', 3)):
        write_idx(tmp_path / f'{name}-images-idx3-ubyte', np.zeros((count, 28, 28), np.uint8))
        write_idx(tmp_path / f'{name}-labels-idx1-ubyte', np.zeros(count, np.uint8))
    cfg = Config.fromfile(ROOT / 'configs/vil/vil-tiny_8xb32_mnist-224px.py')
    init_default_scope(cfg.default_scope)
    counts = [
        len(DATASETS.build(dict(cfg[f'{name}_dataloader'].dataset, data_root=str(tmp_path), pipeline=[])))
        for name in ('train', 'val', 'test')
    ]
    assert counts == [5, 3, 3]
