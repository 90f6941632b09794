"""The detectors against the published ones (Detectron2), part by part, through the converter and our configs."""

import pytest
import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi

from tests import goldens
from vil_mm.conversion.files import convert_file
from vil_mm.conversion.vil_detector import convert_detector

DTYPES = pytest.mark.parametrize('dtype', [torch.float64, torch.float32])


def load(name, dtype, tmp_path):
    """A case, its images, and the detector that the converted file makes."""
    case, published, images, expected = goldens.load(name, dtype, 'vil_detector')
    torch.save(dict(model=published, iteration=1), tmp_path / 'model_final.pth')
    source, target = tmp_path / 'model_final.pth', tmp_path / 'converted.pth'
    config = goldens.write_config(name, tmp_path, 'vil_detector')
    convert_file(source, target, convert_detector, ['model'], 'detector', 'vil', config=config)
    detector = goldens.build(name, dtype, 'vil_detector')
    detector.load_state_dict(torch.load(tmp_path / 'converted.pth', weights_only=True)['state_dict'], strict=True)
    return case, images, expected, detector


def image_info(case):
    size = tuple(case['image_size'])
    return dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0))


def check(case, expected, outputs, dtype):
    """Compare the outputs given; classes exactly."""
    for description in case['outputs']:
        name = description['name']
        if name not in outputs:
            continue
        assert list(outputs[name].shape) == description['shape'], name
        got = goldens.golden.sample(outputs[name].detach().double().numpy(), description['index'])
        tolerance = 0 if 'class' in name and 'logits' not in name else goldens.TOLERANCE[dtype]
        error = abs(got - expected[name]).max() / abs(expected[name]).max()
        assert error <= tolerance, f'{name}: relative error {error:.2e}'


@DTYPES
@pytest.mark.parametrize('name, first', [('mask_rcnn_tiny_fpn', 2), ('retinanet_tiny_fpn', 3)])
@torch.no_grad()
def test_pyramid(name, first, dtype, tmp_path):
    case, images, expected, detector = load(name, dtype, tmp_path)
    maps = detector.extract_feat(images)
    goldens.check(case, expected, {f'fpn_p{i}': x for i, x in enumerate(maps, start=first)}, dtype)


def per_anchor(featmap, width):
    """Outputs of a head ``(1, anchors * width, h, w)`` as rows, in the order of the anchors."""
    return featmap[0].permute(1, 2, 0).reshape(-1, width)


@DTYPES
@torch.no_grad()
def test_proposals(dtype, tmp_path):
    case, images, expected, detector = load('mask_rcnn_tiny_rpn', dtype, tmp_path)
    head = detector.rpn_head
    logits, deltas = head(detector.extract_feat(images))
    anchors = head.prior_generator.grid_priors([x.shape[2:] for x in logits], dtype=dtype, device='cpu')
    outputs = {}
    for i in range(5):
        level = f'p{i + 2}'
        outputs |= {f'rpn_logits_{level}': logits[i], f'rpn_deltas_{level}': deltas[i], f'anchors_{level}': anchors[i]}
        scores, order = per_anchor(logits[i], 1).flatten().sort(descending=True)
        boxes = head.bbox_coder.decode(anchors[i], per_anchor(deltas[i], 4))
        outputs |= {f'rpn_top20_logits_{level}': scores[:20], f'rpn_top20_boxes_{level}': boxes[order[:20]]}
    if dtype == torch.float32:  # mmcv's suppression on the CPU knows no other
        (found,) = head.predict_by_feat(logits, deltas, batch_img_metas=[image_info(case)])
        outputs |= {'proposal_boxes': found.bboxes[:100], 'proposal_logits': found.scores[:100].logit()}
    check(case, expected, outputs, dtype)


