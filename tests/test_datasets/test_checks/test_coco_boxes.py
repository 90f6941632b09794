"""Boxes against their image, their polygons, their area and one another."""

import numpy as np
import pytest
from pycocotools import mask as tools

from tests.test_datasets.test_checks.conftest import LOADERS, edited
from vil_mm.datasets.checks import check_data
from vil_mm.datasets.checks.coco_boxes import FORMS
from vil_mm.datasets.checks.coco_runs import measure_runs


@pytest.fixture
def path(scenes):
    return scenes / 'annotations/train.json'


def fails(cfg, match):
    with pytest.raises(ValueError, match=f'train_dataloader: {match}'):
        check_data(cfg, ['train_dataloader'])


def written(box, form):
    """A box ``[x, y, w, h]`` in another form."""
    x, y, w, h = box
    return {
        '[x1, y1, x2, y2]': [x, y, x + w, y + h],
        '[y, x, height, width]': [y, x, h, w],
        '[y1, x1, y2, x2]': [y, x, y + h, x + w],
        '[center x, center y, width, height]': [x + w / 2, y + h / 2, w, h],
    }[form]


@pytest.mark.parametrize('form', FORMS)
def test_forms_are_turned_back(form):
    box = [3.0, 4.0, 10.0, 20.0]
    assert list(FORMS[form](*written(box, form))) == box


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('demo', ['mask-rcnn', 'retinanet'])
def test_polygons_tell_the_form(demo, form, path, config):
    """Also of boxes that stay within their image, and of a part of them."""
    with edited(path) as content:
        objects = content['annotations']
        for one in objects[: len(objects) // 3]:
            one['bbox'] = written(one['bbox'], form)
    form = form.replace('[', r'\[')
    fails(config(demo), rf'\d+ of {len(objects)} boxes of {path} fit their polygons only as {form}; .*: write boxes as')


def test_polygons_by_row_and_column(path, config):
    with edited(path) as content:
        for one in content['annotations']:
            one['segmentation'] = [np.reshape(part, (-1, 2))[:, ::-1].ravel().tolist() for part in one['segmentation']]
    fails(config('mask-rcnn'), rf'.* boxes of {path} fit their polygons only as \[y, x, .* polygons as \[\[x1, y1')


def place(content, boxes, **changes):
    """Replace the objects by some that have boxes, but no masks, in the first image."""
    first = dict(content['annotations'][0], **changes)
    first.pop('segmentation', None)
    content['annotations'] = [
        dict(first, id=i, bbox=list(map(float, box)), area=changes.get('area', box[2] * box[3]))
        for i, box in enumerate(boxes, start=1)
    ]


@pytest.mark.parametrize('form', FORMS)
def test_images_tell_the_form(form, path, scenes, config):
    (scenes / 'train/0000.png').write_bytes(wide())
    boxes = [[x, y, 90 + x / 9, 36 + y / 16] for x in range(0, 150, 15) for y in range(0, 56, 8)]
    with edited(path) as content:
        content['images'][0].update(width=256, height=96)
        place(content, boxes)
    cfg = config('retinanet')
    cfg.train_dataloader.dataset.filter_cfg = None
    check_data(cfg, ['train_dataloader'])
    with edited(path) as content:
        place(content, [written(box, form) for box in boxes])
    form = form.replace('[', r'\[')
    fails(cfg, rf'\d+ of {len(boxes)} boxes of {path} fit their image only as {form}; ')


def test_generous_boxes_pass(path, config, messages):
    """Around objects that fill their images, and some pixels more."""
    with edited(path) as content:
        place(content, [[x, 2, 131 - x, 126] for x in range(2, 42)])
    cfg = config('retinanet')
    cfg.train_dataloader.dataset.filter_cfg = None
    check_data(cfg, ['train_dataloader'])
    assert len(messages) == 1 and '40 boxes reach beyond their image' in messages[0]


def test_few_boxes_do_not_tell(path, config, messages):
    with edited(path) as content:
        place(content, [[2, 2, 120, 120], [9, 30, 110, 118], [5, 5, 100, 90]])
    cfg = config('retinanet')
    cfg.train_dataloader.dataset.filter_cfg = None
    check_data(cfg, ['train_dataloader'])
    assert len(messages) == 1 and '1 boxes reach beyond their image' in messages[0]


def wide():
    import cv2

    return cv2.imencode('.png', np.zeros((96, 256, 3), np.uint8))[1].tobytes()


def test_areas_tell_the_form(path, config, messages):
    boxes = [[x, y, 20, 16] for x in range(1, 20, 3) for y in range(1, 20, 3)]
    with edited(path) as content:
        place(content, [written(box, '[x1, y1, x2, y2]') for box in boxes], area=20 * 16)
    cfg = config('retinanet')
    cfg.train_dataloader.dataset.filter_cfg = None
    fails(cfg, rf'\d+ of {len(boxes)} boxes of {path} fit their area only as \[x1, y1, x2, y2\]; ')
    with edited(path) as content:
        place(content, boxes)
    check_data(cfg, ['train_dataloader'])
    assert not messages


def test_fractions(path, config):
    with edited(path) as content:
        for one in content['annotations']:
            one['bbox'] = [number / 128 for number in one['bbox']]
    fails(
        config('retinanet'), rf'\d+ boxes of {path} are within the first pixel, as fractions .*: write them in pixels'
    )


@pytest.mark.parametrize('count', [1, None])
def test_polygons_of_other_objects(count, path, config, messages):
    with edited(path) as content:
        objects = content['annotations']
        for one in objects[:count]:
            one['segmentation'] = [[0, 0, 3, 0, 3, 3]]
    elsewhere = f'{count or len(objects)} of {len(objects)} boxes of {path} are elsewhere than their masks; '
    if not count:
        fails(config('mask-rcnn'), rf'{elsewhere}.*: give each object its own mask')
    check_data(config('mask-rcnn' if count else 'retinanet'), LOADERS)
    assert len(messages) == 1 and f'train_dataloader: {elsewhere}such as annotation 1 of' in messages[0]


def test_boxes_around_more_than_the_polygons_pass(path, config, messages):
    """Rounded, of several parts, and with a margin."""
    with edited(path) as content:
        first, second, *others = content['annotations']
        x, y, w, h = first['bbox']
        first['segmentation'] = [[x, y, x + 2, y, x, y + 2], [x + w, y + h, x + w - 2, y + h, x + w, y + h - 2]]
        second['bbox'] = [round(number) for number in second['bbox']]
        for one in others:
            x, y, w, h = one['bbox']
            one['bbox'] = [x - 1, y - 1, w + 3, h + 3]
            one['area'] = one['bbox'][2] * one['bbox'][3]
    check_data(config('mask-rcnn'), LOADERS)
    assert not [message for message in messages if 'reach beyond' not in message]


def test_repeated_objects(path, config, messages):
    with edited(path) as content:
        objects = content['annotations']
        number = len(objects)
        objects.append(dict(objects[0], id=10_001))
        objects.append(dict(objects[1], id=10_002, category_id=objects[1]['category_id'] % 10 + 1))
        objects.append(dict(objects[2], id=10_003, iscrowd=1))
    check_data(config('mask-rcnn'), LOADERS)
    again = f'of {number + 2} objects of {path} are listed again, with the same image, category and box'
    assert len(messages) == 1 and f'train_dataloader: 1 {again}; such as annotation 10001 of' in messages[0]
    with edited(path) as content:
        content['annotations'] = [dict(one, id=i * 1000 + one['id']) for i in (1, 2) for one in objects[:number]]
    fails(
        config('mask-rcnn'), f'{number} of {2 * number} objects of {path} are listed again, .*: list each object once'
    )


@pytest.mark.parametrize('polygon', [[9, 9, 9, 9, 9, 9], [5, 9, 9, 9, 30, 9], [1, 1, 5, 5, 9, 9, 3, 3]])
def test_polygons_without_an_area(polygon, path, config, messages):
    with edited(path) as content:
        one = content['annotations'][0]
        one['segmentation'] = [polygon]
    check_data(config('retinanet'), LOADERS)
    assert not messages
    check_data(config('mask-rcnn'), LOADERS)
    flat = 'train_dataloader: 1 objects have polygons without an area: their masks are empty; such as annotation 1 of '
    assert len(messages) == 1 and messages[0].startswith(flat)


def test_areas_that_are_not_of_the_box(path, config, messages):
    with edited(path) as content:
        objects = content['annotations']
        objects[0]['area'] = 9999
    check_data(config('retinanet'), LOADERS)
    assert messages[0].startswith('train_dataloader: 1 objects have a larger area than their box: results by size will')
    messages.clear()
    with edited(path) as content:
        for one in content['annotations']:
            one['area'] = 1
    check_data(config('retinanet'), LOADERS)
    assert messages[0].startswith(f'train_dataloader: {len(objects)} objects have less than a 20th of the area')


def encode(mask, order, as_text):
    """A mask in run lengths, by columns or, which is wrong, by rows."""
    changes = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel(order), [0]])))
    runs = dict(size=list(mask.shape), counts=np.diff([0, *changes, mask.size]).tolist())
    if as_text:
        runs['counts'] = tools.frPyObjects(runs, *mask.shape)['counts'].decode()
    return runs


