"""Detectors and segmenters in the tools: training, testing, resuming, several processes, pictures, inferencers."""

import re

import mmengine
import pytest
import torch
from mmengine.config import Config

from tests.conftest import ROOT, run_in_two_processes, run_tool
from tests.scenes import DEMOS, on_scenes, write
from tools import test, train
from tools.visualization.show_attention import attention_weights, show_attention
from vil_mm.models import (
    FullAttention,
    LinearAttention,
    LinformerAttention,
    SlidingWindowAttention,
    SpatialReductionAttention,
    VariedSizeWindowAttention,
    WindowAttention,
)
from vil_mm.models.attentions.base_attention import BaseAttention, merge_heads
from vil_mm.ops import attend, cut_windows, join_windows

LEAVES = sorted(
    path
    for task in ('detection', 'segmentation')
    for path in (ROOT / 'configs').glob(f'*/{task}/*.py')
    if 'digit' not in path.stem
)
METRICS = r'((?:coco/)?(?:bbox|segm)_mAP|mIoU): +([\d.]+)'


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    """A few scenes of digits."""
    root = tmp_path_factory.mktemp('scenes')
    run_tool('tools/dataset_converters/digit_scenes.py', '--root', root, '--num-train', 12, '--num-val', 5)
    return root


def metrics(log):
    return dict(re.findall(METRICS, log))


def short(cfg, folder):
    """Write a config that trains 5 iterations, also where it counts epochs, and is evaluated by a test alone."""
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=5)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.log_processor = dict(by_epoch=False)
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=5, save_best=None)
    return write(cfg, folder)


def train_resume_and_test(config, folder, monkeypatch, *test_options):
    """Train 5 iterations, resume for 2 more, test.

    By the tools' own main functions, in this process: starting one takes longer than the work.

    Returns:
        tuple: The checkpoint, and the log of the test.
    """

    def run(tool, name, *arguments):
        words = [name, config, *arguments, '--work-dir', folder / name]
        monkeypatch.setattr('sys.argv', [str(word) for word in words])
        tool.main()
        (log,) = (folder / name).glob('*/*.log')
        return log.read_text()

    log = run(train, 'first')
    assert re.search(r'Iter\(train\) \[5/5\]', log), log[-3000:]
    log = run(train, 'second', '--resume', folder / 'first/iter_5.pth', '--cfg-options', 'train_cfg.max_iters=7')
    assert 'resumed epoch' in log and re.search(r'Iter\(train\) \[7/7\]', log), log[-3000:]
    assert not re.search(r'Iter\(train\) \[5/7\]', log)
    checkpoint = folder / 'second/iter_7.pth'
    (folder / 'first/iter_5.pth').unlink()  # it is large
    return checkpoint, run(test, 'tested', checkpoint, *test_options)


@pytest.mark.slow
@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_every_config_trains_resumes_and_tests(path, scenes, tmp_path, monkeypatch):
    checkpoint, log = train_resume_and_test(short(on_scenes(path, scenes), tmp_path), tmp_path, monkeypatch)
    checkpoint.unlink()
    assert metrics(log)


@pytest.mark.parametrize('demo', ['mask-rcnn', pytest.param('retinanet', marks=pytest.mark.slow), 'upernet'])
def test_demo_in_the_tools(demo, scenes, tmp_path, monkeypatch):
    """Trains, resumes, tests; two processes evaluate as one; pictures are drawn."""
    config = short(on_scenes(DEMOS[demo], scenes), tmp_path)
    shown, dumps = tmp_path / 'shown', [tmp_path / f'{name}.pkl' for name in ('one', 'two')]
    checkpoint, one = train_resume_and_test(config, tmp_path, monkeypatch, '--show-dir', shown, '--out', dumps[0])
    assert len(metrics(one)) == {'mask-rcnn': 2, 'retinanet': 1, 'upernet': 1}[demo]
    assert sorted(path.name for path in (shown / 'val').iterdir()) == [f'000{i}.png' for i in range(5)]
    options = '--work-dir', tmp_path / 'two', '--out', dumps[1]
    two = run_in_two_processes('tools/test.py', config, checkpoint, *options).stdout
    assert metrics(two) == metrics(one)
    for first, second in zip(*map(mmengine.load, dumps), strict=True):
        assert first['img_path'] == second['img_path']
        if demo == 'upernet':
            assert (first['pred_sem_seg']['data'] == second['pred_sem_seg']['data']).double().mean() > 0.999
        else:
            scores = [sample['pred_instances']['scores'] for sample in (first, second)]
            assert len(scores[0]) == 100
            torch.testing.assert_close(*scores)


