"""Position parameters of another size: resized as published, on loading and at run time."""

import pytest
import torch

from tests import goldens
from vil_mm.models.layers import AbsolutePositionEmbedding, RelativePositionBias, resize_bias_table


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('name', goldens.cases('vil_resize'))
def test_golden(name, dtype):
    case, _, tensor, expected = goldens.load(name, dtype)
    shape = case['build']['shape_new']
    if case['build']['class'] == 'resize_pos_embed_1d':
        module = AbsolutePositionEmbedding(2 * shape[2], (shape[1], 1)).to(dtype)
        module.load_state_dict({'rows': tensor, 'columns': module.columns.data})
        resized = module.rows
    else:
        side = round(shape[0] ** 0.5)
        module = RelativePositionBias((side, side), shape[1]).to(dtype)
        module.load_state_dict({'table': tensor})
        resized = module.table.flatten(0, 1)
    goldens.check(case, expected, {'resized': resized}, dtype)


def test_position_on_another_grid():
    embedding = AbsolutePositionEmbedding(6, (4, 5), num_global_tokens=2).double()
    embedding.init_weights()
    other = AbsolutePositionEmbedding(6, (7, 3), num_global_tokens=2).double()
    other.load_state_dict(embedding.state_dict())
    x = torch.randn(2, 2 + 21, 6, dtype=torch.float64)
    torch.testing.assert_close(embedding(x, (7, 3)), other(x, (7, 3)))


def test_position_is_row_then_column():
    embedding = AbsolutePositionEmbedding(4, (2, 3), num_global_tokens=1)
    embedding.init_weights()
    positions = embedding(torch.zeros(1, 7, 4), (2, 3))[0]
    assert torch.equal(positions[0], embedding.global_tokens[0, 0])
    assert torch.equal(positions[1 + 1 * 3 + 2], torch.cat([embedding.rows[0, 1], embedding.columns[0, 2]]))


def test_odd_width_is_refused():
    with pytest.raises(ValueError, match='embed_dims=5 must be even'):
        AbsolutePositionEmbedding(5, (2, 2))


def test_tables_keep_their_shape():
    """Not even two of one length are taken for one another."""
    wide, tall = RelativePositionBias((3, 7), 2), RelativePositionBias((7, 3), 2)
    wide.init_weights()
    tall.load_state_dict(wide.state_dict())
    expected = resize_bias_table(wide.table, (7, 3))
    assert torch.equal(tall.table, expected) and not torch.equal(tall.table.flatten(), wide.table.flatten())


def test_resized_bias_at_run_time():
    built, other = RelativePositionBias((7, 7), 2, 1), RelativePositionBias((9, 5), 2, 1)
    built.init_weights()
    other.load_state_dict(built.state_dict())
    assert torch.equal(built.for_local((5, 3), torch.float32), other.for_local((5, 3), torch.float32))


def test_table_of_unknown_shape_is_refused():
    bias = RelativePositionBias((5, 5), 2)
    with pytest.raises(ValueError, match=r'table is flat and has 15 rows.* cannot be resized to \(5, 5\)'):
        bias.load_state_dict({'table': torch.randn(15, 2)})
