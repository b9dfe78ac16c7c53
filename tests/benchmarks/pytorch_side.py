"""The same work in PyTorch, in the best form that is usual there.

Images lie in memory as uint8 and a batch is one index operation: no DataLoader. The networks and
the optimizers are those of jaxgen's config, and the moving average of the parameters is kept too.
Unlike jaxgen, nothing here reports norms and metrics, which makes the comparison conservative.
"""

import os
from collections.abc import Callable
from functools import partial

import ml_collections
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from jaxgen import configuration
from tests.benchmarks import torch_networks as networks
from tests.benchmarks import torch_steps as steps
from tests.benchmarks.batch_unet import BatchUNet
from tests.benchmarks.contender import PRODUCTS, PRODUCTS_ON_CPU, Contender, Work

IMAGES = 60_000


def build(contender: Contender) -> Work:
  """The work of a contender, on a GPU where there is one."""
  begin()
  config = configuration.load(contender.source, None, contender.overrides)
  kinds = training, forward, sampling, features, ceiling
  return {kind.__name__: kind for kind in kinds}[contender.work](config, contender)


def begin() -> None:
  """Seeds everything, takes all cores, and multiplies on a GPU as JAX does there."""
  torch.manual_seed(0)
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  if device().type == 'cuda':  # products of float32 in TF32, which PyTorch takes unasked in
    torch.set_float32_matmul_precision('high')  # convolutions only


def device() -> torch.device:
  """Where everything runs."""
  return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def finish() -> None:
  """Waits for the device."""
  if device().type == 'cuda':
    torch.cuda.synchronize()


def peak_megabytes() -> float:
  """The most of an accelerator's memory that was ever in use; 0 on a CPU."""
  return torch.cuda.max_memory_allocated() / 2**20 if device().type == 'cuda' else 0.0


def name() -> str:
  """The device, in words."""
  threads = f'{torch.get_num_threads()} threads'
  return torch.cuda.get_device_name() if device().type == 'cuda' else threads


def count(*modules: nn.Module) -> int:
  """Parameters."""
  return sum(p.numel() for module in modules for p in module.parameters())


def denoiser(config: ml_collections.ConfigDict, contender: Contender) -> nn.Module:
  """The network that a diffusion config names, or the small one with batch norm."""
  colours = contender.image_shape[2]
  unused = ('name', 'dtype', 'dropout', 'remat', 'conditioning', 'clock')
  fields = {k: v for k, v in config.network.items() if k not in unused}
  if 'batch_unet' in contender.variant:
    network = BatchUNet(colours, config.network.channels)
  elif config.network.name == 'transformer':
    network = networks.Transformer(contender.image_shape, **fields)
  else:
    network = networks.UNet(colours, **fields)
  return place(network, contender.variant)


def place(network: nn.Module, variant: tuple[str, ...]) -> nn.Module:
  """On the device, in the memory format, compiled or not."""
  network = network.to(device())
  if 'channels_last' in variant:
    network = network.to(memory_format=torch.channels_last)
  return torch.compile(network) if 'compile' in variant else network


def batches(contender: Contender, size: int) -> Callable[[], Tensor]:
  """Draws (size, C, H, W) uint8 at random from random images that lie on the device."""
  height, width, colours = contender.image_shape
  return shuffled(torch.randint(0, 256, (IMAGES, colours, height, width), dtype=torch.uint8), size)


def shuffled(images: Tensor, size: int) -> Callable[[], Tensor]:
  """Draws `size` images at a time, on the device, each of them once an epoch."""
  images, count = images.to(device()), len(images)
  order, place = torch.randperm(count, device=device()), 0

  def draw() -> Tensor:
    nonlocal place
    if place + size > count:
      order[:] = torch.randperm(count, device=device())
      place = 0
    place += size
    return images[order[place - size : place]]

  return draw


