"""What is said of codes, where it is known from their distribution."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import configuration
from jaxgen.datasets import splits
from jaxgen.evaluation.held_out import DIAGNOSED, Evaluation
from jaxgen.objectives.base import Example, Key, Metrics, Objective
from jaxgen.objectives.variational.diagnosis import diagnose, mutual_information, warn
from tests.examples import EXPERIMENTS

RNG = np.random.default_rng(0)


def information(means: Any, deviation: float) -> float:
  means = jnp.asarray(means, jnp.float32)
  spread = jnp.full(means.shape, 2 * np.log(deviation), jnp.float32)
  return float(jax.jit(mutual_information)(means, spread, jax.random.key(0)))


@pytest.mark.parametrize('groups', [1, 2, 5])
def test_codes_that_tell_groups_apart_know_the_group(groups: int) -> None:
  """Nothing where all are alike, and log N where each image is a group of its own."""
  centres = 10.0 * np.arange(groups)
  assert information(np.repeat(centres, 60 // groups)[:, None], 0.1) == pytest.approx(
    np.log(groups), abs=1e-4
  )
  assert information(np.arange(60.0)[:, None], 1e-3) == pytest.approx(np.log(60), abs=1e-4)


def test_information_of_gaussian_codes() -> None:
  """z = m + s eps has the prior's variance in all: log(1 / s) nats a dimension, and no distance."""
  s, count = 0.5, 4000
  means = np.sqrt(1 - s**2) * RNG.normal(size=(count, 2))
  spread = jnp.full((count, 2), 2 * np.log(s), jnp.float32)
  found = jax.jit(diagnose)(jnp.float32(means), spread, jax.random.key(1))
  assert found['mutual_information_4000_nats'] == pytest.approx(2 * np.log(1 / s), abs=0.05)
  assert found['kl_of_aggregate_4000_nats'] == pytest.approx(0.0, abs=0.05)


def test_a_code_that_is_off_the_prior_is_no_information() -> None:
  """KL(N(2, 1) || N(0, 1)) = 2 nats, of codes that are the same for every image."""
  found = jax.jit(diagnose)(jnp.full((50, 1), 2.0), jnp.zeros((50, 1)), jax.random.key(0))
  expected = {'active_units': 0, 'used_dimensions': 1, 'collapsed': 1}
  assert {name: float(found[name]) for name in expected} == expected
  assert found['mutual_information_50_nats'] == pytest.approx(0.0, abs=1e-5)
  assert found['kl_of_aggregate_50_nats'] == pytest.approx(2.0, rel=1e-5)


def test_units_are_active_by_their_means_and_used_by_their_divergence() -> None:
  """Of variances of the mean above and below 0.01, and of KL = variance / 2 where log s^2 = 0."""
  variances = np.array([0.5, 0.021, 0.019, 0.011, 0.009, 0.0])
  means = jnp.float32(np.sqrt(variances) * np.tile([[1.0], [-1.0]], (20, 1)))
  found = jax.jit(diagnose)(means, jnp.zeros((40, 6)), jax.random.key(0))
  assert found['active_units'] == 4
  assert found['used_dimensions'] == 2
  assert found['collapsed'] == 0
  still = jax.jit(diagnose)(means[:, 5:], jnp.zeros((40, 1)), jax.random.key(0))
  assert still['collapsed'] == 1


def counting() -> Objective:
  """Tells how many images it is shown, and their mean."""

  def diagnose(params: Any, examples: Example, key: Key) -> Metrics:
    noise = jax.random.uniform(key)
    return {'count': jnp.float32(len(examples.row)), 'pixel': examples.image.mean(), 'key': noise}

  def evaluate(params: Any, example: Example, key: Key) -> Metrics:
    return {'row': example.row.astype(jnp.float32)}

  return Objective(
    lambda key: ({}, ()), None, evaluate, lambda *_: jnp.zeros(()), diagnose=diagnose
  )


def test_held_out_means_come_with_the_diagnosis_of_many_images() -> None:
  """Of at most a thousand, each time the same, at once."""
  config = configuration.execute(str(EXPERIMENTS[0]))
  evaluation = Evaluation(counting(), config, ())
  images = np.broadcast_to(np.uint8(255), (1200, 2, 2, 1))
  for size, count in ((None, DIAGNOSED), (30, 30)):
    found = evaluation.measure({}, splits.Split(images), size)
    assert found['count'] == count
    assert found['pixel'] == 1.0
    assert found['row'] == np.mean(splits.subset(1200, size or 1200))
    assert found == evaluation.measure({}, splits.Split(images), size)


def test_a_collapsed_posterior_is_said_in_words() -> None:
  """From the held-out numbers of codes that are all alike, and of no others."""
  for means, expected in ((jnp.zeros((50, 2)), 1), (jnp.asarray(RNG.normal(size=(50, 2))), 0)):
    found = diagnose(means, jnp.zeros((50, 2)), jax.random.key(0))
    said = warn(0, {name: float(value) for name, value in found.items()})
    assert [sentence[:27] for sentence in said] == ['the posterior has collapsed'] * expected
  assert warn(0, {'loss': 1.0}) == []
