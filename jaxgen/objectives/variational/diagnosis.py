"""What the codes of many images are used for, from the Gaussian posteriors of all of them."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from jaxgen.objectives.base import Key, Metrics
from jaxgen.objectives.distributions import gaussian_kl, log_normal
from jaxgen.objectives.variational.bounds import reparameterize

ACTIVE = 0.01  # variance over images of a unit's posterior mean (Burda et al. 2016, app. C)
USED = 0.01  # nats of a dimension's mean KL
ADVICE = 'objective.warm_up_steps, objective.free_bits or a smaller objective.beta'


def diagnose(means: jax.Array, log_variances: jax.Array, key: Key) -> Metrics:
  """How many dimensions of the code say something of N images, and how much all of them say.

  The KL of the bound has two parts (Hoffman & Johnson 2016): the information that codes have of
  their images, and how far the codes of all images together are from the prior.

  Args:
    means: (N, latent), of the posteriors q(z|x_n).
    log_variances: (N, latent).
    key: of the code of each image that the information is estimated by.

  Returns:
    The dimensions whose posterior mean varies over images by more than ACTIVE, and those whose
    mean KL is above USED; the information and the distance, in nats; and whether the posterior has
    collapsed, that is, no dimension is active. N is in the names of what depends on it.
  """
  kl = jax.vmap(jax.vmap(gaussian_kl))(means, log_variances).mean(axis=0)
  information = mutual_information(means, log_variances, key)
  images = len(means)
  return {
    'used_dimensions': jnp.sum(kl > USED).astype(jnp.float32),
    f'mutual_information_{images}_nats': information,
    f'kl_of_aggregate_{images}_nats': kl.sum() - information,
  } | activity(means)


def activity(codes: jax.Array) -> Metrics:
  """How many dimensions of codes (N, latent) vary by more than ACTIVE, and whether none does."""
  active = jnp.sum(codes.var(axis=0) > ACTIVE)
  return {
    'active_units': active.astype(jnp.float32),
    'collapsed': (active == 0).astype(jnp.float32),
  }


def warn(step: int, means: Mapping[str, float], advice: str = ADVICE) -> list[str]:
  """A sentence where the posterior has collapsed, or that of a layer, as in `layer_2/collapsed`."""
  del step
  return [
    f'{name.removesuffix("collapsed").replace("/", ": ")}the posterior has collapsed: no dimension '
    f'of the code tells images apart; try {advice}'
    for name, value in means.items()
    if name.endswith('collapsed') and value
  ]


def mutual_information(means: jax.Array, log_variances: jax.Array, key: Key) -> jax.Array:
  """E log q(z|x_n) - log (1/N) sum_m q(z|x_m), in nats, over n and z from q(z|x_n).

  Between 0 and log N on average, whatever more the codes might tell of more images. Densities of
  one code at a time: memory grows with N, not with its square.

  Args:
    means: (N, latent).
    log_variances: (N, latent).
    key: of a code for each image.
  """

  def surplus(n: jax.Array) -> jax.Array:
    noise = jax.random.normal(jax.random.fold_in(key, n), means.shape[1:])
    z = reparameterize(means[n], log_variances[n], noise)
    log_q = jax.vmap(log_normal, in_axes=(None, 0, 0))(z, means, log_variances)
    return log_q[n] - logsumexp(log_q) + math.log(len(means))

  return jax.lax.map(surplus, jnp.arange(len(means))).mean()
