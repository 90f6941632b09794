"""Metrics that OpenMMLab lacks."""

from .imagenet_real import ImageNetReaL as ImageNetReaL