@pytest.mark.parametrize('demo', DEMOS)
def test_inferencers_take_the_configs(demo, scenes, tmp_path):
    from mmdet.apis import DetInferencer
    from mmengine.registry import MODELS, init_default_scope
    from mmseg.apis import MMSegInferencer

    cfg = on_scenes(DEMOS[demo], scenes)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    checkpoint = tmp_path / 'model.pth'
    meta = dict(dataset_meta=dict(cfg.test_dataloader.dataset.metainfo))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), checkpoint)
    config, image = str(write(cfg, tmp_path)), str(scenes / 'val/0000.png')
    if demo == 'upernet':
        result = MMSegInferencer(config, str(checkpoint), device='cpu')(image, out_dir=str(tmp_path / 'out'))
        assert result['predictions'].shape == (128, 128)
    else:
        inferencer = DetInferencer(config, str(checkpoint), device='cpu', show_progress=False)
        (prediction,) = inferencer(image, pred_score_thr=0.0, out_dir=str(tmp_path / 'out'))['predictions']
        assert prediction['bboxes'] and ('masks' in prediction) == (demo == 'mask-rcnn')
    assert list((tmp_path / 'out').rglob('0000.*'))


def test_layer_decay_reaches_the_detectors_backbone(scenes):
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import MODELS, init_default_scope

    leaf = Config.fromfile(ROOT / 'configs/vil/detection/mask-rcnn_vil-small-layer-decay_fpn_1x_coco.py')
    cfg = on_scenes(DEMOS['mask-rcnn'], scenes)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    optimizer = build_optim_wrapper(model, leaf.optim_wrapper).optimizer
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(group['params'][0])]: group['lr'] for group in optimizer.param_groups}
    assert len(rates) == len(names)
    full = leaf.optim_wrapper.optimizer.lr
    assert rates['rpn_head.rpn_conv.weight'] == pytest.approx(full)
    assert rates['backbone.stages.3.blocks.0.norm1.weight'] == pytest.approx(full * 0.9)
    assert rates['backbone.stages.0.embed.patch_embed.projection.weight'] == pytest.approx(full * 0.9**8)

    for rate in (None, 0, 1.5, 'much'):
        with pytest.raises(ValueError, match=rf'layer_decay_rate={rate!r}, which must be a number in \(0, 1\]'):
            build_optim_wrapper(model, dict(leaf.optim_wrapper, paramwise_cfg=dict(layer_decay_rate=rate)))
    with pytest.raises(ValueError, match='layer_decay_rate=None, which must be a number'):
        build_optim_wrapper(model, dict(leaf.optim_wrapper, paramwise_cfg=None))
    with pytest.raises(ValueError, match='Linear must have a backbone with get_layer_depth, but has NoneType'):
        build_optim_wrapper(torch.nn.Linear(2, 2), leaf.optim_wrapper)


@pytest.mark.parametrize('demo', DEMOS)
def test_attention_picture(demo, scenes, tmp_path, capsys):
    from mmengine.registry import MODELS, init_default_scope

    cfg = on_scenes(DEMOS[demo], scenes)
    init_default_scope(cfg.default_scope)
    meta = dict(dataset_meta=dict(cfg.test_dataloader.dataset.metainfo))
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta=meta), tmp_path / 'model.pth')
    files = write(cfg, tmp_path), tmp_path / 'model.pth', scenes / 'val/0000.png', tmp_path / 'picture.png'
    show_attention(*files, point=[20, 100])
    assert 'where the token at column 20, row 100 looks in 128x128 pixels' in capsys.readouterr().out
    assert files[-1].stat().st_size > 10000
    if demo == 'upernet':
        show_attention(*files, global_token=0)
        assert 'where global token 0 looks' in capsys.readouterr().out
        with pytest.raises(ValueError, match='--point 128 5 is outside of the image, whose size is 128x128'):
            show_attention(*files, point=[128, 5])
        with pytest.raises(ValueError, match='--block 1: stage 0 has 1 blocks'):
            show_attention(*files, block=1)


