"""Folders of a model: its weights, and how it was built."""

import re
from importlib.util import find_spec
from pathlib import Path

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
            :func:`from_pretrained`. Dropout rates are not written.
        folder (str | Path): The folder; made if it does not exist.

    Raises:
        ValueError: If an argument that it was built with cannot be written in
            JSON.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_checkpoint(dict(state_dict=model.state_dict(), meta=dict(format='pt')), folder / WEIGHTS)
    save_config_for_hf(model, str(folder / CONFIG))


@check_arguments
def from_pretrained(source: str | Path, **kwargs) -> nn.Module:
    """Build a model as a folder of :func:`save_pretrained` says, with its weights.

    Args:
        source (str | Path): The folder; or, if huggingface_hub is installed,
            the name of a repository on the Hugging Face hub that holds such a
            folder, such as ``'someone/vil_small'``.
        **kwargs: Further arguments of ``timm.create_model``, such as
            ``num_classes``, ``in_chans`` or ``features_only``.

    Returns:
        nn.Module: The model, in training mode.

    Raises:
        FileNotFoundError: If there is no such folder, or it holds no model.
        CheckpointError: If the weights are damaged.
        ImportError: If there is no such folder, it could be a repository, and
            huggingface_hub is not installed.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        missing = [name for name in (WEIGHTS, CONFIG) if not (path / name).is_file()]
        if missing:
            raise FileNotFoundError(f'source={str(source)!r} holds no {" and no ".join(missing)}')
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
