"""Categories of a file in COCO's format, against the classes of a dataset."""

import pytest

from tests.test_datasets.test_checks.conftest import LOADERS, edited
from vil_mm.datasets.checks import check_data
from vil_mm.datasets.checks.coco_classes import check_classes

ORDER = r"the categories of {} are in another order than the classes: '9' comes where label 0, '0', must be, as mmdet"


def test_reversed_categories_are_refused(scenes, config):
    """As mmdet would swap the labels, though ids and names are right."""
    from mmengine.registry import DATASETS, init_default_scope

    path = scenes / 'annotations/train.json'
    with edited(path) as content:
        content['categories'].reverse()
    cfg = config('retinanet')
    with pytest.raises(ValueError, match=r'train_dataloader: ' + ORDER.format(path)):
        check_data(cfg, LOADERS)
    init_default_scope('mmdet')
    label = DATASETS.build(cfg.train_dataloader.dataset).get_data_info(0)['instances'][0]['bbox_label']
    first = content['annotations'][0]['category_id']
    assert label == [category['id'] for category in content['categories']].index(first) != 9 - label

    # in the evaluator's file only
    with edited(path) as content:
        content['categories'].reverse()
    reversed_file = scenes / 'annotations/reversed.json'
    reversed_file.write_bytes((scenes / 'annotations/val.json').read_bytes())
    with edited(reversed_file) as content:
        content['categories'].reverse()
    check_data(cfg, LOADERS)
    cfg.val_evaluator.ann_file = str(reversed_file)
    with pytest.raises(ValueError, match=r'val_evaluator: ' + ORDER.format(reversed_file)):
        check_data(cfg, LOADERS)
    check_data(cfg, ['train_dataloader'])
    cfg.val_evaluator.sort_categories = True  # which sorts them by their ids
    check_data(cfg, LOADERS)


def test_category_that_the_validation_file_omits(scenes, config):
    path = scenes / 'annotations/val.json'
    with edited(path) as content:
        content['categories'] = [category for category in content['categories'] if category['name'] != '4']
        content['annotations'] = [one for one in content['annotations'] if one['category_id'] != 4]
    with pytest.raises(ValueError, match=rf"val_dataloader: {path} has no category '4', one of 1 classes"):
        check_data(config('retinanet'), LOADERS)


@pytest.mark.parametrize(
    'categories, classes, message',
    [
        (
            ['cat', 'dog'],
            ['cat', 'dgo'],
            r"no category 'dgo' \(did you mean 'dog'\?\), one of 1 .* would shift",
        ),
        (['cat', 'dog'], ['Cat', 'dog'], r"no category 'Cat' \(did you mean 'cat'\?\)"),
        (['traffic light', 'car'], ['traffic_light', 'car'], r"did you mean 'traffic light'\?"),
        (
            ['cat'],
            ['cat', 'zebra'],
            r"no category 'zebra', one of .*list the category in the file",
        ),
        (['cat', 'dog'], ['cat', 'dog', 'cat'], r'1 classes are named more than once, such as cat: name each once'),
        (['cat', 'dog', 'cat'], ['cat', 'dog'], r"several categories named 'cat'; .*merge them into one"),
        (
            ['dog', 'cat'],
            ['cat', 'dog'],
            r"'dog' comes where label 0, 'cat', must be, .*: list the",
        ),
        (['a', 'dog', 'b', 'cat'], ['cat', 'dog'], r"'dog' comes where label 0"),
        (
            ['1', '2'],
            ['cat', 'dog'],
            r'none of the categories of f.json, such as 1; 2, is among .* such as cat; dog',
        ),
        ([], ['cat'], r'none of the categories of f.json'),
    ],
)
def test_categories_that_are_not_the_classes(categories, classes, message):
    with pytest.raises(ValueError, match=rf'train_dataloader: .*{message}'):
        check_classes(categories, classes, 'f.json', 'train_dataloader')


def test_more_categories_than_classes_pass():
    check_classes(['a', 'cat', 'b', 'b', 'dog'], ('cat', 'dog'), 'f.json', 'train_dataloader')
