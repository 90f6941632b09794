"""How the pixels of images become the input of a model."""

import pytest

from tests.test_engine.test_checks.test_config import plain
from vil_mm.engine.checks import pixels

OF_ONE = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
OF_255 = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
NORMALIZE = dict(type='mmdet.Normalize', **OF_255)


@pytest.fixture
def messages(monkeypatch):
    """What is logged."""
    logged = []
    monkeypatch.setattr(pixels, 'print_log', lambda message, *args: logged.append(message))
    return logged


@pytest.mark.parametrize('within', [True, False])
@pytest.mark.parametrize(
    'preprocessor, pipeline, message',
    [
        (OF_ONE, [], 'as of pixels from 0 to 1'),
        (dict(mean=0.5, std=0.5), [], 'as of pixels from 0 to 1'),
        (OF_255, [NORMALIZE], 'images are normalized twice: by Normalize in a pipeline, and by'),
        (OF_255, [], None),
        (dict(mean=[127.5], std=[127.5]), [], None),
        (dict(mean=[0, 0, 0], std=[255, 255, 255]), [], None),
        (dict(mean=[0.0], std=[1.0]), [NORMALIZE], None),
        (dict(mean=None, std=None), [NORMALIZE], None),
        ({}, [NORMALIZE], None),
    ],
)
def test_statistics(preprocessor, pipeline, message, within, messages):
    parts = dict(data_preprocessor=preprocessor)
    cfg = plain(train_dataloader=dict(dataset=dict(pipeline=pipeline)), **(dict(model=parts) if within else parts))
    pixels.check_pixels(cfg, training=True)
    assert bool(messages) == bool(message)
    if message:
        assert message in messages[0] and ('model.data_preprocessor' in messages[0]) == within
