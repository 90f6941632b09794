"""Any detector's or segmenter's config, turned to the scenes of handwritten digits."""

from pathlib import Path

from mmengine.config import Config

from tests.conftest import ROOT

DEMOS = {
    'mask-rcnn': ROOT / 'configs/vil/detection/mask-rcnn_vil-nano_fpn_1xb8-400i_digit-scenes.py',
    'retinanet': ROOT / 'configs/vil/detection/retinanet_vil-nano_fpn_1xb8-800i_digit-scenes.py',
    'upernet': ROOT / 'configs/vil/segmentation/vil-nano_upernet_1xb8-1600i_digit-scenes-128x128.py',
}
SIZE = (128, 128)
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def on_scenes(path: Path, root: Path, batch_size: int = 2) -> Config:
    """Read a config and override data, number of classes, image size, and the weights that it starts from."""
    cfg = Config.fromfile(path)
    segments = cfg.default_scope == 'mmseg'
    with_masks = 'mask_head' in cfg.model.get('roi_head', {})
    scenes = Config.fromfile(DEMOS['upernet' if segments else 'mask-rcnn' if with_masks else 'retinanet'])
    for name in LOADERS:
        pipeline = cfg[name].dataset.pipeline
        cfg[name].dataset = scenes[name].dataset
        cfg[name].dataset.pipeline = [small(step) for step in pipeline]
        cfg[name].dataset.data_root = str(root)
        cfg[name].update(batch_size=batch_size, num_workers=0, persistent_workers=False)
    for name in ('val_evaluator', 'test_evaluator'):
        if not segments:
            cfg[name].ann_file = str(root / 'annotations/val.json')
    cfg.model.backbone.init_cfg = None
    if not segments:  # so that also an untrained detector finds something
        cfg.model.test_cfg.get('rcnn', cfg.model.test_cfg).score_thr = 0.0
    set_classes(cfg.model, 11 if segments else 10)
    if segments:
        cfg.model.data_preprocessor.size = SIZE
    return cfg


def small(step: dict) -> dict:
    """One step of a pipeline, for small images and labels that begin with the background."""
    sizes = {'scale': SIZE, 'scales': [SIZE, (160, 160)], 'crop_size': SIZE, 'reduce_zero_label': False}
    step = dict(step, **{key: value for key, value in sizes.items() if key in step})
    if 'transforms' in step:  # a choice among several pipelines
        step['transforms'] = [[small(inner) for inner in choice] for choice in step['transforms']]
    return step


def set_classes(model: dict, number: int) -> None:
    """Set the number of classes of all heads."""
    for key, value in model.items():
        if key == 'num_classes':
            model[key] = number
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, dict):
                set_classes(child, number)


def write(cfg: Config, folder: Path, name: str = 'config', **overrides) -> Path:
    """Write a config, with overrides, whose dots are written as double underscores."""
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in overrides.items()})
    path = folder / f'{name}.py'
    cfg.dump(path)
    return path
