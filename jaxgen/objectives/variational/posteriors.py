"""Families of posteriors q(z|x): a Gaussian with a diagonal covariance, and flows that bend it.

A flow takes a Gaussian code z_0 through steps f that can be inverted, each of which changes the
density by its determinant: log q(z) = log q(z_0) - sum log |det df/dz| (Rezende & Mohamed 2015,
eq. 7). They have no inverse in closed form here, so that q is known at its own samples alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.base import Key, Params
from jaxgen.objectives.variational.bounds import Flow

Network = Callable[[jax.Array], tuple[jax.Array, jax.Array]]  # what a step's network says of z

WIDTH = 64  # of the hidden layer of a step's network
OPEN = 2.0  # what the gates of an inverse autoregressive step see besides s: near the identity
BOUND = 2.0  # largest |s| of a coupling


class Posterior(NamedTuple):
  """A family of q(z|x).

  Attributes:
    outputs: numbers that the encoder gives for an image.
    parts: params of the steps, the encoder's output -> mean and log variance of z_0, and the flow;
      None of a Gaussian, which is z_0 itself.
    init: key -> params of the steps, where they have any of their own.
  """

  outputs: int
  parts: Callable[[Params, jax.Array], tuple[jax.Array, jax.Array, Flow | None]]
  init: Callable[[Key], Params] | None = None


def find_posterior(name: str, latent: int, flows: int) -> Posterior:
  """The family that `objective.posterior` names, with `objective.flows` steps.

  Raises:
    ValueError: there is none of this name, or it cannot have so many steps or dimensions.
  """
  if name not in POSTERIORS:
    raise ValueError(f'objective.posterior={name!r}; choose one of {", ".join(POSTERIORS)}')
  if name == 'diagonal' and flows:
    raise ValueError(
      f'objective.flows={flows} has no effect on a diagonal posterior: set it to 0, or choose '
      'another objective.posterior'
    )
  if name != 'diagonal' and flows < 1:
    raise ValueError(f'objective.flows={flows}: objective.posterior={name} takes 1 or more steps')
  if name == 'real_nvp' and latent < 2:
    raise ValueError(f'objective.latent={latent}: real_nvp couples 2 or more dimensions')
  return POSTERIORS[name](latent, flows)


def diagonal(latent: int, flows: int) -> Posterior:
  """N(mean, diag exp(log_variance)) (Kingma & Welling 2013)."""
  del flows

  def parts(params: Params, output: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    del params
    mean, log_variance = jnp.split(output, 2)
    return mean, log_variance, None

  return Posterior(2 * latent, parts)


def planar(latent: int, flows: int) -> Posterior:
  """Steps whose u, w, b are the encoder's output (Rezende & Mohamed 2015)."""

  def parts(params: Params, output: jax.Array) -> tuple[jax.Array, jax.Array, Flow]:
    del params
    mean, log_variance, rest = jnp.split(output, [latent, 2 * latent])

    def flow(z: jax.Array) -> tuple[jax.Array, jax.Array]:
      total = jnp.zeros(())
      for step in rest.reshape(flows, 2 * latent + 1):
        z, log_determinant = planar_step(z, step[:latent], step[latent:-1], step[-1])
        total += log_determinant
      return z, total

    return mean, log_variance, flow

  return Posterior(2 * latent + flows * (2 * latent + 1), parts)


