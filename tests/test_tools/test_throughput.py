"""tools/analysis_tools/benchmark.py: the throughput of a model of each task."""

import re

import pytest

from tests.conftest import run_tool

TOOL = 'tools/analysis_tools/benchmark.py'


@pytest.mark.parametrize(
    'config, options, images',
    [
        ('vil/vil-nano_1xb64_digits.py', ['--amp'], '3 images of 32x32'),
        ('vil/detection/mask-rcnn_vil-nano_fpn_1xb8-400i_digit-scenes.py', ['--shape', 64, 96], '3 images of 64x96'),
        ('vil/segmentation/vil-nano_upernet_1xb8-1600i_digit-scenes-128x128.py', [], '3 images of 128x128'),
    ],
)
def test_throughput(config, options, images):
    log = run_tool(TOOL, f'configs/{config}', '--batch-size', 3, '--repeat-num', 2, *options).stdout
    assert f'{config}, {images} on c' in log
    speed, milliseconds = map(float, re.search(r'([\d.]+) images per second, ([\d.]+) ms per batch', log).groups())
    assert speed == pytest.approx(3000 / milliseconds, rel=0.05)


def test_what_it_refuses():
    config = 'configs/vil/detection/mask-rcnn_vil-nano_fpn_1xb8-400i_digit-scenes.py'
    for options, message in (
        (['--batch-size', 0], '--batch-size 0 must be at least 1'),
        (['--shape', 0], '--shape [0] must be one size'),
        (['--shape', 64, '--amp'], '--amp needs a GPU for MaskRCNN'),
    ):
        result = run_tool(TOOL, config, *options, check=False)
        assert result.returncode and message in result.stdout
