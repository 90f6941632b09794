"""Published Detectron2 files of Mask R-CNN and RetinaNet with a Vision Longformer."""

from collections.abc import Callable, Mapping

from torch import Tensor

from .renaming import Converted, Rules, rename_all
from .vil import convert_state_dict

BOTTOM_UP = 'backbone.bottom_up.'
FAMILY = 'a Mask R-CNN or RetinaNet of Detectron2 with a feature pyramid'

NAMES = {
    'proposal_generator.rpn_head.conv': 'rpn_head.rpn_conv',
    'proposal_generator.rpn_head.objectness_logits': 'rpn_head.rpn_cls',
    'proposal_generator.rpn_head.anchor_deltas': 'rpn_head.rpn_reg',
    'roi_heads.box_predictor.cls_score': 'roi_head.bbox_head.fc_cls',
    'roi_heads.box_predictor.bbox_pred': 'roi_head.bbox_head.fc_reg',
    'roi_heads.mask_head.deconv': 'roi_head.mask_head.upsample',
    'roi_heads.mask_head.predictor': 'roi_head.mask_head.conv_logits',
    'head.cls_score': 'bbox_head.retina_cls',
    'head.bbox_pred': 'bbox_head.retina_reg',
}
LEFT_OUT = dict.fromkeys(
    ('pixel_mean', 'pixel_std', r'[\w.]+.anchor_generator.cell_anchors.\d+'), 'derived: a setting of the config'
)


def numbered(name: str, first: int, step: int = 1) -> Callable:
    """Make a replacement that counts from 0 what the file counts from ``first`` in steps of ``step``."""
    return lambda match: name.format((int(match[1]) - first) // step)


def make_rules(lowest_level: int) -> Rules:
    """Make the rules for a feature pyramid from its lowest level."""
    return {
        **NAMES,
        r'backbone.fpn_lateral(\d)': numbered('neck.lateral_convs.{}.conv', lowest_level),
        r'backbone.fpn_output(\d)': numbered('neck.fpn_convs.{}.conv', lowest_level),
        # RetinaNet's two top layers follow the outputs of its three levels
        r'backbone.top_block.p(\d)': numbered('neck.fpn_convs.{}.conv', 3),
        r'roi_heads.box_head.fc(\d)': numbered('roi_head.bbox_head.shared_fcs.{}', 1),
        r'roi_heads.mask_head.mask_fcn(\d)': numbered('roi_head.mask_head.convs.{}.conv', 1),
        r'head.cls_subnet.(\d)': numbered('bbox_head.cls_convs.{}.conv', 0, 2),
        r'head.bbox_subnet.(\d)': numbered('bbox_head.reg_convs.{}.conv', 0, 2),
    }


def convert_detector(published: Mapping[str, Tensor]) -> Converted:
    """Convert a published state dict.

    Args:
        published (Mapping[str, Tensor]): The tensors of a detector.

    Returns:
        Converted: The converted tensors, and what was left out.

    Raises:
        ValueError: If there are unknown names.
    """
    levels = [int(name.split('fpn_lateral')[1][0]) for name in published if 'fpn_lateral' in name]
    if not levels:
        raise ValueError(f'{list(published)[:5]} are not names of {FAMILY}: there is no fpn_lateral')
    others = {name: tensor for name, tensor in published.items() if not name.startswith(BOTTOM_UP)}
    converted, dropped = rename_all(others, make_rules(min(levels)), FAMILY, left_out=LEFT_OUT)

    body = {name.removeprefix(BOTTOM_UP): t for name, t in published.items() if name.startswith(BOTTOM_UP)}
    backbone, redundant = convert_state_dict(body)
    for name in ('norm', 'head'):
        for kind in ('weight', 'bias'):
            own = f'head.fc.{kind}' if name == 'head' else f'backbone.{name}.{kind}'
            if backbone.pop(own, None) is not None:
                redundant[f'{name}.{kind}'] = 'unused: it acts on no output of the detector'
    return {**backbone, **converted}, {**{BOTTOM_UP + name: why for name, why in redundant.items()}, **dropped}
