"""The measurement of a detector's memory."""

import re

import pytest

from tests.conftest import run_tool

CONFIG = 'configs/vil/detection/retinanet_vil-nano_fpn_1xb8-800i_digit-scenes.py'


@pytest.mark.slow
def test_memory_grows_with_the_image():
    memory = []
    for size in (64, 256):
        log = run_tool('tools/benchmarks/detector_memory.py', CONFIG, '--shape', size, size).stdout
        memory.append([int(n) for n in re.findall(r'^(?:inference|training step) +(\d+) MiB$', log, flags=re.M)])
    (inference, training), (large_inference, large_training) = memory
    assert inference < large_inference < large_training and training < large_training