def planar_step(
  z: jax.Array, u: jax.Array, w: jax.Array, b: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """z + u' tanh(w.z + b), and log |1 + u'.psi(z)| with psi = (1 - tanh^2) w (eq. 10 to 12)."""
  u = invertible(u, w)
  bend = jnp.tanh(w @ z + b)
  return z + u * bend, jnp.log1p((1.0 - bend**2) * (w @ u))


def invertible(u: jax.Array, w: jax.Array) -> jax.Array:
  """The u' with w.u' = softplus(w.u) - 1 > -1 that is nearest to u, so that a step has an inverse.

  Rezende & Mohamed 2015, app. A.1.
  """
  along = w @ u
  return u + (nn.softplus(along) - 1.0 - along) * w / (w @ w + 1e-12)


class Autoregressive(nn.Module):
  """Two numbers for each dimension, m_i and s_i, that see z_1 ... z_{i-1} and the context alone.

  A masked autoencoder with direct connections (Germain et al. 2015, sec. 4); at first all are zero.

  Attributes:
    width: of its hidden layer.
  """

  width: int = WIDTH

  @nn.compact
  def __call__(self, z: jax.Array, context: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(latent,), (context,) -> m and s, (latent,) each."""
    places = np.arange(len(z))
    known = np.arange(self.width) % len(z)  # dimensions that a hidden unit sees, from the first on
    into, out_of = places[:, None] < known, known[:, None] <= places

    def masked(
      x: jax.Array, mask: np.ndarray, name: str, start: nn.initializers.Initializer
    ) -> jax.Array:
      return x @ (self.param(name, start, mask.shape) * mask)

    hidden = masked(z, into, 'input', nn.initializers.lecun_normal())
    hidden = nn.tanh(hidden + nn.Dense(self.width, name='context')(context))
    found = [
      masked(hidden, out_of, f'{name}_hidden', nn.initializers.zeros)
      + masked(z, places[:, None] < places, f'{name}_direct', nn.initializers.zeros)
      + self.param(f'{name}_bias', nn.initializers.zeros, z.shape)
      for name in ('m', 's')
    ]
    return found[0], found[1]


class Coupling(nn.Module):
  """What the second half of a code is scaled by and shifted to; at first it is left as it is.

  Attributes:
    features: dimensions of that half.
    width: of the hidden layer.
  """

  features: int
  width: int = WIDTH

  @nn.compact
  def __call__(self, kept: jax.Array, context: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first half and the context -> log of the scales and shifts, (features,) each."""
    hidden = nn.tanh(nn.Dense(self.width)(jnp.concatenate([kept, context])))
    output = nn.Dense(2 * self.features, kernel_init=nn.initializers.zeros)(hidden)
    log_scale, shift = jnp.split(output, 2)
    return BOUND * jnp.tanh(log_scale / BOUND), shift


def inverse_autoregressive(latent: int, flows: int) -> Posterior:
  """Each dimension is mixed with what those before it say (Kingma et al. 2016, eq. 13 and 14)."""

  def step(network: Network, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    m, s = network(z)
    s = s + OPEN
    gate = nn.sigmoid(s)
    return gate * z + (1.0 - gate) * m, nn.log_sigmoid(s).sum()

  return steps_with_context(Autoregressive(), step, latent, flows)


def real_nvp(latent: int, flows: int) -> Posterior:
  """Affine couplings of two halves (Dinh et al. 2017, eq. 7 and 8)."""
  half = latent // 2

  def step(network: Network, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    kept, moved = z[:half], z[half:]
    log_scale, shift = network(kept)
    return jnp.concatenate([kept, moved * jnp.exp(log_scale) + shift]), log_scale.sum()

  return steps_with_context(Coupling(latent - half), step, latent, flows, half)


def steps_with_context(
  network: nn.Module,
  step: Callable[[Network, jax.Array], tuple[jax.Array, jax.Array]],
  latent: int,
  flows: int,
  seen: int | None = None,
) -> Posterior:
  """Steps with a network each, which also sees a context from the encoder, as long as the code.

  Between steps the order of the dimensions is reversed.

  Args:
    network: of a step.
    step: the network of z alone, z -> z, log |det|.
    latent: dimension of z.
    flows: how many steps.
    seen: dimensions of z that the network sees; None for all.
  """

  def init(key: Key) -> Params:
    z, context = jnp.zeros(latent if seen is None else seen), jnp.zeros(latent)
    return {f'step_{i}': network.init(jax.random.fold_in(key, i), z, context) for i in range(flows)}

  def parts(params: Params, output: jax.Array) -> tuple[jax.Array, jax.Array, Flow]:
    mean, log_variance, context = jnp.split(output, 3)

    def flow(z: jax.Array) -> tuple[jax.Array, jax.Array]:
      total = jnp.zeros(())
      for i in range(flows):
        z = z[::-1] if i else z
        z, log_determinant = step(lambda x, i=i: network.apply(params[f'step_{i}'], x, context), z)
        total += log_determinant
      return z, total

    return mean, log_variance, flow

  return Posterior(3 * latent, parts, init)


POSTERIORS: dict[str, Callable[[int, int], Posterior]] = {
  'diagonal': diagonal,
  'planar': planar,
  'inverse_autoregressive': inverse_autoregressive,
  'real_nvp': real_nvp,
}
