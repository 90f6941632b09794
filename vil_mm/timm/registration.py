"""The models that are registered with timm: all architectures of all families."""

from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from ..models.backbones import DWNet, L2ViT, SwinVSA, ViL, ViTAEv2
from ..models.base import BaseBackbone
from .classifier import Classifier

#: By the first part of the models' names: the backbone; its arguments besides ``arch``; the convolutions of the image,
#: within the first embedding; and the publications.
FAMILIES: dict[str, tuple[type[BaseBackbone], dict[str, Any], tuple[str, ...], tuple[str, ...]]] = {
    'vil': (ViL, {}, ('patch_embed.projection',), ('2103.15358',)),
    'l2vit': (L2ViT, {}, ('convs.0',), ('2501.16182',)),
    'vitaev2': (ViTAEv2, {}, ('pyramid.convs.{}', 'convs.0'), ('2202.10108', '2204.08446')),
    'swin_vsa': (SwinVSA, {}, ('projection',), ('2204.08446',)),
    'dwnet': (DWNet, dict(conv_type='static'), ('projection',), ('2106.04263',)),
    'dynamic_dwnet': (DWNet, dict(conv_type='dynamic'), ('projection',), ('2106.04263',)),
    'idynamic_dwnet': (DWNet, dict(conv_type='inhomogeneous'), ('projection',), ('2106.04263',)),
}
_MODELS = [
    (f'{family}_{arch.replace("-", "_")}', family, arch)
    for family, (backbone, *_) in FAMILIES.items()
    for arch in backbone.arch_zoo  # type: ignore[attr-defined]
]
#: By name: the backbone and the arguments of each registered model.
ARCHITECTURES: dict[str, tuple[type[BaseBackbone], dict[str, Any]]] = {
    name: (FAMILIES[family][0], dict(FAMILIES[family][1], arch=arch)) for name, family, arch in _MODELS
}


def _default_cfg(family: str, arch: str) -> dict[str, Any]:
    """Say what timm's ``pretrained_cfg`` holds of a model, of which there are no weights."""
    backbone, _, convs, papers = FAMILIES[family]
    branches = range(len(backbone.arch_zoo[arch].get('dilations', [[1]])[0]))  # type: ignore[attr-defined]
    first = dict.fromkeys(f'backbone.stages.0.embed.{conv.format(i)}' for conv in convs for i in branches)
    return dict(
        first_conv=tuple(first) if len(first) > 1 else next(iter(first)),
        classifier='head.fc',
        pool_size=(7, 7),
        fixed_input_size=backbone is ViL,  # whose full attentions have relative positions
        paper_ids=tuple(f'arXiv:{paper}' for paper in papers),
    )


# where timm looks for them
default_cfgs = generate_default_cfgs({name: _default_cfg(family, arch) for name, family, arch in _MODELS})


def _register(name: str) -> None:
    """Register a model with timm, which takes its name from a function."""
    backbone, settings = ARCHITECTURES[name]

    def create(pretrained: bool = False, **kwargs) -> Classifier:
        return build_model_with_cfg(
            partial(Classifier, backbone),
            name,
            pretrained,
            feature_cfg=dict(out_indices=(0, 1, 2, 3), feature_cls='getter'),
            **{**settings, **kwargs},
        )

    create.__name__ = create.__qualname__ = name
    register_model(create)


for _name in ARCHITECTURES:
    _register(_name)
