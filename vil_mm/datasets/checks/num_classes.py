"""Numbers of classes of a model's heads against the classes of the data."""

import inspect
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mmengine.config import Config
from mmengine.registry import MODELS

from ...registry import as_list
from . import class_folders
from .configured import Configured, class_of, find_metrics
from .declared_classes import class_names
from .messages import some

#: Formats whose classes are not only declared, but found in the data.
FORMATS = {'mmpretrain.CustomDataset': class_folders, 'vil_mm.ZipDataset': class_folders}
#: Parts of a model with classes of their own, or none.
OTHERS = ('backbone', 'neck', 'rpn_head', 'semantic_head', 'task_heads', 'teacher', 'reid', 'init_cfg')
#: Losses of heads, by how many classes their weights may have beyond those of the head: the background.
LOSSES = {'loss': (0,), 'loss_decode': (0,), 'loss_cls': (0, 1)}


class Setting(NamedTuple):
    """A number of classes in a config.

    Args:
        name (str): What it is.
        number (int): The number.
        beyond (tuple[int, ...]): How many classes it may have beyond those of
            the data.
    """

    name: str
    number: int
    beyond: tuple[int, ...] = (0,)


def check_num_classes(datasets: Sequence[Configured], cfg: Config) -> None:
    """Check that a model's heads, losses and augmentations have as many classes as each dataset.

    Args:
        datasets (Sequence[Configured]): The datasets of all data loaders.
        cfg (Config): The config.

    Raises:
        ValueError: If one has more or fewer, or an accuracy is among more.
    """
    model = cfg.get('model') or {}
    if 'language_model' in model:  # its classes are words
        return
    settings = [*find_settings(model, 'model', cfg)]
    settings += find_settings(cfg.get('data_preprocessor') or {}, 'data_preprocessor', cfg)
    for dataset in datasets:
        found = next((module for name, module in FORMATS.items() if dataset.derives_from(name)), None)
        names = found.class_names(dataset) if found else class_names(dataset)
        wrong = [one for one in settings if names and one.number not in [len(names) + more for more in one.beyond]]
        if wrong:
            raise ValueError(
                f'{dataset.where}: the dataset has {len(names)} classes, {some(names)}, but the model has '
                f'{", ".join(f"{one.name}={one.number}" for one in wrong)}: set {len(names)}, or correct the classes'
            )
        check_topk(dataset, len(names) if names else None, cfg)


def check_topk(dataset: Configured, number: int | None, cfg: Config) -> None:
    """Check that the accuracies of a dataset's evaluator are among no more classes than there are.

    Args:
        dataset (Configured): The dataset.
        number (int, optional): Number of its classes. Defaults to that of the
            model's head.
        cfg (Config): The config.

    Raises:
        ValueError: If they are.
    """
    head = (cfg.get('model') or {}).get('head') or {}
    number = number or head.get('num_classes')
    for metric in find_metrics(cfg, [dataset.where.replace('dataloader', 'evaluator')]):
        topk = max(as_list(metric.config.get('topk')), default=1)
        if number and topk > number and metric.derives_from('mmpretrain.Accuracy'):
            raise ValueError(
                f'{metric.where}: topk={metric.config["topk"]!r} must be at most {number}, the number of classes'
            )


def find_settings(part: object, path: str, cfg: Config) -> Iterator[Setting]:
    """Find all numbers of classes in a part of a model, also those that its class has by default.

    Args:
        part (object): Config of the part.
        path (str): Where it is in the config.
        cfg (Config): The whole config.

    Raises:
        ValueError: If a head for two classes has one channel, but no sigmoid.
    """
    if isinstance(part, (list, tuple)):
        for index, inner in enumerate(part):
            yield from find_settings(inner, f'{path}[{index}]', cfg)
    if not isinstance(part, dict):
        return
    kind = class_of(part, MODELS, cfg, path) if 'type' in part and 'head' in path.split('.')[-1] else None
    if getattr(kind, '__name__', '') == 'STDCHead':  # its classes are boundary and background
        return
    number = part.get('num_classes', default_number(kind))
    if isinstance(number, int) and number > 0 and not part.get('class_agnostic'):
        yield Setting(f'{path}.num_classes', number)
    for key, beyond in LOSSES.items():
        for loss in as_list(part.get(key)):
            weights = loss.get('class_weight')
            if part.get('out_channels') == 1 and loss.get('type') == 'CrossEntropyLoss' and not loss.get('use_sigmoid'):
                raise ValueError(f'{path}: out_channels=1 needs {key}=dict(use_sigmoid=True), as a softmax of one is 1')
            if isinstance(weights, (list, tuple)):
                yield Setting(f'the number of weights of {path}.{key}.class_weight', len(weights), beyond)
    for key, inner in part.items():
        if key not in OTHERS:
            yield from find_settings(inner, f'{path}.{key}', cfg)


def default_number(kind: object) -> int | None:
    """Return the number of classes that a class of heads has if none is set; None if it has none."""
    for base in inspect.getmro(kind) if inspect.isclass(kind) else ():
        init = vars(base).get('__init__')
        parameter = inspect.signature(init).parameters.get('num_classes') if init else None
        if parameter:
            return None if parameter.default is parameter.empty else parameter.default
    return None
