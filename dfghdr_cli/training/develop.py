"""From rendered scenes to samples, in batches on any device.

A scene is what takes a CPU long: its frames' radiance, and the motion that a merge would find
between them (`dfghdr_cli.training.synth`). One scene makes several samples. Each has a cut-out,
orientation, order of colours, exposure and noise of its own, drawn from the sample's number alone;
its frames are exposed, aligned, moved, repaired and smoothed here by the rules of
`registration.warp`, `restoration.undershoot` and `restoration.noise`, written for batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dfghdr_cli.core.clipping import CLIPPING_STARTS
from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.core.registration.warp import KERNEL_DOUBT
from dfghdr_cli.core.restoration.noise import CENTRES, COLOURS, SHRINKAGE, SMOOTHING_REACH
from dfghdr_cli.core.restoration.undershoot import BRIGHT, REACH, TOO_DARK
from dfghdr_cli.core.worth import WHITE
from dfghdr_cli.training.camera import expose
from dfghdr_cli.training.samples import Batch

EXPOSURE_JITTER = 0.25
"""By how much the samples of a scene are exposed otherwise than the scene, at most [stops]."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What is random about a sample besides its scene.

    Attributes:
        corner: first row and column of the cut-out [pixels].
        turns: quarters by which it is turned, before it is mirrored.
        mirror: whether it is.
        order: of the channels.
        stops: how much brighter it is exposed than the scene.
        noise: seed of its noise, or of all of a batch that a GPU makes at once.
    """

    corner: tuple[int, int]
    turns: int
    mirror: bool
    order: tuple[int, ...]
    stops: float
    noise: int


def draw(
    rng: np.random.Generator, margin: int, *, varied: bool, permute_channels: bool = True
) -> Draw:
    """The random choices of a sample.

    Args:
        rng: random numbers, of the sample's own.
        margin: of the scene around the cut-out [pixels].
        varied: whether others are made of the same scene.
        permute_channels: whether red, green and blue may change places.
    """
    # A third of the samples may reach the border, where frames end and flow has less to go by.
    corner = rng.integers(0, 2 * margin + 1, 2) if rng.random() < 0.33 else np.full(2, margin)
    turns, mirror, order = int(rng.integers(4)), bool(rng.integers(2)), rng.permutation(3)
    stops = rng.uniform(-EXPOSURE_JITTER, EXPOSURE_JITTER)
    noise = int(rng.integers(2**62))
    if not permute_channels:
        order = np.arange(3)
    if not varied:
        turns, mirror, order, stops = 0, False, np.arange(3), 0.0
    return Draw(
        (int(corner[0]), int(corner[1])), turns, mirror, tuple(order.tolist()), stops, noise
    )


def seen(image: Tensor, turns: int, mirror: bool) -> Tensor:
    """A picture (..., H, W) turned by quarters and then mirrored."""
    image = torch.rot90(image, turns, (-2, -1))
    return image.flip(-1) if mirror else image


@dataclass(frozen=True, slots=True)
class Scenes:
    """A batch of scenes of one composition, on a device.

    Attributes:
        arrays: of `SceneSynthesiser`, stacked to (B, ...).
        qualities: B, of JPEG, 0 for none; known without asking the device.
        curved: whether any of the cameras has a tone curve, likewise.
        darker: number of frames darker than the reference, likewise.
    """

    arrays: Batch
    qualities: tuple[int, ...]
    curved: bool
    darker: int

    @classmethod
    def of(cls, parts: Sequence[Batch], device: torch.device) -> Scenes:
        """Scenes that came in parts from worker processes, on the CPU."""
        qualities = [int(q) for part in parts for q in part["jpeg"]]
        curved = any(bool(part["curved"].any()) for part in parts)
        darker = int((parts[0]["stops"][0] < 0).sum())

        def joined(name: str) -> Tensor:
            moved = [part[name].to(device, non_blocking=True) for part in parts]
            return torch.cat(moved) if len(moved) > 1 else moved[0]

        return cls({name: joined(name) for name in parts[0]}, tuple(qualities), curved, darker)

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.qualities)

    def one(self, number: int) -> Scenes:
        """One of them, as a batch."""
        arrays = {name: array[number : number + 1] for name, array in self.arrays.items()}
        return Scenes(arrays, self.qualities[number : number + 1], self.curved, self.darker)


def develop(scenes: Scenes, draws: Sequence[Draw], crop: int) -> Batch:
    """One sample of each scene.

    Args:
        scenes: B of them.
        draws: B, of the samples.
        crop: their side [pixels].

    Returns:
        A collated batch of samples, see `SceneSynthesiser`.
    """
    if scenes.arrays["radiance"].device.type == "cpu" and len(scenes) > 1:
        # One by one they fit into a processor's cache.
        each = [develop(scenes.one(k), [draws[k]], crop) for k in range(len(scenes))]
        return {name: torch.cat([sample[name] for sample in each]) for name in each[0]}
    with torch.no_grad(), torch.autocast(scenes.arrays["radiance"].device.type, enabled=False):
        return _develop(scenes, draws, crop)


def _develop(scenes: Scenes, draws: Sequence[Draw], crop: int) -> Batch:
    arrays = scenes.arrays
    radiance = arrays["radiance"]
    device, size = radiance.device, radiance.shape[-1]
    order = torch.tensor([d.order for d in draws]).to(device)[:, None, :, None, None]
    radiance = radiance.gather(2, order.expand_as(radiance)).float()
    jitter = torch.tensor([d.stops for d in draws], device=device)
    # One after the other, noise of their own would keep a GPU waiting.
    generator = torch.Generator(device).manual_seed(draws[0].noise)
    noise = torch.randn(radiance.shape, generator=generator, device=device)
    code = expose(
        radiance,
        arrays["exposures"] + jitter[:, None],
        arrays,
        noise,
        scenes.qualities,
        curved=scenes.curved,
    )

    index = _index(draws, size, crop).to(device)

    def cut(image: Tensor) -> Tensor:
        """(B, ..., S, S) to (B, ..., crop, crop), each sample's part as it sees it."""
        flat = image.flatten(-2)
        picked = index.view(len(index), *(1,) * (flat.dim() - 2), -1)
        picked = picked.expand(*flat.shape[:-1], -1)
        return flat.gather(-1, picked).unflatten(-1, (crop, crop))

    reference = cut(code[:, 0])
    place = torch.stack([index % size, index // size], 1).float()
    place = place.unflatten(-1, (crop, crop))[:, None]
    flow = cut(arrays["flow"])
    # (B, F - 1, 2 hypotheses, 2, crop, crop)
    target = torch.stack([place.expand_as(flow), place + flow], 2)
    u, v = _projected(arrays["found"][:, :, None], target)
    white = arrays["limits"][:, :, WHITE, None, None]
    clipped = code[:, 1:] >= white[:, None]
    if scenes.darker:
        clipped[:, 0] = False  # the white of the darkest is the best there is
    moved, trust = _resampled(code[:, 1:], clipped, u, v, arrays["untouched"])
    for k in range(scenes.darker):
        for hypothesis in range(2):
            moved[:, k, hypothesis] = repaired(
                moved[:, k, hypothesis],
                trust[:, k, hypothesis, None],
                reference >= white,
                arrays["stops"][:, k],
            )
    smoothed = smooth(reference, arrays["noise"])
    stops = arrays["stops"].repeat_interleave(2, 1)
    stops = torch.cat([torch.zeros_like(stops[:, :2]), stops], 1)
    peak = torch.exp2(-stops.amin(1))
    truth = cut(radiance[:, 0]) * (torch.exp2(jitter) / peak)[:, None, None, None]
    everywhere = torch.ones_like(reference[:, None, :1]).expand(-1, 2, -1, -1, -1)
    count = stops.shape[1]
    return {
        "code": torch.cat([reference[:, None], smoothed[:, None], moved.flatten(1, 2)], 1),
        "trust": torch.cat([everywhere, trust.flatten(1, 2)[:, :, None]], 1),
        "stops": stops,
        "peak": peak,
        "truth": truth.clamp_(0.0, 1.0),
        "limits": arrays["limits"][:, None].expand(-1, count, -1, -1),
        "tolerance": arrays["tolerance"][:, None].expand(-1, count, -1, -1),
    }


def _index(draws: Sequence[Draw], size: int, crop: int) -> Tensor:
    """Which pixels of a scene, counted by rows, each sample sees: (B, crop ** 2) int64."""
    pixels, parts = torch.arange(size * size).view(size, size), []
    for d in draws:
        rows, columns = (slice(start, start + crop) for start in d.corner)
        parts.append(seen(pixels[rows, columns], d.turns, d.mirror).flatten())
    return torch.stack(parts)


def _projected(transform: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Places (..., 2, h, w) [pixels] under homographies (..., 3, 3): u and v, (..., h, w)."""
    x, y = place.unbind(-3)
    m = transform[..., None, None]
    depth = m[..., 2, 0, :, :] * x + m[..., 2, 1, :, :] * y + m[..., 2, 2, :, :]
    u = m[..., 0, 0, :, :] * x + m[..., 0, 1, :, :] * y + m[..., 0, 2, :, :]
    v = m[..., 1, 0, :, :] * x + m[..., 1, 1, :, :] * y + m[..., 1, 2, :, :]
    return u / depth, v / depth


def _resampled(
    code: Tensor, clipped: Tensor, u: Tensor, v: Tensor, untouched: Tensor
) -> tuple[Tensor, Tensor]:
    """`core.registration.warp.resample` for a batch.

    Args:
        code: (B, F, 3, S, S) gamma codes of frames.
        clipped: likewise, bool, where these say nothing.
        u: (B, F, 2, h, w) columns in them [pixels].
        v: likewise, rows.
        untouched: (B, F) bool, where the first of both hypotheses moves nothing.

    Returns:
        Codes (B, F, 2, 3, h, w) and trusts (B, F, 2, h, w).
    """
    size, shape = code.shape[-1], u.shape
    grid = torch.stack([u, v], -1).mul_(2.0 / (size - 1)).sub_(1.0).flatten(0, 1).flatten(1, 2)
    frames = code.flatten(0, 1)

    def sampled(image: Tensor, mode: str) -> Tensor:
        """(B, F, 2, channels, h, w)."""
        out = F.grid_sample(image, grid, mode, "border", align_corners=True)
        return out.view(*shape[:2], -1, 2, *shape[3:]).transpose(2, 3)

    cubic = sampled(frames, "bicubic").clamp_(0.0, 1.0)
    linear = sampled(frames, "bilinear")
    doubt = ((cubic - linear).abs_() / (linear + 0.2)).amax(3).div_(KERNEL_DOUBT)
    inside = (u >= 1) & (v >= 1) & (u <= size - 2) & (v <= size - 2)
    trust = inside / (1.0 + doubt.square_())
    if code.device.type != "cpu" or clipped.any():
        touched = sampled(_dilated(clipped.float().flatten(0, 1), 1), "bilinear")
        cubic = torch.where(touched > 2.5 / 255.0, 1.0, cubic)
    # Coordinates of pixels themselves give these pixels, but count as outside along borders and
    # beside clipped ones.
    if code.device.type != "cpu" or untouched.any():
        here = untouched[..., None, None]
        x, y = u[:, :, 0].round().long().clamp_(0, size - 1), v[:, :, 0].round().long()
        index = (y.clamp_(0, size - 1) * size + x).flatten(2)[:, :, None].expand(-1, -1, 3, -1)
        plain = code.flatten(3).gather(3, index).view_as(cubic[:, :, 0])
        cubic[:, :, 0] = torch.where(here[..., None], plain, cubic[:, :, 0])
        trust[:, :, 0] = torch.where(here, 1.0, trust[:, :, 0])
    return cubic, trust


def _dilated(image: Tensor, reach: int) -> Tensor:
    """Largest value (B, C, H, W) >= 0 of the square around each pixel.

    On CPUs PyTorch's pooling takes many times as long.
    """
    for axis in (-2, -1):
        border = (0, 0, reach, reach) if axis == -2 else (reach, reach)
        wide, length = F.pad(image, border), image.shape[axis]
        image = wide.narrow(axis, 0, length)
        for start in range(1, 2 * reach + 1):
            image = torch.maximum(image, wide.narrow(axis, start, length))
    return image


def _blurred(image: Tensor) -> Tensor:
    """Mean over 3 x 3 pixels, mirrored at borders."""
    return F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="reflect"), 3, 1)


def repaired(code: Tensor, trust: Tensor, white: Tensor, stops: Tensor) -> Tensor:
    """`core.restoration.undershoot.repair_undershoot` for a batch.

    Args:
        code: (B, 3, H, W) of a darker frame, aligned.
        trust: (B, 1, H, W).
        white: (B, 3, H, W) bool, where the reference is clipped.
        stops: (B,) of the frame.

    Returns:
        (B, 3, H, W).
    """
    least = (TOO_DARK * torch.exp2(stops)).pow(1.0 / GAMMA)[:, None, None, None]
    there = trust > 0
    wrong = ((code < least) & white).any(1, keepdim=True) & there
    if code.device.type == "cpu" and not wrong.any():
        return code
    bright = _dilated(code.amax(1, keepdim=True), REACH) >= BRIGHT
    weight = (white.any(1, keepdim=True) & ~wrong & there).float()
    share = _blurred(weight)
    fringe = wrong & bright & (share > 0.05)
    return torch.where(fringe, _blurred(code * weight) / share.clamp_min(1e-3), code)


def smooth(code: Tensor, noise: Tensor) -> Tensor:
    """`core.restoration.noise.smooth` for a batch.

    Args:
        code: (B, 3, H, W) gamma codes in [0, 1].
        noise: (B, L), each sample's `NoiseCurve`.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    if code.device.type == "cpu" and not noise.any():
        return code
    border = SMOOTHING_REACH
    colours = torch.as_tensor(COLOURS, device=code.device)
    wide = F.pad(code, (border,) * 4, mode="reflect")
    planes = torch.einsum("ij,bjhw->bihw", colours, wide)
    table = _interpolated(noise) * (4.0 * SHRINKAGE)
    threshold: Tensor | None = None

    def cut(band: Tensor) -> Tensor:
        nonlocal threshold
        if threshold is None:  # the first coefficient is the mean, which stays
            level = (band[:, 0] * (255.0 / (16.0 * 3.0**0.5))).round().clamp_(0, 255).long()
            found = table.gather(1, level.flatten(1)).view_as(level)
            threshold = found[:, None]
            return torch.zeros_like(band)
        return band * (band.abs() <= threshold)

    removed = _there_and_back(planes, cut)
    back = code - torch.einsum("ij,bihw->bjhw", colours, removed) / 256.0
    clipping = code.amax(1, keepdim=True) >= CLIPPING_STARTS
    return torch.where(clipping, code, back.clamp_(0.0, 1.0))


def _interpolated(noise: Tensor) -> Tensor:
    """(B, L) of the ranges of `LEVELS` at 256 levels: (B, 256), constant beyond their centres."""
    levels = np.linspace(0.0, 1.0, 256)
    hats = np.stack(
        [np.interp(levels, CENTRES, unit) for unit in np.eye(len(CENTRES))]
    )  # interpolation is linear
    return noise @ torch.as_tensor(hats, dtype=torch.float32, device=noise.device)


def _there_and_back(x: Tensor, change: Callable[[Tensor], Tensor], step: int = 0) -> Tensor:
    """Hadamard transforms of all 4 x 4 blocks of (..., H, W), and back (`restoration.noise`)."""
    if step == 4:
        return change(x)
    apart, axis = 1 + step // 2, -2 + step % 2
    length = x.shape[axis] - apart
    first, last = x.narrow(axis, 0, length), x.narrow(axis, apart, length)
    sums = _there_and_back(first + last, change, step + 1)
    differences = _there_and_back(first - last, change, step + 1)
    length = sums.shape[axis] - apart
    both = sums.narrow(axis, apart, length) + differences.narrow(axis, apart, length)
    both += sums.narrow(axis, 0, length)
    both -= differences.narrow(axis, 0, length)
    return both
