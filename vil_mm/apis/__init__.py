"""Functions for users; importing this makes the models known to mmpretrain's ``get_model`` and inferencers."""

from importlib.util import find_spec

from .flops import count_macs, count_published_macs, image_size

__all__ = ['count_macs', 'count_published_macs', 'image_size']

if find_spec('mmpretrain'):
    from .model_index import register_models

    register_models()
