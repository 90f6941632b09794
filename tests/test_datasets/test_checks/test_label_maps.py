"""Images with label maps."""

import pytest

from tests.test_datasets.test_checks.conftest import LOADERS
from vil_mm.datasets.checks import check_data


def test_label_maps(scenes, messages, config):
    label_map = scenes / 'label_maps/train/0002.png'
    data = label_map.read_bytes()
    label_map.write_bytes(data[:40])
    with pytest.raises(ValueError, match=rf'train_dataloader: 1 of 5 label maps are damaged; such as {label_map}'):
        check_data(config('upernet'), LOADERS)
    label_map.unlink()
    with pytest.raises(FileNotFoundError, match=rf'1 of 5 label maps are missing; such as {label_map}'):
        check_data(config('upernet'), LOADERS)
    label_map.write_bytes(data)
    (scenes / 'train/0002.png').unlink()  # mmseg lists images, and does not miss it
    check_data(config('upernet'), LOADERS)
    assert messages == [f'train_dataloader: 1 label maps have no image; such as {label_map}']
    for path in (scenes / 'train').iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=rf'train_dataloader: there are no images in {scenes}/train'):
        check_data(config('upernet'), LOADERS)
    (scenes / 'train').rmdir()
    with pytest.raises(FileNotFoundError, match=rf'train_dataloader: there is no folder {scenes}/train'):
        check_data(config('upernet'), LOADERS)


def test_files_beside_label_maps(scenes, messages, config):
    """As in Cityscapes, where a part of the name tells label maps from pictures of them."""
    cfg = config('upernet')
    for loader in LOADERS:
        cfg[loader].dataset.seg_map_suffix = '_labels.png'
    for path in (scenes / 'label_maps').rglob('*.png'):
        path.with_name(f'{path.stem}_labels.png').write_bytes(path.read_bytes())
    check_data(cfg, LOADERS)
    assert not messages
