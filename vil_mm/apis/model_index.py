"""The model index, for mmpretrain's ``get_model``, ``list_models`` and inferencers."""

from functools import wraps

from mmpretrain.apis import ModelHub

from ..engine.published import find_home
from .names import check_library


def register_models() -> None:
    """Make the models of the model index known to mmpretrain by name.

    It lists those for mmdet and mmsegmentation too, but cannot build them, and
    then says what can.

    Raises:
        FileNotFoundError: If neither the package nor the repository around it
            holds the index.
    """
    home = find_home()
    ModelHub.register_model_index(home / 'model-index.yml', config_prefix=home)
    get = ModelHub.get

    @wraps(get)
    def get_checked(model_name: str) -> object:
        check_library(model_name, 'mmpretrain')
        return get(model_name)

    ModelHub.get = staticmethod(get_checked)
