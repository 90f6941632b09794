"""What the publications state: every row of a table has a config, all figures, and a golden or the reason why none."""

import re
import sys

import pytest
import torch
import yaml
from mmengine.registry import MODELS

from tests import goldens
from tests.conftest import ROOT
from tests.test_configs.helpers import CONFIGS, PATHS, load
from tools.analysis_tools.count_published_rows import count
from vil_mm.engine.checkpoint import read_checkpoint
from vil_mm.engine.published import checkpoint_name, explain_checkpoint, read_rows

sys.path.insert(0, str(ROOT / 'tools/analysis_tools'))
from model_recipes import compare
from update_model_index import update

FAMILIES = sorted(path.parent.name for path in CONFIGS.glob('*/published.yml'))
ROWS = {family: read_rows(CONFIGS / family) for family in FAMILIES}
#: Rows of the tables on the publications' pages. Two of ViL are Swin Transformers, and one is there twice.
NUM_ROWS = dict(vil=53, l2vit=5, vitae_v2=21, dwnet=12, swin_vsa=4)
WITHOUT_CONFIG = ['Swin-Tiny (2-2-6-2)', 'Swin-Small (2-2-18-2)']
METAFILES = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']


def models_of(metafile, dense):
    """The metadata of the classifiers, or else of the detectors and segmenters, by name."""
    models = yaml.safe_load((ROOT / metafile).read_text())['Models']
    chosen = [model for model in models if (model['Results'][0]['Task'] != 'Image Classification') == dense]
    return {model['Name']: model['Metadata'] for model in chosen}


def not_counted(models):
    """All but every tenth."""
    return {name: metadata for i, (name, metadata) in enumerate(models.items()) if i % 10}


@pytest.mark.parametrize('metafile', METAFILES)
@pytest.mark.parametrize('every', [pytest.param(True, marks=pytest.mark.slow), False])
def test_model_index_is_true(metafile, every):
    """Metafile and README say what the built models and the configs have, and what the publications state."""
    known = {} if every else models_of(metafile, dense=True) | not_counted(models_of(metafile, dense=False))
    for path, text in update((ROOT / metafile).parent, known).items():
        assert path.read_text() == text, f'{path} is out of date: run tools/analysis_tools/update_model_index.py'


def test_multiply_adds_of_dense_models():
    """Against what the publications state, or what was counted on their code."""
    models = {name: model for file in METAFILES for name, model in models_of(file, dense=True).items()}
    masks = 53.0  # of 100 objects, which ViL's publication does not count
    for name, published in (
        ('mask-rcnn_vil-small_fpn_1x_coco', 240.2 + masks),
        ('retinanet_vil-base-deep_fpn_ms-3x_coco', 480.4),
        ('dwnet-tiny_upernet_8xb2-160k_ade20k-512x512', 928),
        ('dynamic-dwnet-base_upernet_8xb2-160k_ade20k-512x512', 1129),
        # at 1280x800
        ('cascade-mask-rcnn_dwnet-tiny_fpn_ms-crop-3x_coco', 730),
        ('cascade-mask-rcnn_dwnet-base_fpn_ms-crop-3x_coco', 924),
    ):
        assert models[name]['FLOPs'] / 1e9 == pytest.approx(published, rel=0.025), name


def test_model_index_names_every_family():
    assert sorted(METAFILES) == sorted(
        f'configs/{p.parent.name}/metafile.yml' for p in ROOT.glob('configs/*/README.md')
    )


def test_fields_are_those_that_mim_reads():
    """``mim search`` takes numbers, words, lists of words that are not empty, and dicts."""
    models = [model for file in METAFILES for model in yaml.safe_load((ROOT / file).read_text())['Models']]
    assert sorted(model['Name'] for model in models) == sorted(PATHS)
    for model in models:
        for key, value in model['Metadata'].items():
            words = isinstance(value, list) and value and all(isinstance(word, str) for word in value)
            assert words or isinstance(value, (int, float, str, dict)), (model['Name'], key, value)


