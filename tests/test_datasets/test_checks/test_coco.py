"""Datasets and metrics that read annotation files in COCO's format."""

import pytest

from tests.test_datasets.test_checks.conftest import LOADERS, edited
from vil_mm.datasets.checks import check_data


def test_missing_files(scenes, config):
    (scenes / 'val/0001.png').unlink()
    with pytest.raises(
        FileNotFoundError, match=rf'val_dataloader: 1 of 2 images are missing; such as {scenes}/val/0001'
    ):
        check_data(config('mask-rcnn'), LOADERS)
    (scenes / 'annotations/val.json').write_text('{"images": []}')
    with pytest.raises(ValueError, match=rf'val_dataloader: {scenes}/annotations/val.json lists no images'):
        check_data(config('mask-rcnn'), LOADERS)
    (scenes / 'annotations/val.json').unlink()
    with pytest.raises(
        FileNotFoundError, match=rf'val_dataloader: there is no annotation file {scenes}/annotations/val'
    ):
        check_data(config('mask-rcnn'), LOADERS)


def test_lists_of_images_to_predict_pass(scenes, messages, config):
    with edited(scenes / 'annotations/val.json') as content:
        del content['annotations']
    cfg = config('mask-rcnn')
    cfg.val_evaluator.format_only = True
    check_data(cfg, LOADERS)
    assert not messages


def test_classes_of_other_names(scenes, config):
    cfg = config('mask-rcnn')
    for loader in LOADERS:
        cfg[loader].dataset.metainfo = dict(classes=('cat', 'dog'))
    with pytest.raises(
        ValueError, match=r"train_dataloader: none of the categories of .*'?0'?; .* such as cat; dog: set"
    ):
        check_data(cfg, LOADERS)
    for loader in LOADERS:
        cfg[loader].dataset.metainfo = None  # COCO's own
    with pytest.raises(ValueError, match=r'is among the classes of the dataset, such as person; bicycle; car'):
        check_data(cfg, LOADERS)


def test_classes_of_another_loader(scenes, config):
    cfg = config('mask-rcnn')
    digits = [str(digit) for digit in range(10)]
    for names, message in (
        (digits[:9], '1 are missing, such as 9: set metainfo'),
        (digits[::-1], "the order differs: number 0 is '9', not '0'"),
    ):
        cfg.val_dataloader.dataset.metainfo = dict(classes=names)
        with pytest.raises(ValueError, match=f'val_dataloader: the classes differ from those of train_.*: {message}'):
            check_data(cfg, LOADERS)


def test_joined_datasets(scenes, config):
    """Each file has an order of its own."""
    path = scenes / 'annotations/other.json'
    path.write_bytes((scenes / 'annotations/train.json').read_bytes())
    cfg = config('retinanet')
    dataset = cfg.train_dataloader.dataset
    join = dict(type='ConcatDataset', datasets=[dataset, dict(dataset, ann_file='annotations/other.json')])
    cfg.train_dataloader.dataset = dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=join)
    check_data(cfg, LOADERS)
    with edited(path) as content:
        content['categories'].reverse()
    with pytest.raises(ValueError, match=rf'train_dataloader: the categories of {path} are in another order'):
        check_data(cfg, LOADERS)
    cfg.train_dataloader.dataset = dict(dataset, ann_file=['a.json', 'b.json'])
    with pytest.raises(ValueError, match=r"ann_file=\['a.json', 'b.json'\] must be one file: join several"):
        check_data(cfg, LOADERS)


@pytest.mark.parametrize('kind', ['CityscapesDataset', 'mmdet.DeepFashionDataset'])
def test_derived_datasets(kind, scenes, config):
    """They name classes of their own."""
    cfg = config('retinanet')
    for loader in LOADERS:
        cfg[loader].dataset.type = kind
    check_data(cfg, LOADERS)
    for loader in LOADERS:
        cfg[loader].dataset.metainfo = None
    with pytest.raises(ValueError, match=r'of the dataset, such as (person; rider; car|top; skirt; leggings)'):
        check_data(cfg, LOADERS)


def test_datasets_that_read_in_a_way_of_their_own_pass(scenes, config):
    from mmdet.datasets import CocoDataset

    class ByName(CocoDataset):
        def load_data_list(self):
            return []

    with edited(scenes / 'annotations/train.json') as content:
        content['categories'].reverse()
    cfg = config('retinanet')
    cfg.train_dataloader.dataset.type = ByName
    check_data(cfg, LOADERS)


def test_panoptic_annotations(scenes, config):
    """Their categories follow the same rule; their objects are in other files."""
    with edited(scenes / 'annotations/train.json') as content:
        content['annotations'] = [dict(image_id=one['image_id'], segments_info=[]) for one in content['annotations']]
    cfg = config('retinanet')
    cfg.train_dataloader.dataset.type = 'CocoPanopticDataset'
    check_data(cfg, LOADERS)
    with edited(scenes / 'annotations/train.json') as content:
        content['categories'].reverse()
    with pytest.raises(ValueError, match='are in another order than the classes'):
        check_data(cfg, LOADERS)


def test_folder_of_images_under_another_key(scenes, config):
    cfg = config('retinanet')
    del cfg.train_dataloader.dataset.data_prefix['img']
    cfg.train_dataloader.dataset.data_prefix.img_path = 'train'
    with pytest.raises(ValueError, match=r"train_dataloader: data_prefix=\{'img_path': 'train'\} must .*'img'"):
        check_data(cfg, LOADERS)


def test_images_of_both_loaders(scenes, messages, config):
    cfg = config('retinanet')
    cfg.val_dataloader.dataset.data_prefix.img = cfg.train_dataloader.dataset.data_prefix.img
    check_data(cfg, LOADERS)
    assert 'val_dataloader: 2 images are those of another data loader too' in messages.pop()
    cfg.val_dataloader.dataset.indices = 2
    cfg.val_evaluator = []
    check_data(cfg, LOADERS)
    assert not messages
