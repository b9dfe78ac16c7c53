"""Times that a sampler visits, from noise to data: float64 (steps,), falling."""

import numpy as np

from jaxgen.objectives.diffusion.path import Path


def karras(
  path: Path, steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0
) -> np.ndarray:
  """sigma^(1/rho) is evenly spaced (Karras et al. 2022, eq. 5).

  Raises:
    ValueError: rho is not positive.
  """
  if rho <= 0.0:
    raise ValueError(f'sampler.rho={rho} must be positive; the paper takes 7')
  return path.time(np.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), steps) ** rho)


def log_snr(path: Path, steps: int, sigma_min: float, sigma_max: float) -> np.ndarray:
  """log(a / s) is evenly spaced (Lu et al. 2022, sec. 3.4)."""
  return path.time(np.geomspace(sigma_max, sigma_min, steps))


def time(path: Path, steps: int, sigma_min: float, sigma_max: float) -> np.ndarray:
  """t is evenly spaced."""
  first, last = path.time(np.array([sigma_min, sigma_max]))
  return np.linspace(last, first, steps)


GRIDS = {'karras': karras, 'log_snr': log_snr, 'time': time}
