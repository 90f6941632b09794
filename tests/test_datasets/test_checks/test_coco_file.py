"""Annotation files in COCO's format."""

import gzip
import json

import numpy as np
import pytest

from vil_mm.datasets.checks.coco_file import read_annotations


def content_of(**changes):
    """An annotation file with two objects in two images, of two categories, with changes."""
    images = [dict(id=i, file_name=f'{i}.png', width=20, height=10) for i in (0, 7)]
    objects = [dict(id=i, image_id=7, category_id=i, bbox=[1, 2, 3.5, 4], area=14, iscrowd=0) for i in (0, 1)]
    return dict(images=images, categories=[dict(id=i, name=f'n{i}') for i in (0, 1)], annotations=objects) | changes


def write(path, **changes):
    path.write_text(json.dumps(content_of(**changes)))
    return path


def test_what_is_read(tmp_path):
    """Ids may begin with 0, be numbers with a point, or text."""
    objects = content_of()['annotations']
    objects[0] |= dict(image_id=7.0, ignore=1, iscrowd=1)
    del objects[0]['bbox'], objects[0]['area']
    annotations = read_annotations(write(tmp_path / 'a.json', annotations=objects), 'train_dataloader')
    assert annotations.images == {0: 0, 7: 1} and annotations.names == ['0.png', '7.png']
    assert annotations.sizes.tolist() == [[20, 10]] * 2
    assert annotations.categories == ['n0', 'n1'] and annotations.category_ids == [0, 1]
    assert annotations.image.tolist() == [1, 1] and annotations.category.tolist() == [0, 1]
    assert annotations.box.tolist() == [[0, 0, 0, 0], [1, 2, 3.5, 4]] and annotations.area.tolist() == [0, 14]
    assert annotations.ignore.tolist() == annotations.crowd.tolist() == [True, False]
    assert annotations.is_among(['n1']).tolist() == [False, True]
    described = annotations.describe(np.array([False, True]))
    assert len(described) == 1 and described[:3] == ['annotation 1 of 7.png: [1, 2, 3.5, 4]']
    assert len(read_annotations(tmp_path / 'a.json', '', with_objects=False).objects) == 0


def test_ids_that_are_text(tmp_path):
    text = json.dumps(content_of()).replace('id": 7', 'id": "x"')
    (tmp_path / 'a.json').write_text(text)
    assert read_annotations(tmp_path / 'a.json', '').image.tolist() == [1, 1]


UNLISTED = r'2 annotations have a category_id that is not among the categories of {}; such as annotation 0 of 7.png: '


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(images=[]), '{} lists no images'),
        (
            dict(images=content_of()['images'] * 2),
            '2 ids are those of several images in {}; such as 0; 7: num',
        ),
        (dict(categories=[dict(id=0, name='a')] * 2), '1 ids are those of several categories in {}; such as 0'),
        (
            dict(annotations=content_of()['annotations'] * 2),
            '2 ids are those of several annotations in {}; such',
        ),
        (dict(categories=[dict(id=i, name=f'n{i}') for i in (1, 2)]), UNLISTED.replace('2', '1', 1)),
        (dict(categories=[]), UNLISTED),
        (dict(categories=[dict(id=str(i), name=f'n{i}') for i in (0, 1)]), UNLISTED),
    ],
)
def test_files_that_contradict_themselves(tmp_path, changes, message):
    path = write(tmp_path / 'a.json', **changes)
    with pytest.raises(ValueError, match='val_dataloader: ' + message.format(path)):
        read_annotations(path, 'val_dataloader')


@pytest.mark.parametrize(
    'change',
    [
        dict(bbox=[1, 2, 3]),
        dict(bbox=['1', '2', '3', '4']),
        dict(bbox=[1, 2, None, 4]),
        dict(bbox=[1, 2, float('nan'), 4]),
        dict(bbox=None),
        dict(area='4'),
        dict(image_id=[7]),
    ],
)
def test_objects_of_another_form(tmp_path, change):
    objects = content_of()['annotations']
    path = write(tmp_path / 'a.json', annotations=[objects[0], objects[1] | change])
    with pytest.raises(ValueError, match=rf"val_dataloader: {path} is not in COCO's format: \w+Error: "):
        read_annotations(path, 'val_dataloader')


@pytest.mark.parametrize(
    'kind, key, message',
    [
        ('annotations', 'area', "annotation 1 has no 'area'"),
        ('annotations', 'id', r"annotations\[1\] has no 'id'"),
        ('images', 'width', "image 7 has no 'width'"),
        ('categories', 'name', "category 1 has no 'name'"),
    ],
)
def test_missing_keys(tmp_path, kind, key, message):
    content = content_of()
    content['annotations'][0]['ignore'] = 1
    del content[kind][1][key]
    if key == 'area':
        del content['annotations'][0]['area']  # which need not be there
    path = write(tmp_path / 'a.json', **content)
    with pytest.raises(ValueError, match=rf"val_dataloader: {path} is not in COCO's format: {message}"):
        read_annotations(path, 'val_dataloader')
    path.write_text('{}')
    with pytest.raises(ValueError, match="it has no 'images'"):
        read_annotations(path, 'val_dataloader')


def test_files_that_are_not_plain_json(tmp_path):
    text = json.dumps(content_of()).encode()
    path = tmp_path / 'a.json'
    for data, message in (
        (b'\xef\xbb\xbf' + text, 'BOM'),
        (gzip.compress(text), "can't decode byte"),
        (text[:-9], 'JSONDecodeError'),
        (b'[]', 'TypeError'),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=rf"{path} is not in COCO's format: .*{message}") as error:
            read_annotations(path, 'val_dataloader')
        assert len(str(error.value)) < 400
