"""Parts of pages that are written from the code: a line ``<!-- generated: NAME -->`` in a page becomes such a part."""

import io
import os
import re
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

from sphinx.application import Sphinx

from .links import ROOT

#: Settings of argparse's help.
HELP = dict(COLUMNS='88', NO_COLOR='1')


def insert(app: Sphinx, name: str, source: list[str]) -> None:
    """Put the generated parts into a page."""
    source[0] = re.sub(r'^<!-- generated: (\w+) -->$', lambda part: PARTS[part[1]](), source[0], flags=re.M)


def configs() -> str:
    """List all configs, by folder, with the comment that each begins with."""
    lines = []
    for folder in sorted({path.parent for path in ROOT.glob('configs/*/**/*.py')}):
        relative = folder.relative_to(ROOT)
        if relative.parts[1] != '_base_':
            lines += [f'## {relative}', '']
            for path in sorted(folder.glob('*.py')):
                comment = ' '.join(re.findall(r'\A((?:#.*\n)*)', path.read_text())[0].replace('#', '').split())
                lines.append(f'- [{path.stem}]({ROOT}/{relative}/{path.name})' + (f': {comment}' if comment else ''))
            lines.append('')
    return '\n'.join(lines)


def tools() -> str:
    """Write what ``--help`` prints of every tool, by folder."""
    lines = []
    for folder in sorted({path.parent for path in ROOT.glob('tools/**/*.py')}):
        commands = [path for path in sorted(folder.glob('*.py')) if is_command(path)]
        lines += [f'## {folder.relative_to(ROOT)}', ''] if commands else []
        for path in commands:
            lines += [f'### {path.relative_to(ROOT)}', '', '```text', help_of(path), '```', '']
    return '\n'.join(lines)


def is_command(path: Path) -> bool:
    """Tell whether a file is a command with options."""
    text = path.read_text()
    return re.search(r'\bargument_parser\(|ArgumentParser\(', text) is not None and 'def main()' in text


def help_of(path: Path) -> str:
    """Run a tool with ``--help``."""
    saved = sys.argv, sys.path[:], os.environ.copy()
    sys.argv = [str(path), '--help']
    sys.path.insert(0, str(path.parent))
    os.environ.update(HELP)
    output = io.StringIO()
    try:
        with redirect_stdout(output):
            runpy.run_path(str(path), run_name='__main__')
    except SystemExit:
        pass
    finally:
        sys.argv, sys.path[:] = saved[:2]
        os.environ.clear()
        os.environ.update(saved[2])
    return output.getvalue().rstrip()


PARTS = dict(configs=configs, tools=tools)