@pytest.mark.parametrize('num_global', [0, 2])
@pytest.mark.parametrize('kind', [SlidingWindowAttention, FullAttention, LinearAttention, WindowAttention])
def test_attention_weights(kind, num_global):
    """They are those that make up the output; windows see nothing farther away."""
    settings = dict(window_size=2) if kind not in (FullAttention, LinearAttention) else {}
    attention = kind(8, 2, num_global_tokens=num_global, **settings).double().eval()
    x = torch.randn(1, num_global + 8 * 10, 8, dtype=torch.float64)
    token = num_global + 5 * 10 + 1
    weights = attention_weights(attention, x, (8, 10), token)
    values = attention.qkv(x)[0, :, 16:].unflatten(1, (2, 4))
    output = torch.einsum('hn,nhd->hd', weights, values).flatten()
    torch.testing.assert_close(attention.proj(output), attention(x, (8, 10))[0, token])
    seen = {SlidingWindowAttention: 6 * 4, WindowAttention: 2 * 2}
    if kind is not LinearAttention:  # where products of rectified numbers may be 0
        assert (weights > 1e-9).sum(1).tolist() == [num_global + seen.get(kind, 80)] * 2


@pytest.mark.parametrize('padding', ['end', 'both'])
def test_weights_where_windows_are_padded(padding):
    """The first window of 7 of a grid of 9 has 5 of padding before it, or all the padding comes after it."""
    attention = WindowAttention(8, 2, window_size=7, padding=padding).double().eval()
    x = torch.randn(1, 9 * 9, 8, dtype=torch.float64)
    for token in (0, 80):
        weights = attention_weights(attention, x, (9, 9), token).unflatten(1, (9, 9))
        sizes = {('end', 0): 7, ('end', 80): 2, ('both', 0): 5, ('both', 80): 4}
        rows = weights.sum((0, 2)) > 0
        assert rows.sum() == sizes[padding, token] and rows[0 if token == 0 else -1]
        assert (weights.sum((1, 2)) < 1).all() or sizes[padding, token] == 7


def test_weights_of_windows_of_varied_size():
    """They are the gradient of the output with respect to the values, wherever these are sampled."""
    attention = VariedSizeWindowAttention(8, 2, window_size=3).double().eval()
    x = torch.randn(1, 8 * 7, 8, dtype=torch.float64)
    weights = attention_weights(attention, x, (8, 7), 20)
    values = attention.qkv(x)[0, :, 16:].unflatten(1, (2, 4))
    output = torch.einsum('hn,nhd->hd', weights, values).flatten()
    torch.testing.assert_close(attention.proj(output), attention(x, (8, 7))[0, 20])


class OwnWindows(BaseAttention):
    """Projects windows that fill the grid, in another order than its tokens."""

    def forward(self, x, hw_shape):
        q, k, v = self.split_heads(self.qkv(cut_windows(x.unflatten(1, hw_shape), 3)))
        return self.proj(join_windows(merge_heads(attend(q, k, v)), hw_shape).flatten(1, 2))


def test_attention_without_weights():
    for other in (SpatialReductionAttention(8, 2), LinformerAttention(8, 2, grid_size=(6, 6)), OwnWindows(8, 2)):
        with pytest.raises(ValueError, match=rf'{type(other).__name__} (does not project|gives no weights to the)'):
            attention_weights(other, torch.randn(1, 36, 8), (6, 6), 3)


def test_scenes_of_another_run_are_not_mixed_in(tmp_path):
    tool = 'tools/dataset_converters/digit_scenes.py', '--root', tmp_path
    run_tool(*tool, '--num-train', 3, '--num-val', 1)
    run_tool(*tool, '--num-train', 3, '--num-val', 1)
    result = run_tool(*tool, '--num-train', 2, '--num-val', 1, check=False)
    assert result.returncode and 'train holds 0002.png, which is not of these 2 scenes: remove it' in result.stdout
