"""Datasets that OpenMMLab lacks."""

from .._extras import require

require('mmpretrain')

from .zip_backend import ZipBackend  # noqa: E402
from .zip_dataset import ZipDataset  # noqa: E402

__all__ = ['ZipBackend', 'ZipDataset']
