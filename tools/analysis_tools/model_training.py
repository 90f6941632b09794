"""What a config says of a training, in the words of OpenMMLab's metafiles."""

import re

from mmengine.config import Config

from vil_mm.registry import nested_dicts

#: By the folder, or else the file, that a training set is read from.
DATASETS = {
    'imagenet': 'ImageNet-1k',
    'imagenet21k': 'ImageNet-21k',
    'cifar10': 'CIFAR-10',
    'cifar100': 'CIFAR-100',
    'mnist': 'MNIST',
    'coco': 'COCO',
    'ade': 'ADE20K',
    'cityscapes': 'Cityscapes',
    'digits': 'Digits of scikit-learn',
    'digit_scenes': 'Scenes of digits',
}
#: By the end of the name of the checkpoint that a training starts from.
STARTS = {'in1k': 'ImageNet-1k', 'in21k': 'ImageNet-21k', 'epoch_15': 'Digits of scikit-learn'}
OPTIMIZERS = {'SGD': 'SGD with Momentum'}
#: What the types of steps, losses, hooks, samplers and schedules stand for.
TECHNIQUES = {
    'LinearLR': 'Linear Warmup',
    'CosineAnnealingLR': 'Cosine Annealing',
    'MultiStepLR': 'Step Decay',
    'PolyLR': 'Polynomial Decay',
    'RandAugment': 'RandAugment',
    'RandomErasing': 'Random Erasing',
    'Mixup': 'Mixup',
    'CutMix': 'CutMix',
    'LabelSmoothLoss': 'Label Smoothing',
    'RandomChoiceResize': 'Multi-scale Training',
    'RandomResize': 'Multi-scale Training',
    'EMAHook': 'EMA',
    'RepeatAugSampler': 'Repeated Augmentation',
    'AmpOptimWrapper': 'Mixed Precision',
    'vil_mm.LayerDecayOptimWrapperConstructor': 'Layer-wise Learning Rate Decay',
    'vil_mm.RandomShiftSwitchHook': 'Random Shift',
    'vil_mm.FullyShardStrategy': 'FSDP',
}


def training_data(cfg: Config) -> list[str]:
    """Name the datasets of a training, what it starts from first."""
    root = cfg.train_dataloader.dataset.data_root.removeprefix('data/').split('/')[0]
    checkpoint = cfg.get('load_from') or (cfg.model.backbone.get('init_cfg') or {}).get('checkpoint') or ''
    start = re.search(rf'({"|".join(STARTS)})\.pth$', checkpoint)
    return list(dict.fromkeys([*([STARTS[start[1]]] if start else []), DATASETS[root]]))


def training_techniques(cfg: Config) -> list[str]:
    """Name the optimizer and the techniques of a training."""
    wrapper = cfg.optim_wrapper
    parts = [cfg.param_scheduler, cfg.train_dataloader, cfg.model, cfg.get('custom_hooks', []), cfg.get('strategy', {})]
    types = {settings.get('type') for part in parts for settings in nested_dicts(part)}
    types |= {wrapper.get('type'), wrapper.get('constructor')}
    optimizer = wrapper.optimizer
    techniques = [OPTIMIZERS.get(optimizer.type, optimizer.type)]
    techniques += ['Weight Decay'] if optimizer.weight_decay else []
    techniques += ['Stochastic Depth'] if cfg.model.backbone.get('drop_path_rate') else []
    techniques += ['Gradient Clipping'] if wrapper.get('clip_grad') else []
    return [*techniques, *dict.fromkeys(name for type_, name in TECHNIQUES.items() if type_ in types)]


def describe_training(cfg: Config) -> dict:
    """Describe the training of a config, as fields of a metafile."""
    loop = cfg.train_cfg
    length = {'Epochs': loop.max_epochs} if 'max_epochs' in loop else {'Iterations': loop.max_iters}
    # demos name no batch to scale learning rates from
    batch = cfg.get('auto_scale_lr', {}).get('base_batch_size') or cfg.train_dataloader.batch_size
    return {
        'Training Data': training_data(cfg),
        'Training Techniques': training_techniques(cfg),
        **length,
        'Batch Size': batch,
    }
