"""show_predictions.py and show_attention.py on data that is loaded in other ways, and pictures of all backbones."""

import io
import json
import re
import sys
import zipfile

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmpretrain.structures import DataSample
from PIL import Image

from tests.conftest import ROOT
from tests.scenes import write
from tests.test_datasets.test_bases import write_idx

sys.path.insert(0, str(ROOT / 'tools/visualization'))
from show_attention import attention_weights, record_inputs, show_attention
from show_cam import activation_maps, show_cam
from show_predictions import show_predictions

NUM_IMAGES = 12
CHANNELS = {'gray': 1, 'four channels': 4, 'zip': 3, 'no files': 1, 'several labels': 3}


@pytest.fixture
def pictures(tmp_path_factory):
    """A folder outside of the data."""
    return tmp_path_factory.mktemp('pictures')


def images(channels):
    """Stripes, a different number of them in each image, of colors that differ by channel."""
    waves = np.sin(np.arange(28)[:, None] * np.arange(1, NUM_IMAGES + 1)[:, None, None, None] / 6 + np.arange(channels))
    pixels = (127.5 + 127.5 * np.broadcast_to(waves, (NUM_IMAGES, 28, 28, channels))).astype(np.uint8)
    return pixels.squeeze(3) if channels == 1 else pixels


def write_data(kind, labels, folder):
    """Write images of a kind, each with its labels; return the config of the dataset, without the pipeline's end."""
    pixels = images(CHANNELS[kind])
    if kind == 'no files':
        for split in ('train', 't10k'):
            write_idx(folder / f'{split}-images-idx3-ubyte', pixels)
            write_idx(folder / f'{split}-labels-idx1-ubyte', np.array(labels, np.uint8)[:, 0])
        return dict(type='MNIST', data_root=str(folder), split='test', test_mode=True, pipeline=[])
    if kind == 'zip':
        with zipfile.ZipFile(folder / 'val.zip', 'w') as archive:
            for i, image in enumerate(pixels):
                png = io.BytesIO()
                Image.fromarray(image).save(png, 'png')
                archive.writestr(f'n/{i}.png', png.getvalue())
        (folder / 'val_map.txt').write_text('\n'.join(f'n/{i}.png\t{label[0]}' for i, label in enumerate(labels)))
        load = dict(type='LoadImageFromFile', backend_args=dict(backend='zip'))
        return dict(type='vil_mm.ZipDataset', data_root=str(folder), split='val', num_classes=10, pipeline=[load])
    entries = []
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f'{i}.png')
        entries.append(dict(img_path=f'{i}.png', gt_label=labels[i] if kind == 'several labels' else labels[i][0]))
    (folder / 'list.json').write_text(json.dumps(dict(metainfo={}, data_list=entries)))
    color = {'gray': 'grayscale', 'four channels': 'unchanged'}.get(kind, 'color')
    return dict(
        type='MultiLabelDataset',
        ann_file='list.json',
        data_root=str(folder),
        metainfo=dict(classes=[str(digit) for digit in range(10)]),
        pipeline=[dict(type='LoadImageFromFile', color_type=color)],
    )


def write_config(kind, labels, folder):
    """Write a config of a small ViL and its test set."""
    cfg = Config.fromfile(ROOT / 'configs/vil/vil-nano_1xb64_digits.py')
    channels = CHANNELS[kind]
    cfg.model.backbone.in_channels = channels
    cfg.data_preprocessor = dict(mean=[127.5] * channels, std=[127.5] * channels, to_rgb=channels == 3)
    dataset = write_data(kind, labels, folder)
    dataset['pipeline'] += [dict(type='Resize', scale=(32, 32)), dict(type='PackInputs')]
    if kind == 'several labels':
        cfg.model.head = dict(type='MultiLabelLinearClsHead', num_classes=10, in_channels=256, thr=0.52)
        dataset = dict(type='ConcatDataset', datasets=[dataset])
    cfg.test_dataloader = dict(cfg.test_dataloader, num_workers=0, persistent_workers=False, batch_size=5)
    cfg.test_dataloader.pop('dataset')
    cfg.test_dataloader['dataset'] = dataset
    cfg.test_dataloader['collate_fn'] = dict(type='pseudo_collate')
    return cfg, write(cfg, folder)


def predict(cfg, folder):
    """Save an untrained model; return the labels that it predicts."""
    init_default_scope('mmpretrain')
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor)).eval()
    for parameter in model.parameters():  # as initialized, it would predict the same label for all images
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'model.pth')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    with torch.no_grad():
        samples = model.test_step(pseudo_collate([dataset[i] for i in range(len(dataset))]))
    return [sample.pred_label.tolist() for sample in samples]


@pytest.fixture
def saved(monkeypatch):
    """The names of the pictures that would be written: to render them takes longer than all else."""
    names = []
    monkeypatch.setattr('matplotlib.figure.Figure.savefig', lambda figure, path, **kwargs: names.append(path.name))
    return names


