"""Folders of images, one per class."""

import pytest
from mmengine.config import Config

from tests.conftest import ROOT
from vil_mm.datasets.checks import check_data


@pytest.mark.parametrize('config', ['vil-nano_1xb64_digits', 'vil-base-deep_8xb128_in21k'])
def test_folder_without_images(config, tmp_path):
    cfg = Config.fromfile(ROOT / f'configs/vil/{config}.py')
    cfg.train_dataloader.dataset.data_root = cfg.val_dataloader.dataset.data_root = str(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf'train_dataloader: there are no images in {tmp_path}/train'):
        check_data(cfg, ['train_dataloader', 'val_dataloader'])
    (tmp_path / 'train/n01').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match='train_dataloader'):
        check_data(cfg, ['train_dataloader', 'val_dataloader'])
    (tmp_path / 'train/n01/x.png').touch()
    with pytest.raises(FileNotFoundError, match=rf'val_dataloader: there are no images in {tmp_path}/val'):
        check_data(cfg, ['train_dataloader', 'val_dataloader'])
    check_data(cfg, ['train_dataloader'])


def test_lists_of_images_need_no_class_folders(tmp_path):
    cfg = Config.fromfile(ROOT / 'configs/vil/vil-small_8xb128_in1k.py')
    dataset = cfg.val_dataloader.dataset
    dataset.data_root = str(tmp_path)
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'meta/val.txt').write_text('x.JPEG 0')
    check_data(cfg, ['val_dataloader'])
    dataset.update(split='', data_prefix='elsewhere', ann_file='list.txt')
    check_data(cfg, ['val_dataloader'])
    dataset.update(ann_file='')
    with pytest.raises(FileNotFoundError, match=rf'there are no images in {tmp_path}/elsewhere'):
        check_data(cfg, ['val_dataloader'])
