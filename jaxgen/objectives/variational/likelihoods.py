"""p(x|z): what a decoder's output says of an image's pixels."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from jaxgen.datasets.splits import Facts
from jaxgen.images import from_uint8, to_uint8
from jaxgen.networks import build_network
from jaxgen.objectives import base
from jaxgen.objectives.base import Image, Joint, Key, Label, Params
from jaxgen.objectives.distributions import discretized_log_likelihood, log_normal


class Likelihood(NamedTuple):
  """p(x|z) given the decoder's unbounded output and the log variance.

  Attributes:
    measure: what a bound on log p(x) is one of, as the names of metrics say it.
    log_probability: image, output, log variance -> nats, summed over pixels.
    mean: output -> image in [-1, 1].
    draw: output, log variance, key -> image, a sample.
    has_variance: whether the log variance enters.
    discrete: whether it is a probability of pixels on 256 levels, which has true bits.
  """

  measure: str
  log_probability: Callable[[Image, jax.Array, jax.Array], jax.Array]
  mean: Callable[[jax.Array], Image]
  draw: Callable[[jax.Array, jax.Array, Key], Image]
  has_variance: bool = True
  discrete: bool = False


def log_bernoulli(x: Image, logits: jax.Array, log_variance: jax.Array) -> jax.Array:
  """sum_i u_i log p_i + (1 - u_i) log(1 - p_i), with u = (x + 1) / 2 in [0, 1], p = sigmoid.

  A probability where pixels are 0 or 1; the usual cross-entropy surrogate where they are grey.
  """
  del log_variance
  return jnp.sum((x + 1.0) / 2.0 * logits - nn.softplus(logits))  # log(1 - p) = -softplus(logits)


def log_discretized_gaussian(x: Image, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
  """log of a Gaussian's mass on the pixels' own levels of 256 (Ho et al. 2020, eq. 13)."""
  return discretized_log_likelihood(x, mean, jnp.exp(0.5 * log_variance))


def draw_bernoulli(logits: jax.Array, log_variance: jax.Array, key: Key) -> Image:
  """Pixels that are black or white."""
  del log_variance
  return jnp.where(jax.random.bernoulli(key, nn.sigmoid(logits)), 1.0, -1.0)


def draw_normal(mean: jax.Array, log_variance: jax.Array, key: Key) -> Image:
  """Pixels of any value."""
  return mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)


def draw_discretized(mean: jax.Array, log_variance: jax.Array, key: Key) -> Image:
  """Pixels on 256 levels."""
  return from_uint8(to_uint8(draw_normal(mean, log_variance, key)))


LIKELIHOODS = {
  'bernoulli': Likelihood(
    'bernoulli_surrogate',
    log_bernoulli,
    lambda logits: 2.0 * nn.sigmoid(logits) - 1.0,
    draw_bernoulli,
    has_variance=False,
  ),
  # With variance 1/2 fixed, -log p is the squared error up to a constant.
  'gaussian': Likelihood('gaussian_density', log_normal, lambda output: output, draw_normal),
  'discretized_gaussian': Likelihood(
    'discretized_gaussian',
    log_discretized_gaussian,
    lambda output: output,
    draw_discretized,
    discrete=True,
  ),
}


def find_likelihood(name: str, binarize: str = 'none') -> Likelihood:
  """The likelihood that `objective.likelihood` names, of pixels as config.data.binarize has them.

  On pixels that are black or white a Bernoulli likelihood is no surrogate but a probability.

  Raises:
    ValueError: there is none of this name.
  """
  if name not in LIKELIHOODS:
    raise ValueError(f'objective.likelihood={name!r}; choose one of {", ".join(LIKELIHOODS)}')
  found = LIKELIHOODS[name]
  if name == 'bernoulli' and binarize != 'none':
    return found._replace(measure=f'{binarize}_bernoulli')
  return found


class ObservationModel(NamedTuple):
  """p(x|z) by a network.

  Attributes:
    decoder: z -> (H, W, C), the likelihood's parameters.
    likelihood: what those say of pixels.
    init: key, a z -> params.
    log_probability: params, image, z -> nats.
    draw: params, z, key -> image, a sample.
    decode: params, z, key -> image in [-1, 1], the mean, whatever the key.
  """

  decoder: nn.Module
  likelihood: Likelihood
  init: Callable[[Key, jax.Array], Params]
  log_probability: Callable[[Params, Image, jax.Array], jax.Array]
  draw: Callable[[Params, jax.Array, Key], Image]
  decode: Callable[[Params, jax.Array, Key], Image]

  def joint(self, posterior: Callable[[Params, Image, Key], Callable[[Key], tuple]]) -> Joint:
    """p(x, z) under N(0, I), with what the model knows of z given x."""
    return Joint(self.likelihood.measure, self.log_probability, self.draw, posterior)

  def sample(self, latent: int, params: Params, label: Label, key: Key) -> Image:
    """The mean of p(x|z) at a z (latent,) of N(0, I)."""
    del label
    return self.decode(params, jax.random.normal(key, (latent,)), key)


def observation_model(
  decoder: nn.Module,
  likelihood: Likelihood,
  log_variance: float = 0.0,
  learn_variance: bool = False,
) -> ObservationModel:
  """A decoder and what its output says of pixels.

  Args:
    decoder: z -> (H, W, C), the likelihood's parameters.
    likelihood: what those say of pixels.
    log_variance: of a Gaussian likelihood, shared by all pixels; where it starts if learned.
    learn_variance: whether it is learned (Rybkin et al. 2021).

  Raises:
    ValueError: a variance for a likelihood that has none.
  """
  if (learn_variance or log_variance) and not likelihood.has_variance:
    raise ValueError(
      f'objective.learn_variance={learn_variance} and objective.log_variance={log_variance} have '
      f'no effect on the likelihood {likelihood.measure}: choose a Gaussian one'
    )

  def init(key: Key, z: jax.Array) -> Params:
    params: dict[str, Any] = {'decoder': decoder.init(key, z)}
    return params | ({'log_variance': jnp.float32(log_variance)} if learn_variance else {})

  def law(params: Params, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The decoder's output, and the log variance of every number of it."""
    variance = jnp.asarray(params.get('log_variance', log_variance))
    output = decoder.apply(params['decoder'], z)
    return output, jnp.broadcast_to(variance, output.shape)

  def log_probability(params: Params, image: Image, z: jax.Array) -> jax.Array:
    return likelihood.log_probability(image, *law(params, z))

  def draw(params: Params, z: jax.Array, key: Key) -> Image:
    return likelihood.draw(*law(params, z), key)

  def decode(params: Params, z: jax.Array, key: Key) -> Image:
    del key
    return likelihood.mean(decoder.apply(params['decoder'], z))

  return ObservationModel(decoder, likelihood, init, log_probability, draw, decode)


def build_observation_model(
  config: ml_collections.ConfigDict, facts: Facts, role: str = 'Decoder'
) -> tuple[ObservationModel, dict[str, Any]]:
  """p(x|z) as a config describes it, by the network that has a role.

  Returns:
    The model, and the fields of `config.objective` that are not about it.
  """
  fields = base.arguments(config.objective)
  likelihood = find_likelihood(fields.pop('likelihood'), config.data.binarize)
  variance = fields.pop('log_variance'), fields.pop('learn_variance')
  decoder = build_network(config, role, facts.image_shape)
  return observation_model(decoder, likelihood, *variance), fields