@pytest.mark.parametrize(
    'kind',
    [
        'gray',
        'zip',
        'several labels',
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ('four channels', 'no files')),
    ],
)
def test_kinds_of_data(kind, saved, tmp_path, pictures, capsys):
    cfg, _ = write_config(kind, [[0]] * NUM_IMAGES, tmp_path)
    labels = predict(cfg, tmp_path)
    assert len(set(map(tuple, labels))) > 1
    labels[7] = [(labels[7][0] + 1) % 10 if labels[7] else 0, *labels[7][1:]]
    _, config = write_config(kind, labels, tmp_path)
    files = config, tmp_path / 'model.pth'
    show_predictions(*files, pictures / 'predictions.png', 5)
    assert f'5 of 12 test images, {11 / 12:.2%} right' in capsys.readouterr().out
    names = {'zip': ['val.zip/n/3.png'], 'no files': []}.get(kind, ['3.png'])
    for image in ('3', *(tmp_path / name for name in names)):
        show_attention(*files, image, pictures / 'attention.png')
        assert 'looks in 32x32 pixels' in capsys.readouterr().out
    show_cam(*files, '3', pictures / 'cam.png', label=2)
    assert 'what speaks for class 2, whose score is' in capsys.readouterr().out
    assert saved == ['predictions.png', *['attention.png'] * (1 + len(names)), 'cam.png']
    with pytest.raises(ValueError, match='--label 10 is no class of the model, 0 to 9'):
        show_cam(*files, '3', pictures / 'cam.png', label=10)


def test_wrong_images(tmp_path, pictures):
    for kind in ('no files', 'gray'):
        files = write_config(kind, [[0]] * NUM_IMAGES, tmp_path)[1], tmp_path / 'unread.pth'
        with pytest.raises(ValueError, match='image 12 is neither a file nor a sample of the test set, 0 to 11'):
            show_attention(*files, '12', pictures / 'attention.png')
        error, message = {
            'gray': (FileNotFoundError, 'missing.png'),
            'no files': (ValueError, "image 'missing.png' must be the index of a sample: the test pipeline loads no"),
        }[kind]
        with pytest.raises(error, match=re.escape(message)):
            show_attention(*files, 'missing.png', pictures / 'attention.png')


def test_data_without_labels(tmp_path, pictures):
    cfg, config = write_config('gray', [[0]] * NUM_IMAGES, tmp_path)
    predict(cfg, tmp_path)
    file = tmp_path / 'list.json'
    file.write_text(json.dumps(dict(metainfo={}, data_list=[dict(img_path='0.png')])))
    with pytest.raises(ValueError, match=r'config.py: the test set has no labels'):
        show_predictions(config, tmp_path / 'model.pth', pictures / 'predictions.png', 5)


def test_pictures_among_the_data(tmp_path):
    files = write_config('gray', [[0]] * NUM_IMAGES, tmp_path)[1], tmp_path / 'unread.pth'
    before = (tmp_path / '3.png').read_bytes()
    for target in (tmp_path / '3.png', tmp_path / 'new.png'):
        with pytest.raises(ValueError, match='would be taken for data'):
            show_attention(*files, tmp_path / '3.png', target)
        with pytest.raises(ValueError, match='would be taken for data'):
            show_predictions(*files, target, 5)
    assert (tmp_path / '3.png').read_bytes() == before and not (tmp_path / 'new.png').exists()


def test_predictions_of_a_detector_are_drawn_by_another_tool(pictures):
    config = ROOT / 'configs/vil/detection/mask-rcnn_vil-nano_fpn_1xb8-400i_digit-scenes.py'
    message = r'model\.type=MaskRCNN is no classifier\. .* tools/test\.py .*digit-scenes\.py a\.pth --show-dir FOLDER'
    with pytest.raises(ValueError, match=message):
        show_predictions(config, 'a.pth', pictures / 'predictions.png', 5)


def classifier(config):
    """A small classifier of a config, with other than its initial weights, and an image for it."""
    cfg = Config.fromfile(ROOT / f'configs/{config}_1xb64_digits.py')
    init_default_scope('mmpretrain')
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor)).eval()
    for name, parameter in model.named_parameters():
        positive = parameter.ndim == 1 or 'temperature' in name
        torch.nn.init.normal_(parameter, 1.0 if positive else 0.0, 0.1)
    return model, dict(inputs=torch.randint(256, (3, 32, 32), dtype=torch.uint8), data_samples=DataSample())


VITAE = 'vitae_v2/vitae-v2-vsa-nano'
FAMILIES = ['vil/vil-nano', 'l2vit/l2vit-nano', VITAE, 'swin_vsa/swin-vsa-nano', 'dwnet/dwnet-nano']


@pytest.mark.parametrize('config', FAMILIES)
def test_pictures_of_all_backbones(config):
    model, data = classifier(config)
    image, scores, label, maps = activation_maps(model, data, None)
    assert image.shape == (1, 3, 32, 32) and scores.shape == (10,) and label == scores.argmax()
    assert [tuple(one.shape) for one in maps] == [(8, 8), (4, 4), (2, 2), (1, 1)]
    assert all(one.isfinite().all() and (one >= 0).all() for one in maps) and any(one.max() > 0 for one in maps)
    if 'dwnet' in config:
        with pytest.raises(ValueError, match=r'DWNet has no attention; see show_cam\.py'):
            record_inputs(model, data, -1)
        return
    for block in (0, -1):
        records = record_inputs(model, data, block)[1]
        assert len(records) == 4
        for attention, x, hw_shape in records:
            weights = attention_weights(attention, x, hw_shape, attention.num_global_tokens)
            assert weights.shape == (attention.num_heads, x.shape[1]) and (weights.sum(1) > 0).all()


def test_activation_maps_of_a_linear_head():
    """Where the head takes the mean of the last stage's tokens, its weights are the gradients."""
    model, data = classifier(VITAE)
    data['inputs'] = torch.randint(256, (3, 96, 64), dtype=torch.uint8)
    seen = []
    handle = model.backbone.stages[-1].register_forward_hook(lambda module, args, output: seen.append(output[0]))
    for label in range(3):
        *_, maps = activation_maps(model, data, label)
        expected = (seen.pop()[0] @ model.head.fc.weight[label]).relu() / 6
        torch.testing.assert_close(maps[-1].flatten(), expected)
        assert maps[-1].shape == (3, 2)
    handle.remove()
