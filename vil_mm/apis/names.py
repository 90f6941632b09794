"""Our configs by name, for what mmengine, mmdet and mmsegmentation read configs and find models with."""

import sys
from collections.abc import Iterator
from functools import cache, wraps
from pathlib import Path

from mmengine.config import Config
from mmengine.infer import BaseInferencer

from ..engine.published import find_home

#: The folder, in that of a family, with the configs for each library whose inferencers are mmengine's.
FOLDERS = {'mmdet': 'detection', 'mmseg': 'segmentation'}
#: What builds a model of each library from a name.
BUILDERS = {
    'mmpretrain': 'mmpretrain.get_model or ImageClassificationInferencer',
    'mmdet': 'mmdet.apis.init_detector or DetInferencer',
    'mmseg': 'mmseg.apis.init_model or MMSegInferencer',
}


@cache
def named_configs() -> dict[str, Path]:
    """List all configs.

    Returns:
        dict[str, Path]: The files, by name.

    Raises:
        FileNotFoundError: If the configs are not installed.
    """
    paths = sorted((find_home() / 'configs').glob('[!_]*/**/*.py'))
    return {path.stem: path for path in paths}


def check_library(name: object, library: str) -> None:
    """Refuse the name of a config for another library.

    Args:
        name (object): A name, or what else functions of the library take.
        library (str): The library that shall build the model.

    Raises:
        ValueError: If the name is that of a config for another library.
    """
    path = named_configs().get(str(name))
    if path is None:
        return
    own = next((own for own, folder in FOLDERS.items() if path.parent.name == folder), 'mmpretrain')
    if own != library:
        raise ValueError(f'{name} is a config for {own}, not for {library}: give the name to {BUILDERS[own]}')


def register_configs() -> None:
    """Make the configs known to mmengine by name.

    ``Config.fromfile`` then takes a name in place of a file, and with it
    mmdet's ``init_detector`` and mmsegmentation's ``init_model``. Inferencers
    look into the library of their task only, and there is no place to register
    at, so ours are added to what is found there.
    """
    read, find = Config.fromfile, BaseInferencer._get_models_from_metafile
    load = BaseInferencer._load_model_from_metafile

    @wraps(read)
    def read_named(filename: str | Path, *args, **kwargs) -> Config:
        return read(named_configs().get(str(filename), filename), *args, **kwargs)

    @wraps(find)
    def find_all(dir: str) -> Iterator[dict]:
        for library, folder in FOLDERS.items():
            if library in sys.modules and dir == BaseInferencer._get_repo_or_mim_dir(library):
                for name, path in named_configs().items():
                    if path.parent.name == folder:
                        yield dict(Name=name, Config=str(path), Weights=None)
        yield from find(dir)

    @wraps(load)
    def load_checked(self: BaseInferencer, model: str) -> tuple[Config, str]:
        check_library(model, self.scope)
        return load(self, model)

    Config.fromfile = staticmethod(read_named)
    BaseInferencer._load_model_from_metafile = load_checked
    BaseInferencer._get_models_from_metafile = staticmethod(find_all)
