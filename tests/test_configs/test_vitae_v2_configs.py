"""ViTAEv2's classification configs: they train, and say the published models and recipes."""

import math

import pytest
import torch

from tests.test_configs.helpers import (
    arch_of,
    build_model,
    check_metadata,
    check_training,
    learning_rates,
    leaves,
    load,
    one_of_each,
    weight_decays,
)

LEAVES = leaves('vitae_v2')
SMALL, MIDDLE, BASE, VSA_SMALL, VSA_WIDE, VSA_MIDDLE, VSA_BASE = (
    f'vitae-v2-{rest}_in1k'
    for rest in (
        'small_8xb128',
        '48m_16xb64',
        'base_16xb64',
        'vsa-small_8xb128',
        'vsa-small-wide_8xb128',
        'vsa-48m_16xb64',
        'vsa-base_16xb64',
    )
)
WINDOW_SMALL = 'vitae-v2-window-small_8xb128_in1k'
PRE, FINE = 'vitae-v2-vsa-48m_16xb64_in21k', 'vitae-v2-vsa-48m-in21k-pre_16xb64_in1k'
BASE_PRE, BASE_FINE = 'vitae-v2-base_16xb64_in21k', 'vitae-v2-base-in21k-pre_16xb64_in1k'
VSA_BASE_PRE, VSA_BASE_FINE = 'vitae-v2-vsa-base_16xb64_in21k', 'vitae-v2-vsa-base-in21k-pre_16xb64_in1k'
NANO = 'vitae-v2-vsa-nano_1xb64_digits'
LARGE = 'vitae-v2-vsa-base-win12_16xb64_in1k-384px'
# Measured on the published code: parameters, multiply-adds in billions, pixels. Of windows in all stages and of 21,841
# classes: those of the measured backbones, and a head.
ROWS = {
    SMALL: (19_355_688, 5.753, 224),
    MIDDLE: (48_674_632, 13.341, 224),
    BASE: (89_693_352, 24.373, 224),
    VSA_SMALL: (19_773_300, 5.723, 224),
    VSA_WIDE: (20_342_442, 6.283, 224),
    VSA_MIDDLE: (51_089_119, 15.016, 224),
    FINE: (51_089_119, 15.016, 224),
    VSA_BASE: (93_711_532, 27.108, 224),
    LARGE: (93_833_932, 81.477, 384),
    WINDOW_SMALL: (18_844_992 + 513 * 1000, None, 224),
    PRE: (51_089_119 + 769 * (21841 - 1000), None, 224),
    BASE_PRE: (89_693_352 + 1025 * (21841 - 1000), None, 224),
    BASE_FINE: (89_693_352, 24.373, 224),
    VSA_BASE_PRE: (93_711_532 + 1025 * (21841 - 1000), None, 224),
    VSA_BASE_FINE: (93_711_532, 27.108, 224),
}


def shrink(cfg):
    """Make the model of a config small, with the attentions that it has."""
    cfg.model.backbone.arch = dict(
        arch_of(cfg),
        embed_dims=[16, 32, 32, 32],
        depths=[1, 1, 2, 1],
        num_heads=[1, 2, 2, 4],
        groups=[1, 4, 4, 8],
        branch_dims=[8, 8, 16, 16],
        hidden_dims=[8, 16, 16, 32],
        reduction_heads=[1, 2, 2, 4],
        reduction_groups=[1, 4, 4, 8],
    )
    cfg.model.head.in_channels = 32
    return cfg


def test_there_is_a_config_for_every_row():
    assert set(LEAVES) == {*ROWS, NANO}


@pytest.mark.parametrize('name', one_of_each(LEAVES, shrink))
def test_trains_saves_and_resumes(name, tmp_path):
    check_training(shrink(load(name)), 64, tmp_path)


@pytest.mark.parametrize('name', ROWS)
def test_is_the_published_model(name):
    check_metadata(name, *ROWS[name])


