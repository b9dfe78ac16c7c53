"""jaxgen's networks in PyTorch, layer for layer, and the U-Net of a public code base."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from jaxgen.layers.embedding import grid_embedding
from jaxgen.networks.transformer import TIME_FEATURES

Shape = tuple[int, int, int]  # (H, W, C), as jaxgen has it


def mlp(widths: tuple[int, ...], activation: nn.Module) -> nn.Sequential:
  """Linear layers between these widths, the activation between the layers."""
  layers: list[nn.Module] = []
  for inputs, outputs in itertools.pairwise(widths):
    layers += [nn.Linear(inputs, outputs), activation]
  return nn.Sequential(*layers[:-1])


def encoder(shape: Shape, hidden: tuple[int, ...], features: int, slope: float = 0.0) -> nn.Module:
  """`jaxgen.networks.mlp.Encoder`."""
  activation = nn.LeakyReLU(slope) if slope else nn.ReLU()
  return mlp((math.prod(shape), *hidden, features), activation)


def decoder(shape: Shape, hidden: tuple[int, ...], latent: int) -> nn.Module:
  """`jaxgen.networks.mlp.Decoder`."""
  return mlp((latent, *reversed(hidden), math.prod(shape)), nn.ReLU())


def group_norm(features: int) -> nn.GroupNorm:
  """As many groups as `jaxgen.networks.unet.GroupNorm` has."""
  return nn.GroupNorm(math.gcd(features, max(1, min(32, features // 4))), features)


def time_frequencies(features: int) -> Tensor:
  """Of `jaxgen.layers.embedding.timestep_embedding`."""
  return torch.exp(-math.log(1e4) * torch.linspace(0, 1, features // 2))


def sines(t: Tensor, frequencies: Tensor) -> Tensor:
  """`jaxgen.layers.embedding.timestep_embedding`: (N,) -> (N, features)."""
  angles = t[:, None].float() * frequencies
  return torch.cat([angles.sin(), angles.cos()], dim=1)


class ResidualBlock(nn.Module):
  """`jaxgen.networks.unet.ResidualBlock`."""

  def __init__(self, inputs: int, features: int, time: int) -> None:
    super().__init__()
    self.modulation = nn.Linear(time, 2 * features)
    self.norm1, self.norm2 = group_norm(inputs), group_norm(features)
    self.conv1 = nn.Conv2d(inputs, features, 3, padding=1)
    self.conv2 = nn.Conv2d(features, features, 3, padding=1)
    self.skip = nn.Conv2d(inputs, features, 1) if inputs != features else nn.Identity()

  def forward(self, x: Tensor, time: Tensor) -> Tensor:
    scale, shift = self.modulation(time)[..., None, None].chunk(2, dim=1)
    h = self.conv1(functional.silu(self.norm1(x)))
    h = self.conv2(functional.silu(self.norm2(h) * (1 + scale) + shift))
    return self.skip(x) + h


class Attention(nn.Module):
  """`jaxgen.networks.unet.Attention`."""

  def __init__(self, features: int, head_width: int) -> None:
    super().__init__()
    self.heads = max(1, features // head_width)
    self.norm = group_norm(features)
    self.qkv, self.out = nn.Linear(features, 3 * features), nn.Linear(features, features)

  def forward(self, x: Tensor) -> Tensor:
    batch, features, height, width = x.shape
    h = self.qkv(self.norm(x).flatten(2).transpose(1, 2))
    h = h.view(batch, height * width, 3, self.heads, features // self.heads)
    q, k, v = h.permute(2, 0, 3, 1, 4)
    h = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return x + self.out(h).transpose(1, 2).view(x.shape)


class Block(nn.Module):
  """A residual block, with attention where its level has it."""

  def __init__(self, inputs: int, features: int, time: int, head_width: int) -> None:
    super().__init__()
    self.residual = ResidualBlock(inputs, features, time)
    self.attention = Attention(features, head_width) if head_width else nn.Identity()

  def forward(self, x: Tensor, time: Tensor) -> Tensor:
    return self.attention(self.residual(x, time))


class UNet(nn.Module):
  """`jaxgen.networks.unet.UNet`, for (N, C, H, W) and (N,)."""

  def __init__(
    self,
    colours: int,
    channels: int,
    multipliers: tuple[int, ...],
    blocks: int,
    attention: tuple[int, ...],
    patch: int = 1,
    head_width: int = 32,
  ) -> None:
    super().__init__()
    levels = range(len(multipliers))
    attended = {k % len(multipliers) for k in attention}
    heads = {level: head_width if level in attended else 0 for level in levels}
    self.channels, self.blocks, self.patch, self.levels = channels, blocks, patch, levels
    time = 4 * channels
    self.time = nn.Sequential(nn.Linear(channels, time), nn.SiLU(), nn.Linear(time, time))
    self.first = nn.Conv2d(patch**2 * colours, channels, 3, padding=1)
    self.down, self.up, self.shrink, self.grow = (nn.ModuleList() for _ in range(4))
    x, skips = channels, [channels]
    for level in levels:
      if level > 0:
        self.shrink.append(nn.Conv2d(4 * x, channels * multipliers[level - 1], 1))
        x = channels * multipliers[level - 1]
        skips.append(x)
      for _ in range(blocks):
        self.down.append(Block(x, channels * multipliers[level], time, heads[level]))
        x = channels * multipliers[level]
        skips.append(x)
    self.middle1 = Block(x, x, time, head_width)
    self.middle2 = Block(x, x, time, 0)
    for level in reversed(levels):
      for _ in range(blocks + 1):
        wanted = channels * multipliers[level]
        self.up.append(Block(x + skips.pop(), wanted, time, heads[level]))
        x = wanted
      if level > 0:
        self.grow.append(nn.Conv2d(x, 4 * x, 1))
    self.norm = group_norm(x)
    self.last = nn.Conv2d(x, patch**2 * colours, 3, padding=1)
    self.register_buffer('frequencies', time_frequencies(channels))

  def forward(self, x: Tensor, t: Tensor) -> Tensor:
    time = functional.silu(self.time(sines(t, self.frequencies)))
    down, up, shrink, grow = map(iter, (self.down, self.up, self.shrink, self.grow))
    x = self.first(functional.pixel_unshuffle(x, self.patch))
    skips = [x]
    for level in self.levels:
      if level > 0:
        x = next(shrink)(functional.pixel_unshuffle(x, 2))
        skips.append(x)
      for _ in range(self.blocks):
        x = next(down)(x, time)
        skips.append(x)
    x = self.middle2(self.middle1(x, time), time)
    for level in reversed(self.levels):
      for _ in range(self.blocks + 1):
        x = next(up)(torch.cat([x, skips.pop()], dim=1), time)
      if level > 0:
        x = functional.pixel_shuffle(next(grow)(x), 2)
    return functional.pixel_shuffle(self.last(functional.silu(self.norm(x))), self.patch)


def modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
  """`jaxgen.networks.transformer.modulated`."""
  return functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class TransformerBlock(nn.Module):
  """`jaxgen.networks.transformer.Block`."""

  def __init__(self, width: int, heads: int) -> None:
    super().__init__()
    self.heads = heads
    self.modulation = nn.Linear(width, 6 * width)
    self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
    self.grow, self.shrink = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

  def forward(self, x: Tensor, condition: Tensor) -> Tensor:
    told = self.modulation(functional.silu(condition))[:, None]
    scale, shift, gate, scale_2, shift_2, gate_2 = told.chunk(6, dim=-1)
    qkv = self.qkv(modulated(x, scale, shift)).unflatten(-1, (3, self.heads, -1))
    h = functional.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
    x = x + gate * self.out(h.transpose(1, 2).flatten(2))
    h = functional.gelu(self.grow(modulated(x, scale_2, shift_2)), approximate='tanh')
    return x + gate_2 * self.shrink(h)


class Transformer(nn.Module):
  """`jaxgen.networks.transformer.Transformer`, for (N, C, H, W) and (N,)."""

  def __init__(self, shape: Shape, width: int, depth: int, heads: int, patch: int) -> None:
    super().__init__()
    rows, columns = shape[0] // patch, shape[1] // patch
    features = patch**2 * shape[2]
    self.patch, self.grid = patch, (rows, columns)
    self.first, self.last = nn.Linear(features, width), nn.Linear(width, features)
    self.time = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
    self.blocks = nn.ModuleList(TransformerBlock(width, heads) for _ in range(depth))
    self.modulation = nn.Linear(width, 2 * width)
    places = torch.from_numpy(grid_embedding(rows, columns, width)).flatten(0, 1)
    self.register_buffer('places', places)
    self.register_buffer('frequencies', time_frequencies(TIME_FEATURES))

  def forward(self, x: Tensor, t: Tensor) -> Tensor:
    condition = self.time(sines(t, self.frequencies))
    h = self.first(functional.pixel_unshuffle(x, self.patch).flatten(2).transpose(1, 2))
    h = h + self.places
    for block in self.blocks:
      h = block(h, condition)
    told = self.modulation(functional.silu(condition))[:, None]
    h = self.last(modulated(h, *told.chunk(2, dim=-1))).transpose(1, 2)
    return functional.pixel_shuffle(h.unflatten(2, self.grid), self.patch)


class Classifier(nn.Module):
  """`jaxgen.features.classifier.Classifier`: uint8 (N, C, H, W) -> features, logits."""

  def __init__(self, shape: Shape, dimension: int = 64, classes: int = 10) -> None:
    super().__init__()
    height, width, colours = shape
    layers: list[nn.Module] = [nn.Conv2d(colours, 32, 5, stride=2, padding=2), nn.ReLU()]
    height, width, channels = -(-height // 2), -(-width // 2), 32
    while max(height, width) > 8:
      layers += [nn.Conv2d(channels, 64, 3, stride=2, padding=1), nn.ReLU()]
      height, width, channels = -(-height // 2), -(-width // 2), 64
    self.body = nn.Sequential(*layers, nn.Conv2d(channels, 128, 3, padding=1), nn.ReLU())
    self.features = nn.Linear(128 * height * width, dimension)
    self.logits = nn.Linear(dimension, classes)

  def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
    features = self.features(self.body(images.float() / 127.5 - 1.0).flatten(1))
    return features, self.logits(functional.relu(features))
