"""Images with label maps."""

import pytest
from PIL import Image

from tests.test_datasets.test_checks.conftest import LOADERS
from vil_mm.datasets.checks import check_data


def check_fails(cfg, match, error=ValueError):
    with pytest.raises(error, match=match):
        check_data(cfg, LOADERS)


def test_label_maps(scenes, messages, config):
    label_map = scenes / 'label_maps/train/0002.png'
    data = label_map.read_bytes()
    label_map.write_bytes(data[:40])
    check_fails(config('upernet'), rf'train_dataloader: 1 of 5 label maps are damaged; such as {label_map}')
    label_map.unlink()
    check_fails(config('upernet'), rf'1 of 5 label maps are missing; such as {label_map}', FileNotFoundError)
    label_map.write_bytes(data)
    (scenes / 'train/0002.png').unlink()  # mmseg lists images, and does not miss it
    check_data(config('upernet'), LOADERS)
    assert messages == [f'train_dataloader: 1 label maps have no image; such as {label_map}']
    for path in (scenes / 'train').iterdir():
        path.unlink()
    check_fails(config('upernet'), rf'train_dataloader: there are no images in {scenes}/train', FileNotFoundError)
    (scenes / 'train').rmdir()
    check_fails(config('upernet'), rf'train_dataloader: there is no folder {scenes}/train', FileNotFoundError)


def test_files_beside_label_maps(scenes, messages, config):
    """As in Cityscapes, where a part of the name tells label maps from pictures of them."""
    cfg = config('upernet')
    for loader in LOADERS:
        cfg[loader].dataset.seg_map_suffix = '_labels.png'
    for path in (scenes / 'label_maps').rglob('*.png'):
        path.with_name(f'{path.stem}_labels.png').write_bytes(path.read_bytes())
    check_data(cfg, LOADERS)
    assert not messages


def test_label_maps_of_another_suffix(scenes, config):
    for path in (scenes / 'label_maps').rglob('*.png'):
        path.rename(path.with_name(f'{path.stem}_mask.png'))
    missing = r"5 of 5 label maps are missing; .*; seg_map_suffix='.png', and the first file in .*_mask.png"
    check_fails(config('upernet'), missing, FileNotFoundError)


def test_images_of_another_suffix(scenes, messages, config):
    for number, name in enumerate(('0000.PNG', '0001.jpg')):
        (scenes / f'train/000{number}.png').rename(scenes / 'train' / name)
        (scenes / f'label_maps/train/000{number}.png').unlink()
    (scenes / 'train/notes.txt').touch()
    check_data(config('upernet'), LOADERS)
    left_out = f"2 images are left out, as their names do not end in '.png'; such as {scenes}/train/0000.PNG; {scenes}"
    assert len(messages) == 1 and left_out in messages[0]


@pytest.mark.parametrize('rows', [64, 120])
def test_label_maps_of_another_size(rows, scenes, config):
    path = scenes / 'label_maps/train/0002.png'
    Image.open(path).crop((0, 0, 128, rows)).save(path)
    differ = rf'1 of 5 label maps differ in size from their image; such as {path} is 128x{rows}, {scenes}/train/'
    check_fails(config('upernet'), rf'train_dataloader: {differ}0002.png 128x128: give each image')


def turn(scenes, orientation, size=None):
    """Give an image an orientation, and its label map a size."""
    image, path = scenes / 'train/0002.png', scenes / 'label_maps/train/0002.png'
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(image).resize((128, 96) if size else (128, 128)).save(image, format='JPEG', exif=exif)
    if size:
        Image.open(path).resize(size, Image.Resampling.NEAREST).save(path)
    return image


def test_images_that_are_turned_on_loading(scenes, messages, config):
    turn(scenes, 6, (128, 96))
    check_fails(config('upernet'), r"0002.png 96x128, turned upright by EXIF .* 6: .*'color_ignore_orientation'")
    cfg = config('upernet')
    load = next(step for step in cfg.train_dataloader.dataset.pipeline if step['type'] == 'LoadImageFromFile')
    load['color_type'] = 'color_ignore_orientation'
    check_data(cfg, LOADERS)
    turn(scenes, 6, (96, 128))
    check_data(config('upernet'), LOADERS)
    check_fails(cfg, r'0002.png is 96x128, .* 128x96: give')
    assert not messages


@pytest.mark.parametrize('orientation', [3, 6])
def test_images_whose_size_does_not_tell_that_they_are_turned(orientation, scenes, messages, config):
    image = turn(scenes, orientation)
    check_data(config('upernet'), LOADERS)
    assert messages == [
        'train_dataloader: 1 images are turned upright on loading, label maps never are: check that they agree; '
        f'such as {image} (EXIF orientation {orientation})'
    ]


