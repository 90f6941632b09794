"""Labels in batches against the model's head."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import nn

from tests.conftest import ROOT
from tests.scenes import DEMOS
from tests.test_engine.tiny import TinyDataset, TinyModel, config
from vil_mm.engine import CheckLabelsHook
from vil_mm.engine.hooks.check_labels import find_head
from vil_mm.engine.launch import build_runner


def head(cls=nn.Module, **settings):
    module = cls()
    for name, value in settings.items():
        setattr(module, name, value)
    return module


class RPNHead(nn.Module):
    pass


def hook_for(**parts):
    """The hook in a run of a model that has some parts."""
    hook = CheckLabelsHook()
    hook.before_run(SimpleNamespace(model=head(**parts)))
    return hook


def batch(field, labels):
    labels = torch.tensor(labels)
    kinds = dict(gt_sem_seg=lambda: PixelData(data=labels), gt_instances=lambda: InstanceData(labels=labels))
    value = kinds.get(field, lambda: labels)()
    good = BaseDataElement(metainfo=dict(img_path='good.png'))
    return dict(inputs=[], data_samples=[good, BaseDataElement(metainfo=dict(img_path='bad.png'), **{field: value})])


SEGMENTER = dict(decode_head=head(num_classes=3, ignore_index=9))
DETECTOR = dict(bbox_head=head(num_classes=3))
CLASSIFIER = dict(head=head(num_classes=3))
#: Parts of models, the field of their labels, and labels that are right and wrong.
CASES = [
    (SEGMENTER, 'gt_sem_seg', [[[0, 2], [9, 1]]], [[[0, 2], [4, 255]]], '4, 255'),
    (dict(decode_head=head(num_classes=2, out_channels=1)), 'gt_sem_seg', [[[0, 1]]], [[[2, 1]]], '2'),
    (dict(decode_head=head(num_classes=1, out_channels=1)), 'gt_sem_seg', [[[255, 1]]], [[[2, 1]]], '2'),
    (dict(decode_head=nn.ModuleList([head(num_classes=3)] * 2)), 'gt_sem_seg', [[[255, 2]]], [[[-1]]], '-1'),
    (DETECTOR, 'gt_instances', [0, 2], [1, 3], '3'),
    (dict(rpn_head=head(RPNHead, num_classes=1), roi_head=head(**DETECTOR)), 'gt_instances', [2], [3], '3'),
    (dict(roi_head=head(bbox_head=nn.ModuleList(DETECTOR.values()))), 'gt_instances', [2], [3], '3'),
    (dict(panoptic_head=head(num_classes=9, num_things_classes=3)), 'gt_instances', [2], [3], '3'),
    (dict(mask_head=head(num_classes=3)), 'gt_instances', [2], [3], '3'),
    (CLASSIFIER, 'gt_label', [2], [3], '3'),
    (CLASSIFIER, 'gt_label', [0, 2], [-1, 2], '-1'),
]


@pytest.mark.parametrize('parts, field, right, wrong, named', CASES)
def test_labels_of_a_head(parts, field, right, wrong, named):
    hook = hook_for(**parts)
    hook.before_train_iter(None, 0, batch(field, right))
    with pytest.raises(ValueError, match=rf'^bad.png has label {named}, but \w+(.bbox_head)? has \d classes, 0 to '):
        hook.before_train_iter(None, 0, batch(field, wrong))


def test_label_maps_are_named():
    data = batch('gt_sem_seg', [[[5]]])
    data['data_samples'][1].set_metainfo(dict(seg_map_path='bad_map.png'))
    with pytest.raises(ValueError, match=r'^bad_map.png has label 5, but decode_head has 3 classes, 0 to 2, or 9, to'):
        hook_for(**SEGMENTER).before_train_iter(None, 0, data)


@MODELS.register_module()
class TinyClassifier(TinyModel):
    """A tiny model with a head of two classes."""

    def __init__(self):
        super().__init__()
        self.head = head(num_classes=2)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return super().forward(inputs)


@DATASETS.register_module()
class NumberedDataset(TinyDataset):
    """Samples whose labels are their numbers."""

    def __getitem__(self, index):
        sample = BaseDataElement(metainfo=dict(img_path=f'{index}.png'), gt_label=torch.tensor([index]))
        return dict(super().__getitem__(index), data_samples=sample)


def test_every_run_checks_its_labels(tmp_path):
    cfg = config(tmp_path, batch_size=1, model=dict(type='TinyClassifier'))
    cfg.train_dataloader.dataset = dict(type='NumberedDataset', length=4)
    with pytest.raises(ValueError, match=r'^2.png has label 2, but head has 2 classes, 0 to 1: correct the labels, or'):
        build_runner(cfg).train()


def test_only_label_maps_are_checked_in_validation():
    """The labels of a retrieval or a detection in other data may be others."""
    for check in ('before_val_iter', 'before_test_iter'):
        with pytest.raises(ValueError, match=r'0 to 2, or 9, to be ignored: correct the labels, or num_classes'):
            getattr(hook_for(**SEGMENTER), check)(None, 0, batch('gt_sem_seg', [[[5]]]))
        getattr(hook_for(**CLASSIFIER), check)(None, 0, batch('gt_label', [5]))


@pytest.mark.parametrize(
    'parts',
    [
        {},
        dict(head=None),
        dict(head=head()),
        dict(bbox_head=head(RPNHead, num_classes=1)),
        dict(bbox_head=head(num_classes=1), language_model=nn.Linear(1, 1)),
    ],
)
def test_models_whose_labels_are_unknown(parts):
    hook = hook_for(**parts)
    assert hook.head is None
    hook.before_train_iter(None, 0, batch('gt_instances', [77]))


def test_batches_of_another_form():
    hook = hook_for(**CLASSIFIER)
    for data in (None, [1], dict(inputs=[]), dict(data_samples=dict(a=[])), dict(data_samples=[None, object()])):
        hook.before_train_iter(None, 0, data)


def test_wrapped_models():
    hook = CheckLabelsHook()
    hook.before_run(SimpleNamespace(model=nn.DataParallel(head(**CLASSIFIER))))
    assert hook.head == ('head', 'gt_label', 3, None)


@pytest.mark.parametrize(
    'path, expected',
    [
        ('configs/vil/vil-nano_1xb64_digits.py', ('head', 'gt_label', 10, None)),
        (DEMOS['retinanet'], ('bbox_head', 'gt_instances', 10, None)),
        (DEMOS['mask-rcnn'], ('roi_head.bbox_head', 'gt_instances', 10, None)),
        (DEMOS['upernet'], ('decode_head', 'gt_sem_seg', 11, 255)),
        ('mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', ('roi_head.bbox_head', 'gt_instances', 80, None)),
        ('mmdet::rpn/rpn_r50_fpn_1x_coco.py', None),
    ],
)
def test_heads_of_the_libraries(path, expected):
    cfg = get_config(path) if '::' in str(path) else Config.fromfile(ROOT / path)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    assert find_head(MODELS.build(cfg.model)) == expected
