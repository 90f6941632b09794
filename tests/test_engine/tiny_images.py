"""Runs of a tiny classifier whose every part draws random numbers, which take a fraction of a second."""

import random

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from mmpretrain.structures import DataSample

ARCH = 'l1,h1,d8,n1,s1,g1,p4,f3,a0_l2,h1,d8,n1,s1,g1,p2,f3,a0_l3,h1,d8,n1,s0,g0,p1,f3,a0'
IMAGES = 11
BATCH = 2
#: Iterations of an epoch.
LENGTH = 6


@DATASETS.register_module()
class TinyImages(BaseDataset):
    """Images of noise, cropped and mirrored with all generators; ``bad`` ones cannot be read."""

    def __init__(self, augment=True, bad=(), **kwargs):
        self.augment = augment
        self.bad = bad
        super().__init__(pipeline=[LoadTiny(self), self.pack], serialize_data=False, metainfo=dict(classes=list('abc')))

    def load_data_list(self):
        return [dict(img_path=f'images/{i}.png', gt_label=i % 3, number=i) for i in range(IMAGES)]

    def pack(self, sample):
        image = sample['image']
        if self.augment:
            top, left = random.randint(0, 4), np.random.randint(0, 5)
            image = image[:, top : top + 16, left : left + 16]
            image = image.flip(2) if torch.rand(()) < 0.5 else image
        data_sample = DataSample(metainfo=dict(img_path=sample['img_path'])).set_gt_label(sample['gt_label'])
        return dict(inputs=image[:, :16, :16], data_samples=data_sample)


class LoadTiny:
    """The step that loads an image."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __call__(self, sample):
        if sample['number'] in self.dataset.bad:
            raise ValueError('broken')
        generator = torch.Generator().manual_seed(sample['number'])
        image = torch.randint(0, 256, (3, 20, 20), generator=generator, dtype=torch.uint8)
        return dict(sample, image=image)


class CallHook(Hook):
    """Calls a function at one place of a run."""

    def __init__(self, stage, function, iteration=None):
        def call(runner, *args, **kwargs):
            if iteration in (None, runner.iter):
                function(runner)

        setattr(self, stage, call)


def classifier(work_dir, name='run', workers=0, epochs=3, bad=(), **others):
    """A config for :func:`vil_mm.engine.launch.build_runner`; each name is another log of the same work directory."""
    loader = dict(batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0)
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                backbone=dict(
                    type='vil_mm.ViL',
                    arch=ARCH,
                    img_size=16,
                    out_type='avg_featmap',
                    drop_path_rate=0.2,
                    attn_cfg=dict(neighbors='random'),
                ),
                head=dict(
                    type='LinearClsHead',
                    num_classes=3,
                    in_channels=8,
                    loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=3),
                ),
                train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
            ),
            data_preprocessor=dict(num_classes=3, mean=[127.5] * 3, std=[127.5] * 3),
            work_dir=str(work_dir),
            experiment_name=f'{work_dir.parent.name}_{work_dir.name}_{name}',
            train_dataloader=dict(
                **loader,
                collate_fn=dict(type='default_collate'),
                sampler=dict(type='DefaultSampler', shuffle=True),
                dataset=dict(type='TinyImages', bad=bad),
            ),
            val_dataloader=dict(
                **loader,
                collate_fn=dict(type='default_collate'),
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(type='TinyImages', augment=False),
            ),
            val_evaluator=dict(type='Accuracy', topk=(1,)),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            val_cfg=dict(),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.1), clip_grad=dict(max_norm=1.0)),
            param_scheduler=[dict(type='CosineAnnealingLR', by_epoch=True, T_max=3, end=3, convert_to_iter_based=True)],
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='accuracy/top1'),
                sampler_seed=dict(type='DistSamplerSeedHook'),
            ),
            custom_hooks=[dict(type='EMAHook', momentum=0.1)],
            randomness=dict(seed=5),
            log_level='WARNING',
            launcher='none',
        )
        | others
    )
