"""The documentation site builds without a warning, and its links lead somewhere."""

import inspect
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import ROOT
from vil_mm import engine, models
from vil_mm.registry import DATASETS, HOOKS, METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

REGISTRIES = (MODELS, DATASETS, METRICS, HOOKS, OPTIM_WRAPPERS, OPTIM_WRAPPER_CONSTRUCTORS)


class Page(HTMLParser):
    """The links and anchors of a page, and its text; the texts of the links that can be clicked."""

    def __init__(self, path):
        super().__init__()
        self.links, self.clicks, self.anchors, self.words = [], [], {'': 0}, []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.setdefault(attributes.get('id'), len(self.words))
        self.links += [attributes[name] for name in ('href', 'src') if attributes.get(name)]
        if tag == 'a':
            self.clicks.append([attributes.get('href', ''), ''])

    def handle_endtag(self, tag):
        if tag == 'a':
            self.clicks.append([None, ''])

    def handle_data(self, data):
        self.words.append(data)
        if self.clicks and self.clicks[-1][0]:
            self.clicks[-1][1] += data

    def text(self, anchor=''):
        """The text from an anchor on."""
        return ' '.join(' '.join(self.words[self.anchors[anchor] :]).split())


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The built site, by the command of tools/build_docs.sh."""
    folder = tmp_path_factory.mktemp('site')
    line = next(line for line in (ROOT / 'tools/build_docs.sh').read_text().splitlines() if '-m sphinx' in line)
    options = line.split('-m sphinx ')[1].removesuffix(' docs build/docs "$@"').split()
    assert '--fail-on-warning' in options
    command = [sys.executable, '-m', 'sphinx', *options, '-d', folder / 'doctrees', 'docs', folder / 'html']
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout[-6000:]
    return folder / 'html'


@pytest.fixture(scope='module')
def pages(site):
    return {path: Page(path) for path in site.rglob('*.html')}


def inner(path, link):
    """The file and the anchor that a link of a page leads to; None for links to other sites."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    return target, unquote(parts.fragment)


def test_links_lead_somewhere(pages):
    wrong = []
    for path, page in pages.items():
        for link in page.links:
            target, anchor = inner(path, link) or (path, '')
            if not target.is_file() or (anchor and target in pages and anchor not in pages[target].anchors):
                wrong.append((path.name, link))
    assert wrong == []


@pytest.mark.parametrize(
    'clue, answer',
    [
        ('add ViL to an mmdetection', "backbone=dict( _delete_=True, type='vil_mm.ViL', arch='small',"),
        ('memory an 800x1344 image needs', '| small | 271 MiB | 2329 MiB |'),
        ('load a published file', "get_model('vil-small_8xb128_in1k', pretrained=weights)"),
        ('why the CUDA backend is not chosen', 'the extension was built without CUDA code'),
    ],
)
def test_answers_are_at_most_two_clicks_away(clue, answer, site, pages):
    """From the first page, by links whose text names what is looked for, to a place where the answer comes soon."""
    squeezed = ''.join(answer.replace('|', '').split())
    places = {((site / 'index.html').resolve(), '')}
    for _ in range(2):
        places = {
            inner(path, link)
            for path, _ in places
            for link, text in pages[path].clicks
            if link and inner(path, link) and clue.lower() in ' '.join(text.split()).lower()
        }
        for path, anchor in places:
            if squeezed in ''.join(pages[path].text(anchor).split())[:5000]:
                return
    pytest.fail(f'{clue}: {places}')


def test_everything_registered_is_in_the_reference(pages):
    """Also the classes behind the builders of heads, and the arguments of every class."""
    assert models and engine
    anchors = set().union(*(page.anchors for page in pages.values())) - {None}
    names = {anchor.rpartition('.')[2] for anchor in anchors if anchor.startswith('vil_mm.')}
    for registry in REGISTRIES:
        registry.import_from_location()
        ours = {name for name, kind in registry.module_dict.items() if kind.__module__.startswith('vil_mm.')}
        assert ours <= names
    functions = {name for name, value in vars(sys.modules['vil_mm.ops']).items() if inspect.isfunction(value)}
    assert functions and functions <= names
