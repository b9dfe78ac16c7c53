"""The networks and the update of PyTorch's DCGAN tutorial, with one layer less: 32x32 pixels."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

LATENT, FEATURES = 100, 64


def begin(module: nn.Module) -> None:
  """The paper's first weights."""
  if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
    nn.init.normal_(module.weight, 0.0, 0.02)
  elif isinstance(module, nn.BatchNorm2d):
    nn.init.normal_(module.weight, 1.0, 0.02)
    nn.init.zeros_(module.bias)


def generator(colours: int) -> nn.Module:
  """(N, 100, 1, 1) -> (N, C, 32, 32) in [-1, 1]."""
  layers: list[nn.Module] = []
  inputs = LATENT
  for outputs, stride, padding in ((4 * FEATURES, 1, 0), (2 * FEATURES, 2, 1), (FEATURES, 2, 1)):
    layers += [
      nn.ConvTranspose2d(inputs, outputs, 4, stride, padding, bias=False),
      nn.BatchNorm2d(outputs),
      nn.ReLU(inplace=True),
    ]
    inputs = outputs
  layers += [nn.ConvTranspose2d(inputs, colours, 4, 2, 1, bias=False), nn.Tanh()]
  return nn.Sequential(*layers).apply(begin)


def discriminator(colours: int) -> nn.Module:
  """(N, C, 32, 32) -> (N, 1, 1, 1), the probability of a real image."""
  layers: list[nn.Module] = [
    nn.Conv2d(colours, FEATURES, 4, 2, 1, bias=False),
    nn.LeakyReLU(0.2, inplace=True),
  ]
  for inputs in (FEATURES, 2 * FEATURES):
    layers += [
      nn.Conv2d(inputs, 2 * inputs, 4, 2, 1, bias=False),
      nn.BatchNorm2d(2 * inputs),
      nn.LeakyReLU(0.2, inplace=True),
    ]
  layers += [nn.Conv2d(4 * FEATURES, 1, 4, 1, 0, bias=False), nn.Sigmoid()]
  return nn.Sequential(*layers).apply(begin)


def update(maker: nn.Module, critic: nn.Module) -> Callable[[Tensor], None]:
  """One update of the discriminator, then one of the generator with the same fakes."""
  loss = nn.BCELoss()
  of_critic, of_maker = (
    torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for network in (critic, maker)
  )

  def once(real: Tensor) -> None:
    ones, zeros = torch.ones(len(real), device=real.device), torch.zeros_like(real[:, 0, 0, 0])
    critic.zero_grad()
    loss(critic(real).view(-1), ones).backward()
    fake = maker(torch.randn(len(real), LATENT, 1, 1, device=real.device))
    loss(critic(fake.detach()).view(-1), zeros).backward()
    of_critic.step()
    maker.zero_grad()
    loss(critic(fake).view(-1), ones).backward()
    of_maker.step()

  return once
