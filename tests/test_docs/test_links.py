"""Links between the Markdown pages of the repository, and the files that they name."""

import re

import pytest

from tests.conftest import ROOT
from tests.test_docs.pages import PAGES

TEXTS = [*PAGES, ROOT / 'CHANGELOG.md']
LINK = re.compile(r'\]\(([^)\s]+)\)')
#: Paths in text or code; ``*`` and ``<...>`` stand for any name, ``{a,b}`` for either.
PATH = re.compile(r'(?<![\w./-])((?:tools|configs|tests|vil_mm|csrc|docs)/[\w./*<>{},-]*[\w*>}])')
#: The file of the example in CONTRIBUTING.md, and folders of the other libraries.
NOT_HERE = {
    'vil_mm/models/attentions/mean_attention.py',
    'configs/mask_rcnn',
    'configs/upernet',
    'configs/swin_transformer',
    'configs/FOLDER',
}


def without_code(text):
    return re.sub(r'^ *```.*?^ *```$', '', text, flags=re.M | re.S)


def anchors(path):
    """The anchors of a page: its headings, as GitHub and MyST write them."""
    headings = re.findall(r'^#+ (.+)$', without_code(path.read_text()), flags=re.M)
    return {
        re.sub(r'[^\w -]', '', re.sub(r'\[(.+?)\]\(.+?\)', r'\1', h)).strip().lower().replace(' ', '-')
        for h in headings
    }


@pytest.mark.parametrize('page', TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    wrong = []
    for link in LINK.findall(without_code(page.read_text())):
        path, _, anchor = link.partition('#')
        if '://' in link or path.startswith('_pictures/') or '_pictures/' in path:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == '.md' and anchor not in included_anchors(target)):
            wrong.append(link)
    assert wrong == []


def included_anchors(page):
    """The anchors of a page and of the files that it includes."""
    files = re.findall(r'^```\{include\} (\S+)$', page.read_text(), flags=re.M)
    return anchors(page).union(*(anchors(page.parent / file) for file in files))


@pytest.mark.parametrize('page', TEXTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_paths(page):
    wrong = []
    # the publications' commands name files of their own repositories
    text = re.sub(r'<!-- commands: .*?<!-- end of commands -->', '', page.read_text(), flags=re.S)
    for path in set(PATH.findall(text)) - NOT_HERE:
        alternatives = re.search(r'\{(.+?)\}', path)
        for choice in alternatives[1].split(',') if alternatives else ['']:
            pattern = re.sub(r'<.+?>', '*', path.replace(alternatives[0], choice) if alternatives else path)
            if not (ROOT / pattern).exists() and not any(ROOT.glob(pattern)):
                wrong.append(path)
    assert wrong == []
