"""Which bound a model is trained by, and how its gradient is estimated from K samples of q(z|x).

With log w_k = log p(x|z_k) + beta (log p(z_k) - log q(z_k|x)) and their shares
wn_k = w_k / sum_j w_j, the bounds are (1/K) sum_k log w_k, the evidence lower bound, and
log (1/K) sum_k w_k, the importance-weighted one. The decoder's gradient is that of the bound,
whichever is chosen for the encoder, which moves the samples z_k and the density q:

- naive: the bound's own, through both; the KL of the evidence lower bound is in closed form.
- sticking_the_landing: through the samples alone, as d log q / d phi is zero on average (Roeder et
  al. 2017). It vanishes where q is the posterior. Biased for the importance-weighted bound, K > 1.
- doubly_reparameterised: through the samples alone, the k-th by wn_k^2 in place of wn_k, which is
  unbiased, and vanishes where q is the posterior (Tucker et al. 2018, eq. 7; with beta
  (1 - beta) wn_k + beta wn_k^2, by the same steps).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen.objectives.base import DEVICES, EXAMPLES, Key
from jaxgen.objectives.distributions import gaussian_kl
from jaxgen.objectives.variational import bounds
from jaxgen.objectives.variational.bounds import Flow, Terms

Beta = float | jax.Array
LogP = Callable[[jax.Array], jax.Array]  # z -> log p(x|z)
Estimate = Callable[..., tuple[jax.Array, Terms]]

BOUNDS = ('elbo', 'importance_weighted')
GRADIENTS = ('naive', 'sticking_the_landing', 'doubly_reparameterised')


def estimator(
  bound: str = 'elbo', gradient: str = 'naive', samples: int = 1, free_bits: float = 0.0
) -> Estimate:
  """log p(x|z), mean and log variance of q(z|x), key, beta, flow -> the bound in nats, its terms.

  With a flow (see `bounds.terms`), only the naive gradient can be had, and no free bits. The value
  is the bound's whatever the gradient, which is what differentiating it gives.

  Args:
    bound: 'elbo' or 'importance_weighted'.
    gradient: one of GRADIENTS.
    samples: K.
    free_bits: nats that each dimension's KL, averaged over the whole batch, costs at least.

  Raises:
    ValueError: an unknown name, or fields that do not go together.
  """
  require_fitting(bound, gradient, free_bits)

  def estimate(
    log_p: LogP,
    mean: jax.Array,
    log_variance: jax.Array,
    key: Key,
    beta: Beta,
    flow: Flow | None = None,
  ) -> tuple[jax.Array, Terms]:
    q = mean, log_variance
    z = bounds.draw(*q, key, samples)
    if gradient != 'naive':
      q = jax.lax.stop_gradient(q)
    if gradient == 'doubly_reparameterised':
      z = doubly_reparameterise(z, bounds.terms_at(z, log_p, *q), beta)
    terms = bounds.terms_at(z, log_p, *q, flow)
    if bound == 'importance_weighted':
      return bounds.importance_weighted_bound(terms.log_weights(beta)), terms
    if gradient != 'naive':
      return terms.log_weights(beta).mean(), terms
    kl = batch_kl(*q, free_bits) if free_bits else terms.kl
    return bounds.evidence_lower_bound(terms.log_likelihoods, kl, beta), terms

  return estimate


def require_fitting(bound: str, gradient: str, free_bits: float) -> None:
  """Raises ValueError where fields of the training bound are unknown or do not go together."""
  for field, value, known in (('bound', bound, BOUNDS), ('gradient', gradient, GRADIENTS)):
    if value not in known:
      raise ValueError(f'objective.{field}={value!r}; choose one of {", ".join(known)}')
  if gradient == 'doubly_reparameterised' and bound == 'elbo':
    raise ValueError(
      'objective.gradient=doubly_reparameterised is of the importance-weighted bound: set '
      'objective.bound=importance_weighted, or choose sticking_the_landing'
    )
  if free_bits < 0.0:
    raise ValueError(f'objective.free_bits={free_bits} must not be negative')
  if free_bits and (bound, gradient) != ('elbo', 'naive'):
    raise ValueError(
      f'objective.free_bits={free_bits} needs a KL in closed form, as objective.bound=elbo with '
      'objective.gradient=naive has one'
    )


def doubly_reparameterise(z: jax.Array, terms: Terms, beta: Beta) -> jax.Array:
  """The samples (K, latent), through which gradients pass by 1 - beta + beta wn_k of themselves."""
  shares = jax.nn.softmax(jax.lax.stop_gradient(terms.log_weights(beta)))
  return jax.vmap(scale_gradient)(z, 1.0 - beta + beta * shares)


@jax.custom_jvp
def scale_gradient(x: jax.Array, factor: jax.Array) -> jax.Array:
  """x, whose derivative is a constant factor (); of the same bits, so that XLA sees one x."""
  del factor
  return x


@scale_gradient.defjvp
def _(
  primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
  x, factor = primals
  return x, factor * tangents[0]


def batch_kl(mean: jax.Array, log_variance: jax.Array, free_bits: float) -> jax.Array:
  """sum_j max(free_bits, mean of KL_j over the whole batch), in nats (Kingma et al. 2016, eq. 16).

  Sees the batch by its named axes, and so needs `reduction=mean`.
  """
  kl = jax.lax.pmean(jax.vmap(gaussian_kl)(mean, log_variance), (EXAMPLES, DEVICES))
  return jnp.maximum(kl, free_bits).sum()


def warm_up(beta: float, steps: int) -> Callable[[jax.Array], Beta]:
  """Step -> the weight of the KL, which rises linearly from 0 over so many updates.

  Bowman et al. 2016; Sønderby et al. 2016.

  Raises:
    ValueError: a negative number, or a weight that has nowhere to rise to.
  """
  if beta < 0.0:
    raise ValueError(
      f'objective.beta={beta} must be at least 0: below it the KL has no least value'
    )
  if steps < 0 or (steps and not beta):
    raise ValueError(
      f'objective.warm_up_steps={steps} with objective.beta={beta}: warm up over a positive number '
      'of updates to a beta above 0'
    )
  return (lambda step: beta * jnp.minimum(1.0, step / steps)) if steps else (lambda step: beta)
