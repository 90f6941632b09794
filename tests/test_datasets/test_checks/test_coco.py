"""Annotation files in COCO's format."""

import json

import pytest

from tests.test_datasets.test_checks.conftest import LOADERS
from vil_mm.datasets.checks import check_data


def test_missing_image_of_coco(scenes, config):
    (scenes / 'val/0001.png').unlink()
    with pytest.raises(
        FileNotFoundError, match=rf'val_dataloader: 1 of 2 images are missing; such as {scenes}/val/0001'
    ):
        check_data(config('mask-rcnn'), LOADERS)
    (scenes / 'annotations/val.json').write_text('{"images": []}')
    with pytest.raises(ValueError, match=rf'val_dataloader: {scenes}/annotations/val.json lists no images'):
        check_data(config('mask-rcnn'), LOADERS)
    image = dict(id=1, file_name='0000.png', width=128, height=128)
    box = dict(id=1, image_id=1, category_id=1, area=4, bbox=[1, 1, 2, 2])
    for wrong in (
        dict(image=[]),
        dict(images=[dict(id=1, file_name='0000.png')]),
        dict(images=[image], annotations=[dict(box, bbox=['1', '1', '2', '2'])]),
        dict(images=[image], annotations=[dict(box, bbox=[1, 1, 2])]),
    ):
        (scenes / 'annotations/val.json').write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=rf"val_dataloader: {scenes}/annotations/val.json is not in COCO's format"):
            check_data(config('mask-rcnn'), LOADERS)
    (scenes / 'annotations/val.json').unlink()
    with pytest.raises(
        FileNotFoundError, match=rf'val_dataloader: there is no annotation file {scenes}/annotations/val'
    ):
        check_data(config('mask-rcnn'), LOADERS)


def test_annotations_of_no_image_and_lists_without_any_pass(scenes, messages, config):
    path = scenes / 'annotations/val.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['image_id'] = 99
    path.write_text(json.dumps(content))
    check_data(config('mask-rcnn'), LOADERS)
    del content['annotations']
    path.write_text(json.dumps(content))
    check_data(config('mask-rcnn'), LOADERS)
    assert not messages


def test_boxes_and_images_that_are_left_out(scenes, messages, config):
    """Those that are named are those that mmdet skips in silence."""
    from mmengine.registry import DATASETS, init_default_scope

    path = scenes / 'annotations/train.json'
    content = json.loads(path.read_text())
    first, second, third = content['annotations'][:3]
    first['bbox'], second['bbox'] = [200, 10, 20, 20], [5, 5, 0, 9]
    third['bbox'] = [120, 10, 20, 20]
    content['images'].append(dict(id=77, file_name='0000.png', height=128, width=128))
    path.write_text(json.dumps(content))
    check_data(config('mask-rcnn'), LOADERS)
    assert [message.split(';')[0] for message in messages] == [
        'train_dataloader: 2 boxes lie outside of their image or are smaller than a pixel: they are left out',
        'train_dataloader: 1 boxes reach beyond their image: resizing clips them, the evaluation does not',
        'train_dataloader: 1 images have no objects: training leaves them out',
    ]
    assert f'annotation {first["id"]} of ' in messages[0] and '[200, 10, 20, 20]' in messages[0]

    cfg = config('mask-rcnn')
    init_default_scope('mmdet')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    kept = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert len(kept) == 5
    assert sum(len(info['instances']) for info in kept) == len(content['annotations']) - 2


def test_what_mmdet_leaves_out_besides(scenes, messages, config):
    from mmengine.registry import DATASETS, init_default_scope

    path = scenes / 'annotations/train.json'
    content = json.loads(path.read_text())
    first, second, third = content['annotations'][:3]
    first['category_id'] = 99
    second['area'] = 0
    del third['bbox']
    third['ignore'] = 1
    content['images'].append(dict(id=77, file_name='0000.png', height=20, width=128))
    path.write_text(json.dumps(content))
    cfg = config('mask-rcnn')
    cfg.train_dataloader.dataset.filter_cfg = dict(min_size=32)
    check_data(cfg, LOADERS)
    beginnings = [
        'train_dataloader: 1 boxes have a category that is none of the classes: they are left out',
        'train_dataloader: 1 boxes lie outside of their image or are smaller than a pixel: they are left out',
        'train_dataloader: 1 images are smaller than 32 pixels: training leaves them out',
    ]
    assert [message.split(';')[0] for message in messages] == beginnings
    init_default_scope('mmdet')
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, serialize_data=False))
    kept = [instance for info in dataset.data_list for instance in info['instances'] if not instance['ignore_flag']]
    assert len(dataset) == 5 and len(kept) == len(content['annotations']) - 3


def test_classes_of_other_names(scenes, messages, config):
    cfg = config('mask-rcnn')
    cfg.train_dataloader.dataset.metainfo = dict(classes=('cat', 'dog'))
    with pytest.raises(
        ValueError, match=r"train_dataloader: none of the categories of .*'?0'?; .* such as cat; dog: set"
    ):
        check_data(cfg, LOADERS)
    cfg.train_dataloader.dataset.metainfo = None  # COCO's own
    with pytest.raises(ValueError, match=r'is among the classes of the dataset, such as person; bicycle; car'):
        check_data(cfg, LOADERS)
    cfg.train_dataloader.dataset.metainfo = dict(classes=[*map(str, range(10)), 'ten'])
    check_data(cfg, LOADERS)
    assert messages == ['train_dataloader: 1 classes have no category of that name; such as ten']
