"""Conversion of published files: file handling, and each family's names."""

from .._extras import require

require('mmengine')
