"""The disentangled-feature-guided (DFG) module (section 2.2, right half of Fig. 3).

It merges the features of several images into one map. The paper has three images; here any number
may come, each in a *role* (shorter than the reference, the reference, longer), and the weights that
the published code keeps per image are kept per role. For three images this is the published module.
A sum over the images becomes a sum over the three roles of the mean within a role, and a role that
nobody has is played by the reference, so that activations do not grow with the number of images.

Features are (B, K, C, H, W) for K images; the reference may be any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Role(IntEnum):
    """What an image of the bracket is, seen from the reference."""

    SHORT = 0
    REFERENCE = 1
    LONG = 2


def role_sum(x: Tensor, roles: Sequence[Role]) -> Tensor:
    """Sum over roles of the mean within a role: (B, K, ...) to (B, ...).

    Roughly three times the mean; for one image in each role exactly the sum.
    """
    missing = sum(role not in roles for role in Role)
    shares = [
        (1.0 + missing if role is Role.REFERENCE else 1.0) / roles.count(role) for role in roles
    ]
    if all(share == shares[0] for share in shares):
        return x.sum(1) * shares[0]
    weights = torch.tensor(shares, dtype=x.dtype, device=x.device)
    return (x * weights.view(1, -1, *(1,) * (x.dim() - 2))).sum(1)


def by_role(x: Tensor, roles: Sequence[Role]) -> Iterator[tuple[Role, Tensor]]:
    """Neighbours in the same role with that role, of x (B, K, ...); best kept sorted by role."""
    runs = [(role, len(list(group))) for role, group in groupby(roles)]
    parts = x.split([length for _, length in runs], 1)
    return ((role, part) for (role, _), part in zip(runs, parts, strict=True))


def per_role(modules: nn.ModuleList, x: Tensor, roles: Sequence[Role]) -> Tensor:
    """Apply modules[role] to every image: x (B, K, ...) to (B, K, ...)."""
    out = []
    for role, part in by_role(x, roles):
        out.append(modules[role](part.flatten(0, 1)).unflatten(0, (-1, part.shape[1])))
    return torch.cat(out, 1)


def conv_of_both(
    conv: nn.Conv2d, shared: Tensor, own: Tensor, *, shared_first: bool = True
) -> Tensor:
    """`conv` of each image's features concatenated with features that all images share.

    What is shared is convolved once, not once an image.

    Args:
        conv: of C_shared + C_own channels.
        shared: (B, C_shared, H, W).
        own: (B, K, C_own, H, W).
        shared_first: the order in which they are concatenated.

    Returns:
        (B, K, C_out, H, W).
    """
    sizes = [shared.shape[1], own.shape[2]]
    if shared_first:
        weight, weight_own = conv.weight.split(sizes, 1)
    else:
        weight_own, weight = conv.weight.split(sizes[::-1], 1)
    common = F.conv2d(shared, weight, conv.bias, padding=conv.padding)
    each = F.conv2d(own.flatten(0, 1), weight_own, padding=conv.padding)
    return each.unflatten(0, (-1, own.shape[1])).add_(common[:, None])


def role_modules(make: Callable[[], nn.Module]) -> nn.ModuleList:
    """One module per role, in the order of `Role`."""
    return nn.ModuleList(make() for _ in Role)


class ExposureAttentionUnit(nn.Module):
    """EAU, eq. (9): U_ex = sum_i F_i * Softmax(v_i), with v_i from the exposure code F_i_ex.

    The softmax runs across the images, for each channel on its own (published code and Fig. 3).
    """

    def __init__(self, channels: int, code_length: int) -> None:
        super().__init__()
        self.dense = role_modules(lambda: nn.Linear(code_length, channels))

    def attention(self, codes: Tensor, roles: Sequence[Role]) -> Tensor:
        """Weights (B, K, C) that sum to 1 over the images, from codes (B, K, L)."""
        return per_role(self.dense, codes, roles).softmax(1)

    def forward(self, features: Tensor, codes: Tensor, roles: Sequence[Role]) -> Tensor:
        """U_ex (B, C, H, W) of features (B, K, C, H, W) and codes (B, K, L)."""
        attention = self.attention(codes, roles)
        return (features * attention[..., None, None]).sum(1)


class SpatialAttentionUnit(nn.Module):
    """SAU, eq. (8): U_sp = sum_i F_i * sigma(Conv(Concat(F_isp, sum_k F_k))).

    As in the published code, sum_k F_k passes a 3x3 convolution, F_isp a 1x1 convolution that all
    images share, each followed by a leaky ReLU; the gates have one 3x3 convolution per role.
    """

    def __init__(self, channels: int, tap_channels: int) -> None:
        super().__init__()
        self.common = nn.Conv2d(channels, channels, 3, padding=1)
        self.guide = nn.Conv2d(tap_channels, channels, 1)
        self.gate = role_modules(lambda: nn.Conv2d(2 * channels, channels, 3, padding=1))

    def attention(self, features: Tensor, taps: Tensor, roles: Sequence[Role]) -> Tensor:
        """Gates (B, K, C, H, W) in [0, 1], not normalised across the images."""
        count = len(roles)
        common = F.leaky_relu_(self.common(role_sum(features, roles)))
        guide = F.leaky_relu_(self.guide(taps.flatten(0, 1))).unflatten(0, (-1, count))
        gates = [
            conv_of_both(self.gate[role], common, part)  # pyright: ignore[reportArgumentType]
            for role, part in by_role(guide, roles)
        ]
        return torch.cat(gates, 1).sigmoid_()

    def forward(self, features: Tensor, taps: Tensor, roles: Sequence[Role]) -> Tensor:
        """U_sp (B, C, H, W) of features (B, K, C, H, W) and taps (B, K, T, H, W)."""
        return role_sum(features * self.attention(features, taps, roles), roles)


class DFGModule(nn.Module):
    """Both attention units side by side; each gets the reference's features added (published code).

    Without one of them (Table 1: Model 1 has no EAU, Model 2 no SAU) its half of the output is
    missing, and `out_channels` says what is left.
    """

    def __init__(
        self, channels: int, tap_channels: int, code_length: int, *, eau: bool, sau: bool
    ) -> None:
        super().__init__()
        if not (eau or sau):
            raise ValueError("a DFG module needs at least one of its two attention units")
        self.exposure = ExposureAttentionUnit(channels, code_length) if eau else None
        self.spatial = SpatialAttentionUnit(channels, tap_channels) if sau else None
        self.out_channels = channels * (eau + sau)

    def forward(
        self, features: Tensor, codes: Tensor, taps: Tensor, roles: Sequence[Role]
    ) -> Tensor:
        """(B, out_channels, H, W) of (B, K, C, H, W), codes (B, K, L), taps (B, K, T, H, W)."""
        reference = features.unbind(1)[list(roles).index(Role.REFERENCE)]
        merged = []
        if self.exposure is not None:
            merged.append(self.exposure(features, codes, roles) + reference)
        if self.spatial is not None:
            merged.append(self.spatial(features, taps, roles) + reference)
        return torch.cat(merged, 1)
