"""The diffusion loss of the exact denoiser adds up to the data's information

d I(x_0; x_t) / d snr = mmse / 2 nats, where snr = a^2 / s^2 and mmse is the least squared error of
x_0 (Guo et al. 2005, thm. 1): the loss that VDM integrates over the log-SNR (Kingma et al. 2021,
eq. 17), (snr / 2) mmse, has between two log-SNRs the area that is learned of x_0 there. Predicted:
differences of entropies of the noisy mixture, by quadrature, and log(1 + snr c^2) / 2 of a
Gaussian. Measured: the error of the posterior mean on samples, at log-SNRs drawn evenly.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import quad

from jaxgen.objectives.diffusion import path as paths
from jaxgen.theory.claims import Claim, Row, Sketch
from jaxgen.theory.estimates import Estimate, mean
from jaxgen.theory.mixtures import PAIR, Mixture, denoise

C = 0.6162  # the deviation of a Gaussian's data
ONE = Mixture(np.array([1.0]), np.array([[0.3]]), np.array([C]))
LOW, HIGH = -8.0, 8.0  # log-SNR


def information(law: Mixture, log_snr: float) -> float:
  """I(x_0; x_0 + sigma eps) in nats: the entropy of the sum less that of the noise."""
  sigma = np.exp(-0.5 * log_snr)
  noisy = law.noised(1.0, sigma)

  scales = noisy.weights / (noisy.deviations * np.sqrt(2.0 * np.pi))

  def integrand(x: float) -> float:
    p = scales @ np.exp(-0.5 * ((x - noisy.means[:, 0]) / noisy.deviations) ** 2)
    return -p * np.log(p) if p > 0.0 else 0.0

  reach = 12.0 * noisy.deviations.max() + 2.0
  marks = sorted(
    {
      *noisy.means[:, 0],
      *(noisy.means[:, 0] - noisy.deviations),
      *(noisy.means[:, 0] + noisy.deviations),
    }
  )
  return quad(integrand, -reach, reach, points=marks, limit=500)[0] - 0.5 * np.log(
    2 * np.pi * np.e * sigma**2
  )


def losses(law: Mixture, log_snr: np.ndarray, generator: np.random.Generator) -> np.ndarray:
  """(snr / 2) (x_0 - E[x_0 | x_t])^2 of a draw at each log-SNR, on the VP path."""
  path = paths.vp()
  t = path.time(np.exp(-0.5 * log_snr))
  a, s = path.a(t), path.s(t)
  x_0 = law.draw(len(t), generator)
  x = a[:, None] * x_0 + s[:, None] * generator.normal(size=x_0.shape)
  expected = jax.jit(jax.vmap(lambda a, s, x: denoise(law, a, s, x)))(*map(jnp.asarray, (a, s, x)))
  return 0.5 * np.exp(path.log_snr(t)) * np.asarray((x_0 - expected) ** 2)[:, 0]


def area(law: Mixture, low: float, high: float, count: int, seed: int) -> Estimate:
  """The integral of the loss over log-SNRs from low to high."""
  generator = np.random.default_rng(seed)
  return mean((high - low) * losses(law, generator.uniform(low, high, count), generator))


def claim(full: bool) -> Claim:
  count, rows = 2_000_000 if full else 100_000, []
  known = 0.5 * (np.log1p(np.exp(HIGH) * C**2) - np.log1p(np.exp(LOW) * C**2))
  rows.append(
    Row(
      'area of the loss, a Gaussian, log-SNR from -8 to 8, nats',
      known,
      *area(ONE, LOW, HIGH, count, 0),
    )
  )
  steps = [LOW, -2.0, 2.0, HIGH]
  found = [area(PAIR, *ends, count, i) for i, ends in enumerate(pairwise(steps), 1)]
  at = [information(PAIR, g) for g in steps]
  for i, part in enumerate(found):
    rows.append(
      Row(f'of a mixture, from {steps[i]:g} to {steps[i + 1]:g}', at[i + 1] - at[i], *part, 1e-6)
    )
  line, h = np.linspace(LOW, HIGH, 33), 1e-3
  curve = [(information(PAIR, g + h) - information(PAIR, g - h)) / (2 * h) for g in line]
  shown = line[2::4]
  generator = np.random.default_rng(9)
  dots = [losses(PAIR, np.full(20_000, g), generator).mean() for g in shown]
  return Claim(
    rows,
    Sketch(
      'log-SNR',
      'loss of a mixture, nats',
      {'dI / d log-SNR': (line, curve)},
      {'dI / d log-SNR': (shown, dots)},
    ),
  )
