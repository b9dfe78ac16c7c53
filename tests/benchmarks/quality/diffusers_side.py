"""A DDPM as diffusers' script for unconditional training makes it, sampled by its DDIM pipeline.

AdamW with the script's betas, decay and clipping; a rate that rises over 500 updates and falls with
the cosine to 0 at the end of the time there is; the script's moving average. Unlike there, the
images lie on the device, without a DataLoader.
"""

import math

import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.nn import functional

from jaxgen import configuration
from tests.benchmarks import diffusers_side, pytorch_side
from tests.benchmarks.contender import Contender
from tests.benchmarks.quality.learner import Learner
from tests.benchmarks.quality.pytorch_side import drawer, trainer, training_images

WARM_UP = 500  # updates, but no more than a tenth of the time
STEPS = 50  # of DDIM; the script's own thousand are too dear to be drawn by the thousand


def build(contender: Contender, budget: float) -> Learner:
  """The learner of a contender, whose rate falls to 0 after `budget` seconds of training."""
  pytorch_side.begin()
  config = configuration.load(contender.source, None, contender.overrides)
  images, patch = training_images(config), config.network.patch
  shape = (*images.shape[2:], images.shape[1])
  model = diffusers_side.network(config, contender._replace(image_shape=shape))
  noises = DDPMScheduler(config.objective.timesteps)
  rate = config.optimizer.learning_rate
  adam = torch.optim.AdamW(
    model.parameters(), lr=rate, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
  )
  average = EMAModel(
    model.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75
  )
  batch = pytorch_side.shuffled(images, config.batch_size)
  done = 0

  def update(seconds: float) -> None:
    nonlocal done
    adam.param_groups[0]['lr'] = rate * share(done, seconds / budget)
    done += 1
    x = functional.pixel_unshuffle(batch().float() / 127.5 - 1, patch)
    noise = torch.randn_like(x)
    t = torch.randint(0, len(noises), (len(x),), device=x.device)
    predicted = model(noises.add_noise(x, noise, t), t, return_dict=False)[0]
    functional.mse_loss(predicted, noise).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    adam.step()
    adam.zero_grad()
    average.step(model.parameters())

  pipeline = DDIMPipeline(model, DDIMScheduler.from_config(noises.config))
  pipeline.set_progress_bar_config(disable=True)

  def sample(count: int) -> Tensor:
    average.store(model.parameters())
    average.copy_to(model.parameters())
    drawn = pipeline(count, num_inference_steps=STEPS, output_type='np').images  # in [0, 1]
    average.restore(model.parameters())
    return functional.pixel_shuffle(torch.from_numpy(2 * drawn - 1).permute(0, 3, 1, 2), patch)

  return Learner(
    trainer(update),
    drawer(sample, config.evaluation.batch_size),
    config.batch_size,
    pytorch_side.count(model),
    pytorch_side.name(),
  )


def share(update: int, time: float) -> float:
  """What part of the rate an update takes, when this part of the time, in [0, 1], is used."""
  rise = max(update / WARM_UP, time / 0.1)
  return min(rise, 1.0) * 0.5 * (1 + math.cos(math.pi * min(time, 1.0)))
