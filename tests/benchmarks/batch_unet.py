"""A small U-Net with batch norm that users find in PyTorch, after its description.

The network of minDiffusion and of Laknath1996/gen-models: three resolutions, two pooling steps, an
average over the coarsest map, transposed convolutions, time through two small networks.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def convolutions(inputs: int, outputs: int) -> nn.Sequential:
  """Two 3x3 convolutions, each with batch norm and GELU."""
  layers: list[nn.Module] = []
  for channels in (inputs, outputs):
    layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.GELU()]
  return nn.Sequential(*layers)


def embedding(features: int) -> nn.Sequential:
  """Time as one number -> a vector."""
  return nn.Sequential(nn.Linear(1, features), nn.GELU(), nn.Linear(features, features))


class BatchUNet(nn.Module):
  """(N, C, 32, 32), (N,) -> (N, C, 32, 32).

  Args:
    colours: C.
    features: channels at full resolution.
  """

  def __init__(self, colours: int, features: int) -> None:
    super().__init__()
    n = features
    self.first1, self.first2 = (convolutions(i, n)[:3] for i in (colours, n))
    self.down1, self.down2 = convolutions(n, n), convolutions(n, 2 * n)
    self.time1, self.time2 = embedding(2 * n), embedding(n)
    self.up0 = nn.Sequential(
      nn.ConvTranspose2d(2 * n, 2 * n, 8, 8), nn.GroupNorm(8, 2 * n), nn.ReLU()
    )
    self.up1, self.up2 = (
      nn.Sequential(nn.ConvTranspose2d(i, n, 2, 2), convolutions(n, n), convolutions(n, n))
      for i in (4 * n, 2 * n)
    )
    self.last = nn.Sequential(
      nn.Conv2d(2 * n, n, 3, padding=1),
      nn.GroupNorm(8, n),
      nn.ReLU(),
      nn.Conv2d(n, colours, 3, padding=1),
    )

  def forward(self, x: Tensor, t: Tensor) -> Tensor:
    time = t[:, None].float() / 1000
    first = self.first1(x)
    first = (first + self.first2(first)) / 2**0.5
    down1 = functional.max_pool2d(self.down1(first), 2)
    down2 = functional.max_pool2d(self.down2(down1), 2)
    up = self.up0(functional.gelu(functional.avg_pool2d(down2, 8)))
    up = self.up1(torch.cat([up + self.time1(time)[..., None, None], down2], dim=1))
    up = self.up2(torch.cat([up + self.time2(time)[..., None, None], down1], dim=1))
    return self.last(torch.cat([up, first], dim=1))
