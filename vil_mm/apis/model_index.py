"""The model index, for mmpretrain's ``get_model``, ``list_models`` and inferencers."""

from mmpretrain.apis import ModelHub

from ..engine.published import find_home


def register_models() -> None:
    """Make the models of the model index known to mmpretrain by name.

    Raises:
        FileNotFoundError: If neither the package nor the repository around it
            holds the index.
    """
    home = find_home()
    ModelHub.register_model_index(home / 'model-index.yml', config_prefix=home)
