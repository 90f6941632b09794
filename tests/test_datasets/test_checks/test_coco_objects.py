"""Objects in a dataset, used and left out; those that are named are those that mmdet skips in silence."""

import pytest

from tests.test_datasets.test_checks.conftest import LOADERS, edited
from vil_mm.datasets.checks import check_data


def built(cfg):
    """What mmdet makes of the training images."""
    from mmengine.registry import DATASETS, init_default_scope

    init_default_scope('mmdet')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    return [dataset.get_data_info(i) for i in range(len(dataset))], dataset


def beginnings(messages):
    return [message.split(';')[0] for message in messages]


def test_boxes_and_images_that_are_left_out(scenes, messages, config):
    with edited(scenes / 'annotations/train.json') as content:
        first, second, third = content['annotations'][:3]
        first['bbox'], second['bbox'] = [200, 10, 20, 20], [5, 5, 0, 9]
        third.update(bbox=[120, 10, 20, 20], area=400, segmentation=[[120, 10, 140, 10, 140, 30, 120, 30]])
        (scenes / 'train/empty.png').write_bytes((scenes / 'train/0000.png').read_bytes())
        content['images'].append(dict(id=77, file_name='empty.png', height=128, width=128))
    cfg = config('mask-rcnn')
    check_data(cfg, LOADERS)
    assert beginnings(messages) == [
        'train_dataloader: 2 boxes lie outside of their image or are smaller than a pixel: they are left out',
        'train_dataloader: 1 boxes reach beyond their image: resizing clips them, the evaluation does not',
        'train_dataloader: 1 images have no objects: training leaves them out',
    ]
    assert f'annotation {first["id"]} of ' in messages[0] and '[200, 10, 20, 20]' in messages[0]
    kept, _ = built(cfg)
    assert len(kept) == 5
    assert sum(len(info['instances']) for info in kept) == len(content['annotations']) - 2


def test_what_mmdet_leaves_out_besides(scenes, messages, config):
    with edited(scenes / 'annotations/train.json') as content:
        first, second, third, fourth = content['annotations'][:4]
        content['categories'].append(dict(id=99, name='letter'))
        first['category_id'] = 99
        second['area'] = 0
        del third['bbox']
        third['ignore'] = 1
        fourth['image_id'] = 4321
        content['images'].append(dict(id=77, file_name='small.png', height=20, width=128))
        content['images'].append(dict(id=78, file_name='0000.png', height=128, width=128))
    write_image(scenes / 'train/small.png', 128, 20)
    cfg = config('retinanet')
    cfg.train_dataloader.dataset.filter_cfg = dict(min_size=32)
    check_data(cfg, LOADERS)
    assert beginnings(messages) == [
        'train_dataloader: 1 annotations are of images that the file does not list: they are left out',
        'train_dataloader: 1 boxes have a category that is none of the classes: they are left out',
        'train_dataloader: 1 objects have no area: they are left out',
        'train_dataloader: 1 images are listed more than once, each time with a part of the objects',
        'train_dataloader: 1 images are smaller than 32 pixels: training leaves them out',
        'train_dataloader: 1 images have only crowds and objects that are left out: training learns no object '
        'from them',
    ]
    assert f'annotation {fourth["id"]} of image 4321: ' in messages[0]
    kept, _ = built(cfg)
    assert len(kept) == 6
    assert sum(len(info['instances']) for info in kept) == len(content['annotations']) - 4


def write_image(path, width, height):
    import cv2
    import numpy as np

    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))


def test_images_of_crowds_and_degenerate_polygons(scenes, messages, config):
    """They stay among the images, but have no object to learn."""
    with edited(scenes / 'annotations/train.json') as content:
        first, second = (image['id'] for image in content['images'][:2])
        for one in content['annotations']:
            if one['image_id'] == first:
                one['iscrowd'] = 1
            if one['image_id'] == second:
                one['segmentation'] = [[]] if one['id'] % 2 else [[1, 1, 9, 9]]
    cfg = config('mask-rcnn')
    check_data(cfg, LOADERS)
    assert beginnings(messages) == [
        f'train_dataloader: {sum(one["image_id"] == second for one in content["annotations"])} objects have no polygon '
        'of at least three points: they are left out',
        'train_dataloader: 2 images have only crowds and objects that are left out: training learns no object '
        'from them',
    ]
    assert messages[1].endswith('0000.png; 0001.png')
    kept, dataset = built(cfg)
    assert [len(dataset[i]['data_samples'].gt_instances) > 0 for i in range(len(kept))] == [False] * 2 + [True] * 3


def test_nothing_to_train_on(scenes, config):
    path = scenes / 'annotations/train.json'
    with edited(path) as content:
        for one in content['annotations']:
            one['iscrowd'] = 1
    with pytest.raises(ValueError, match=rf'train_dataloader: {path} has no image with an object to train on'):
        check_data(config('retinanet'), LOADERS)
    with edited(path) as content:
        content['annotations'] = []
    with pytest.raises(ValueError, match=rf'train_dataloader: {path} has no image with an object to train on'):
        check_data(config('retinanet'), LOADERS)
    cfg = config('retinanet')
    cfg.train_dataloader.dataset.filter_cfg = None  # images of the background alone are wanted
    check_data(cfg, ['train_dataloader'])


def test_annotations_of_no_image(scenes, config):
    path = scenes / 'annotations/val.json'
    with edited(path) as content:
        for image in content['images']:
            image['id'] = str(image['id'])
    with pytest.raises(ValueError, match=rf'val_dataloader: none of the annotations of {path} is of .*same type'):
        check_data(config('retinanet'), LOADERS)


def test_boxes_by_their_corners(scenes, config):
    path = scenes / 'annotations/train.json'
    with edited(path) as content:
        for one in content['annotations']:
            x, y, w, h = one['bbox']
            one['bbox'] = [x, y, x + w, y + h]
    with pytest.raises(
        ValueError,
        match=rf'train_dataloader: \d+ of \d+ boxes of {path} fit their (image|polygons) only as',
    ):
        check_data(config('retinanet'), LOADERS)
