"""Datasets and metrics that a config names."""

import pytest
from mmengine.config import Config

from tests.test_datasets.test_checks.conftest import LOADERS
from vil_mm.datasets.checks import check_data
from vil_mm.datasets.checks.configured import find_datasets, find_metrics, is_remote


def of_dataset(dataset, **others):
    return Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset), **others))


LAZY = """
from mmdet.datasets import CocoDataset
from mmdet.evaluation.metrics import CocoMetric
from mmengine.dataset import RepeatDataset

train_dataloader = dict(dataset=dict(type=RepeatDataset, times=2, dataset=dict(type=CocoDataset, ann_file='a')))
val_evaluator = [dict(type=CocoMetric)]
"""


@pytest.mark.parametrize('name', ['CocoDataset', 'mmdet.CocoDataset', 'mmdet.datasets.CityscapesDataset', 'class'])
@pytest.mark.parametrize('scope', ['mmdet', 'mmseg', None])
def test_classes_by_any_name(name, scope, tmp_path):
    from mmdet.datasets import CocoDataset

    if name == 'CocoDataset' and scope != 'mmdet':
        return
    kind = type('MyDataset', (CocoDataset,), {}) if name == 'class' else name
    cfg = of_dataset(dict(type=kind))
    cfg.default_scope = scope
    (dataset,) = find_datasets(cfg, LOADERS)
    assert dataset.where == 'train_dataloader' and dataset.derives_from('mmdet.CocoDataset')
    assert not dataset.derives_from('mmseg.CocoDataset')


def test_pure_python_configs(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(LAZY)
    cfg = Config.fromfile(path, lazy_import=True)
    (dataset,) = find_datasets(cfg, LOADERS)
    assert dataset.derives_from('mmdet.CocoDataset') and dataset.config['ann_file'] == 'a'
    (metric,) = find_metrics(cfg, ['val_evaluator'])
    assert metric.derives_from('mmdet.CocoMetric')


def test_pure_python_configs_are_checked(scenes, config):
    from mmdet.datasets import CocoDataset

    (scenes / 'val/0001.png').unlink()
    cfg = config('retinanet')
    cfg.val_dataloader.dataset.type = CocoDataset
    with pytest.raises(FileNotFoundError, match='val_dataloader: 1 of 2 images are missing'):
        check_data(cfg, LOADERS)


@pytest.mark.parametrize('wrapper', ['RepeatDataset', 'ClassBalancedDataset', 'MultiImageMixDataset'])
def test_datasets_within_others(wrapper):
    inner = dict(type='ConcatDataset', datasets=[dict(type='CocoDataset'), dict(type='XMLDataset')])
    found = find_datasets(of_dataset(dict(type=wrapper, dataset=inner)), LOADERS)
    assert [dataset.kind.__name__ for dataset in found] == ['CocoDataset', 'XMLDataset']


def test_lists_of_loaders_and_metrics():
    cfg = of_dataset(dict(type='CocoDataset'), val_evaluator=dict(type='Evaluator', metrics=[dict(type='VOCMetric')]))
    cfg.test_dataloader = [cfg.train_dataloader, cfg.train_dataloader]
    assert len(find_datasets(cfg, ['test_dataloader'])) == 2
    assert [metric.kind.__name__ for metric in find_metrics(cfg, ['val_evaluator', 'test_evaluator'])] == ['VOCMetric']


@pytest.mark.parametrize(
    'kind, message',
    [
        ('CocoDatset', r"no dataset has type='CocoDatset': did you mean 'CocoDataset'\?"),
        ('Mine', r"no dataset has type='Mine': name its module in custom_imports"),
        (None, r'type=None must be the name of a class, or a class'),
    ],
)
def test_types_that_are_not_found(kind, message):
    with pytest.raises(ValueError, match=f'train_dataloader: {message}'):
        find_datasets(of_dataset(dict(type=kind)), LOADERS)


def test_remote_images():
    local, remote = dict(type='LoadImageFromFile', backend_args=None), dict(backend_args=dict(backend='petrel'))
    assert not is_remote(dict(data_root='x', pipeline=[local]))
    assert is_remote(dict(data_root='x', pipeline=[local, remote]))
