"""What the documentation lists is what the code has."""

import ast
import re

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from vil_mm_docs import pictures

from tests.conftest import ROOT
from vil_mm.apis import count_macs
from vil_mm.models import ViL, attentions
from vil_mm.ops import BACKENDS, sliding_window_attention
from vil_mm.ops.checks import MASKS, NEIGHBORS
from vil_mm.registry import HOOKS

DOCS = ROOT / 'docs'


def first_column(name, pattern):
    """What the tables of a page have in their first column, as far as it fits the pattern."""
    return re.findall(rf'^\| {pattern} +\|', (DOCS / name).read_text(), flags=re.M)


def test_backends():
    assert first_column('guides/backends.md', r"`'(\w+)'`") == list(BACKENDS)


def test_masks():
    assert first_column('op.md', r"`'(\w+)'`") == list(MASKS)


def test_hooks():
    HOOKS.import_from_location()
    assert sorted(first_column('reference/hooks.md', r'`vil_mm\.(\w+)`')) == sorted(HOOKS.module_dict)


def test_attentions():
    known = [name for name in vars(attentions) if name.endswith('Attention') and name != 'BaseAttention']
    listed = set(first_column('guides/attentions.md', r'`vil_mm\.(\w+)`'))
    assert listed == set(known)


def texts(path):
    """The strings of a file, with ``…`` for what is put into them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield ''.join(str(part.value) if isinstance(part, ast.Constant) else '…' for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_errors_are_quoted():
    strings = [text for path in ROOT.glob('vil_mm/**/*.py') for text in texts(path)]
    foreign = {'Expected more than 1 value per channel when training'}
    quotes = set(re.findall(r'^- `(.+?)`: ', (DOCS / 'guides/errors.md').read_text(), flags=re.M)) - foreign
    assert len(quotes) > 20
    said = set(re.findall(r'^\| `([^`]+)` +\|', (DOCS / 'guides/backends.md').read_text(), flags=re.M))
    said = {text for text in said if ' ' in text}
    assert len(said) > 5
    for quote in quotes | said:
        parts = [re.escape(part.strip()) for part in re.split(r'…|torch\.float64|PyTorch$', quote) if part.strip()]
        assert any(re.search('.*'.join(parts), text, flags=re.S) for text in strings), quote


@pytest.mark.parametrize('mask', MASKS)
@pytest.mark.parametrize('query', [(1, 12), (4, 7), (10, 0), (0, 13)])
def test_pictures_show_what_the_op_sees(query, mask):
    h, w = pictures.GRID
    for neighbors in NEIGHBORS if mask != 'exact' else ['all']:
        q, k = torch.randn(2, 1, 1, h * w, h * w)
        out = sliding_window_attention(
            q,
            k,
            torch.eye(h * w)[None, None],
            (h, w),
            pictures.WINDOW,
            mask=mask,
            neighbors=neighbors,
            backend='reference',
        )
        seen = pictures.seen_keys(query, mask, neighbors)
        assert torch.equal(out.view(h, w, h, w)[query] > 0, seen[:h, :w])
        assert seen[h:].any() + seen[:, w:].any() == 0 or mask == 'cyclic'


@pytest.mark.slow
def test_costs_of_attentions():
    text = (DOCS / 'guides/attentions.md').read_text().split('## What they cost')[1]
    rows = re.findall(r'^\| (.+?) +\| +([\d. /]+?) \| +([\d.]+) \| +([\d.]+) \|$', text, flags=re.M)
    assert len(rows) == 9
    kind = None
    for name, parameters, *counts in rows:
        kind = (re.search(r'vil_mm\.\w+', name) or [kind])[0]
        options = {'window_size': 12} if 'window_size=12' in name else {}
        sizes = []
        for shape, count in zip(((224, 224), (800, 1344)), counts):
            with FakeTensorMode():
                model = ViL(
                    'small',
                    attn_cfg=dict(type=kind, **options),
                    img_size=shape,
                    output_norm=None,
                    relative_position_bias=False,
                ).eval()
                macs = count_macs(model, (torch.empty(1, 3, *shape),))['']
            sizes.append(f'{sum(p.numel() for p in model.parameters()) / 1e6:.1f}')
            assert f'{macs / 1e9:.{len(count.partition(".")[2])}f}' == count, (name, shape)
        assert parameters.split(' / ') == list(dict.fromkeys(sizes)), name
