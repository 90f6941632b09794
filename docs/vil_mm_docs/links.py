"""Links that work in the repository, adapted to the site.

Pages link to each other and to files by relative paths, so that they can be followed in the repository too. On the
site, a file that a page includes is that page, and a folder of configs is its section in the list of configs. Other
files can be downloaded.
"""

import os
import re
from functools import cache
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
CONFIGS = DOCS / 'reference/configs.md'
#: A Markdown link or picture: what comes before its target, the target's path, and its anchor.
LINK = re.compile(r'(\]\()([^)#:\s]+)(#[^)\s]*)?(?=\))')


def adapt_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Adapt the links of a page of the site."""
    page = DOCS / f'{name}.md'
    source[0] = adapt(source[0], page, page)


def adapt_included(app: Sphinx, path: Path, name: str, content: list[str]) -> None:
    """Adapt the links of a file that a page includes."""
    # MyST passes only the last part of the page's name
    content[0] = adapt(content[0], Path(app.srcdir, path).resolve(), DOCS / f'{app.env.docname}.md')


def adapt(text: str, file: Path, page: Path) -> str:
    """Adapt the links in the text of ``file``, which is shown on ``page``."""

    def replace(link: re.Match) -> str:
        before, path, anchor = link.groups()
        target = Path(os.path.normpath(file.parent / path))
        target, section = place(target)
        return f'{before}{os.path.relpath(target, page.parent)}{section or anchor or ""}'

    return LINK.sub(replace, text)


def place(target: Path) -> tuple[Path, str]:
    """Find the page that shows a file or folder, and its section there; other files stay what they are."""
    if target.is_dir():
        return CONFIGS, f'#{folder_anchor(target)}'
    return pages().get(target, target), ''


def folder_anchor(folder: Path) -> str:
    """Anchor of a folder's section in the list of configs: that of the heading with its path."""
    return str(folder.relative_to(ROOT)).replace('/', '').lower()


@cache
def pages() -> dict[Path, Path]:
    """List the files that pages include, with their pages."""
    included = {
        Path(os.path.normpath(page.parent / file)): page
        for page in DOCS.rglob('*.md')
        for file in re.findall(r'^```\{include\} (\S+)$', page.read_text(), flags=re.M)
    }
    return {ROOT / 'README.md': DOCS / 'index.md', **included}
