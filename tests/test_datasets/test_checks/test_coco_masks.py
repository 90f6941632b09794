"""Masks of objects in COCO's format."""

import re

import numpy as np
import pytest

from tests.test_datasets.test_checks.conftest import LOADERS, edited
from vil_mm.datasets.checks import check_data
from vil_mm.datasets.checks.coco_masks import find_state

TRIANGLE = [1, 1, 5, 1, 5, 5]
MALFORMED = (TRIANGLE, [list('115155')], [[1, 1, 5, None, 5, 5]], [[1, 1, 5, float('nan'), 5, 5]])


@pytest.mark.parametrize(
    'segmentation, state',
    [
        (None, 'missing'),
        ([], 'missing'),
        ([TRIANGLE], 'polygons'),
        ([[], TRIANGLE], 'polygons'),
        ([[]], 'degenerate'),
        ([[1, 1, 5, 5]], 'degenerate'),
        ([[*TRIANGLE, 7]], 'degenerate'),
        (TRIANGLE, 'malformed'),
        ([[[1, 1], [5, 1], [5, 5]]], 'malformed'),
        ('PYX', 'malformed'),
        (dict(size=[4, 6], counts='PYX'), 'runs'),
        (dict(size=[4, 6], counts=[3, 21]), 'runs'),
        (dict(size=[4, 6], counts=[3, 20]), 'of another size than its image'),
        (dict(size=[6, 4], counts='PYX'), 'of another size than its image'),
        (dict(counts='PYX'), 'degenerate'),
        (dict(size=5, counts='PYX'), 'malformed'),
        (dict(size=[4, 6], counts=['3', '21']), 'malformed'),
    ],
)
def test_states(segmentation, state):
    assert find_state(segmentation, width=6, height=4) == state


@pytest.mark.parametrize('loader', LOADERS)
@pytest.mark.parametrize(
    'segmentation, message',
    [
        (None, 'is missing; such as annotation {} of {}: {}: add it, or set with_mask=False'),
        *((mask, 'is malformed; such as annotation {} of {}: {}: write polygons') for mask in MALFORMED),
        (
            dict(size=[1, 2], counts='a'),
            'is of another size than its image; such as annotation {} of {}: {}: correct',
        ),
    ],
)
def test_masks_that_stop_the_run(scenes, config, loader, segmentation, message):
    path = scenes / f'annotations/{loader.split("_")[0]}.json'
    with edited(path) as content:
        one = content['annotations'][0]
        one['segmentation'] = segmentation
        name = next(image['file_name'] for image in content['images'] if image['id'] == one['image_id'])
    message = f"{loader}: 1 objects of {path}: their 'segmentation' {message.format(one['id'], name, one['bbox'])}"
    with pytest.raises(ValueError, match=re.escape(message)):
        check_data(config('mask-rcnn'), LOADERS)
    check_data(config('retinanet'), LOADERS)  # which loads no masks


def test_run_lengths(scenes, messages, config):
    """They are read where polygons become bitmaps; else mmdet ignores the objects."""
    from mmengine.registry import DATASETS, init_default_scope

    path = scenes / 'annotations/train.json'
    with edited(path) as content:
        runs = dict(size=[128, 128], counts=[0, 99, 128 * 128 - 99])
        content['annotations'][0].update(segmentation=runs, bbox=[0, 0, 1, 99], area=99)
    cfg = config('mask-rcnn')
    number = sum(one['image_id'] == content['images'][0]['id'] for one in content['annotations'])
    assert content['annotations'][0]['image_id'] == content['images'][0]['id']
    init_default_scope('mmdet')
    for poly2mask, kept in ((False, number - 1), (True, number)):
        messages.clear()
        next(step for step in cfg.train_dataloader.dataset.pipeline if 'with_mask' in step).poly2mask = poly2mask
        check_data(cfg, LOADERS)
        beginning = 'train_dataloader: 1 objects have run lengths for a mask: poly2mask=False leaves them out'
        assert [message.split(';')[0] for message in messages] == [beginning] * (number - kept)
        sample = DATASETS.build(cfg.train_dataloader.dataset)[0]['data_samples']
        assert len(sample.gt_instances) == kept
    assert np.count_nonzero(sample.gt_instances.masks.masks[0]) == 99


def test_masks_that_are_not_loaded(config):
    cfg = config('mask-rcnn')
    for step in cfg.train_dataloader.dataset.pipeline:
        step.pop('with_mask', None)
    with pytest.raises(
        ValueError, match=r'train_dataloader: the model has a mask_head, but the pipeline loads no mask'
    ):
        check_data(cfg, LOADERS)
    check_data(cfg, LOADERS[1:])
