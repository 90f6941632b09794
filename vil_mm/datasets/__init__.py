"""Datasets that OpenMMLab lacks, and checks of any run's data."""

from .._extras import require

require('mmengine')
require('mmcv')
