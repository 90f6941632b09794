"""Numbers of classes of a model's heads against the classes of the data."""

import pytest
from mmengine.config import Config

from tests.conftest import ROOT
from tests.test_datasets.test_checks.conftest import LOADERS
from vil_mm.datasets.checks import check_data
from vil_mm.datasets.checks.configured import find_datasets
from vil_mm.datasets.checks.num_classes import check_num_classes

CASCADE = 'dwnet/detection/cascade-mask-rcnn_dwnet-tiny_fpn_ms-crop-3x_coco.py'


def check(cfg, **changes):
    """Check the heads alone, with changes to the config."""
    cfg.merge_from_dict(changes, allow_list_keys=True)
    check_num_classes(find_datasets(cfg, LOADERS), cfg)


@pytest.mark.parametrize(
    'demo, key',
    [
        ('mask-rcnn', 'model.roi_head.bbox_head.num_classes'),
        ('mask-rcnn', 'model.roi_head.mask_head.num_classes'),
        ('retinanet', 'model.bbox_head.num_classes'),
        ('upernet', 'model.decode_head.num_classes'),
        ('upernet', 'model.auxiliary_head.num_classes'),
    ],
)
def test_heads_of_another_number(demo, key, config):
    cfg = config(demo)
    right = 11 if demo == 'upernet' else 10
    with pytest.raises(
        ValueError,
        match=rf'train_dataloader: the dataset has {right} classes, such as .*, but the model has {key}=9: set {right}',
    ):
        check_data(cfg.merge_from_dict({key: 9}) or cfg, LOADERS)


def test_all_heads_are_named():
    """Those in a cascade too, and those that leave their number to the default; but none without classes."""
    cfg = Config.fromfile(ROOT / 'configs' / CASCADE)
    del cfg.model.roi_head.mask_head.num_classes  # 80
    check(cfg)
    cfg.model.roi_head.bbox_head[1].num_classes = 79
    with pytest.raises(ValueError, match=r'the model has model.roi_head.bbox_head\[1\].num_classes=79: set 80'):
        check(cfg)
    cfg.train_dataloader.dataset.metainfo = dict(classes=[f'c{i}' for i in range(79)])
    heads = r'model.roi_head.bbox_head\[0\].num_classes=80, model.roi_head.bbox_head\[2\].num_classes=80'
    masks = ', model.roi_head.mask_head.num_classes=80'
    with pytest.raises(ValueError, match=rf'79 classes, such as c0; c1; c2, but the model has {heads}{masks}: set 79'):
        check(cfg)
    cfg.model.roi_head.mask_head.class_agnostic = True
    with pytest.raises(ValueError, match=f'{heads}: set 79'):
        check(cfg)


def test_every_loader_is_compared(config):
    cfg = config('upernet')
    cfg.val_dataloader.dataset.metainfo = dict(classes=[f'c{i}' for i in range(12)])
    with pytest.raises(ValueError, match='val_dataloader: the dataset has 12 classes'):
        check(cfg)


def test_segmenters(config):
    cfg = config('upernet')
    head = dict(cfg.model.decode_head)
    cfg.model.auxiliary_head = [head, dict(head, type='STDCHead', num_classes=2)]
    check(cfg)
    with pytest.raises(ValueError, match=r'model.auxiliary_head\[0\].num_classes=3: set 11'):
        check(cfg, **{'model.auxiliary_head.0.num_classes': 3})
    cfg.model.auxiliary_head = None
    with pytest.raises(ValueError, match=r'number of weights of model.decode_head.loss_decode.class_weight=2: set 11'):
        check(cfg, **{'model.decode_head.loss_decode.class_weight': [1.0, 2.0]})


def test_segmenters_of_two_classes(config):
    cfg = config('upernet')
    cfg.model.auxiliary_head = None
    for loader in LOADERS:
        cfg[loader].dataset.metainfo = dict(classes=['background', 'digit'])
    loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
    cfg.model.decode_head.update(num_classes=2, out_channels=1)
    cfg.model.decode_head.loss_decode = loss
    check(cfg)
    with pytest.raises(ValueError, match=r'model.decode_head.num_classes=1: set 2'):
        check(cfg, **{'model.decode_head.num_classes': 1})
    cfg.model.decode_head.num_classes = 2
    with pytest.raises(
        ValueError, match=r'model.decode_head: out_channels=1 needs loss_decode=dict\(use_sigmoid=True\)'
    ):
        check(cfg, **{'model.decode_head.loss_decode.use_sigmoid': False})


@pytest.mark.parametrize(
    'key', ['model.head.num_classes', 'model.head.loss.num_classes', 'data_preprocessor.num_classes', 'augments']
)
def test_classifiers(key):
    cfg = Config.fromfile(ROOT / 'configs/vil/vil-tiny_8xb32_cifar10-224px.py')
    cfg.model.train_cfg = dict(augments=[dict(type='Mixup', alpha=0.8, num_classes=10)])
    check(cfg)
    key = 'model.train_cfg.augments.0.num_classes' if key == 'augments' else key
    named = key.replace('.0.', r'\[0\].')
    with pytest.raises(ValueError, match=rf'the dataset has 10 classes, such as airplane.*{named}=100: set 10'):
        check(cfg, **{key: 100})


def test_accuracies_among_more_classes():
    cfg = Config.fromfile(ROOT / 'configs/vil/vil-tiny_8xb32_cifar10-224px.py')
    for topk in (1, 10, (1, 10)):
        check(cfg, val_evaluator=dict(topk=topk))
    with pytest.raises(ValueError, match=r'val_evaluator: topk=\(1, 11\) must be at most 10, the number of classes'):
        check(cfg, val_evaluator=dict(topk=(1, 11)))


def test_detectors_with_weights_of_classes(config):
    """The background may have one too."""
    cfg = config('mask-rcnn')
    for number in (10, 11):
        check(cfg, **{'model.roi_head.bbox_head.loss_cls.class_weight': [1.0] * number})
    with pytest.raises(ValueError, match=r'weights of model.roi_head.bbox_head.loss_cls.class_weight=9: set 10'):
        check(cfg, **{'model.roi_head.bbox_head.loss_cls.class_weight': [1.0] * 9})
