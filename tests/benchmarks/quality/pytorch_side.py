"""A VAE and a GAN in PyTorch as its own examples and tutorials have them.

Unlike there, the images lie on the device, a batch is one index operation, and what is random is
made on the device: no DataLoader, which makes the comparison conservative.
"""

import time
from collections.abc import Callable

import ml_collections
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from jaxgen import configuration, datasets
from tests.benchmarks import pytorch_side, torch_networks, torch_steps
from tests.benchmarks.contender import Contender
from tests.benchmarks.quality import dcgan
from tests.benchmarks.quality.learner import Learner

DCGAN_SIDE = 32  # pixels; the tutorial's networks halve 64, and have one layer less here


def build(contender: Contender, budget: float) -> Learner:
  """The learner of a contender; no rate falls, so the seconds of training may be any."""
  del budget
  pytorch_side.begin()
  config = configuration.load(contender.source, None, contender.overrides)
  images = training_images(config)
  return {'vae': vae, 'gan': gan}[contender.work](config, images)


def training_images(config: ml_collections.ConfigDict) -> Tensor:
  """uint8 (N, C, H, W)."""
  images = datasets.load(config.data).train.images
  return torch.from_numpy(images[np.arange(len(images))].transpose(0, 3, 1, 2).copy())


def trainer(update: Callable[[float], None]) -> Callable[[float], int]:
  """Updates until so many seconds have passed; waits for a GPU only now and then.

  Each is told how many seconds of training came before.
  """
  block = 10 if pytorch_side.device().type == 'cuda' else 1
  used = 0.0

  def train(seconds: float) -> int:
    nonlocal used
    began, done, taken = time.perf_counter(), 0, 0.0
    while not done or taken < seconds:
      for _ in range(block):
        update(used + taken)
      pytorch_side.finish()
      done, taken = done + block, time.perf_counter() - began
    used += taken
    return done

  return train


def drawer(sample: Callable[[int], Tensor], chunk: int) -> Callable[[int], np.ndarray]:
  """Samples as uint8 (N, H, W, C), from a function that makes up to `chunk` in [-1, 1]."""

  @torch.no_grad()
  def draw(count: int) -> np.ndarray:
    sizes = [min(chunk, count - start) for start in range(0, count, chunk)]
    images = torch.cat([sample(size).float().cpu() for size in sizes])
    pixels = ((images + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()

  return draw


def vae(config: ml_collections.ConfigDict, images: Tensor) -> Learner:
  """PyTorch's example: 784-400-20, binary cross-entropy, Adam at 1e-3, batches of 128."""
  shape, latent = (*images.shape[2:], images.shape[1]), config.objective.latent
  encoder = torch_networks.encoder(shape, config.network.hidden, 2 * latent)
  decoder = torch_networks.decoder(shape, config.network.hidden, latent)
  modules = (encoder.to(pytorch_side.device()), decoder.to(pytorch_side.device()))
  step = torch_steps.vae(config, modules, fused=False)
  batch = pytorch_side.shuffled(images, config.batch_size)

  def sample(count: int) -> Tensor:
    z = torch.randn(count, latent, device=pytorch_side.device())
    return (2 * decoder(z).sigmoid() - 1).view(count, *images.shape[1:])

  return Learner(
    trainer(lambda _: step(batch().float() / 127.5 - 1)),
    drawer(sample, 1000),
    config.batch_size,
    pytorch_side.count(*modules),
    pytorch_side.name(),
  )


def gan(config: ml_collections.ConfigDict, images: Tensor) -> Learner:
  """PyTorch's DCGAN tutorial: 64 features, Adam at 2e-4 with b1 0.5, batches of 128."""
  _, colours, height, width = images.shape
  top, left = (DCGAN_SIDE - height) // 2, (DCGAN_SIDE - width) // 2
  padding = (left, DCGAN_SIDE - width - left, top, DCGAN_SIDE - height - top)
  generator = dcgan.generator(colours).to(pytorch_side.device())
  critic = dcgan.discriminator(colours).to(pytorch_side.device())
  update = dcgan.update(generator, critic)
  batch = pytorch_side.shuffled(functional.pad(images, padding), config.batch_size)

  def sample(count: int) -> Tensor:
    z = torch.randn(count, dcgan.LATENT, 1, 1, device=pytorch_side.device())
    return generator(z)[:, :, top : top + height, left : left + width]

  return Learner(
    trainer(lambda _: update(batch().float() / 127.5 - 1)),
    drawer(sample, 500),  # with the statistics of this batch, as in the tutorial
    config.batch_size,
    pytorch_side.count(generator, critic),
    pytorch_side.name(),
  )
