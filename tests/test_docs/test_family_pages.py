"""The page of each family: its sections, its picture, and the citations of its publications."""

import re

import pytest
import torch
import yaml
from vil_mm_docs import families

from tests.conftest import ROOT
from vil_mm.models.attentions import LinearAttention, WindowAttention
from vil_mm.models.layers import DepthwiseConv

PAGES = {path.parent.name: path.read_text() for path in sorted(ROOT.glob('configs/*/README.md'))}
PAPERS = {family: yaml.safe_load((ROOT / f'configs/{family}/published.yml').read_text())['papers'] for family in PAGES}
CFF = yaml.safe_load((ROOT / 'CITATION.cff').read_text())


def headings(text, level):
    """The headings of a level, outside of code."""
    return re.findall(rf'^{"#" * level} (.+)$', re.sub(r'^```.*?^```$', '', text, flags=re.M | re.S), flags=re.M)


@pytest.mark.parametrize('family', PAGES)
def test_sections(family):
    first, *rest = headings(PAGES[family], 2)
    assert first == 'Abstract' and rest[-1] == 'Citation' and {'Use', 'Models', 'Detection'} <= set(rest)
    use = headings(PAGES[family].split('## Use')[1].split('\n## ')[0], 3)
    assert use[:3] == ['Predict', 'Train', 'Test']
    assert 'Convert' in use or 'Convert a Swin Transformer' in rest
    abstract = PAGES[family].split('## Abstract')[1].split('\n## ')[0]
    assert len(abstract.split()) > 100 and f'(../../docs/images/families/{family}.svg)' in abstract


def test_pictures_are_those_that_the_code_draws(tmp_path):
    families.draw(tmp_path)
    assert {path.stem for path in families.FOLDER.iterdir()} == set(PAGES)
    for path in tmp_path.iterdir():
        drawn = without_clip_ids(families.FOLDER / path.name)
        assert drawn == without_clip_ids(path), (
            f'run python -m vil_mm_docs.families in docs/: {path.name} is out of date'
        )


def without_clip_ids(path):
    # matplotlib hashes all digits of a clip's coordinates, and the last one differs between processors
    return re.sub(r'\bp[0-9a-f]{10}\b', 'clip', path.read_text())


def test_what_reaches_a_place():
    """The pictures' cells are those that the mechanisms are known to mix."""
    query, shape = (4, 9), (1, 16, 14, 14)
    seen = families.reach(families.on_map(WindowAttention(16, 2, window_size=7)), shape, query)
    assert seen[:7, 7:].all() and seen.sum() == 49
    assert families.reach(families.on_map(LinearAttention(16, 2)), shape, query).all()
    seen = families.reach(DepthwiseConv(16, 7), shape, query)
    assert seen[1:8, 6:13].all() and seen.sum() == 49


def test_predicted_windows():
    """Those drawn are the windows that the attention samples."""
    attention = families.predicting_attention()
    seen = families.reach(families.on_map(attention), (1, attention.embed_dims, 21, 21), families.VARIED_QUERY)
    sampled = torch.zeros(21, 21, dtype=torch.bool)
    for rows, columns in zip(*families.predicted_points(attention)):
        for around in (torch.floor, torch.ceil):
            for across in (torch.floor, torch.ceil):
                sampled[around(rows).long()[:, None], across(columns).long()] = True
    fixed = torch.zeros(21, 21, dtype=torch.bool)  # the predictions' own input
    fixed[7:14, 7:14] = True
    assert torch.equal(seen & ~fixed, sampled & ~fixed) and (sampled & ~fixed).sum() > 49


@pytest.mark.parametrize('family', PAGES)
def test_citations(family):
    """The BibTeX entries, the links below the title and CITATION.cff name the same publications."""
    papers, page = PAPERS[family], PAGES[family]
    citation = page.split('## Citation')[1]
    entries = re.findall(r'^@article\{(\w+),\n((?:  \w+ = \{.*\},?\n)+)\}$', citation, flags=re.M)
    assert [key for key, _ in entries] == [paper['key'] for paper in papers]
    for (_, body), paper in zip(entries, papers):
        fields = dict(re.findall(r'^  (\w+) = \{(.*)\},?$', body, flags=re.M))
        assert fields.keys() == {'title', 'author', 'journal', 'year'}
        assert fields['title'] == paper['title'] and fields['year'] == str(paper['year'])
        assert body.count('{') == body.count('}') and re.fullmatch(r'(20)(\d\d)', fields['year'])
        link = f'https://arxiv.org/abs/{paper["arxiv"]}'
        assert f'[{paper["title"]}]({link})' in page.split('## Abstract')[0]
        (reference,) = [entry for entry in CFF['references'] if entry['url'] == link]
        assert (reference['title'], reference['year']) == (paper['title'], paper['year'])
        authors = ' and '.join(f'{author["family-names"]}, {author["given-names"]}' for author in reference['authors'])
        assert authors == paper['author']
