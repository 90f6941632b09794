"""What the pixels of label maps hold."""

import numpy as np
import pytest
from PIL import Image

from tests.scenes import set_classes
from tests.test_datasets.test_checks.conftest import LOADERS
from vil_mm.datasets.checks import check_data, label_values

CLASSES = ['background', *map(str, range(10))]


@pytest.fixture
def maps(scenes):
    """The label maps for training."""
    return sorted((scenes / 'label_maps/train').iterdir())


def change(paths, function):
    """Change the values in label maps."""
    for path in paths:
        Image.fromarray(function(np.asarray(Image.open(path)))).save(path)


def make_config(config, **settings):
    """The config of the scenes, with settings of the datasets."""
    cfg = config('upernet')
    for loader in LOADERS:
        for key, value in settings.items():  # updating would merge dicts
            cfg[loader].dataset[key] = value
    if settings.get('metainfo'):
        set_classes(cfg.model, len(settings['metainfo']['classes']))
        for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
            head.loss_decode.pop('class_weight')
    return cfg


def loaded(cfg):
    """All values after mmseg's own loading."""
    from mmengine.registry import DATASETS, init_default_scope

    init_default_scope('mmseg')
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[dict(type='LoadAnnotations')]))
    return np.unique([data['gt_seg_map'] for data in dataset])


def check_fails(cfg, match):
    with pytest.raises(ValueError, match=match):
        check_data(cfg, LOADERS)


def test_values_of_no_class(maps, config):
    change(maps[1:2], lambda labels: np.where(labels == 0, 11, labels).astype(np.uint8))
    found = rf'1 of the 5 label maps read hold values of no class; such as {maps[1]} \(11\): values must be 0 to 10'
    check_fails(config('upernet'), rf'train_dataloader: {found}, for 11 classes, or 255, to be ignored; correct')
    check_data(make_config(config, metainfo=dict(classes=[*CLASSES, 'ten'])), LOADERS)


def test_number_of_classes_from_the_head(maps, config):
    cfg = make_config(config, metainfo=None)
    check_data(cfg, LOADERS)
    cfg.model.decode_head.num_classes = 3
    check_fails(cfg, 'values must be 0 to 2, for 3 classes')


def test_values_that_count_from_one(maps, scenes, config, messages):
    every = [*maps, *(scenes / 'label_maps/val').iterdir()]
    change(every, lambda labels: labels + 1)
    cfg = config('upernet')
    check_fails(cfg, r'values must be 0 to 10, for 11 classes, or 255, to be ignored; .* set reduce_zero_label=True')
    cfg = make_config(config, reduce_zero_label=True)
    check_data(cfg, LOADERS)
    assert set(loaded(cfg)) <= {*range(11)}
    assert not messages
    change(every, lambda labels: labels - 1)
    assert 255 in loaded(cfg)
    check_data(cfg, LOADERS)
    assert 'label 11, that of the last class, while 0 occurs' in messages[-1]


def test_first_class_that_is_nowhere(maps, config, messages):
    change(maps, lambda labels: np.maximum(labels, 1))
    check_data(config('upernet'), LOADERS)
    first = 'label is in none of the 5 label maps read: if they count from 1, set reduce_zero_label=True'
    assert messages == [f'train_dataloader: 1 {first}; such as label 0 background']
    maps[4].unlink()  # too few to tell
    maps[4].parents[2].joinpath('train/0004.png').unlink()
    check_data(config('upernet'), LOADERS)
    assert len(messages) == 1


