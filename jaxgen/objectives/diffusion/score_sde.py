"""Score-based model through a stochastic differential equation (Song et al. 2021).

Symbols: x_t = a(t) x_0 + s(t) eps with t uniform, dx = f x dt + g dw its equation, s_theta(x_t, t)
the score, here -eps_theta / s with eps_theta the network's output, as in the paper's code.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from jaxgen.datasets.splits import Facts
from jaxgen.networks import find_network
from jaxgen.objectives import base, optimizers
from jaxgen.objectives.base import Example, Image, Key, Label, Memory, Metrics, Objective, Params
from jaxgen.objectives.diffusion import path as paths
from jaxgen.objectives.diffusion import prediction, samplers
from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.samplers import Descent
from jaxgen.objectives.diffusion.trajectory import on_the_way, strata

TIME_SCALE = 999.0  # what the network is told is t on this scale, as in the paper's code
EQUATIONS = {'vp': paths.vp, 'subvp': paths.subvp, 've': paths.ve}


def find_path(sde: str) -> Path:
  """The path that `objective.sde` names.

  Raises:
    ValueError: there is none of this name.
  """
  if sde not in EQUATIONS:
    raise ValueError(f'objective.sde={sde!r}; choose one of {", ".join(EQUATIONS)}')
  return EQUATIONS[sde]()


def score_sde(
  network: nn.Module,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  path: Path,
  descent: Descent,
  clip: bool = True,
  times: int = 8,
) -> Objective:
  """A score learned by denoising, with weight s^2 at any time (eq. 7, sec. 3.3).

  Args:
    network: eps_theta, (x_t (H, W, C) over sqrt(a^2 + s^2), t scaled to 0 ... 999) -> (H, W, C).
      That scale is 1 for 'vp'; the paper's networks see x_t as it is, of up to 50 in 've'.
    optimizer: of the network.
    image_shape: (H, W, C).
    path: of the equation.
    descent: the sampler on its grid.
    clip: whether the predicted x_0 is clipped to [-1, 1] in sampling.
    times: times at which `evaluate` looks, one from each of so many equal strata.

  Raises:
    ValueError: no times.
  """
  if times < 1:
    raise ValueError(f'evaluation.times={times} must be at least 1')
  predicted = prediction.noise(path)

  def init(key: Key) -> tuple[Params, Memory]:
    params = network.init(key, jnp.zeros(image_shape), jnp.float32(0))
    return params, optimizer.init(params)

  def eps(params: Params, x_t: Image, t: jax.Array) -> Image:
    scale = jax.lax.rsqrt(path.a(t) ** 2 + path.s(t) ** 2)
    return network.apply(params, scale * x_t, TIME_SCALE * t)

  def denoise(params: Params, x_t: Image, t: jax.Array) -> Image:
    x_0 = predicted.x_0(eps(params, x_t, t), x_t, t)
    return jnp.clip(x_0, -1.0, 1.0) if clip else x_0

  def error(params: Params, x_0: Image, place: jax.Array, key: Key) -> jax.Array:
    """s^2 |s_theta - grad log p(x_t | x_0)|^2, a mean over pixels, at this place in time's range.

    With grad log p(x_t | x_0) = -eps / s, it is the squared error of the noise.
    """
    t = path.first + place * (path.last - path.first)
    noise = jax.random.normal(key, image_shape)
    return jnp.mean((eps(params, path.a(t) * x_0 + path.s(t) * noise, t) - noise) ** 2)

  def loss(params: Params, example: Example, key: Key) -> tuple[jax.Array, Metrics]:
    time_key, noise_key = jax.random.split(key)
    return error(params, example.image, jax.random.uniform(time_key), noise_key), {}

  def evaluate(params: Params, example: Example, key: Key) -> Metrics:
    keys = jax.random.split(key, times + 1)
    places = strata(keys[0], times) / times
    errors = jax.vmap(error, in_axes=(None, None, 0, 0))(params, example.image, places, keys[1:])
    return {'noise_squared_error': errors.mean()}

  def trajectory(params: Params, key: Key, frames: int) -> jax.Array:
    first, way = jax.random.split(key)
    start = path.s(jnp.float32(descent.start)) * jax.random.normal(first, image_shape)
    return descent.run(lambda x_t, t: denoise(params, x_t, t), start, way, frames)

  def sample(params: Params, label: Label, key: Key) -> Image:
    del label
    return trajectory(params, key, 1)[-1]

  return Objective(
    init,
    base.descent(loss, optimizer),
    evaluate,
    sample,
    figures={'denoising': on_the_way(trajectory, descent.steps)},
    networks={'denoiser': network},
  )


def build(config: ml_collections.ConfigDict, facts: Facts) -> Objective:
  """The model that a config describes."""
  path = find_path(config.objective.sde)
  fields = config.sampler.to_dict()
  clip = fields.pop('clip')
  return score_sde(
    find_network(config.network.name, 'Denoiser')(**base.arguments(config.network)),
    optimizers.find_optimizer(**config.optimizer, num_steps=config.num_steps),
    facts.image_shape,
    path,
    samplers.find(path, **fields),
    clip=clip,
    times=config.evaluation.times,
  )
