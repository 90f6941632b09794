"""Options of tools/train.py and tools/test.py, by their own main functions in this process."""

import json

import mmengine
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from tests.conftest import ROOT, options, run_tool
from tests.scenes import DEMOS, on_scenes, write
from tools import test, train

META_KEYS = 'ori_shape', 'img_shape', 'scale_factor', 'pad_shape', 'flip', 'flip_direction'
NANO = ROOT / 'configs/vil/vil-nano_1xb64_digits.py'


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a tool in this process and read its log."""

    def run_main(tool, *words, name='run'):
        monkeypatch.setattr('sys.argv', [name, *map(str, words), '--work-dir', str(tmp_path / name)])
        tool.main()
        (log,) = (tmp_path / name).glob('*/*.log')
        return log.read_text()

    return run_main


@pytest.fixture
def nano(tmp_path):
    """The small classifier, and a file of its weights."""
    init_default_scope('mmpretrain')
    model = MODELS.build(Config.fromfile(NANO).model).eval()
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'nano.pth')
    return model, tmp_path / 'nano.pth'


def test_views_and_metrics_of_a_classifier(few_digits, nano, tmp_path, run):
    """The scores are the mean of those of an image and its mirror image, also in bfloat16; both outputs are written."""
    model, checkpoint = nano
    settings = options(few_digits, 8)
    results = {}
    for name, words in dict(plain=['--tta'], amp=['--tta', '--amp']).items():
        run(test, NANO, checkpoint, *words, '--out', tmp_path / f'{name}.pkl', *settings, name=name)
        results[name] = mmengine.load(tmp_path / f'{name}.pkl')
    assert len(results['plain']) == 23
    for plain, amp in list(zip(results['plain'], results['amp']))[:3]:
        image = np.asarray(Image.open(plain['img_path']).convert('RGB'))
        views = torch.tensor(np.stack([image, image[:, ::-1]])).permute(0, 3, 1, 2)
        with torch.no_grad():
            scores = model((views.float() - 127.5) / 127.5).softmax(1)
        assert (scores[0] - scores[1]).abs().max() > 1e-4
        torch.testing.assert_close(plain['pred_score'], scores.mean(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(amp['pred_score'].float(), scores.mean(0), rtol=0, atol=0.02)
    assert any(not torch.equal(p['pred_score'], a['pred_score'].float()) for p, a in zip(*results.values()))

    file = tmp_path / 'metrics.json'
    log = run(test, NANO, checkpoint, '--out', file, '--out-item', 'metrics', *settings, name='metrics')
    metrics = json.loads(file.read_text())
    assert f'accuracy/top1: {metrics["accuracy/top1"]:.4f}' in log


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes')
    run_tool('tools/dataset_converters/digit_scenes.py', '--root', root, '--num-train', 2, '--num-val', 2)
    return root


@pytest.mark.parametrize('demo', [pytest.param('retinanet', marks=pytest.mark.slow), 'upernet'])
def test_views_of_scenes(demo, scenes, tmp_path, run):
    """The predictions are those of an image and its mirror image: classes averaged, boxes put together."""
    cfg = on_scenes(DEMOS[demo], scenes)
    init_default_scope(cfg.default_scope)
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), tmp_path / 'model.pth')
    outputs = {}
    for name in ('tta', 'plain', 'mirrored'):
        if name == 'mirrored':
            cfg.test_dataloader.dataset.pipeline.insert(-1, dict(type='RandomFlip', prob=1.0))
            cfg.test_dataloader.dataset.pipeline[-1].meta_keys = ('img_id', 'img_path', *META_KEYS)
        words = ['--tta'] if name == 'tta' else []
        config = write(cfg, tmp_path, name)
        run(test, config, tmp_path / 'model.pth', *words, '--out', tmp_path / f'{name}.pkl', name=name)
        outputs[name] = mmengine.load(tmp_path / f'{name}.pkl')
    for averaged, plain, mirrored in zip(*outputs.values(), strict=True):
        assert averaged['img_path'] == plain['img_path']
        if demo == 'upernet':
            scores = sum(view['seg_logits']['data'].softmax(0) for view in (plain, mirrored))
            assert torch.equal(averaged['pred_sem_seg']['data'][0], scores.argmax(0))
            assert not torch.equal(plain['pred_sem_seg']['data'], mirrored['pred_sem_seg']['data'])
        else:
            scores, *views = (set(view['pred_instances']['scores'].tolist()) for view in (averaged, plain, mirrored))
            assert scores <= views[0] | views[1] and all(scores - view for view in views)


def test_training_without_validation_and_with_tensorboard(few_digits, tmp_path, run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    one = dict.fromkeys(('train_cfg__max_epochs', 'param_scheduler__1__end', 'param_scheduler__1__T_max'), 1)
    settings = options(few_digits, 8, default_hooks__logger__interval=1, **one)
    log = run(train, NANO, '--no-validate', '--tensorboard', *settings)
    assert 'Epoch(train) [1][4/4]' in log and 'Epoch(val)' not in log and 'accuracy' not in log.split('Epoch(train)')[1]
    (folder,) = (tmp_path / 'run').glob('*/vis_data')
    events = EventAccumulator(str(folder)).Reload()
    losses = [json.loads(line)['loss'] for line in (folder / 'scalars.json').read_text().splitlines()]
    assert len(losses) == 4
    np.testing.assert_allclose([event.value for event in events.Scalars('loss')], losses, rtol=1e-5)


@pytest.mark.parametrize(
    'words, message',
    [
        (['--out', 'a.json'], "--out 'a.json' must end in .pkl, .pickle"),
        (['--out', 'a.txt', '--out-item', 'metrics'], "--out 'a.txt' must end in .json, .yml, .yaml"),
        (['--out-item', 'metrics'], '--out-item metrics needs --out FILE'),
    ],
)
def test_wrong_outputs(words, message, monkeypatch, capsys):
    monkeypatch.setattr('sys.argv', ['test.py', 'config.py', 'checkpoint.pth', *words])
    with pytest.raises(SystemExit):
        test.parse_args()
    assert message in capsys.readouterr().err