@pytest.mark.parametrize('family', FAMILIES)
def test_every_row_has_all(family):
    counts = count(CONFIGS / family)
    assert counts['rows'] == counts['figures'] == NUM_ROWS[family]
    assert counts['config'] == counts['golden'] + counts['no golden'] == counts['rows'] - counts['no config']
    assert [row['row'] for row in ROWS[family] if 'no_config' in row] == (WITHOUT_CONFIG if family == 'vil' else [])


def settings(name):
    """The settings of a config's backbone that its outputs depend on."""
    backbone = load(name).model.backbone.to_dict()
    return {key: value for key, value in backbone.items() if key not in ('drop_path_rate', 'init_cfg')}


@pytest.mark.parametrize('family', FAMILIES)
def test_goldens_are_of_the_rows(family):
    """The model of a row's golden is that of the row's config, but for the size of the image."""
    for row in ROWS[family]:
        if 'golden' in row:
            name, others = goldens.CONFIGS[row['golden']]
            assert others.keys() <= {'img_size'}
            assert settings(row['config']) == settings(name), row


def test_all_whole_models_are_compared():
    """No recorded model is left out."""
    kinds = [('vil', 'vil'), ('vil', 'vil_detection')]
    kinds += [(name, name) for name in ('vil_detector', 'l2vit', 'vitaev2_vsa', 'dwnet')]
    recorded = {f'{folder}/{name}' for folder, family in kinds for name in goldens.cases(family, folder)}
    assert goldens.CONFIGS.keys() == recorded - {'vil_detector/box_decode'}


@pytest.mark.parametrize('family', FAMILIES)
def test_drop_path_rates_are_the_published_ones(family):
    for row in ROWS[family]:
        if 'drop_path' in row:
            assert load(row['config']).model.backbone.drop_path_rate == row['drop_path'], row['row']


def test_contradictions_are_named():
    small, varied = [row for rows in ROWS.values() for row in rows if 'elsewhere' in row]
    assert small['row'] == 'ViL-Small, Mask R-CNN 1x' and (small['box_map'], small['mask_map']) == (44.9, 41.1)
    assert small['elsewhere'] == dict(page='vision-longformer', box_map=45.0, mask_map=41.2)
    assert varied['row'] == 'ViTAEv2*-S+VSA, Mask R-CNN 3x' and varied['parameters'] == 39
    assert varied['elsewhere'] == dict(page='the table of Swin', parameters=37)


COMMANDS = {row['command'].get('config', row['config']): row['command'] for row in ROWS['vil'] if 'command' in row}


@pytest.mark.parametrize('name', COMMANDS)
def test_models_of_the_commands(name):
    """The arch strings and options of the publication's commands make the models of our configs."""
    cfg = load(name)
    ours = cfg.model.backbone.to_dict()
    ours.pop('init_cfg', None)
    build = dict(
        attn_type='longformerhand', share_kv=True, sw_exact=0, mode=0, sharew=True, only_glo=False, avg_pool=False
    )
    build |= COMMANDS[name]
    theirs = {key: value for key, value in ours.items() if key != 'absolute_position'}
    theirs |= dict(arch=build['arch'], attn_cfg=goldens.attn_cfg(build))
    if cfg.default_scope == 'mmpretrain':
        has_token = not build['arch'].split('_')[-1].count('g0')
        assert ours['out_type'] == ('cls_token' if has_token and not build['avg_pool'] else 'avg_featmap')
    with torch.device('meta'):
        ours, theirs = MODELS.build(ours), MODELS.build(theirs)
    assert repr(ours) == repr(theirs)
    shapes, expected = ({key: x.shape for key, x in model.state_dict().items()} for model in (ours, theirs))
    assert shapes == expected


