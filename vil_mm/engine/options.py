"""What single options of ``tools/train.py`` and ``tools/test.py`` do to a config."""

from copy import deepcopy

from mmengine.config import Config, ConfigDict
from mmengine.device import is_cuda_available

from .._extras import require
from ..arguments import Name, check_arguments
from ..registry import as_list, innermost, nested_dicts

#: The models that average predictions over views of an image, by library.
TTA_MODELS: dict[str, dict] = {
    'mmpretrain': dict(type='AverageClsScoreTTA'),
    'mmdet': dict(type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)),
    'mmseg': dict(type='SegTTAModel'),
}


@check_arguments
def disable_validation(cfg: Config) -> None:
    """Train without validation, which leaves no best checkpoint to keep.

    Args:
        cfg (Config): The config; changed in place.
    """
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint')
    if checkpoint is not None:
        checkpoint.save_best = None


@check_arguments
def enable_tensorboard(cfg: Config) -> None:
    """Log to TensorBoard too, in the folder ``vis_data`` of the run.

    Args:
        cfg (Config): The config; changed in place.

    Raises:
        ImportError: If tensorboard is not installed; it names the extra.
    """
    require('tensorboard')
    visualizer = cfg.setdefault('visualizer', ConfigDict(type='Visualizer'))
    backends = visualizer.get('vis_backends') or [dict(type='LocalVisBackend')]
    if all('TensorboardVisBackend' not in str(backend['type']) for backend in backends):
        visualizer.vis_backends = [*backends, dict(type='TensorboardVisBackend')]


@check_arguments
def skip_bad_images(cfg: Config) -> None:
    """Train on the next image where one cannot be read.

    Args:
        cfg (Config): The config; changed in place.
    """
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), dict(type='vil_mm.CheckImagesHook', skip_bad=True)]


@check_arguments
def enable_test_amp(cfg: Config) -> None:
    """Test in mixed precision: on a GPU in float16, on the CPU in bfloat16.

    Args:
        cfg (Config): The config; changed in place.

    Raises:
        ValueError: If the model has RoIAlign and there is no GPU.
    """
    if not is_cuda_available():
        refuse_roi_align(cfg)
    cfg.test_cfg = dict(cfg.get('test_cfg') or {}, fp16=True)


@check_arguments
def write_predictions(cfg: Config, path: Name) -> None:
    """Write the predictions of a test to a file.

    Args:
        cfg (Config): The config; changed in place.
        path (str): The file, ``.pkl`` or ``.pickle``.
    """
    writer = dict(type='DumpResults', out_file_path=path)
    evaluator = cfg.get('test_evaluator')
    if isinstance(evaluator, dict) and 'metrics' in evaluator:
        evaluator['metrics'] = [*as_list(evaluator['metrics']), writer]
    else:
        cfg.test_evaluator = [*as_list(evaluator), writer]


@check_arguments
def enable_tta(cfg: Config) -> None:
    """Test with several views of each image, and average their predictions.

    The config says how, in ``tta_model`` and ``tta_pipeline``, the names that
    the libraries have for it. Without them, the views are the image and its
    mirror image.

    Args:
        cfg (Config): The config; changed in place.

    Raises:
        ValueError: If the model predicts masks of objects, which mmdet cannot
            average, or neither ``tta_model`` nor ``default_scope`` says how.
    """
    if any('mask_head' in part for part in nested_dicts(cfg.model)):
        raise ValueError(f'--tta is not for {cfg.model.type}: mmdet averages boxes, but no masks')
    scope = cfg.get('default_scope')
    model = cfg.get('tta_model') or TTA_MODELS.get(scope)
    if model is None:
        raise ValueError(f'--tta needs tta_model in the config, or default_scope={scope!r} in {list(TTA_MODELS)}')
    for dataset in innermost(cfg.test_dataloader.dataset):
        dataset['pipeline'] = cfg.get('tta_pipeline') or _with_mirror_image(dataset['pipeline'])
    cfg.model = ConfigDict(**model, module=cfg.model)


@check_arguments
def refuse_roi_align(cfg: Config) -> None:
    """Refuse mixed precision on the CPU for a model with mmcv's RoIAlign, which supports only float32 there.

    Raises:
        ValueError: If the model has it.
    """
    if any('roi_head' in part for part in nested_dicts(cfg.get('model'))):
        raise ValueError(f"--amp needs a GPU for {cfg.model.type}: mmcv's RoIAlign supports only float32 on the CPU")


def _with_mirror_image(pipeline: list[dict]) -> list[dict]:
    *steps, pack = deepcopy(pipeline)
    if 'meta_keys' in pack:
        pack['meta_keys'] = (*pack['meta_keys'], 'flip', 'flip_direction')
    flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
    return [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]
