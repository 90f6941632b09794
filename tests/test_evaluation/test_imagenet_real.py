"""Accuracy with the reassessed labels of ImageNet."""

import json

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS

REAL = [[3], [], [0, 5], [2], [1, 4]]


@pytest.fixture
def real(tmp_path):
    path = tmp_path / 'real.json'
    path.write_text(json.dumps(REAL))
    return str(path)


def evaluate(real, scores, numbers, **settings):
    metric = METRICS.build(dict(type='vil_mm.ImageNetReaL', ann_file=real, **settings))
    evaluator = Evaluator(metric)
    for score, number in zip(scores, numbers):
        path = f'data/imagenet/val/n01440764/ILSVRC2012_val_{number:08d}.JPEG'
        evaluator.process([dict(img_path=path, pred_score=score, gt_label=torch.tensor([0]))])
    return evaluator.evaluate(len(scores))


def test_accuracies(real):
    """Any label of the set is right, in whatever order the images come; an empty set does not count."""
    numbers = [3, 1, 2, 5, 4]
    best = [5, 3, 0, 0, 1]  # of images 3 and 1 a label, of 5 and 4 none
    scores = torch.zeros(5, 6)
    scores[torch.arange(5), best] = 2
    scores[torch.arange(5), [1, 1, 1, 4, 0]] = 1  # the second best: of image 5 a label
    metrics = evaluate(real, scores, numbers, topk=(1, 2))
    assert metrics == pytest.approx({'real/top1': 50.0, 'real/top2': 75.0})
    assert evaluate(real, scores[:2], numbers[:2]) == {'real/top1': 100.0}


def test_against_numpy(real):
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(400, 6)))
    numbers = np.random.default_rng(1).integers(1, 6, 400)
    order = (-scores.numpy()).argsort(1)
    counted = [(ranks[:3], REAL[number - 1]) for ranks, number in zip(order, numbers) if REAL[number - 1]]
    expected = 100 * np.mean([bool(set(ranks.tolist()) & set(labels)) for ranks, labels in counted])
    assert evaluate(real, scores, numbers, topk=3) == pytest.approx({'real/top3': expected})


def test_what_it_refuses(real, tmp_path):
    scores = torch.ones(1, 6)
    with pytest.raises(ValueError, match=r'ILSVRC2012_val_00000006.JPEG must be named as in ImageNet.* to 00000005'):
        evaluate(real, scores, [6])
    with pytest.raises(ValueError, match='has no labels for any of the 1 images'):
        evaluate(real, scores, [2])
    metric = METRICS.build(dict(type='vil_mm.ImageNetReaL', ann_file=real))
    with pytest.raises(ValueError, match=r'val/cat\.png must be named as in ImageNet'):
        metric.process(None, [dict(img_path='val/cat.png', pred_score=scores[0])])
    with pytest.raises(ValueError, match=r'topk=\(\) must be'):
        METRICS.build(dict(type='vil_mm.ImageNetReaL', ann_file=real, topk=()))
    (tmp_path / 'other.json').write_text('{"images": []}')
    with pytest.raises(ValueError, match=r'must be real\.json, a list with a list of labels'):
        METRICS.build(dict(type='vil_mm.ImageNetReaL', ann_file=str(tmp_path / 'other.json')))
