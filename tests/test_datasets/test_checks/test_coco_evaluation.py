"""Annotations that a COCO metric compares predictions with."""

import re

import pytest

from tests.test_datasets.test_checks.conftest import LOADERS, edited
from vil_mm.datasets.checks import check_data


@pytest.fixture
def other(scenes):
    """An annotation file of the evaluator's own."""
    path = scenes / 'annotations/other.json'
    path.write_bytes((scenes / 'annotations/val.json').read_bytes())
    return path


def refuse(cfg, path, message):
    cfg.val_evaluator.ann_file = str(path)
    with pytest.raises(ValueError, match='val_evaluator: ' + message.format(re.escape(str(path)))):
        check_data(cfg, LOADERS)


def test_own_file_passes(other, messages, config):
    cfg = config('mask-rcnn')
    cfg.val_evaluator = [dict(cfg.val_evaluator, ann_file=str(other))]
    check_data(cfg, LOADERS)
    assert not messages


@pytest.mark.parametrize('key', ['iscrowd', 'area', 'bbox'])
def test_what_the_evaluation_needs(key, other, config):
    with edited(other) as content:
        del content['annotations'][0][key]
        content['annotations'][0]['ignore'] = 1
    refuse(config('retinanet'), other, rf"1 annotations of {{}} have no '{key}'; such as .*: add it")


def test_masks_that_are_evaluated(other, config):
    for mask, state in ((None, 'missing'), ([[]], 'degenerate'), ([[1, 1, 5, 5]], 'degenerate')):
        with edited(other) as content:
            content['annotations'][0]['segmentation'] = mask
        message = rf"1 annotations of {{}}: their 'segmentation' is {state}; such as .*: correct it"
        refuse(config('mask-rcnn'), other, message)
    cfg = config('retinanet')
    cfg.val_evaluator.ann_file = str(other)
    check_data(cfg, LOADERS)


@pytest.mark.parametrize('change', ['box', 'category', 'number'])
def test_objects_of_another_file(change, other, messages, config):
    with edited(other) as content:
        one = content['annotations'][0]
        if change == 'box':
            one['bbox'][0] += 1
        elif change == 'category':
            one['category_id'] = next(c['id'] for c in content['categories'] if c['id'] != one['category_id'])
        else:
            content['annotations'].remove(one)
        name = next(image['file_name'] for image in content['images'] if image['id'] == one['image_id'])
        content['annotations'].reverse()
    cfg = config('retinanet')
    cfg.val_evaluator.ann_file = str(other)
    check_data(cfg, LOADERS)
    assert messages == [
        f'val_evaluator: 1 images have other objects in {other} than in val_dataloader: is it the file of another '
        f'split?; such as {name}'
    ]


def test_nothing_to_evaluate(other, config):
    with edited(other) as content:
        del content['annotations']
    cfg = config('retinanet')
    refuse(cfg, other, r'{} has no objects of the classes, so that every result would be -1: set format_only=True')
    cfg.val_evaluator.format_only = True
    check_data(cfg, LOADERS)


def test_crowds_alone(other, config):
    with edited(other) as content:
        for one in content['annotations']:
            one['iscrowd'] = 1
    refuse(config('retinanet'), other, '{} has no objects of the classes but crowds, so that every result would be -1')


def test_annotation_of_id_0(other, config):
    with edited(other) as content:
        content['annotations'][1]['id'] = 0
    refuse(config('retinanet'), other, '1 annotations of {} have id 0, .* annotation 0 of .*: number the .* from 1')


def test_masks_that_no_part_makes(scenes, config):
    cfg = config('retinanet')
    cfg.val_evaluator.metric = ['bbox', 'segm']
    refuse(cfg, scenes / 'annotations/val.json', r"metric=\['bbox', 'segm'\] needs masks, .*: set metric='bbox'")


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda images: images.pop(),
            r'1 of the images of {} and val_dataloader differ; image_id .* is not in',
        ),
        (
            lambda images: images.append(dict(images[0], id=99)),
            r'.*image_id 99, 0000.png, is not in .* count as missed',
        ),
        (
            lambda images: images[1].update(file_name='x.png'),
            r'.*0001.png, is another image there: let',
        ),
        (lambda images: images[1].update(file_name='val/0001.png'), None),
    ],
)
def test_other_images(change, message, other, config):
    with edited(other) as content:
        change(content['images'])
        known = {image['id'] for image in content['images']}
        content['annotations'] = [one for one in content['annotations'] if one['image_id'] in known]
    cfg = config('retinanet')
    if message:
        refuse(cfg, other, message)
    else:
        cfg.val_evaluator.ann_file = str(other)
        check_data(cfg, LOADERS)


def test_file_of_the_other_split(scenes, config):
    refuse(config('retinanet'), scenes / 'annotations/train.json', r'\d of the images of {} and val_dataloader differ')


def test_only_some_of_the_images(scenes, config):
    cfg = config('retinanet')
    cfg.val_dataloader.dataset.indices = 1
    refuse(cfg, scenes / 'annotations/val.json', r'indices=1 leaves out images of val_dataloader, which {} counts as')


def test_images_of_one_id(scenes, config):
    cfg = config('retinanet')
    dataset = cfg.val_dataloader.dataset
    other = dict(dataset, ann_file='annotations/train.json', data_prefix=dict(img='train/'))
    cfg.val_dataloader.dataset = dict(type='ConcatDataset', datasets=[dataset, other])
    refuse(cfg, scenes / 'annotations/val.json', r'the datasets of val_dataloader have 2 image ids in common')


def test_evaluators_without_a_file(scenes, config):
    cfg = config('retinanet')
    cfg.val_evaluator.ann_file = None
    with pytest.raises(ValueError, match=r"val_evaluator: without ann_file, CocoMetric .* add 'instances'"):
        check_data(cfg, LOADERS)
    cfg.val_dataloader.dataset.pipeline[-1].meta_keys = ('img_id', 'instances')
    check_data(cfg, LOADERS)
    cfg.val_evaluator.ann_file = str(scenes / 'none.json')
    with pytest.raises(FileNotFoundError, match=rf'val_evaluator: there is no annotation file {scenes}/none.json'):
        check_data(cfg, LOADERS)