@DTYPES
@torch.no_grad()
def test_box_and_mask_heads(dtype, tmp_path):
    case, images, expected, detector = load('mask_rcnn_tiny_roi', dtype, tmp_path)
    roi_head = detector.roi_head
    boxes = torch.tensor(case['boxes'], dtype=dtype)
    rois, maps = bbox2roi([boxes]), detector.extract_feat(images)
    levels = roi_head.bbox_roi_extractor.map_roi_levels(rois, 4)
    assert levels.tolist() == case['levels']
    box_features = roi_head.bbox_roi_extractor(maps[:4], rois)
    mask_features = roi_head.mask_roi_extractor(maps[:4], rois)
    class_logits, deltas = roi_head.bbox_head(box_features)
    classes = class_logits[:, :80].argmax(dim=1)
    of_class = deltas.unflatten(1, (80, 4))[torch.arange(len(classes)), classes]
    outputs = dict(
        box_features=box_features,
        class_logits=class_logits,
        box_deltas=deltas,
        fg_class=classes,
        decoded_boxes=roi_head.bbox_head.bbox_coder.decode(boxes, of_class),
        mask_features=mask_features,
        mask_logits=roi_head.mask_head(mask_features),
    )
    goldens.check(case, expected, outputs, dtype)


@DTYPES
@torch.no_grad()
def test_retina_head(dtype, tmp_path):
    case, images, expected, detector = load('retinanet_tiny_head', dtype, tmp_path)
    head = detector.bbox_head
    logits, deltas = head(detector.extract_feat(images))
    anchors = head.prior_generator.grid_priors([x.shape[2:] for x in logits], dtype=dtype, device='cpu')
    outputs = {}
    for i in range(5):
        level = f'p{i + 3}'
        scores, order = per_anchor(logits[i], 80).sigmoid().flatten().sort(descending=True)
        best = order[:20]
        boxes = head.bbox_coder.decode(anchors[i][best // 80], per_anchor(deltas[i], 4)[best // 80])
        outputs |= {f'logits_{level}': logits[i], f'deltas_{level}': deltas[i], f'anchors_{level}': anchors[i]}
        outputs |= {
            f'top20_boxes_{level}': boxes,
            f'top20_scores_{level}': scores[:20],
            f'top20_classes_{level}': best % 80,
        }
    goldens.check(case, expected, outputs, dtype)


@pytest.mark.parametrize('name, prefix', [('mask_rcnn_tiny_detections', 'det'), ('retinanet_tiny_detections', 'post')])
@torch.no_grad()
def test_detections(name, prefix, tmp_path):
    case, images, expected, detector = load(name, torch.float32, tmp_path)
    sample = DetDataSample(metainfo=image_info(case))
    found = detector.predict(images, [sample], rescale=False)[0].pred_instances
    outputs = {f'{prefix}_boxes': found.bboxes, f'{prefix}_scores': found.scores, f'{prefix}_classes': found.labels}
    if name.startswith('mask_rcnn'):
        roi_head, maps = detector.roi_head, detector.extract_feat(images)
        features = roi_head.mask_roi_extractor(maps[:4], bbox2roi([found.bboxes[:20]]))
        masks = roi_head.mask_head(features).sigmoid()
        outputs['det_masks'] = masks[torch.arange(20), found.labels[:20]]
    check(case, expected, outputs, torch.float32)


def test_box_decoding():
    """As published, but for boxes that shrink by more than 62 times, which mmdet keeps wider."""
    case, _, inputs, expected = goldens.load('box_decode', torch.float64, 'vil_detector')
    anchors = torch.tensor(case['boxes'], dtype=torch.float64)
    for name, weights in case['build']['weights'].items():
        coder = TASK_UTILS.build(
            dict(type='DeltaXYWHBBoxCoder', target_means=[0.0] * 4, target_stds=[1 / weight for weight in weights])
        )
        deltas = inputs * case['build']['delta_scale'][name]
        kept = (deltas[:, 2:] / torch.tensor(weights[2:]) > -case['build']['scale_clamp']).all(dim=1)
        assert (~kept).nonzero().flatten().tolist() == [6, 8, 13, 14, 21, 40, 43, 48]
        expected_boxes = torch.from_numpy(expected[name]).double()
        error = (coder.decode(anchors, deltas) - expected_boxes)[kept].abs().max() / expected_boxes.abs().max()
        assert error <= goldens.TOLERANCE[torch.float64], name
