"""tools/analysis_tools/get_flops.py, as users run it."""

import re

from tests.conftest import run_tool


def test_shares_of_stages():
    config = 'configs/vil/vil-nano-performer_1xb64_digits.py'
    log = run_tool('tools/analysis_tools/get_flops.py', config, '--shape', 128, '--published').stdout
    rows = {name: float(macs) for name, macs in re.findall(r'^(\S+) +[\d,]+ +([\d.]+) +[\d.]+%$', log, re.M)}
    stages = [rows[f'backbone.stages.{i}'] for i in range(4)]
    assert abs(sum(stages) - rows['backbone']) < 2e-3 and rows['backbone'] <= rows['all']
    published = float(re.search(r'as the publication counts +([\d.]+)', log)[1])
    assert published > rows['all']


def test_size_of_training_images():
    log = run_tool('tools/analysis_tools/get_flops.py', 'configs/l2vit/l2vit-nano_1xb64_digits.py').stdout
    assert 'image of 32x32' in log


def test_another_size():
    config = 'configs/vil/vil-tiny-ape_8xb128_in1k.py'
    log = run_tool('tools/analysis_tools/get_flops.py', config, '--shape', 224, 448).stdout
    assert 'image of 224x448' in log
    assert 2.8 < float(re.search(r'^all +[\d,]+ +([\d.]+)', log, re.M)[1]) < 3.3
