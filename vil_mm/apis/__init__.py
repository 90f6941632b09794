"""Functions for users; importing this makes the models known by name to the libraries' functions and inferencers."""

from importlib.util import find_spec

from ..engine.fitting import check_inference
from .flops import count_macs, count_published_macs, image_size
from .names import register_configs

__all__ = ['count_macs', 'count_published_macs', 'image_size']

register_configs()
check_inference()
if find_spec('mmpretrain'):
    from .model_index import register_models

    register_models()
