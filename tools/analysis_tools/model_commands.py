"""The commands that the publications state, and ours: ``configs/<family>/commands.yml``."""

import re
from pathlib import Path

from mmengine.fileio import load


def commands_table(folder: Path) -> str:
    """Write the commands of a family as a table in Markdown.

    Args:
        folder (Path): The family's configs.

    Returns:
        str: The table. Published arch strings are cut short in it.
    """
    rows = [['to', 'published', 'here']]
    for command in load(folder / 'commands.yml'):
        published = re.sub(r'(l1,h\d+),\S+', r'\1,...', command['published'])
        here = [f'`{line}`' for line in command['here']]
        rows.append([command['what'], f'`{published}`', '<br>'.join([*here, *filter(None, [command.get('note')])])])
    widths = [max(map(len, column)) for column in zip(*rows)]
    rows.insert(1, ['-' * width for width in widths])
    return '\n'.join('| ' + ' | '.join(map(str.ljust, row, widths)) + ' |' for row in rows)
