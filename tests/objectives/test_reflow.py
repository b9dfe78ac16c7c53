"""A flow learned on the pairs of another one, of Gaussian data, whose flows are known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import mean_flow, reflow
from jaxgen import objectives
from jaxgen.datasets.splits import Facts
from jaxgen.errors import UserError
from jaxgen.objectives.base import Objective
from jaxgen.objectives.diffusion import density, prediction, samplers, weighting
from jaxgen.objectives.diffusion import reflow as pairs
from jaxgen.objectives.diffusion.denoiser import Denoiser
from jaxgen.objectives.diffusion.guidance import Guidance
from jaxgen.objectives.diffusion.path import find_path
from tests.examples import draw, example, facts, on_one_device
from tests.objectives import gaussian
from tests.objectives.gaussian import DEVIATION, MEAN, SHAPE, Exact, time_on

PATH = find_path('straight')


class Straight(nn.Module):
  """The velocity of lines from eps to x = MEAN + DEVIATION eps, of y = x - MEAN; or off by this."""

  error: float = 0.0

  @nn.compact
  def __call__(self, x: jax.Array, t: jax.Array) -> jax.Array:
    t = time_on(t, 'straight')
    eps = x / ((1.0 - t) * DEVIATION + t)
    return self.param('one', nn.initializers.ones, ()) * (DEVIATION - 1.0) * eps + self.error


def model(student: nn.Module, repeats: int = 1) -> Objective:
  """With the exact flow as its teacher, in many steps."""
  teacher = gaussian.model(
    Exact('straight', 'velocity'), 'straight', 'velocity', sampler={'steps': 60, 'grid': 'time'}
  )
  predicted = prediction.velocity(PATH)
  return pairs.reflow(
    {
      'denoiser': Denoiser(student, PATH, predicted, DEVIATION, MEAN),
      'optimizer': optax.sgd(0.1),
      'facts': Facts(SHAPE, 8, ()),
      'density': density.uniform(PATH),
      'weight': weighting.find('output', PATH, predicted),
      'descent': samplers.find(PATH, 'probability_flow', 2, 'time', order=1),
      'guidance': Guidance(),
      'name': 'velocity_squared_error',
      'stratified': True,
      'times': 4,
    },
    teacher,
    repeats,
  )


def held_out(student: nn.Module) -> dict[str, float]:
  """Means over pairs."""
  objective = model(student)
  params, _ = objective.init(jax.random.key(0))
  evaluate = jax.jit(jax.vmap(objective.evaluate, in_axes=(None, None, 0)))
  found = evaluate(params, example(jnp.zeros(SHAPE)), jax.random.split(jax.random.key(1), 400))
  return {name: float(values.mean()) for name, values in found.items()}


def test_pairs_of_gaussian_data_lie_on_lines_that_one_step_follows() -> None:
  """No other error than that of the teacher's steps; the teacher's own velocities are curved.

  Of its velocity g(t) y_t on a pair, y_t = ((1 - t) c + t) eps, the squared error is
  (g ((1 - t) c + t) - (c - 1))^2.
  """
  straight, curved = held_out(Straight()), held_out(Exact('straight', 'velocity'))
  assert straight['pair_velocity_squared_error'] < 1e-5
  assert straight['one_step_squared_error'] < 1e-5
  t = (np.arange(10_000) + 0.5) / 10_000
  c, a = DEVIATION, 1.0 - t
  gain = (a * c**2 - t) / (a**2 * c**2 + t**2)  # towards the image
  expected = np.mean((gain * (a * c + t) - (c - 1.0)) ** 2)
  assert curved['pair_velocity_squared_error'] == pytest.approx(expected, rel=0.1)
  assert curved['one_step_squared_error'] == pytest.approx(c**2, rel=0.1)  # of the mean image


def test_the_student_samples_the_data_in_one_step() -> None:
  objective = model(Straight())
  params, _ = objective.init(jax.random.key(0))
  x = np.asarray(draw(objective, params, jax.random.split(jax.random.key(1), 4000)))
  assert x.mean() == pytest.approx(MEAN, abs=0.03)
  assert x.std() == pytest.approx(DEVIATION, rel=0.03)


def test_an_update_descends_on_pairs_and_leaves_the_teacher_alone() -> None:
  """Whatever the images, with the error squared as its loss."""
  objective = model(Straight(error=0.3), repeats=3)
  params, memory = objective.init(jax.random.key(0))
  images = jax.random.normal(jax.random.key(1), (8, *SHAPE))
  keys = jax.random.split(jax.random.key(2), 8)
  after, _, metrics = jax.jit(on_one_device(objective))(params, memory, images, keys)
  assert metrics['loss'] == pytest.approx(0.09, rel=0.02)
  assert jax.tree.leaves(after['student']) != jax.tree.leaves(params['student'])
  assert jax.tree.leaves(after['teacher']) == jax.tree.leaves(params['teacher'])


def test_a_teacher_without_a_flow_is_refused_and_noise_on_the_way() -> None:
  config, other = reflow.get_config(), reflow.get_config()
  config.teacher = mean_flow.get_config()
  with pytest.raises(UserError, match="'mean_flow', which has no flow from noise to images"):
    objectives.find_objective(config, facts((8, 8, 1)))
  ordered = reflow.get_config()
  ordered.reduction = 'ordered'
  with pytest.raises(UserError, match="reduction='ordered' does not keep the bits of reflow"):
    objectives.find_objective(ordered, facts((8, 8, 1)))
  other.sampler.update({'name': 'ancestral', 'order': 0})
  with pytest.raises(UserError, match=r"sampler.name='ancestral' .* adds noise"):
    objectives.find_objective(other, facts((8, 8, 1)))
