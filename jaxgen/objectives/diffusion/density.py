"""How often training looks at each noise level: laws of t on a path, drawn by quantile."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.diffusion.path import Path

Density = Callable[[jax.Array], jax.Array]  # a number of (0, 1), () -> t, below which so much lies


def uniform(path: Path) -> Density:
  """t is uniform (Song et al. 2021, eq. 7; Lipman et al. 2023, eq. 23)."""
  return lambda u: path.first + u * (path.last - path.first)


def log_normal(path: Path, P_mean: float, P_std: float) -> Density:
  """ln sigma ~ N(P_mean, P_std^2) (Karras et al. 2022, tab. 1).

  On the straight path this is logit(t) ~ N(P_mean, P_std^2) (Esser et al. 2024, sec. 3.1).

  Raises:
    ValueError: the deviation is not positive.
  """
  if P_std <= 0.0:
    raise ValueError(f'objective.P_std={P_std} must be positive')
  return lambda u: path.time(jnp.exp(P_mean + P_std * jax.scipy.special.ndtri(u)))


def cosine(path: Path) -> Density:
  """sigma = tan(pi u / 2), as often as the cosine schedule has it (Nichol & Dhariwal 2021)."""
  return lambda u: path.time(jnp.tan(0.5 * jnp.pi * u))


def levels(path: Path, count: int) -> Density:
  """So many values of t, evenly spaced (Song & Ermon 2019, sec. 4.2, on the path `ve`).

  Raises:
    ValueError: fewer than two.
  """
  if count < 2:
    raise ValueError(f'objective.levels={count} must be at least 2')
  return lambda u: path.first + jnp.floor(u * count) / (count - 1) * (path.last - path.first)


def find(name: str, path: Path, P_mean: float, P_std: float, count: int) -> Density:
  """The density that `objective.density` names, kept to the times of the path.

  Args:
    name: 'uniform', 'log_normal', 'cosine' or 'levels'.
    path: of the model.
    P_mean: of `log_normal`.
    P_std: of `log_normal`.
    count: of `levels`.

  Raises:
    ValueError: an unknown name, a number out of range, or a path whose times have no end.
  """
  known = {
    'uniform': lambda: uniform(path),
    'log_normal': lambda: log_normal(path, P_mean, P_std),
    'cosine': lambda: cosine(path),
    'levels': lambda: levels(path, count),
  }
  if name not in known:
    raise ValueError(f'objective.density={name!r}; choose one of {", ".join(known)}')
  if count and name != 'levels':
    raise ValueError(
      f'objective.levels={count} has no effect on objective.density={name}: set it to 0'
    )
  if not np.isfinite(path.last) and name in ('uniform', 'levels'):
    raise ValueError(
      f'objective.density={name} needs a path whose times end, as all but edm do: choose '
      'log_normal or cosine'
    )
  density = known[name]()
  return lambda u: jnp.clip(density(u), path.first, path.last)
