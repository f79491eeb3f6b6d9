"""The disentangled-feature-guided (DFG) module (section 2.2, right half of Fig. 3).

It merges the features of several images into one map. The paper has three images; here any number
may come, each in a *role* (shorter than the reference, the reference, longer), and the weights that
the published code keeps per image are kept per role. For three images this is the published module.
A sum over the images becomes a sum over the three roles of the mean within a role, and a role that
no image has is played by the reference, so that activations do not grow with the number of images.

Features are one map (B, C, H, W) per image; the reference may stand at any index. The maps are
processed one after the other, so that intermediate results take the memory of a single image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from itertools import repeat

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Role(IntEnum):
    """What an image of the bracket is, seen from the reference."""

    SHORT = 0
    REFERENCE = 1
    LONG = 2


def role_shares(roles: Sequence[Role]) -> list[float]:
    """What each image counts for in a sum over roles of the mean within a role.

    They are 3 in all; for one image in each role 1 each.
    """
    missing = sum(role not in roles for role in Role)
    return [
        (1.0 + missing if role is Role.REFERENCE else 1.0) / roles.count(role) for role in roles
    ]


def weighted_sum(
    maps: Sequence[Tensor], shares: Iterable[float], gates: Iterable[Tensor] | None = None
) -> Tensor:
    """Sum of share * map, or of share * gate * map; a gate is asked for when it is needed."""
    total = torch.zeros((), dtype=maps[0].dtype, device=maps[0].device)
    if gates is None:
        for x, share in zip(maps, shares, strict=True):
            total = torch.add(total, x, alpha=share)
    else:
        for x, share, gate in zip(maps, shares, gates, strict=True):
            total = torch.addcmul(total, x, gate, value=share)
    return total


def conv_of_both(
    convs: Iterable[nn.Conv2d],
    shared: Tensor,
    own: Iterable[Tensor],
    *,
    shared_first: bool = True,
) -> Iterator[Tensor]:
    """Convolutions of each image's features concatenated with features that all images share.

    What is shared is convolved once for each convolution, not once an image.

    Args:
        convs: one an image, of C_shared + C_own channels; may be the same.
        shared: (B, C_shared, H, W).
        own: one an image, (B, C_own, H, W).
        shared_first: the order in which they are concatenated.

    Yields:
        (B, C_out, H, W) of each image.
    """
    common: tuple[nn.Conv2d, Tensor] | None = None  # neighbours often have the same
    for conv, x in zip(convs, own, strict=True):
        sizes = [shared.shape[1], x.shape[1]]
        if shared_first:
            weight, weight_own = conv.weight.split(sizes, 1)
        else:
            weight_own, weight = conv.weight.split(sizes[::-1], 1)
        if common is None or common[0] is not conv:
            common = conv, F.conv2d(shared, weight, conv.bias, padding=conv.padding)
        yield F.conv2d(x, weight_own, padding=conv.padding).add_(common[1])


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
        each = [
            self.dense[int(role)](code) for role, code in zip(roles, codes.unbind(1), strict=True)
        ]
        return torch.stack(each, 1).softmax(1)

    def forward(self, features: Sequence[Tensor], codes: Tensor, roles: Sequence[Role]) -> Tensor:
        """U_ex (B, C, H, W) of K features (B, C, H, W) and codes (B, K, L)."""
        attention = self.attention(codes, roles)[..., None, None].unbind(1)
        return weighted_sum(features, repeat(1.0, len(features)), attention)


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

    def attention(
        self, features: Sequence[Tensor], taps: Sequence[Tensor], roles: Sequence[Role]
    ) -> Iterator[Tensor]:
        """Gates (B, C, H, W) in [0, 1] of each image, not normalised across the images."""
        common = F.leaky_relu_(self.common(weighted_sum(features, role_shares(roles))))
        guides = (F.leaky_relu_(self.guide(tap)) for tap in taps)
        convs = (self.gate[int(role)] for role in roles)
        for gate in conv_of_both(convs, common, guides):  # pyright: ignore[reportArgumentType]
            yield gate.sigmoid_()

    def forward(
        self, features: Sequence[Tensor], taps: Sequence[Tensor], roles: Sequence[Role]
    ) -> Tensor:
        """U_sp (B, C, H, W) of K features (B, C, H, W) and taps (B, T, H, W)."""
        gates = self.attention(features, taps, roles)
        return weighted_sum(features, role_shares(roles), gates)


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
        self,
        features: Sequence[Tensor],
        codes: Tensor,
        taps: Sequence[Tensor],
        roles: Sequence[Role],
    ) -> Tensor:
        """(B, out_channels, H, W) of K maps (B, C, H, W), codes (B, K, L), K taps (B, T, H, W)."""
        reference = features[list(roles).index(Role.REFERENCE)]
        merged = []
        if self.exposure is not None:
            merged.append(self.exposure(features, codes, roles) + reference)
        if self.spatial is not None:
            merged.append(self.spatial(features, taps, roles) + reference)
        return torch.cat(merged, 1)
