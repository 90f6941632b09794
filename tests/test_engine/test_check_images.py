"""Images that cannot be read."""

import re

import pytest

from tests.test_engine.tiny_images import IMAGES, classifier
from vil_mm.engine import launch, options

pytestmark = pytest.mark.usefixtures('quick')


def log_of(folder):
    return next(folder.rglob('*.log')).read_text()


@pytest.mark.parametrize('workers', [0, 1])
def test_a_bad_image_stops_the_run_with_its_path(workers, tmp_path):
    with pytest.raises(OSError, match=r'images/4\.png cannot be read: ValueError: broken'):
        launch.build_runner(classifier(tmp_path / 'run', workers=workers, bad=(4,))).train()


@pytest.mark.parametrize('workers', [0, 2])
def test_bad_images_are_skipped_and_counted(workers, tmp_path):
    cfg = classifier(tmp_path / 'run', workers=workers, epochs=2, bad=(4, 5, 9))
    options.skip_bad_images(cfg)
    launch.build_runner(cfg).train()
    log = log_of(tmp_path / 'run')
    # the sampler fills up the last batch
    assert re.findall(r'(\d+) images could not be read and were skipped in this epoch', log)[0] in '345'
    assert 'skipped: images/9.png cannot be read: ValueError: broken' in log


def test_a_run_without_any_good_image_stops(tmp_path):
    cfg = classifier(tmp_path / 'run', bad=range(IMAGES))
    options.skip_bad_images(cfg)
    with pytest.raises(OSError, match='100 images in a row cannot be read'):
        launch.build_runner(cfg).train()


def test_an_error_of_another_step_is_not_skipped(tmp_path, monkeypatch):
    def fail(self, sample):
        raise KeyError('gt_lable')

    monkeypatch.setattr('tests.test_engine.tiny_images.TinyImages.pack', fail)
    cfg = classifier(tmp_path / 'run')
    options.skip_bad_images(cfg)
    with pytest.raises(OSError, match=r"images/\d+\.png cannot be read: KeyError: 'gt_lable'"):
        launch.build_runner(cfg).train()


def test_bad_images_of_validation_are_never_skipped(tmp_path):
    cfg = classifier(tmp_path / 'run')
    cfg.val_dataloader.dataset.bad = (3,)
    options.skip_bad_images(cfg)
    with pytest.raises(OSError, match=r'images/3\.png cannot be read'):
        launch.build_runner(cfg).train()
