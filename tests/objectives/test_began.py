"""The balance of BEGAN, by hand."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import configuration
from jaxgen.errors import UserError
from jaxgen.networks import mlp
from jaxgen.objectives import find_objective
from jaxgen.objectives.adversarial import began
from tests.examples import facts, on_one_device

ROOT = Path(__file__).parent.parent.parent
SHAPE = (2, 2, 1)


def test_error_is_the_mean_absolute_one_of_what_comes_back() -> None:
  """Without hidden layers and with zero weights the autoencoder answers tanh(bias)."""
  network = began.ReconstructionError(mlp.Encoder(3, ()), mlp.Decoder(SHAPE, ()))
  image = jnp.array([0.5, -0.5, 1.0, 0.0]).reshape(SHAPE)
  variables = jax.tree.map(jnp.zeros_like, network.init(jax.random.key(0), image))
  np.testing.assert_allclose(network.apply(variables, image), [0.5])
  bias = jnp.arctanh(jnp.array([0.25, 0.25, 0.25, 0.25]))
  variables['params']['decoder']['Dense_0']['bias'] = bias
  np.testing.assert_allclose(network.apply(variables, image), [(0.25 + 0.75 + 0.75 + 0.25) / 4])


def test_critic_minds_fake_images_by_k() -> None:
  """L(x) - k L(G(z)), and the generator's L(G(z))."""
  f, real, fake = jnp.sum, jnp.full(SHAPE, 0.5), jnp.full(SHAPE, 0.25)
  loss, metrics = began.critic_loss(f, real, fake, jax.random.key(0), jnp.float32(0.3))
  assert loss == pytest.approx(2.0 - 0.3 * 1.0)
  assert metrics == {'real_error': 2.0, 'fake_error': 1.0}
  loss, _ = began.generator_loss(f, real, fake, jax.random.key(0), jnp.float32(0.3))
  assert loss == pytest.approx(1.0)


@pytest.mark.parametrize(
  ('k', 'fake_error', 'expected'),
  [(0.2, 0.3, 0.2 + 0.1 * (0.5 * 0.8 - 0.3)), (0.0, 0.9, 0.0), (0.99, 0.1, 1.0)],
)
def test_balance_moves_by_the_gap_and_stays_in_its_range(
  k: float, fake_error: float, expected: float
) -> None:
  metrics = {'critic/real_error': jnp.float32(0.8), 'generator/loss': jnp.float32(fake_error)}
  found, added = began.balance(jnp.float32(k), metrics, gamma=0.5, rate=0.1)
  assert found == pytest.approx(expected)
  assert added['k'] == found
  assert added['convergence'] == pytest.approx(0.8 + abs(0.4 - fake_error))


def test_k_is_remembered_from_update_to_update() -> None:
  """It begins at zero, enters the critic's loss, and moves by the metrics of each update."""
  config = configuration.execute(str(ROOT / 'experiments' / 'began.py'))
  config.network.hidden = config.critic_network.hidden = (8,)
  config.objective.gamma, config.objective.k_rate = 0.7, 0.2
  model = began.build(config, facts(SHAPE))
  step, k = jax.jit(on_one_device(model)), 0.0
  params, memory = model.init(jax.random.key(0))
  assert memory['state'] == 0.0
  images = np.random.default_rng(0).uniform(-1, 1, (16, *SHAPE))
  for i in range(4):
    keys = jax.random.split(jax.random.key(i), 16)
    params, memory, metrics = step(params, memory, images, keys)
    real, fake = (float(metrics[f'critic/{kind}_error']) for kind in ('real', 'fake'))
    assert metrics['critic/loss'] == pytest.approx(real - k * fake, abs=1e-5)
    k = float(np.clip(k + 0.2 * (0.7 * real - float(metrics['generator/loss'])), 0.0, 1.0))
    assert memory['state'] == pytest.approx(k, abs=1e-6)
  assert k > 0.01


@pytest.mark.parametrize('fields', [{'gamma': 0.0}, {'gamma': 1.1}, {'k_rate': 0.0}])
def test_a_balance_that_cannot_be_is_refused(fields: dict[str, float]) -> None:
  config = configuration.execute(str(ROOT / 'experiments' / 'began.py'))
  config.objective.update(fields)
  with pytest.raises(ValueError, match=r'objective\.gamma='):
    began.build(config, facts(SHAPE))


def test_a_run_of_before_the_critic_had_its_own_networks_is_refused() -> None:
  config = configuration.execute(str(ROOT / 'experiments' / 'began.py'))
  del config.critic_network
  with pytest.raises(UserError, match=r"'began' cannot be built .* lacks 'critic_network'"):
    find_objective(config, facts(SHAPE))