@pytest.mark.parametrize(
    'name, decay, drop_path, drop, clip',
    [
        (SMALL, 0.05, 0.1, 0, None),
        (VSA_SMALL, 0.05, 0.1, 0, None),
        (VSA_MIDDLE, 0.055, 0.25, 0, None),
        (BASE, 0.065, 0.4, 0.1, 5),
    ],
)
def test_recipe_is_the_published_one(name, decay, drop_path, drop, clip):
    cfg = load(name)
    gpus = int(name.split('_')[1].split('xb')[0])
    assert gpus * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 1024
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-3, weight_decay=decay, eps=1e-8, betas=(0.9, 0.999))
    backbone = cfg.model.backbone
    assert (backbone.drop_path_rate, backbone.get('drop_rate', 0)) == (drop_path, drop)
    assert cfg.optim_wrapper.get('clip_grad') == (clip and dict(max_norm=clip))
    momentum = pytest.approx(1 - 0.99996 ** (1024 // 512))
    assert cfg.custom_hooks == [dict(type='EMAHook', momentum=momentum, update_buffers=True)]


def test_learning_rate_is_the_published_one():
    cfg = load(VSA_SMALL)
    assert cfg.train_cfg.max_epochs == 310
    for epoch, rate in enumerate(learning_rates(cfg, epoch_length=1)):
        if epoch < 10:
            expected = 1e-6 + (1e-3 - 1e-6) * epoch / 10
        else:
            expected = 1e-5 + (1e-3 - 1e-5) * (1 + math.cos(math.pi * min(epoch, 300) / 300)) / 2
        # under the warm-up the cosine runs too
        assert rate == pytest.approx(expected, rel=3e-3), epoch


def test_weight_decay_is_the_published_one():
    """What has one dimension has none; tables of relative positions have."""
    cfg = shrink(load(VSA_SMALL))
    model = build_model(cfg)
    decays = weight_decays(model, cfg)
    for name, parameter in model.named_parameters():
        assert decays[name] == (0.0 if parameter.ndim == 1 else 0.05), name


def test_images():
    for name in (VSA_SMALL, PRE):
        cfg = load(name)
        train = cfg.train_dataloader.dataset.pipeline
        crops = [crop for (crop,) in train[1].transforms]
        assert {(crop.type, crop.scale) for crop in crops} == {('RandomResizedCrop', 224)}
        assert [crop.interpolation for crop in crops] == ['bilinear', 'bicubic']
        assert [step.type for step in train[2:]] == ['RandomFlip', 'RandomChoice', 'RandomErasing', 'PackInputs']
        augments = [augment for (augment,) in train[3].transforms]
        assert {(augment.type, augment.magnitude_level) for augment in augments} == {('RandAugment', 9)}
        assert [augment.hparams.interpolation for augment in augments] == ['bilinear', 'bicubic']
        assert augments[0].hparams.pad_val == augments[1].hparams.pad_val
    test = load(VSA_SMALL).test_dataloader.dataset.pipeline
    assert (test[1].scale, test[2].crop_size) == (int(224 / 0.9), 224)
    assert load(PRE).val_dataloader is load(PRE).val_cfg is None  # the set has no validation split
    assert load(PRE).train_dataloader.dataset.data_root == 'data/imagenet21k'
    assert load(PRE).data_preprocessor.num_classes == load(PRE).model.head.num_classes == 21841


def test_a_head_of_other_classes_is_left_out(tmp_path, capsys):
    """Loading for the fine-tuning from ImageNet-22K names the head, and takes the rest."""
    from mmengine.runner.runner import _load_checkpoint, _load_checkpoint_to_model

    pre, fine = (build_model(shrink(load(name))) for name in (PRE, FINE))
    torch.save(dict(state_dict=pre.state_dict()), tmp_path / 'in21k.pth')
    before = fine.head.fc.weight.clone()
    # as a runner does
    _load_checkpoint_to_model(fine, _load_checkpoint(str(tmp_path / 'in21k.pth'), 'cpu'))
    assert 'size mismatch for head.fc.weight' in ''.join(capsys.readouterr())
    torch.testing.assert_close(fine.head.fc.weight, before, rtol=0, atol=0)
    torch.testing.assert_close(dict(fine.backbone.state_dict()), dict(pre.backbone.state_dict()), rtol=0, atol=0)


def test_tables_of_relative_positions_are_resized(tmp_path):
    """For windows of 12, from those of 7."""
    from mmengine.runner import load_checkpoint

    base, large = (build_model(shrink(load(name))) for name in (VSA_BASE, LARGE))
    torch.save(dict(state_dict=base.state_dict()), tmp_path / 'in1k.pth')
    load_checkpoint(large, str(tmp_path / 'in1k.pth'), strict=True)
    tables = [model.backbone.stages[1].blocks[0].attn.relative_position_bias.table for model in (base, large)]
    assert [tuple(table.shape) for table in tables] == [(13, 13, 2), (23, 23, 2)]
    torch.testing.assert_close(tables[1][11, 11], tables[0][6, 6])
