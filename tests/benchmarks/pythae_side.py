"""pythae: its VAE with encoder and decoder of the config's widths, trained in a plain loop."""

import math

import ml_collections
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import Tensor, nn

from jaxgen import configuration
from tests.benchmarks import pytorch_side, torch_networks, torch_steps
from tests.benchmarks.contender import Contender, Work
from tests.benchmarks.pytorch_side import peak_megabytes as peak_megabytes


class Encoder(BaseEncoder):
  """Hidden layers, then one layer for the mean and one for the log variance."""

  def __init__(self, pixels: int, hidden: tuple[int, ...], latent: int) -> None:
    super().__init__()
    self.body = nn.Sequential(torch_networks.mlp((pixels, *hidden), nn.ReLU()), nn.ReLU())
    self.mean, self.log_variance = (nn.Linear(hidden[-1], latent) for _ in range(2))

  def forward(self, x: Tensor) -> ModelOutput:
    h = self.body(x.flatten(1))
    return ModelOutput(embedding=self.mean(h), log_covariance=self.log_variance(h))


class Decoder(BaseDecoder):
  """Code -> pixels in [0, 1]."""

  def __init__(self, shape: tuple[int, int, int], hidden: tuple[int, ...], latent: int) -> None:
    super().__init__()
    self.shape = (shape[2], *shape[:2])
    self.body = torch_networks.decoder(shape, hidden, latent)

  def forward(self, z: Tensor) -> ModelOutput:
    return ModelOutput(reconstruction=self.body(z).sigmoid().view(len(z), *self.shape))


def build(contender: Contender) -> Work:
  """The work of a contender: training."""
  pytorch_side.begin()
  config: ml_collections.ConfigDict = configuration.load(
    contender.source, None, contender.overrides
  )
  shape, latent = contender.image_shape, config.objective.latent
  hidden = config.network.hidden
  model = VAE(
    VAEConfig((shape[2], *shape[:2]), latent, reconstruction_loss='bce'),
    encoder=Encoder(math.prod(shape), hidden, latent),
    decoder=Decoder(shape, hidden, latent),
  ).to(pytorch_side.device())
  draw = pytorch_side.batches(contender, config.batch_size)
  fused = 'fused' in contender.variant
  descend = torch_steps.optimizer(config.optimizer, config.num_steps, fused, model)

  def once() -> None:
    descend(model({'data': draw().float() / 255.0}).loss)

  return Work(
    pytorch_side.repeat(once),
    1,
    config.batch_size,
    pytorch_side.count(model),
    pytorch_side.counted(once) / config.batch_size,
    pytorch_side.name(),
  )