def test_foreground_as_255(maps, config):
    change(maps, lambda labels: (labels > 0).astype(np.uint8) * 255)
    cfg = make_config(config, metainfo=dict(classes=['background', 'digit']))
    check_fails(cfg, r'train_dataloader: 5 of the 5 label maps read hold only 0 and 255, and 255 is ignored; .*: if')
    cfg.model.decode_head.ignore_index = 254
    check_fails(cfg, r'hold values of no class; .* \(255\): values must be 0 to 1, for 2 classes; correct')
    change(maps, lambda labels: labels // 255)
    check_fails(cfg, r'val_dataloader: .* hold values of no class')


def test_ignored_values(maps, config, messages):
    change(maps[:1], lambda labels: np.full_like(labels, 255))
    check_data(config('upernet'), LOADERS)
    assert messages == [
        f'train_dataloader: 1 of the 5 label maps read hold only values that are ignored; such as {maps[0]} (255)'
    ]
    change(maps, lambda labels: np.full_like(labels, 255))
    check_fails(config('upernet'), '5 of the 5 label maps read hold only values that are ignored')


def test_one_class(maps, config, messages):
    change(maps, lambda labels: np.zeros_like(labels))
    check_data(config('upernet'), LOADERS)
    assert 'label maps read hold only one and the same class' in messages[0]


def test_colors_and_palettes(maps, config, messages):
    labels = Image.open(maps[0])
    palette = labels.convert('P')
    palette.putdata(labels.getdata())
    palette.putpalette([*range(255, -1, -1)] * 3)
    palette.save(maps[0])
    cfg = config('upernet')
    check_data(cfg, LOADERS)
    assert set(loaded(cfg)) <= {*range(11)}
    for loader in LOADERS:
        step = next(step for step in cfg[loader].dataset.pipeline if step['type'] == 'LoadAnnotations')
        step['imdecode_backend'] = 'cv2'
    check_fails(cfg, rf"1 of the 5 label maps read are in color; such as {maps[0]}: .*imdecode_backend='cv2'")
    for mode in ('RGB', 'RGBA', 'LA'):
        labels.convert(mode).save(maps[0])
        check_fails(config('upernet'), rf'are in color; such as {maps[0]}: store one number per pixel, [^(]*$')


def test_sixteen_bits(maps, config, messages):
    change(maps, lambda labels: labels.astype(np.uint16))
    check_data(config('upernet'), LOADERS)
    assert not messages
    change(maps[2:3], lambda labels: labels + 256)
    check_fails(config('upernet'), rf'1 of the 5 label maps read hold values beyond 0 to 255, .*{maps[2]} \(256')


def test_jpeg_files(maps, config):
    Image.open(maps[3]).save(maps[3], format='JPEG')
    check_fails(config('upernet'), rf'1 of the 5 label maps read are JPEG files, which blur labels; such as {maps[3]}')


def test_some_of_the_classes(maps, config):
    """mmseg ignores the others, by their place in all classes of the dataset."""
    from mmseg.datasets import BaseSegDataset
    from mmseg.registry import DATASETS

    @DATASETS.register_module(force=True)
    class Digits(BaseSegDataset):
        METAINFO = dict(classes=CLASSES)

    cfg = make_config(config, type='mmseg.Digits', metainfo=dict(classes=['background', '3']))
    check_data(cfg, LOADERS)
    assert set(loaded(cfg)) <= {0, 1, 255}
    change(maps[:1], lambda labels: np.full_like(labels, 11))
    assert 11 in loaded(cfg)
    check_fails(cfg, r'\(11\): values must be 0 to 10, for 11 classes, or 255, to be ignored')


def test_large_sets_are_sampled(config, monkeypatch, messages):
    monkeypatch.setattr(label_values, 'SAMPLE', 3)
    check_data(config('upernet'), LOADERS)
    assert messages == ['train_dataloader: checked the values of 3 of the 5 label maps']


def test_cityscapes_ids(scenes, config):
    cfg = make_config(config, seg_map_suffix='_gtFine_labelIds.png')
    for path in (scenes / 'label_maps').rglob('*.png'):
        change([path], lambda labels: labels + 23)
        path.rename(path.with_name(f'{path.stem}_gtFine_labelIds.png'))
    check_fails(cfg, r'hold values of no class; .*_labelTrainIds\.png')


COLORS = np.random.default_rng(0).permutation(256)[: 11 * 3].reshape(11, 3).tolist()


def color(paths, colors):
    """Give label maps a palette, and values that stand for the same colors as before."""
    for path in paths:
        with Image.open(path) as image:
            labels = np.asarray(image)
        if image.mode == 'P':
            old = np.array(image.getpalette()[: 11 * 3]).reshape(11, 3).tolist()
            labels = np.array([colors.index(old[value]) for value in range(11)], np.uint8)[labels]
        image = Image.fromarray(labels, mode='P')
        image.putpalette(np.ravel(colors).tolist())
        image.save(path)


def all_maps(scenes):
    return sorted((scenes / 'label_maps').rglob('*.png'))


def test_values_in_another_order(scenes, maps, config, messages):
    """As tools write them that sort colors by how often they occur."""
    color(all_maps(scenes), COLORS)
    check_data(config('upernet'), LOADERS)
    assert not messages
    color(maps[:1], [COLORS[i] for i in (0, *range(10, 0, -1))])
    value = np.unique(Image.open(maps[0]))[1]
    moved = rf'{maps[0]}: such as \({", ".join(map(str, COLORS[11 - value]))}\) is {value}, not {11 - value}'
    found = rf'1 label maps have palettes in which the colors of the others stand for other values; such as {moved}'
    check_fails(config('upernet'), rf'train_dataloader: {found}.*: give all the same palette')


def test_values_in_another_order_in_validation(scenes, maps, config):
    fill(maps[0], range(11))
    color(all_maps(scenes), COLORS)
    color(sorted((scenes / 'label_maps/val').iterdir()), [COLORS[i] for i in (0, *range(10, 0, -1))])
    check_fails(config('upernet'), r'val_dataloader: 2 label maps have palettes in which the colors of the others')


def test_palettes_of_other_colors_pass(scenes, maps, config, messages):
    """Such as shades of gray, and colors that only pictures are drawn in."""
    for path, number in zip(maps, (11, 11, 6)):
        fill(path, range(number))
    color(all_maps(scenes), COLORS)
    other = np.roll(COLORS, 1, axis=1)
    other[4] = COLORS[5]  # by chance
    for path, palette in zip(maps, (other, *(np.tile(np.arange(11)[:, None] * step, 3) for step in (9, 18)))):
        image = Image.open(path)
        image.putpalette(palette.ravel().tolist())
        image.save(path)
    check_data(config('upernet'), LOADERS)
    assert not messages


def test_colors_of_the_dataset(scenes, maps, config, messages):
    color(all_maps(scenes), COLORS)
    check_data(make_config(config, metainfo=dict(classes=CLASSES, palette=COLORS)), LOADERS)
    assert not messages
    turned = [COLORS[i] for i in (0, *range(10, 0, -1))]
    check_data(make_config(config, metainfo=dict(classes=CLASSES, palette=turned)), LOADERS)
    what = 'label maps have palettes in which the colors of classes, as the dataset has them, stand for other values'
    assert [message.split(';')[0] for message in messages] == [
        f'train_dataloader: 5 {what}',
        f'val_dataloader: 2 {what}',
    ]


def test_copies_of_one_label_map(maps, config, messages):
    content = maps[0].read_bytes()
    for path in maps[:3]:
        path.write_bytes(content)
    check_data(config('upernet'), LOADERS)
    assert f'train_dataloader: 3 of 5 label maps have the same content; such as {maps[0]}; ' in messages.pop()
    change(maps[:3], np.zeros_like)  # images without an object
    check_data(config('upernet'), LOADERS)
    assert not messages


def multiply(maps, number):
    """Repeat the training images, with label maps of blocks of the given labels."""
    for i in range(number):
        for path in (maps[0], maps[0].parents[2] / 'train/0000.png'):
            path.with_name(f'{i:04d}.png').write_bytes(path.read_bytes())
        yield maps[0].with_name(f'{i:04d}.png')


def fill(path, labels):
    """Make a label map of random pixels of some labels, all of which occur."""
    pixels = np.random.default_rng(0).choice(labels, 128 * 128)
    pixels[: len(labels)] = labels
    Image.fromarray(pixels.reshape(128, 128).astype(np.uint8)).save(path)


def test_numbers_of_objects(maps, config, messages):
    for i, path in enumerate(multiply(maps, 30)):
        fill(path, range(3 + i % 5))
    check_data(config('upernet'), LOADERS[:1])
    numbered = '30 of the 30 label maps read hold the labels from 0 on without a gap, as if they numbered objects'
    assert numbered in messages[0]
    messages.clear()
    fill(path, [0, 2, 5])
    check_data(config('upernet'), LOADERS[:1])
    assert not [message for message in messages if 'numbered' in message]


def test_classes_in_no_label_map(maps, config, messages):
    for i, path in enumerate(multiply(maps, 55)):
        fill(path, [0, *{1, 2, 3, 4, 5, 6, 7, 8, 9, 10} - {4, 1 + i % 10}])
    check_data(config('upernet'), LOADERS[:1])
    assert [message for message in messages if 'content' not in message] == [
        'train_dataloader: 1 classes are in none of the 55 label maps; such as label 4'
    ]
