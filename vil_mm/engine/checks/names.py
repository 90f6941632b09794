"""Names of settings that nothing reads."""

import inspect

from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ...registry import find_class, nearest

#: Keys of a config that mmengine reads beside the arguments of the runner.
OTHER_KEYS = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
}
#: Keys of dicts in which mmengine drops others silently, or finds them only when it writes the first checkpoint.
INNER_KEYS = {
    'auto_scale_lr': {'base_batch_size', 'enable'},
    'default_hooks.checkpoint': set(inspect.signature(CheckpointHook).parameters) - {'kwargs'},
    'env_cfg': {'cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'optim_wrapper.paramwise_cfg': {
        'bias_decay_mult',
        'bias_lr_mult',
        'bypass_duplicate',
        'custom_keys',
        'dcn_offset_lr_mult',
        'dwconv_decay_mult',
        'flat_decay_mult',
        'layer_decay_rate',
        'norm_decay_mult',
        # of mmdet's and mmseg's layer decay
        'decay_rate',
        'decay_type',
        'num_layers',
    },
}
#: How similar a name must be to that of a setting to be taken for a mistake. A config's variables may have any name.
SIMILAR = 0.9


def read_keys(runner_type: str | type | None) -> set[str]:
    """Name the keys of a config that mmengine reads.

    Args:
        runner_type (str | type, optional): The runner of the config.
    """
    runner = find_class(runner_type, RUNNERS) or Runner
    return {*inspect.signature(runner).parameters, *OTHER_KEYS} - {'cfg'}


def check_names(cfg: Config) -> None:
    """Check that no variable of a config is a misspelt setting, and that the optimizer's factors are known.

    Args:
        cfg (Config): The config.

    Raises:
        ValueError: If a setting would have no effect. The message names the
            setting that is meant.
    """
    read = read_keys(cfg.get('runner_type'))
    absent = [name for name in read if not cfg.get(name)]
    for name in cfg.keys() - read:
        for near in nearest(name, absent, SIMILAR):
            raise ValueError(f'{name} has no effect: nothing reads it. Did you mean {near!r}?')
    wrapper = cfg.get('optim_wrapper')
    if not isinstance(wrapper, dict) or 'constructor' in wrapper:  # which may know others
        return
    where = 'optim_wrapper.paramwise_cfg'
    known = INNER_KEYS[where]
    for name in (wrapper.get('paramwise_cfg') or {}).keys() - known:
        meant = nearest(name, known)
        advice = f'did you mean {meant[0]!r}?' if meant else f'it has {", ".join(sorted(known))}'
        raise ValueError(f'{where}.{name} has no effect: {advice}')
