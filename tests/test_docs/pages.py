"""The Markdown pages of the repository, and the code blocks in them.

A comment on the line before a block says how it runs:

* ``<!-- not run: REASON -->``: not at all;
* ``<!-- file: NAME -->``: it is a config, saved under that name;
* ``<!-- run: in mmdet/configs/FOLDER -->``: it is a config beside the library's own in that folder.

All other Python blocks of a page run one after another, as do its shell commands; those of the family pages in configs/
need ImageNet, COCO or published files, and never run.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAGES = sorted(
    [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *ROOT.glob('configs/*/README.md'), *ROOT.glob('docs/**/*.md')]
)
BLOCK = re.compile(
    r'^(?P<indent> *)(?:<!-- (?P<how>not run|file|run): (?P<what>[^\n]+) -->\n\n? *)?```(?P<language>python|bash)\n'
    r'(?P<code>.*?)^(?P=indent)```$',
    flags=re.M | re.S,
)


@dataclass(frozen=True)
class Block:
    """A code block: its page, language and code, the number of its first line, and what its comment says."""

    page: Path
    language: str
    code: str
    line: int
    how: str | None
    what: str | None


def blocks(page, language, how=None):
    """The blocks of a page that run in the same way."""
    text = page.read_text()
    found = []
    for match in BLOCK.finditer(text):
        code = re.sub(f'^{match["indent"]}', '', match['code'], flags=re.M)
        line = text[: match.start('code')].count('\n') + 1
        found.append(Block(page, match['language'], code, line, match['how'], match['what']))
    return [block for block in found if block.language == language and block.how == how]


def pages_with(language, how=None):
    """The pages that hold such blocks, by name."""
    return [str(page.relative_to(ROOT)) for page in PAGES if blocks(page, language, how)]
