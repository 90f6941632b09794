"""How the pixels of images become the input of a model."""

import logging
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.logging import print_log

from ...registry import nested_dicts


def check_pixels(cfg: Config, training: bool) -> None:
    """Warn if pixels are normalized by statistics of other pixels, or twice.

    Args:
        cfg (Config): The config.
        training (bool): Whether the run is a training, or else a test.
    """
    name, preprocessor = 'model.data_preprocessor', (cfg.get('model') or {}).get('data_preprocessor')
    if not isinstance(preprocessor, dict):
        name, preprocessor = 'data_preprocessor', cfg.get('data_preprocessor')
    if not isinstance(preprocessor, dict):
        return
    mean, std = (_numbers(preprocessor.get(key)) for key in ('mean', 'std'))
    if not std or set(std) == {1.0}:
        return
    loaders = ('train_dataloader', 'val_dataloader') if training else ('test_dataloader',)
    steps = [part.get('type') for loader in loaders for part in nested_dicts(cfg.get(loader))]
    normalized = [kind for kind in steps if str(kind).split('.')[-1] == 'Normalize']
    if normalized:
        print_log(f'images are normalized twice: by Normalize in a pipeline, and by {name}', 'current', logging.WARNING)
    elif max(std) < 1 and max(mean or [0]) <= 1:
        print_log(
            f'{name} has mean={mean} and std={std}, as of pixels from 0 to 1, but images are loaded with pixels from 0 '
            'to 255: multiply both by 255, unless a step of the pipeline divides by it',
            'current',
            logging.WARNING,
        )


def _numbers(value: object) -> list[float]:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [float(one) for one in values if isinstance(one, (int, float))]
