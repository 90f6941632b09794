"""What an exported file computes: a classifier, or the part of a detector or segmenter before boxes are chosen."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.utils import to_2tuple
from torch import Tensor, nn


class AveragePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products, which serve maps of any size in every format.

    Args:
        sizes (tuple[int, int]): Height and width of the result.
    """

    def __init__(self, sizes: tuple[int, int]) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, x: Tensor) -> Tensor:
        """Pool a feature map ``(N, C, H, W)``."""
        rows, columns = (self._weights(x, size, length) for size, length in zip(self.sizes, x.shape[2:]))
        return rows @ x @ columns.mT

    def _weights(self, x: Tensor, size: int, length: int) -> Tensor:
        """Weigh each place along one axis in each of the means, ``(size, length)``."""
        step, place = (torch.arange(n, device=x.device)[:, None] for n in (size, length))
        start, stop = step * length // size, ((step + 1) * length + size - 1) // size
        inside = (place.mT >= start) & (place.mT < stop)
        return inside.to(x.dtype) / (stop - start)


class ExportedModel(nn.Module):
    """A model without what comes before and after its layers, as exported.

    Args:
        model (nn.Module): The model of a config of mmpretrain, mmdet or mmseg.
        preprocessor (dict): The config of its data preprocessor.
        raw (bool): Whether the input is RGB images of 0 to 255, ``(N, H, W,
            3)``, uint8, which this module normalizes. Otherwise, the input is
            what the model gets, ``(N, C, H, W)``, float32.
    """

    #: Parts of the model that stay outside.
    outside: tuple[str, ...] = ()

    def __init__(self, model: nn.Module, preprocessor: dict, raw: bool) -> None:
        super().__init__()
        # gradients would let PyTorch choose another kernel of attention, with outputs of other strides
        self.model = deepcopy(model).eval().requires_grad_(False)
        for name in self.outside:
            if hasattr(self.model, name):
                delattr(self.model, name)
        for parent in list(self.model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.AdaptiveAvgPool2d) and to_2tuple(child.output_size) != (1, 1):
                    setattr(parent, name, AveragePool(to_2tuple(child.output_size)))
        self.raw, self.swap_channels = raw, is_bgr(preprocessor)
        # buffers, so that the file holds them
        for name, default in (('mean', 0.0), ('std', 1.0)):
            values = torch.tensor(preprocessor.get(name) or [default], dtype=torch.float32)
            self.register_buffer(name, values[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the outputs by name; see :meth:`compute`."""
        if self.raw:
            images = images.permute(0, 3, 1, 2).float()
            images = ((images.flip(1) if self.swap_channels else images) - self.mean) / self.std
        return self.compute(images)

    def compute(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the outputs from preprocessed images."""
        raise NotImplementedError


class ExportedClassifier(ExportedModel):
    """``logits``: ``(N, classes)``, before the softmax."""

    def compute(self, images: Tensor) -> dict[str, Tensor]:
        """See :class:`ExportedModel`."""
        return dict(logits=self.model(images, mode='tensor'))


class ExportedSegmenter(ExportedModel):
    """``logits``: ``(N, classes, H, W)``, of the size of the images."""

    outside = ('auxiliary_head',)

    def compute(self, images: Tensor) -> dict[str, Tensor]:
        """See :class:`ExportedModel`."""
        logits = self.model.decode_head(self.model.extract_feat(images))
        align_corners = self.model.align_corners
        return dict(logits=F.interpolate(logits, images.shape[2:], mode='bilinear', align_corners=align_corners))


class ExportedDetector(ExportedModel):
    """The maps before boxes are chosen, by level of the neck.

    A detector with one stage returns ``scores_0``, ``boxes_0``, ... of its head.
    One with two stages returns the neck's maps ``features_0``, ... and what the
    head of its region proposals computes, ``scores_0``, ``boxes_0``, ...
    """

    outside = ('roi_head',)

    def compute(self, images: Tensor) -> dict[str, Tensor]:
        """See :class:`ExportedModel`."""
        features = self.model.extract_feat(images)
        two_stages = hasattr(self.model, 'rpn_head')
        head = self.model.rpn_head if two_stages else self.model.bbox_head
        maps = head(features)
        if len(maps) != 2:
            raise ValueError(
                f'{type(head).__name__} computes {len(maps)} kinds of maps, must compute scores and boxes only'
            )
        named = dict(features=features) if two_stages else {}
        named |= dict(scores=maps[0], boxes=maps[1])
        return {f'{name}_{level}': x for name, levels in named.items() for level, x in enumerate(levels)}


TASKS: dict[str, type[ExportedModel]] = dict(
    mmpretrain=ExportedClassifier, mmdet=ExportedDetector, mmseg=ExportedSegmenter
)


def preprocessor_of(cfg: Config) -> dict:
    """Find the config of the data preprocessor."""
    return dict(cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {})


def is_bgr(preprocessor: dict) -> bool:
    """Tell whether the model takes the channels of its images in the order BGR, in which OpenMMLab loads them."""
    return not (preprocessor.get('to_rgb') or preprocessor.get('bgr_to_rgb'))


def wrap(model: nn.Module, cfg: Config, raw: bool) -> ExportedModel:
    """Make what is exported of a model.

    Args:
        model (nn.Module): The model.
        cfg (Config): Its config.
        raw (bool): See :class:`ExportedModel`.

    Raises:
        ValueError: If the model cannot be exported.
    """
    needed = dict(mmpretrain=('backbone', 'head'), mmseg=('decode_head',), mmdet=('backbone',))[cfg.default_scope]
    missing = [name for name in needed if not hasattr(model, name)]
    has_maps = hasattr(model, 'rpn_head') or hasattr(model, 'bbox_head') or cfg.default_scope != 'mmdet'
    if missing or not has_maps:
        raise ValueError(
            f'model.type={cfg.model.type} cannot be exported: it must be a classifier of mmpretrain, a detector of '
            'mmdet with a bbox_head or rpn_head, or a segmenter of mmseg with a decode_head'
        )
    return TASKS[cfg.default_scope](model, preprocessor_of(cfg), raw)


def why_fixed(model: ExportedModel, images: Tensor) -> str | None:
    """Say why the model runs only on images of one size, or None if it runs on others.

    Args:
        model (ExportedModel): The model.
        images (Tensor): Images of the size that it is built for.
    """
    try:
        model(torch.cat([images, images], dim=1 if model.raw else 2))
    except ValueError as error:
        return str(error)
    return None
