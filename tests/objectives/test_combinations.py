"""Losses and constraints as a config combines them: what each player then minimises, and what is
refused.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import configuration, objectives
from jaxgen.errors import UserError
from jaxgen.objectives.adversarial import adversarial
from jaxgen.objectives.adversarial.constraints import PENALTIES, slope
from jaxgen.objectives.adversarial.losses import LOSSES
from tests.examples import facts, on_one_device

ROOT = Path(__file__).parent.parent.parent
REAL, FAKE = jnp.array([3.0, 4.0]).reshape(2, 1, 1), jnp.array([0.0, -2.0]).reshape(2, 1, 1)
KEY = jax.random.key(0)


def config(network: str = 'mlp', **fields: Any) -> Any:
  found = configuration.execute(str(ROOT / 'experiments' / 'hinge_gan.py'))
  found.objective.update(fields)
  found.objective.latent = 2
  found.network.name, found.network.hidden = network, (8, 8)
  return found


def arguments(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> dict[str, Any]:
  """What `game` is called with."""
  monkeypatch.setattr(adversarial, 'game', lambda **arguments: arguments)
  return adversarial.build(config(**fields), facts((8, 8, 1)))


def bowl(image: jax.Array) -> jax.Array:
  """Half the square, whose gradient is the image; 12.5 of REAL and 2 of FAKE."""
  return 0.5 * jnp.sum(image**2)


@pytest.mark.parametrize('constraint', adversarial.CONSTRAINTS)
@pytest.mark.parametrize('loss', LOSSES)
def test_any_loss_is_played_under_any_constraint(
  monkeypatch: pytest.MonkeyPatch, loss: str, constraint: str
) -> None:
  if (loss, constraint) == ('wasserstein', 'none'):
    return  # is refused, as below
  found = arguments(monkeypatch, loss=loss, constraint=constraint, penalty=0.7, clip=0.2)
  penalty = PENALTIES[constraint](0.7)(bowl, REAL, FAKE, KEY) if constraint in PENALTIES else 0.0
  value, metrics = found['critic_loss'](bowl, REAL, FAKE, KEY)
  expected = LOSSES[loss].critic(jnp.float32(12.5), jnp.float32(2.0)) + penalty
  assert float(value) == pytest.approx(float(expected), rel=1e-5)
  assert metrics.pop('penalty', 0.0) == pytest.approx(float(penalty), rel=1e-5)
  outputs = {'real_output': 12.5, 'fake_output': 2.0, 'output_gap': 10.5, 'told_apart': 1.0}
  assert metrics == outputs
  value, metrics = found['generator_loss'](bowl, REAL, FAKE, KEY)
  expected = LOSSES[loss].generator(jnp.float32(12.5), jnp.float32(2.0))
  assert float(value) == pytest.approx(float(expected), rel=1e-5)
  assert metrics == {'critic_slope': slope(bowl, REAL, FAKE, KEY)}
  assert ('project' in found) == (constraint in ('clip', 'spectral'))
  if constraint == 'clip':
    window = found['project']({'w': jnp.array([-1.0, 0.1])})['w']
    np.testing.assert_allclose(window, [-0.2, 0.1])
  assert ('summary' in found) == (loss == 'wasserstein')


def test_distance_does_not_depend_on_how_steep_the_critic_is() -> None:
  """Clipped to c, a linear critic of 3 pixels estimates c |shift|_1, at a slope of c sqrt 3."""
  shift, found = np.array([0.9, -0.5, 0.2]), []
  for clip in (0.01, 0.05):
    fields = config(loss='wasserstein', constraint='clip', clip=clip)
    fields.network.hidden = ()
    fields.optimizer.learning_rate = 0.0
    fields.critic_optimizer.learning_rate = 1e-2
    model = adversarial.build(fields, facts((1, 1, 3)))
    params, memory = model.init(KEY)
    decoder = params['generator']['params']['Dense_0']
    decoder.update(jax.tree.map(jnp.zeros_like, decoder))  # every fake image is 0
    images = jnp.tile(jnp.asarray(shift, jnp.float32)[None, None, None], (8, 1, 1, 1))
    step = jax.jit(on_one_device(model))
    for seed in range(15):
      params, memory, metrics = step(
        params, memory, images, jax.random.split(jax.random.key(seed), 8)
      )
    assert metrics['critic/output_gap'] == pytest.approx(clip * np.abs(shift).sum(), rel=1e-3)
    found.append(float(metrics['distance_over_slope']))
  np.testing.assert_allclose(found, np.abs(shift).sum() / np.sqrt(3), rtol=1e-3)


def test_distance_of_means_is_their_ratio() -> None:
  means = {'critic/output_gap': jnp.float32(3.0), 'generator/critic_slope': jnp.float32(1.5)}
  assert adversarial.distance(means) == {'distance_over_slope': 2.0}


def refused(**fields: Any) -> str:
  with pytest.raises(UserError) as error:
    objectives.find_objective(config(**fields), facts((8, 8, 1)))
  return str(error.value)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'loss': 'hing'}, "objective.loss='hing'; choose one of minimax, non_saturating"),
    ({'constraint': 'r3'}, "objective.constraint='r3'; choose one of none, clip"),
    ({'penalty': 0.0}, "objective.penalty=0.0 must be positive with constraint='r1'"),
    ({'penalty': float('nan')}, 'objective.penalty=nan must be positive'),
    ({'constraint': 'clip', 'clip': -1.0}, 'objective.clip=-1.0 must be positive'),
    ({'loss': 'wasserstein', 'constraint': 'none'}, 'has no best critic'),
  ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], message: str) -> None:
  assert message in refused(**fields)


@pytest.mark.parametrize('constraint', PENALTIES)
def test_a_critic_that_normalises_over_the_batch_has_no_slope(constraint: str) -> None:
  message = refused(network='dcgan', constraint=constraint)
  assert f"objective.constraint='{constraint}' takes the slope of the critic at one" in message


def test_such_a_critic_plays_without_a_slope(monkeypatch: pytest.MonkeyPatch) -> None:
  for constraint in ('none', 'clip'):
    found = arguments(monkeypatch, network='dcgan', constraint=constraint)
    assert found['generator_loss'](bowl, REAL, FAKE, KEY)[1] == {}
  found = arguments(monkeypatch, network='dcgan', loss='wasserstein', constraint='clip')
  assert 'summary' not in found  # which divides by it


def test_truncation_belongs_to_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
  fields = config()
  fields.sampler.truncation = 0.7
  monkeypatch.setattr(adversarial, 'game', lambda **arguments: arguments)
  assert adversarial.build(fields, facts((8, 8, 1)))['players'].truncation == 0.7
  fields.sampler.truncation = -0.7
  with pytest.raises(UserError, match=r'sampler\.truncation=-0\.7 must be positive'):
    objectives.find_objective(fields, facts((8, 8, 1)))


def test_unused_numbers_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
  found = arguments(monkeypatch, constraint='none', penalty=0.0, clip=0.0)
  assert 'project' not in found
