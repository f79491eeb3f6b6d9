"""Equations (8) and (9), written out as the paper has them."""

import torch
from torch.nn import functional as F

from dfghdr_cli.nets.dfg import ExposureAttentionUnit, Role, SpatialAttentionUnit

ROLES = (Role.SHORT, Role.REFERENCE, Role.LONG)


def test_exposure_attention_is_eq_9():
    torch.manual_seed(0)
    unit = ExposureAttentionUnit(channels=4, code_length=5)
    features = torch.rand(3, 2, 4, 6, 6)
    codes = torch.rand(2, 3, 5)
    v = torch.stack([unit.dense[int(role)](codes[:, i]) for i, role in enumerate(ROLES)])
    softmax = v.exp() / v.exp().sum(0)  # over the images, as the published code does
    wanted = sum(features[i] * softmax[i][..., None, None] for i in range(3))
    torch.testing.assert_close(unit(list(features), codes, ROLES), wanted)


def test_spatial_attention_is_eq_8():
    torch.manual_seed(0)
    unit = SpatialAttentionUnit(channels=4, tap_channels=3)
    features, taps = torch.rand(3, 2, 4, 6, 6), torch.rand(3, 2, 3, 6, 6)
    sum_of_all = F.leaky_relu(unit.common(features.sum(0)))
    wanted = 0
    for i, role in enumerate(ROLES):
        guide = F.leaky_relu(unit.guide(taps[i]))
        gate = unit.gate[int(role)](torch.cat([sum_of_all, guide], 1)).sigmoid()
        wanted = wanted + features[i] * gate
    torch.testing.assert_close(unit(list(features), list(taps), ROLES), wanted)