def training(config: ml_collections.ConfigDict, contender: Contender) -> Work:
  """A unit is one iteration of the paper's algorithm."""
  shape, variant = contender.image_shape, contender.variant
  draw = batches(contender, config.batch_size)
  family = config.objective.name
  if family in ('ddpm', 'diffusion'):
    modules = (denoiser(config, contender),)
  else:
    hidden, latent = config.network.hidden, config.objective.latent
    code = 2 * latent if family == 'vae' else 1
    slope = 0.0 if family == 'vae' else 0.2
    modules = (
      place(networks.encoder(shape, hidden, code, slope), variant),
      place(networks.decoder(shape, hidden, latent), variant),
    )
  step = steps.build(config, modules, 'fused' in variant)

  def once() -> None:
    x = draw().float() / 127.5 - 1.0
    if 'channels_last' in variant:
      x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device().type, torch.bfloat16, enabled='bf16' in variant):
      step(x)

  operations = counted(once, variant) / config.batch_size
  return Work(repeat(once), 1, config.batch_size, count(*modules), operations, name())


def counted(once: Callable[[], None], variant: tuple[str, ...] = ()) -> float:
  """Operations of one call, which runs; only attention made of matrix products is counted.

  What is compiled runs as it was before. Its memory can be forgotten on a GPU only, so that nothing
  is counted of it on a CPU: 0.
  """
  if 'compile' in variant and device().type == 'cpu':
    return 0.0
  as_it_was = torch.compiler.set_stance('force_eager')
  with as_it_was, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
    once()
  if device().type == 'cuda':
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
  return float(counter.get_total_flops())


def repeat(once: Callable[[], None]) -> Callable[[int], None]:
  """A loop that waits for the device at its end only."""

  def run(units: int) -> None:
    for _ in range(units):
      once()
    finish()

  return run


def forward(config: ml_collections.ConfigDict, contender: Contender) -> Work:
  """The denoising network alone; a unit is one batch."""
  size, (height, width, colours) = config.batch_size, contender.image_shape
  network = denoiser(config, contender).eval()
  images = torch.randint(0, 256, (size, colours, height, width), dtype=torch.uint8)
  t = torch.arange(1, size + 1, device=device())

  @torch.inference_mode()
  def once() -> None:
    with torch.autocast(device().type, torch.bfloat16, enabled='bf16' in contender.variant):
      network(images.to(device()).float() / 127.5 - 1.0, t).float().cpu()

  operations = counted(once, contender.variant) / size
  return Work(repeat(once), 1, size, count(network), operations, name())


def sampling(config: ml_collections.ConfigDict, contender: Contender) -> Work:
  """Samples as uint8 on the host; a unit is one chunk."""
  size, shape = config.evaluation.batch_size, contender.image_shape
  if config.objective.name == 'ddpm':
    network = denoiser(config, contender).eval()
    draw = partial(steps.denoise, network, config, (size, shape[2], *shape[:2]), device())
  else:
    latent = config.objective.latent
    network = place(networks.decoder(shape, config.network.hidden, latent), contender.variant)
    last = torch.sigmoid if config.objective.name == 'vae' else torch.tanh

    def draw() -> Tensor:
      return last(network(torch.randn(size, latent, device=device())))

  @torch.inference_mode()
  def once() -> None:
    with torch.autocast(device().type, torch.bfloat16, enabled='bf16' in contender.variant):
      pixels = ((draw().float() + 1) * 127.5).clamp(0, 255).round()
    pixels.to(torch.uint8).cpu().numpy()

  return Work(repeat(once), 1, size, count(network), 0.0, name())


def features(config: ml_collections.ConfigDict, contender: Contender) -> Work:
  """Features and probabilities of 1,000 images, in jaxgen's chunks of 500."""
  del config
  height, width, colours = contender.image_shape
  network = place(networks.Classifier(contender.image_shape), contender.variant).eval()
  images = torch.randint(0, 256, (1000, colours, height, width), dtype=torch.uint8)

  @torch.inference_mode()
  def once() -> None:
    for chunk in images.split(500):
      found, logits = network(chunk.to(device()))
      found.cpu(), logits.softmax(-1).cpu()

  return Work(repeat(once), 1, len(images), count(network), 0.0, name())


def ceiling(config: ml_collections.ConfigDict, contender: Contender) -> Work:
  """Products of large matrices of the config's numbers; a unit is a batch of them."""
  del contender
  count, side = PRODUCTS if device().type == 'cuda' else PRODUCTS_ON_CPU
  dtype = getattr(torch, config.network.dtype)
  a, b = (torch.randn(count, side, side, device=device()).to(dtype) for _ in range(2))

  @torch.inference_mode()
  def once() -> None:
    torch.bmm(a, b)

  return Work(repeat(once), 1, count, 0, 2.0 * side**3, name())
