"""On the Dirac-GAN every loss and constraint has a known fate

Data are the point 0, the generator makes the point theta and the critic is f(x) = psi x (Mescheder
et al. 2018, def. 2.1). With losses of slope c at 0 and step size h, simultaneous steps of gradient
descent multiply the distance from the equilibrium by sqrt(1 + h^2 c^2) (lemma 2.3, discretised);
alternating steps keep it (lemma 2.4). The non-saturating loss curves inwards farther out and
settles where both balance, h^2 r^2 / 4 = h r^4 / 8 a step: at the radius sqrt(2 h); the
relativistic loss is the same game. R1 or R2 with weight gamma have the eigenvalues -gamma / 2 +-
sqrt(gamma^2 / 4 - 1 / 4) (sec. 3), both together those of 2 gamma: linear convergence, fastest at
gamma = 1, or 1 / 2.

Neither clipping nor WGAN's penalty lambda (|psi| - 1)^2 converges to the data (sec. 3). Clipped
players circle, a half turn in pi / h steps, as far out as the window lets them. Under the penalty
theta' = psi and psi' = 2 lambda sign psi - theta - 2 lambda psi: with lambda < 1 they circle too,
and from 1 on they come to rest in a wrong place, theta = +-2 lambda, where the critic is flat.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.objectives.adversarial.constraints import PENALTIES, clip_weights
from jaxgen.objectives.adversarial.losses import LOSSES
from jaxgen.theory.claims import Claim, Row, Sketch

Step = Callable[[jax.Array], jax.Array]  # (theta, psi) -> (theta, psi)
H = 0.1
SLOPES = {
  'minimax': 0.5,
  'relativistic': 0.5,
  'hinge': 1.0,
  'wasserstein': 1.0,
  'pearson': 1.0,
  'kullback_leibler': np.exp(-1.0),
}


def game(
  loss: str, constraint: str = '', weight: float = 0.0, alternating: bool = False, clip: float = 0.0
) -> Step:
  """A step of both players, at once or the critic first."""
  losses, point = LOSSES[loss], jnp.zeros((1, 1, 1))
  penalty = PENALTIES[constraint](weight) if constraint else lambda *_: 0.0

  def critic_loss(psi: jax.Array, theta: jax.Array) -> jax.Array:
    f = lambda image: psi * image.squeeze()  # noqa: E731
    return losses.critic(f(point), f(point + theta)) + penalty(
      f, point, point + theta, jax.random.key(0)
    )

  def step(state: jax.Array) -> jax.Array:
    theta, psi = state
    new = psi - H * jax.grad(critic_loss)(psi, theta)
    if clip:
      new = clip_weights({'f': {'kernel': new}}, clip)['f']['kernel']
    seen = new if alternating else psi
    move = jax.grad(lambda theta: losses.generator(0.0 * seen, seen * theta))(theta)
    return jnp.stack([theta - H * move, new])

  return step


def states(step: Step, steps: int, start: float) -> np.ndarray:
  """theta and psi before each step, (steps, 2)."""
  first = start * jnp.array([0.8, 0.6])
  run = jax.jit(lambda s: jax.lax.scan(lambda s, _: (step(s), s), s, None, steps)[1])
  return np.asarray(run(first))


def radii(step: Step, steps: int, start: float) -> np.ndarray:
  """Distances from the equilibrium before each step, (steps,)."""
  return np.linalg.norm(states(step, steps, start), axis=1)


def growth(found: np.ndarray) -> float:
  """By what a distance is multiplied in a step, on average."""
  return float((found[-1] / found[0]) ** (1.0 / (len(found) - 1)))


def sketch() -> Sketch:
  """Four games from one start."""
  shown = {
    'minimax': game('minimax'),
    'alternating': game('minimax', alternating=True),
    'non-saturating': game('non_saturating'),
    'r1': game('non_saturating', 'r1', 0.3),
  }
  lines = {name: radii(step, 1_000, 0.2) for name, step in shown.items()}
  t = np.arange(1_000)
  return Sketch(
    'step',
    'distance from the equilibrium',
    {
      'minimax': (t, 0.2 * (1 + H**2 / 4) ** (t / 2)),
      'alternating': (t, 0.2 + 0.0 * t),
      'non-saturating': (t, np.sqrt(2 * H) + 0.0 * t),
      'r1': (t, 0.2 * np.sqrt(1 - H * 0.3 + H**2 / 4) ** t),
    },
    {name: (t[::25], line[::25]) for name, line in lines.items()},
    log='y',
  )


def claim(full: bool) -> Claim:
  rows, steps = [], 20_000 if full else 4_000
  for loss, c in SLOPES.items():
    found = growth(radii(game(loss), 400, 1e-9))
    rows.append(
      Row(f'growth a step at h = 0.1, {loss}', np.sqrt(1 + (H * c) ** 2), found, 0.0, 1e-7)
    )
  for loss in ('minimax', 'wasserstein'):
    found = growth(radii(game(loss, alternating=True), steps, 1e-6))
    note = 'an ellipse, whose distances vary by a part of h'
    rows.append(Row(f'growth a step, alternating, {loss}', 1.0, found, 0.0, 0.2 / steps, note))
  known = np.sqrt(2 * H)
  found = radii(game('non_saturating'), 4_000 + steps, 0.6)[-2000:].mean()
  note = 'of the leading order in h'
  rows.append(Row('radius in the end, non_saturating', known, found, 0.0, 1e-3 * known, note))
  for constraint, gamma, effective in (
    ('r1', 0.3, 0.3),
    ('r1', 3.0, 3.0),
    ('r2', 0.3, 0.3),
    ('r1_and_r2', 0.3, 0.6),
  ):
    root = np.emath.sqrt(effective**2 / 4 - 0.25)
    known = np.abs(1 + H * (-effective / 2 + np.array([1, -1]) * root)).max()
    found = growth(radii(game('non_saturating', constraint, gamma), 8_000, 1e-6)[1_000:])
    note = 'where on its spiral it ends' if effective < 1 else ''
    tolerance = 5e-5 if note else 1e-7
    name = f'growth a step, {constraint}, gamma = {gamma}'
    rows.append(Row(name, known, found, 0.0, tolerance, note))
  rows.append(
    Row(
      'growth a step, r1 at its best, gamma = 1',
      1 - H / 2,
      growth(radii(game('non_saturating', 'r1', 1.0), 4_000, 1e-3)[1_000:]),
      0.0,
      5e-4,
      'a double eigenvalue: n rho^n, whose factor n fades as 1 / n',
    )
  )
  return Claim([*rows, *astray(steps)], sketch())


def astray(steps: int) -> list[Row]:
  """Of constraints that do not lead to the data."""

  def last(**fields: Any) -> np.ndarray:
    return states(game('wasserstein', **fields), steps, 0.1)[-1000:]

  def turns(found: np.ndarray) -> int:
    return np.sum(np.diff(np.sign(found[:, 1])) != 0)

  clipped, light = last(clip=0.3), last(constraint='gradient_penalty', weight=0.3)
  least = np.linalg.norm(clipped, axis=1).min()
  often = 'times that the critic changes sign in 1,000 steps'
  rows = [
    Row('least distance in the end, clipping to 0.3', 0.3, least, 0.0, 1e-4, 'theta steps over 0'),
    Row(f'{often}, clipping', 1_000 * H / np.pi, turns(clipped), 0.0, 1.0, 'a whole number'),
    Row(f'{often}, penalty, lambda = 0.3', 2.0, turns(light), relation='≥'),
  ]
  for weight in (1.0, 3.0):
    theta, psi = last(constraint='gradient_penalty', weight=weight)[-1]
    name = f'in the end, penalty, lambda = {weight:g}'
    rows += [
      Row(f'theta {name}', 2 * weight, abs(theta), 0.0, 1e-6),
      Row(f'psi {name}', 0.0, psi, 0.0, 1e-6),
    ]
  return rows
