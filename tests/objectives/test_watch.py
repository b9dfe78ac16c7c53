"""What is said of games that went wrong: by made-up numbers, and by games that were made to."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from jaxgen import configuration, objectives
from jaxgen.objectives.adversarial import watch
from tests.examples import facts, on_one_device

ROOT = Path(__file__).parent.parent.parent
WELL = {
  'critic/loss': 1.2,
  'critic/output_gap': 0.8,
  'critic/told_apart': 0.7,
  'generator/loss': -0.1,
  'generator/gradient_norm': 0.3,
  'generator/parameter_norm': 20.0,
  'real_spread': 0.5,
  'fake_spread': 0.45,
}
LOST = {'critic/told_apart': 1.0, 'critic/output_gap': 40.0, 'generator/gradient_norm': 1e-6}


def said(step: int = 5000, **changes: float) -> list[str]:
  """The beginnings of what is said of a game that goes well but for these."""
  return [sentence[:10] for sentence in watch.warnings(step, WELL | changes)]


@pytest.mark.parametrize(
  ('changes', 'expected'),
  [
    ({}, []),
    (LOST, ['The critic']),
    (LOST | {'critic/told_apart': 0.99}, []),
    (LOST | {'generator/gradient_norm': 1.0}, []),  # it loses, and still learns
    (LOST | {'critic/output_gap': 1e-4}, []),  # a critic in small units, as a clipped one is
    ({'critic/loss': 2e4}, ['Training h']),
    ({'generator/loss': -2e4}, ['Training h']),
    ({'fake_spread': 0.04}, ['Mode colla']),
    ({'fake_spread': 0.04, 'step': 100}, []),  # a generator that has just begun
    ({'fake_spread': 0.04, 'real_spread': 0.05}, []),  # of data that hardly differ either
    (LOST | {'critic/loss': 2e4, 'fake_spread': 0.0}, ['Training h', 'The critic', 'Mode colla']),
  ],
)
def test_each_fault_is_told_by_its_numbers(changes: dict[str, float], expected: list[str]) -> None:
  assert said(**changes) == expected


def test_a_game_without_outputs_is_never_said_to_be_won() -> None:
  """As BEGAN's, whose critic has an error in place of an output."""
  known = {name: v for name, v in (WELL | LOST).items() if 'told' not in name and 'gap' not in name}
  assert list(watch.warnings(5000, known)) == []


def test_share_told_apart_is_the_area_under_the_curve() -> None:
  rng = np.random.default_rng(0)
  real, fake = rng.integers(0, 9, 40), rng.integers(0, 7, 30)  # with ties
  pairs = jax.vmap(jax.vmap(watch.told_apart, (None, 0)), (0, None))
  found = pairs(jnp.asarray(real, jnp.float32), jnp.asarray(fake, jnp.float32)).mean()
  assert found == pytest.approx(mannwhitneyu(real, fake).statistic / (40 * 30), rel=1e-6)


def test_spread_is_the_deviation_of_pixels_over_the_batch() -> None:
  images = np.random.default_rng(0).normal(0.2, [[[0.1], [0.5]]], size=(50, 1, 2, 1))
  loss = watch.with_moments(lambda f, real, fake, key: (f(real), {}))
  key = jax.random.key(0)
  _, found = jax.vmap(lambda x: loss(jnp.sum, x, 0.0 * x + 0.3, key))(images.astype(np.float32))
  moments = jax.tree.map(lambda a: a.mean(axis=0), found[watch.MOMENTS])
  spreads = watch.spreads(moments)
  assert spreads['real_spread'] == pytest.approx(np.sqrt(images.var(0).mean()), rel=1e-4)
  assert spreads['fake_spread'] < 1e-3


def played(updates: int, **fields: Any) -> tuple[list[str], dict[str, float]]:
  """What is said of a small game after some updates, and its numbers."""
  config = configuration.execute(str(ROOT / 'experiments' / 'hinge_gan.py'))
  config.objective.update({'constraint': 'none', 'latent': 2} | fields)
  config.network.name, config.network.hidden = 'mlp', (16,)
  config.optimizer.learning_rate, config.critic_optimizer.learning_rate = 0.0, 0.02
  model = objectives.find_objective(config, facts((2, 2, 1)))
  params, memory = jax.jit(model.init)(jax.random.key(0))
  images = 1.0 + 0.1 * jax.random.normal(jax.random.key(1), (16, 2, 2, 1))
  step = jax.jit(on_one_device(model))
  for number in range(updates):
    keys = jax.random.split(jax.random.key(number), 16)
    params, memory, metrics = step(params, memory, images, keys)
  means = {name: float(value) for name, value in metrics.items()}
  return [sentence[:10] for sentence in model.warn(updates, means)], means


@pytest.mark.slow
def test_a_saturating_loss_against_a_trained_critic_is_said_to_be_lost() -> None:
  """And the same critic's non-saturating one is not (Arjovsky & Bottou 2017, thm. 2.4)."""
  found, means = played(500, loss='minimax')
  assert found == ['The critic']
  assert means['critic/told_apart'] == 1.0
  found, means = played(500, loss='non_saturating')
  assert found == []
  assert means['critic/told_apart'] == 1.0
