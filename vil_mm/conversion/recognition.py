"""Recognizing the model that converted tensors are of."""

import math
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from .._extras import require
from ..engine.published import checkpoint_name, find_home
from ..models.attentions import BaseAttention
from ..models.base import BaseBackbone
from ..models.layers import CheckpointError, Comparison, compare
from ..registry import find_class
from .renaming import BACKBONE

HEAD = 'head.fc.'


@dataclass
class Recognized:
    """A model that tensors are of.

    Attributes:
        description (str): What it is, such as ``'ViL-Small
            (SlidingWindowAttention, FullAttention), relative bias, 1000
            classes, 224 pixels'``.
        configs (list[str]): The configs that have it, the likeliest one first.
    """

    description: str
    configs: list[str]


def recognize(state_dict: dict[str, Tensor], family: str, target: Path, config: str | None = None) -> Recognized:
    """Find the configs whose model has exactly the names and shapes of tensors.

    Models are built without memory for their parameters. A classifier may have
    any number of classes, and be for another image size than its config.

    Args:
        state_dict (dict[str, Tensor]): The tensors, under our names. Flat
            tables of relative position biases take the model's shape, in place.
        family (str): The folder of the family's configs.
        target (Path): The file that they will be written to. Its name decides
            between configs of the same model.
        config (str, optional): The only config to try. Defaults to None: all of
            the family.

    Returns:
        Recognized: The model.

    Raises:
        CheckpointError: If no config has such a model. The message says what
            the nearest one has otherwise.
        ImportError: If the library of a detector or segmenter is not installed.
    """
    dense = any(not name.startswith((BACKBONE, HEAD)) for name in state_dict)
    paths = [Path(config)] if config else sorted((find_home() / 'configs' / family).glob('*/*.py' if dense else '*.py'))
    found: dict[str, Candidate] = {}
    nearest: tuple[str, list[str]] | None = None
    tried: dict[str, tuple[Candidate, list[str]]] = {}
    for path in paths:
        cfg, candidate = read_candidate(path)
        if str(candidate.settings) not in tried:
            tried[str(candidate.settings)] = candidate.fit(state_dict)
        candidate, wrong = tried[str(candidate.settings)]
        wrong = wrong or compare_rest(cfg, state_dict, dense)
        if not wrong:
            found[path.stem] = candidate
        elif nearest is None or len(wrong) < len(nearest[1]):
            nearest = path.stem, wrong
    if not found:
        assert nearest is not None
        raise CheckpointError(
            f'these are not the tensors of any model in {config or f"configs/{family}"}. The nearest one is '
            f'{nearest[0]}, with {len(nearest[1])} differences: {"; ".join(nearest[1][:3])}. If they are of a config '
            'of yours, name it with --config'
        )
    configs = sorted(found, key=lambda name: (checkpoint_name(name) != target.name, len(name)))
    candidate = found[configs[0]]
    for name, own in candidate.backbone.named_parameters(BACKBONE.rstrip('.')):
        state_dict[name] = state_dict[name].reshape(own.shape)
    return Recognized(candidate.describe(state_dict), configs)


