"""Count the rows of the publications' tables that have a config, all figures of their table, and a golden.

A golden is a set of outputs recorded from the published code, which a test compares with the config's model. Rows
without a config or a golden say why. The tables are in ``configs/<family>/published.yml``.
"""

from collections import Counter
from pathlib import Path

from vil_mm.engine.published import read_rows

CONFIGS = Path(__file__).parents[2] / 'configs'


def count(folder: Path) -> Counter:
    """Count the rows of a family, and what they have.

    Args:
        folder (Path): The family's configs.

    Returns:
        Counter: Under ``'rows'``, the number of rows; under ``'config'``,
        ``'figures'`` and ``'golden'``, how many have that; under ``'no
        config'`` and ``'no golden'``, how many say why they have not.
    """
    paths = {path.stem for path in folder.rglob('*.py')}
    counts = Counter(rows=0)
    for row in read_rows(folder):
        counts['rows'] += 1
        counts['config'] += row.get('config') in paths
        counts['figures'] += all(figure in row for figure in row['figures'])
        counts['golden'] += 'golden' in row
        counts['no config'] += 'no_config' in row
        counts['no golden'] += 'no_golden' in row
    return counts


def main() -> None:
    columns = ['rows', 'config', 'no config', 'figures', 'golden', 'no golden']
    print(f'{"":<10}' + ''.join(f'{column:>11}' for column in columns))
    total = Counter()
    for path in sorted(CONFIGS.glob('*/published.yml')):
        counts = count(path.parent)
        total += counts
        print(f'{path.parent.name:<10}' + ''.join(f'{counts[column]:>11}' for column in columns))
    print(f'{"all":<10}' + ''.join(f'{total[column]:>11}' for column in columns))


if __name__ == '__main__':
    main()
