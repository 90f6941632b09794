"""Classes of a test set against those of the training."""

from types import SimpleNamespace

import pytest
from mmengine.runner import BaseLoop
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

from vil_mm.engine import CheckClassesHook


class Loop(BaseLoop):
    def __init__(self, dataloader):
        self._dataloader = dataloader

    def run(self):
        pass


def load(trained, tested, testing=True):
    """Load a checkpoint in the test of a dataset."""
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo=dict(classes=tested)))
    runner = SimpleNamespace(_test_loop=Loop(loader) if testing else {}, test_dataloader=loader, _load_from='a.pth')
    CheckClassesHook().after_load_checkpoint(runner, dict(meta=dict(dataset_meta=dict(classes=trained))))


def test_moved_classes():
    with pytest.raises(ValueError, match=r"the class '7' has label 1, but 0 in the training of a\.pth"):
        load(['7', '8', 'seven'], ['6', '7', '8'])


def test_imagenet_has_classes_of_the_same_name():
    load(IMAGENET_CATEGORIES, IMAGENET_CATEGORIES)


@pytest.mark.parametrize('tested', [('cat', 'dog'), ('n01', 'n02'), ('cat', 'hound'), ('cat',), None])
def test_classes_that_fit_or_cannot_be_compared(tested):
    load(['cat', 'dog'], tested)


def test_training_may_start_from_other_classes():
    load(['cat', 'dog'], ['dog', 'cat'], testing=False)