@pytest.mark.parametrize('as_text', [False, True])
def test_run_lengths_are_measured(as_text):
    random = np.random.default_rng(0)
    for _ in range(50):
        mask = np.zeros((40, 60), np.uint8)
        y, x = random.integers(0, 30, 2)
        h, w = random.integers(2, 10, 2)
        mask[y : y + h, x : x + w] = random.random((h, w)) < 0.7
        mask[y, x] = mask[y + h - 1, x + w - 1] = 1
        assert measure_runs(encode(mask, 'F', as_text)) == ([x, y, w, h], mask.sum())
    assert measure_runs(encode(np.ones((4, 6)), 'F', as_text)) == ([0, 0, 6, 4], 24)
    assert measure_runs(encode(np.zeros((4, 6)), 'F', as_text))[1] == 0


@pytest.mark.parametrize('as_text', [False, True])
def test_run_lengths_by_rows(as_text, path, config, messages):
    cfg = config('mask-rcnn')
    next(step for step in cfg.train_dataloader.dataset.pipeline if 'with_mask' in step).poly2mask = True
    for order in ('F', 'C'):
        with edited(path) as content:
            for one in content['annotations']:
                x, y, w, h = map(int, one['bbox'])
                mask = np.zeros((128, 128), np.uint8)
                mask[y : y + h, x : x + w] = 1
                one.update(segmentation=encode(mask, order, as_text), area=w * h)
        if order == 'F':
            check_data(cfg, LOADERS)
    assert not messages
    fails(cfg, rf'\d+ of {len(content["annotations"])} boxes of {path} are elsewhere than their masks; ')


def test_most_objects_are_crowds(path, config, messages):
    with edited(path) as content:
        objects = content['annotations']
        chosen = [one for number, one in enumerate(objects) if number % 3]
        for one in chosen:
            one[('iscrowd', 'ignore')[one['id'] % 2]] = 1
    check_data(config('retinanet'), LOADERS)
    assert f'train_dataloader: {len(chosen)} objects have iscrowd=1 or ignore=1: no class is learned' in messages[0]


def test_classes_without_objects(path, config, messages):
    with edited(path) as content:
        content['annotations'] = [
            dict(
                one,
                id=len(content['annotations']) * i + one['id'],
                category_id=1,
                bbox=[i + 3, one['id'], 9, 9],
                area=81,
            )
            for i in range(10)
            for one in content['annotations']
        ]
        for one in content['annotations']:
            del one['segmentation']
    check_data(config('retinanet'), LOADERS)
    assert 'train_dataloader: 9 classes have no object to learn from; such as 0; 2; 3' in messages[-1]
