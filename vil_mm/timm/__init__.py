"""The backbones as models of timm: importing this registers them with ``timm.create_model``."""

from .. import _extras

_extras.require('timm')

from .classifier import Classifier as Classifier  # noqa: E402
from .folders import from_pretrained as from_pretrained  # noqa: E402
from .folders import save_pretrained as save_pretrained  # noqa: E402
from .registration import ARCHITECTURES as ARCHITECTURES  # noqa: E402