@pytest.mark.parametrize(
    'configs, stated, message',
    [
        ('[a]', 'learning rate: 0.2', r"'lr', 'learning rate': 0.1 is not as published; say why: 0.2"),
        ('[a]', 'learning rate: {published: 0.1, why: x}', 'is as published, but says why it is not'),
        ('[a, b]', 'learning rate: 0.1', 'the configs differ'),
        ('[a, c]', 'learning rate: 0.1', r"names configs that are not there: \['c'\]"),
    ],
)
def test_wrong_recipes(configs, stated, message, tmp_path):
    for name, rate in (('a', 0.1), ('b', 0.3)):
        (tmp_path / f'{name}.py').write_text(f'optim_wrapper = dict(optimizer=dict(lr={rate}))')
    (tmp_path / 'recipes.yml').write_text(f'- {{recipe: lr, configs: {configs}, settings: {{{stated}}}}}')
    with pytest.raises(ValueError, match=message):
        list(compare(tmp_path))


def test_recipe_with_a_reason(tmp_path):
    (tmp_path / 'a.py').write_text('optim_wrapper = dict(optimizer=dict(lr=0.1))')
    (tmp_path / 'recipes.yml').write_text(
        '- {recipe: lr, configs: ["*"], settings: {learning rate: {published: 0.2, why: x}, precision: float32}}'
    )
    assert [tuple(line) for line in compare(tmp_path)] == [
        ('lr', 'learning rate', '0.2', '0.1', 'x'),
        ('lr', 'precision', 'float32', 'float32', ''),
    ]


class TestCheckpoints:
    """Files of ``checkpoints/`` have one scheme of names, and an error says where they come from."""

    def names(self):
        """All names that configs, pages and tools mention."""
        files = [*CONFIGS.rglob('*.py'), *CONFIGS.rglob('*.md'), ROOT / 'README.md', *(ROOT / 'tools').rglob('*.py')]
        texts = ''.join(path.read_text() for path in files)
        return set(re.findall(r'checkpoints/[a-z][\w.-]+\.(?:pth|safetensors)', texts))

    def test_every_name_is_explained(self):
        names = self.names() - {'checkpoints/swin-vsa-tiny_swin-in1k.pth'}  # a start that no config reads
        assert len(names) > 33
        assert [name for name in sorted(names) if explain_checkpoint(name) is None] == []

    @pytest.mark.parametrize(
        'name, message',
        [
            ('vil-small_in1k', r'Convert the published file \S+/model_best.pth: python \S+/vil2mm.py FILE \S+.pth$'),
            ('mask-rcnn_vil-tiny_fpn_1x_coco', r'Convert \S+ \S+ \S+ \S+/model_final.pth: .* --detector$'),
            ('l2vit-base_in21k', r'Convert the published file L2ViT-Base-22k-\S+.pth: .*l2vit2mm.py .* --class-map'),
            ('vitae-v2-vsa-48m_in21k', r'No such file was published: train configs/vitae_v2/\S+_16xb64_in21k.py'),
            ('l2vit-tiny_upernet_ade20k-512x512', r'No such file was published: train configs/l2vit/segmentation/'),
        ],
    )
    def test_missing_file(self, name, message):
        with pytest.raises(FileNotFoundError, match=f'there is no checkpoint file checkpoints/{name}.pth. {message}'):
            read_checkpoint(f'checkpoints/{name}.pth')

    def test_files_of_users_are_not_explained(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r'best.pth$'):
            read_checkpoint(tmp_path / 'best.pth')

    def test_names(self):
        assert checkpoint_name('vil-small_8xb128_in1k') == 'vil-small_in1k.pth'
        assert checkpoint_name('dwnet-tiny_upernet_8xb2-160k_ade20k-512x512') == 'dwnet-tiny_upernet_ade20k-512x512.pth'
        converted = [row['checkpoint'] for rows in ROWS.values() for row in rows if 'file' in row]
        duplicates = {name for name in converted if converted.count(name) > 1}
        assert duplicates == {'vil-small-ape_in1k.pth'}  # the row that is there twice
        assert {checkpoint_name(name) for name in PATHS} >= set(converted)
