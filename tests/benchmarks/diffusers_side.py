"""diffusers: its U-Net near in size, trained in a plain loop, sampled through its own pipelines."""

from functools import partial

import ml_collections
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor
from torch.nn import functional

from jaxgen import configuration
from tests.benchmarks import pytorch_side, torch_steps
from tests.benchmarks.contender import Contender, Work
from tests.benchmarks.pytorch_side import peak_megabytes as peak_megabytes


def build(contender: Contender) -> Work:
  """The work of a contender."""
  pytorch_side.begin()
  config = configuration.load(contender.source, None, contender.overrides)
  work = {'training': training, 'forward': forward, 'sampling': sampling}
  return work[contender.work](config, contender)


def network(config: ml_collections.ConfigDict, contender: Contender) -> UNet2DModel:
  """As many channels, levels, blocks and attended levels as the config has.

  Patches that jaxgen's network makes are made beforehand here: fewer pixels, more colours.
  """
  fields, (height, _, colours) = config.network, contender.image_shape
  levels, patch = len(fields.multipliers), fields.patch
  attended = [level in {k % levels for k in fields.attention} for level in range(levels)]
  model = UNet2DModel(
    sample_size=height // patch,
    in_channels=colours * patch**2,
    out_channels=colours * patch**2,
    layers_per_block=fields.blocks,
    block_out_channels=[fields.channels * m for m in fields.multipliers],
    down_block_types=['AttnDownBlock2D' if a else 'DownBlock2D' for a in attended],
    up_block_types=['AttnUpBlock2D' if a else 'UpBlock2D' for a in reversed(attended)],
    norm_num_groups=min(32, fields.channels // 4),
    attention_head_dim=32,
  )
  return pytorch_side.place(model, contender.variant)


def patched(contender: Contender, config: ml_collections.ConfigDict) -> Contender:
  """The same images, already in patches."""
  height, width, colours = contender.image_shape
  patch = config.network.patch
  return contender._replace(image_shape=(height // patch, width // patch, colours * patch**2))


def training(config: ml_collections.ConfigDict, contender: Contender) -> Work:
  """The usual loop: add_noise, mean squared error, the config's optimizer."""
  model = network(config, contender)
  scheduler = DDPMScheduler(config.objective.timesteps)
  draw = pytorch_side.batches(patched(contender, config), config.batch_size)
  fused = 'fused' in contender.variant
  descend = torch_steps.optimizer(config.optimizer, config.num_steps, fused, model)

  def once() -> None:
    x: Tensor = draw().float() / 127.5 - 1.0
    t = torch.randint(0, config.objective.timesteps, (len(x),), device=x.device)
    noise = torch.randn_like(x)
    with torch.autocast(x.device.type, torch.bfloat16, enabled='bf16' in contender.variant):
      predicted = model(scheduler.add_noise(x, noise, t), t).sample
    descend(functional.mse_loss(predicted.float(), noise))

  operations = pytorch_side.counted(once, contender.variant) / config.batch_size
  return Work(
    pytorch_side.repeat(once),
    1,
    config.batch_size,
    pytorch_side.count(model),
    operations,
    pytorch_side.name(),
  )


def forward(config: ml_collections.ConfigDict, contender: Contender) -> Work:
  """The network alone; a unit is one batch."""
  model = network(config, contender).eval()
  size, (height, width, colours) = config.batch_size, patched(contender, config).image_shape
  images = torch.randint(0, 256, (size, colours, height, width), dtype=torch.uint8)
  t = torch.arange(size, device=pytorch_side.device())

  @torch.inference_mode()
  def once() -> None:
    with torch.autocast(t.device.type, torch.bfloat16, enabled='bf16' in contender.variant):
      model(images.to(t.device).float() / 127.5 - 1.0, t).sample.float().cpu()

  operations = pytorch_side.counted(once, contender.variant) / size
  parameters = pytorch_side.count(model)
  return Work(pytorch_side.repeat(once), 1, size, parameters, operations, pytorch_side.name())


def sampling(config: ml_collections.ConfigDict, contender: Contender) -> Work:
  """DDPMPipeline or DDIMPipeline; a unit is one chunk."""
  model, timesteps = network(config, contender).eval(), config.objective.timesteps
  if config.sampler.name == 'ddim':
    pipeline = DDIMPipeline(model, DDIMScheduler(timesteps))
  else:
    pipeline = DDPMPipeline(model, DDPMScheduler(timesteps))
  pipeline.set_progress_bar_config(disable=True)
  size, steps = config.evaluation.batch_size, config.sampler.steps
  draw = partial(pipeline, batch_size=size, num_inference_steps=steps, output_type='np')

  def once() -> None:
    with torch.autocast(model.device.type, torch.bfloat16, enabled='bf16' in contender.variant):
      draw()

  parameters = pytorch_side.count(model)
  return Work(pytorch_side.repeat(once), 1, size, parameters, 0.0, pytorch_side.name())
