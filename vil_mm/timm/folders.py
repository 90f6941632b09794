"""Folders of a model: its weights, and how it was built."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import timm
from timm.models._hub import save_config_for_hf
from torch import nn

from ..arguments import check_arguments
from ..engine.checkpoint import read_checkpoint, write_checkpoint
from .classifier import Classifier

#: Files of a folder, which timm and the Hugging Face hub name so.
WEIGHTS, CONFIG = 'model.safetensors', 'config.json'


@check_arguments
def save_pretrained(model: Classifier, folder: str | Path) -> None:
    """Write a model's weights, ``model.safetensors``, and how it was built, ``config.json``.

    Args:
        model (Classifier): A model from ``timm.create_model`` or
            :func:`from_pretrained`, with all its stages. Neither dropout rates
            nor its dtype are written.
        folder (str | Path): The folder; made if it does not exist. If the model
            cannot be written, files that it holds stay as they are.

    Raises:
        ValueError: If the model was not built by timm, has lost stages, or an
            argument that it was built with cannot be written in JSON.
    """
    if not hasattr(model, 'pretrained_cfg'):
        raise ValueError('model was not built by timm.create_model or from_pretrained, which note how it was built')
    if len(model.backbone.stages) < len(model.feature_info):
        raise ValueError(
            f'model has {len(model.backbone.stages)} of its {len(model.feature_info)} stages: the others were pruned, '
            'which a folder cannot say'
        )
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as part:
        save_config_for_hf(model, str(Path(part, CONFIG)))
        write_checkpoint(dict(state_dict=model.state_dict(), meta=dict(format='pt')), Path(part, WEIGHTS))
        for name in (WEIGHTS, CONFIG):
            Path(part, name).replace(folder / name)


@check_arguments
def from_pretrained(source: str | Path, **kwargs) -> nn.Module:
    """Build a model as a folder of :func:`save_pretrained` says, with its weights.

    Args:
        source (str | Path): The folder; or, if huggingface_hub is installed,
            the name of a repository on the Hugging Face hub that holds such a
            folder, such as ``'someone/vil_small'``.
        **kwargs: Further arguments of ``timm.create_model``, such as
            ``num_classes``, ``in_chans`` or ``features_only``. Weights are
            read as float32, unless ``dtype`` is another.

    Returns:
        nn.Module: The model, in training mode.

    Raises:
        FileNotFoundError: If there is no such folder, or it holds no model.
        CheckpointError: If the weights are damaged.
        ValueError: If ``config.json`` does not name a model that timm knows.
        ImportError: If there is no such folder, it could be a repository, and
            huggingface_hub is not installed.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        missing = [name for name in (WEIGHTS, CONFIG) if not (path / name).is_file()]
        if missing:
            raise FileNotFoundError(f'source={str(source)!r} holds no {" and no ".join(missing)}')
        _check_config(path / CONFIG)
        read_checkpoint(path / WEIGHTS)  # timm compares no digests
        return timm.create_model(f'local-dir:{path}', pretrained=True, **kwargs)
    if not re.fullmatch(r'[\w.-]+/[\w.-]+(@[\w.-]+)?', str(source)):
        raise FileNotFoundError(f'source={str(source)!r} is neither a folder nor the name of a repository, OWNER/NAME')
    if find_spec('huggingface_hub') is None:
        raise ImportError(
            f'source={str(source)!r} is no folder. To look it up on the Hugging Face hub: pip install huggingface_hub',
            name='huggingface_hub',
        )
    return timm.create_model(f'hf-hub:{source}', pretrained=True, **kwargs)


def _check_config(path: Path) -> None:
    try:
        name = json.loads(path.read_text(encoding='utf-8'))['architecture']
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'{path} must hold JSON with the entry "architecture": {error!r}') from error
    if not (isinstance(name, str) and timm.is_model(name)):
        raise ValueError(f'{path} has architecture={name!r}, must be a model that timm.list_models names')
