"""What the publications state of their models, and which files they offer: ``configs/<family>/published.yml``."""

import re
from functools import cache
from pathlib import Path

from mmengine.fileio import load

PACKAGE = Path(__file__).parents[1]


def find_home() -> Path:
    """Find the folder that holds the model index and the configs.

    Returns:
        Path: The repository, or the folder inside an installed package.

    Raises:
        FileNotFoundError: If neither holds the index.
    """
    # an installed package contains the configs, a checkout has them beside it
    homes = PACKAGE / '.mim', PACKAGE.parent
    home = next((home for home in homes if (home / 'model-index.yml').is_file()), None)
    if home is None:
        raise FileNotFoundError(f'there is no model-index.yml in {homes[0]} or {homes[1]}: reinstall vil_mm')
    return home


def checkpoint_name(config: str) -> str:
    """Name the file of a config's weights: as the config, without the batch.

    Args:
        config (str): Name of the config, such as ``'vil-small_8xb128_in1k'``.

    Returns:
        str: The name, such as ``'vil-small_in1k.pth'``.
    """
    return re.sub(r'_\d+xb\d+[^_]*', '', config) + '.pth'


def read_rows(folder: Path) -> list[dict]:
    """Read the rows of a family's published tables.

    Args:
        folder (Path): The family's configs.

    Returns:
        list[dict]: The rows as the file has them, with these entries added:
        ``table`` (its name), ``figures`` (the names of the figures that every
        row of the table has), and, for rows with a config, ``checkpoint`` (the
        name of a converted file), ``code``, and ``converter`` with its
        ``options``.
    """
    family = load(folder / 'published.yml')
    rows = []
    for table in family['tables']:
        for row in table['rows']:
            row = dict(row, table=table['name'], figures=table['figures'])
            for published in (row, row.get('pretraining')):
                if published and 'config' in published:
                    published.setdefault('checkpoint', checkpoint_name(published['config']))
                    options = family.get('options'), table.get('options'), published.get('options')
                    published['options'] = ' '.join(filter(None, options))
                    published.update(code=family.get('code'), converter=family['converter'])
                if published and 'file' in published:
                    published['file'] = family.get('files', '') + published['file']
            rows.append(row)
    return rows


@cache
def _published_files() -> dict[str, dict]:
    """Find what the publications say of each file, by our name of the converted one."""
    rows = [row for path in sorted(find_home().glob('configs/*/published.yml')) for row in read_rows(path.parent)]
    published = [*rows, *(row['pretraining'] for row in rows if 'pretraining' in row)]
    return {row['checkpoint']: row for row in published if 'file' in row}


def explain_checkpoint(path: str | Path) -> str | None:
    """Say where a file of ``checkpoints/`` comes from.

    Args:
        path (str | Path): The file.

    Returns:
        str, optional: Which published file to convert, and how, or else which
        config to train. None if the file is no config's.
    """
    path = Path(path)
    if path.parent.name != 'checkpoints':
        return None
    try:
        row = _published_files().get(path.name)
        configs = sorted(find_home().glob('configs/[!_]*/**/*.py'))
    except FileNotFoundError:  # without the configs
        return None
    if row is not None:
        tool = f'python tools/model_converters/{row["converter"]} FILE {path} {row["options"]}'
        return f'Convert the published file {row["file"]}: {tool.rstrip()}'
    config = next((config for config in configs if checkpoint_name(config.stem) == path.name), None)
    if config is None:
        return None
    return (
        f'No such file was published: train {config.relative_to(find_home())}, and copy what it has saved to that name.'
    )
