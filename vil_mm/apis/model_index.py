"""The model index, for mmpretrain's ``get_model``, ``list_models`` and inferencers."""

from pathlib import Path

from mmpretrain.apis import ModelHub

PACKAGE = Path(__file__).parents[1]


def register_models() -> None:
    """Make the classifiers of the model index known to mmpretrain by name.

    Raises:
        FileNotFoundError: If neither the package nor the repository around it
            holds the index.
    """
    # an installed package contains the configs, a checkout has them beside it
    homes = PACKAGE / '.mim', PACKAGE.parent
    home = next((home for home in homes if (home / 'model-index.yml').is_file()), None)
    if home is None:
        raise FileNotFoundError(f'there is no model-index.yml in {homes[0]} or {homes[1]}: reinstall vil_mm')
    ModelHub.register_model_index(home / 'model-index.yml', config_prefix=home)
