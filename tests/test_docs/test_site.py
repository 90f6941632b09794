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
    """The links and anchors of a page, and its text."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.words = [], {''}, []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors.add(attributes.get('id'))
        self.links += [attributes[name] for name in ('href', 'src') if attributes.get(name)]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return ' '.join(' '.join(self.words).split())


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
    'words',
    [
        "type='vil_mm.ViL', arch='small', attn_cfg=dict(type='vil_mm.SlidingWindowAttention'), output_norm=None",
        'Memory for 800x1344 pixels',
        "get_model('vil-small_8xb128_in1k', pretrained=weights)",
        'Why the CUDA backend is not chosen',
    ],
)
def test_answers_are_one_click_away(words, site, pages):
    index = (site / 'index.html').resolve()
    near = {inner(index, link)[0] for link in pages[index].links if inner(index, link)}
    squeezed = ''.join(words.split())
    assert any(squeezed in ''.join(pages[path].text.split()) for path in near if path in pages)


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