def test_images_and_label_maps_swapped(scenes, config):
    cfg = config('upernet')
    cfg.train_dataloader.dataset.data_prefix = dict(img_path='label_maps/train', seg_map_path='train')
    check_fails(cfg, rf'train_dataloader: 5 of the 5 label maps read are in color; such as {scenes}/train/0000.png')


def test_lists_of_images(scenes, messages, config):
    cfg = config('upernet')
    path = scenes / 'train.txt'
    cfg.train_dataloader.dataset.ann_file = 'train.txt'
    check_fails(cfg, rf'train_dataloader: there is no list of images {path}', FileNotFoundError)
    path.write_text('0000\n0003\n')
    check_data(cfg, LOADERS)
    path.write_text('0000\n\n0003\n')
    check_fails(cfg, rf'train_dataloader: the list of images {path} has blank lines')
    path.write_text('0000\n0003.png')
    missing = rf"1 of 2 images are missing; .*/0003.png.png; img_suffix='.png' is added to the names in {path}"
    check_fails(cfg, missing, FileNotFoundError)
    assert not messages


def test_classes_of_the_loaders(scenes, config):
    cfg = config('upernet')
    names = list(cfg.val_dataloader.dataset.metainfo.classes)
    cfg.val_dataloader.dataset.metainfo = dict(classes=[*names[:2], '2', '1', *names[4:]])
    order = r"the classes differ from those of train_dataloader: the order differs: number 2 is '2', not '1'"
    check_fails(cfg, rf'val_dataloader: {order}: set metainfo')
    cfg.val_dataloader.dataset.metainfo = dict(classes=names[:-1])
    check_fails(cfg, r'val_dataloader: .*: 1 are missing, such as 9')
    cfg.val_dataloader.dataset.metainfo = dict(classes='digit')
    check_fails(cfg, r"val_dataloader: classes='digit' must be a list of names")


def test_reduced_labels(scenes, config):
    cfg = config('upernet')
    cfg.val_dataloader.dataset.reduce_zero_label = True
    check_fails(cfg, r'val_dataloader: reduce_zero_label=True, but it is False in train_dataloader')
    cfg = config('upernet')
    cfg.val_dataloader.dataset.pipeline[-2]['reduce_zero_label'] = True
    check_fails(cfg, r'val_dataloader: LoadAnnotations has reduce_zero_label=True, the dataset False: set it in the')


def test_labels_that_are_ignored_here_but_not_there(messages, config):
    cfg = config('upernet')
    cfg.model.decode_head.ignore_index = 0
    check_data(cfg, LOADERS)
    assert messages == [
        'train_dataloader: 2 settings of the ignored label are not that of decode_head, 0; '
        'such as data_preprocessor: seg_pad_val=255; auxiliary_head: ignore_index=255',
        'val_dataloader: 1 settings of the ignored label are not that of decode_head, 0; '
        'such as val_evaluator: ignore_index=255',
    ]
    messages.clear()
    cfg.model.auxiliary_head.ignore_index = cfg.model.data_preprocessor.seg_pad_val = 0
    cfg.val_evaluator.ignore_index = 0
    check_data(cfg, LOADERS)
    assert not messages
    cfg.train_dataloader.dataset.ignore_index = 255
    check_data(cfg, LOADERS)
    assert 'such as the dataset: ignore_index=255' in messages[0]


def test_classes_instead_of_names(scenes, config):
    """As in pure-Python configs."""
    from mmseg.datasets import BaseSegDataset
    from mmseg.datasets.transforms import LoadAnnotations

    cfg = config('upernet')
    cfg.train_dataloader.dataset.type = BaseSegDataset
    cfg.train_dataloader.dataset.pipeline[1].type = LoadAnnotations
    Image.new('RGB', (128, 128)).save(scenes / 'label_maps/train/0002.png')
    check_fails(cfg, 'train_dataloader: 1 of the 5 label maps read are in color')


def test_images_of_both_loaders(scenes, messages, config):
    cfg = config('upernet')
    cfg.val_dataloader.dataset.data_prefix = cfg.train_dataloader.dataset.data_prefix
    check_data(cfg, LOADERS)
    assert 'val_dataloader: 5 images are those of another data loader too' in messages[0]


def test_label_maps_of_another_split(scenes, messages, config):
    cfg = config('upernet')
    cfg.val_dataloader.dataset.data_prefix.seg_map_path = 'label_maps/train'
    check_data(cfg, LOADERS)
    (message,) = [message for message in messages if 'belong to other images' in message]
    assert message.startswith('val_dataloader: 2 label maps belong to other images of another data loader: is it the')
    assert (
        f'{scenes}/label_maps/train/0000.png, of {scenes}/val/0000.png here and of {scenes}/train/0000.png' in message
    )


def test_images_without_label_maps(scenes, config):
    cfg = config('upernet')
    cfg.val_dataloader.dataset.data_prefix = dict(img_path='val')
    (scenes / 'val/0001.png').write_bytes(b'')
    check_fails(cfg, r'val_dataloader: 1 of 2 images are damaged')
