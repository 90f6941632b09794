"""Files of weights that parts of a model start from."""

import re

import pytest
import torch
from mmengine.config import Config

from vil_mm.engine.checks.weights import check_prefixes


def make(path, **init_cfg):
    backbone = dict(type='vil_mm.ViL', init_cfg=dict(dict(type='Pretrained', checkpoint=str(path)), **init_cfg))
    return Config(dict(default_scope='mmdet', model=dict(type='RetinaNet', parts=[dict(backbone=backbone)])))


@pytest.mark.parametrize('inner', [False, True])
def test_prefix_that_is_not_there(inner, tmp_path):
    path, state = tmp_path / 'a.pth', {'model.encoder.weight': torch.ones(1), 'head.weight': torch.ones(1)}
    torch.save(dict(state_dict=state) if inner else state, path)
    for prefix in ('encoder.', 'mod', 'encoder'):
        message = (
            f'model.parts.0.backbone.init_cfg.prefix={prefix!r}: no name in {path} begins with it; they begin with'
        )
        with pytest.raises(ValueError, match=re.escape(f'{message} head, model')):
            check_prefixes(make(path, prefix=prefix))
    for fits in (dict(prefix='model.'), dict(prefix='model.encoder'), {}, dict(type='Xavier', prefix='x')):
        check_prefixes(make(path, **fits))
    check_prefixes(make(tmp_path / 'none.pth', prefix='encoder.'))
