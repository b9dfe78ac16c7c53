"""How much an error counts at each noise level: weights of |x_0 - its prediction|^2.

The squared error of a network's output is one of x_0 with a weight, so that any prediction can be
trained with any weight. snr = a^2 / s^2.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgen.objectives.diffusion.path import Path
from jaxgen.objectives.diffusion.prediction import Prediction

Weighting = Callable[[jax.Array], jax.Array]  # t -> weight of the squared error of the OUTPUT

GAMMA = 5.0  # of min_snr (Hang et al. 2023, sec. 4.2)


def snr(path: Path, t: jax.Array) -> jax.Array:
  """a^2 / s^2."""
  return path.sigma(t) ** -2.0


# Each a weight of the squared error of x_0.
WEIGHTINGS: dict[str, Callable[[Path, jax.Array], jax.Array]] = {
  'image': lambda path, t: jnp.ones_like(t),
  'noise': snr,  # as if eps were predicted (Ho et al. 2020, eq. 14)
  'v': lambda path, t: snr(path, t) + 1.0,  # (Salimans & Ho 2022, sec. 4)
  'truncated_snr': lambda path, t: jnp.maximum(snr(path, t), 1.0),  # (the same)
  'min_snr': lambda path, t: jnp.minimum(snr(path, t), GAMMA),  # (Hang et al. 2023, eq. 8)
  # g^2 |score error|^2, the bound on the likelihood (Song et al. 2021 ML, eq. 7).
  'likelihood': lambda path, t: path.g2(t) * (path.a(t) / path.s(t) ** 2) ** 2,
}


def find(name: str, path: Path, predicted: Prediction) -> Weighting:
  """The weight that `objective.weighting` names.

  Args:
    name: 'output', which leaves the output's error as it is, or one of WEIGHTINGS.
    path: of the model.
    predicted: what its output means.

  Raises:
    ValueError: there is none of this name.
  """
  if name == 'output':
    return jnp.ones_like
  if name not in WEIGHTINGS:
    known = ', '.join(('output', *WEIGHTINGS))
    raise ValueError(f'objective.weighting={name!r}; choose one of {known}')
  return lambda t: WEIGHTINGS[name](path, t) * predicted.slope(t) ** 2