@dataclass(frozen=True)
class Candidate:
    """A backbone that tensors may be of, on the meta device.

    Attributes:
        settings (dict): Its config.
        backbone (BaseBackbone): The backbone.
    """

    settings: dict
    backbone: BaseBackbone

    @classmethod
    def build(cls, settings: dict) -> 'Candidate':
        """Build a backbone."""
        with torch.device('meta'):
            return cls(settings, MODELS.build(deepcopy(settings)))

    def fit(self, state_dict: dict[str, Tensor]) -> tuple['Candidate', list[str]]:
        """Compare the backbone with tensors, also for the image sizes that their position parameters may be for.

        Returns:
            tuple[Candidate, list[str]]: The backbone for an image size, and
            what it has otherwise.
        """
        wrong, resized = self._compare(state_dict)
        if not wrong and 'img_size' in self.settings:
            for size in dict.fromkeys(self._image_size(name, state_dict) for name in resized):
                other = self.build(dict(self.settings, img_size=size))
                if not any(other._compare(state_dict)):
                    return other, []
        own = self.backbone.state_dict(prefix=BACKBONE)
        return self, wrong + [
            f'{name} has shape {tuple(state_dict[name].shape)}, must have {tuple(own[name].shape)}' for name in resized
        ]

    def _compare(self, state_dict: dict[str, Tensor]) -> tuple[list[str], list[str]]:
        """Find what is wrong, and the names of tensors that would have to be resampled."""
        comparison = compare(self.backbone, state_dict, BACKBONE)
        own = self.backbone.state_dict(prefix=BACKBONE)
        resized = [name for name in comparison.resized if state_dict[name].numel() != own[name].numel()]
        return list_differences(comparison), resized

    def _image_size(self, name: str, state_dict: dict[str, Tensor]) -> tuple[int, int]:
        """Find the image size that position parameters are for, if they are those of a whole grid."""
        stage = int(name.split('.')[2])
        stride = math.prod(one.embed.stride for one in self.backbone.stages[: stage + 1])
        stem, _, kind = name.rpartition('.')
        if kind == 'table':
            shape = state_dict[name].shape
            offsets = shape[:2] if len(shape) == 3 else (math.isqrt(shape[0]),) * 2
            grid = [(count + 1) // 2 for count in offsets]
        else:
            grid = [state_dict[f'{stem}.{side}'].shape[1] for side in ('rows', 'columns')]
        return grid[0] * stride, grid[1] * stride

    def describe(self, state_dict: dict[str, Tensor]) -> str:
        """Say what model it is."""
        arch = self.settings['arch']
        arch = arch.title() if isinstance(arch, str) and ',' not in arch else 'of another architecture'
        kinds = dict.fromkeys(
            type(part).__name__ for part in self.backbone.modules() if isinstance(part, BaseAttention)
        )
        parts = [f'{type(self.backbone).__name__}-{arch}' + (f' ({", ".join(kinds)})' if kinds else '')]
        for name, what in (('.position_embed.', 'absolute position'), ('.relative_position_bias.', 'relative bias')):
            if any(name in own for own in state_dict):
                parts.append(what)
        if f'{HEAD}bias' in state_dict:
            parts.append(f'{len(state_dict[f"{HEAD}bias"])} classes')
            if 'img_size' in self.settings:
                size = self.settings['img_size']
                height, width = (size, size) if isinstance(size, int) else size
                parts.append(f'{height} pixels' if height == width else f'{height}x{width} pixels')
        return ', '.join(parts)


@cache
def read_candidate(path: Path) -> tuple[Config, Candidate]:
    """Read a config, and build its backbone.

    Raises:
        ValueError: If it is no config of a model of ours.
    """
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # it may hold any code
        raise ValueError(f'the config {path} cannot be read: {type(error).__name__}: {error}') from error
    kind = find_class(((cfg.get('model') or {}).get('backbone') or {}).get('type'), MODELS, cfg.get('default_scope'))
    if not (isinstance(kind, type) and issubclass(kind, BaseBackbone)):
        name = getattr(kind, '__name__', None)
        raise ValueError(f'model.backbone of the config {path} must be a backbone of vil_mm, but is {name}')
    irrelevant = 'init_cfg', 'drop_path_rate', 'with_cp'
    settings = {name: value for name, value in cfg.model.backbone.items() if name not in irrelevant}
    return cfg, Candidate.build(settings)


def compare_rest(cfg: Config, state_dict: dict[str, Tensor], dense: bool) -> list[str]:
    """Compare tensors with the head of a classifier, for any number of classes, or a whole detector or segmenter."""
    if dense:
        require(cfg.default_scope)
        with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device('meta'):
            return list_differences(compare(MODELS.build(cfg.model), state_dict))
    bias = state_dict.get(f'{HEAD}bias')
    classes = len(bias) if bias is not None and bias.ndim and len(bias) else cfg.model.head.num_classes
    return list_differences(compare(nn.Linear(cfg.model.head.in_channels, classes, device='meta'), state_dict, HEAD))


def list_differences(comparison: Comparison) -> list[str]:
    """Say what does not fit, tensor by tensor."""
    found = [f'{name} is missing' for name in comparison.missing]
    found += [f'{name} is superfluous' for name in comparison.unexpected]
    return found + [f'{name} {why}' for name, why in comparison.unfit.items()]
