"""The game of two players: which images, which latents, and whose parameters each of them sees."""

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
from scipy import stats

from jaxgen import configuration
from jaxgen.devices import parallel
from jaxgen.networks import mlp
from jaxgen.objectives.adversarial.game import critic_slices, game, optimizers_of
from jaxgen.objectives.adversarial.players import Players, players_of
from jaxgen.objectives.base import Image, Key, Metrics, Objective
from tests.examples import draw, example, facts, on_one_device

ROOT = Path(__file__).parent.parent.parent
SHAPE, LATENT = (2, 1, 1), 2
RATES = {'generator': 0.5, 'critic': 0.25}


class Revealing(nn.Module):
  """G(z) = tanh(z + bias), from which the critic, and a test, can tell z."""

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    return z.reshape(SHAPE) + self.param('bias', nn.initializers.zeros, SHAPE)


def seen(real: Image, fake: Image) -> Metrics:
  """What a player saw: both images, pixel by pixel, and the slope of tanh at the fake one."""
  images = {'real': real, 'fake': fake, 'slope': 1.0 - fake**2}
  return {f'{name}_{i}': image[i, 0, 0] for name, image in images.items() for i in range(2)}


def linear_game(critic_steps: int = 1, **fields: Any) -> Objective:
  """A linear critic f(x) = w . x + c, which minimises f(G(z)) - f(x), against that generator."""
  known = {
    'critic_loss': lambda f, real, fake, key: (f(fake) - f(real), seen(real, fake)),
    'generator_loss': lambda f, real, fake, key: (-f(fake), seen(real, fake)),
    'critic_steps': critic_steps,
  }
  optimizer = {name: optax.sgd(optax.constant_schedule(rate)) for name, rate in RATES.items()}
  players = Players(Revealing(), mlp.Encoder(1, ()), SHAPE, fields.pop('latent', LATENT))
  return game(players, optimizer, **known | fields)


def updated(model: Objective, images: np.ndarray, key: Key) -> tuple[Any, Any, Any, Metrics]:
  """Parameters before, and parameters, optimizer states and metrics after one update."""
  params, opt_state = model.init(jax.random.key(0))
  step = jax.jit(on_one_device(model))
  keys = jax.random.split(key, len(images))
  images = jnp.asarray(images, jnp.float32).reshape(-1, *SHAPE)
  return (params, *step(params, opt_state, images, keys))


def weights(params: Any) -> np.ndarray:
  return np.asarray(params['critic']['params']['Dense_0']['kernel'])[:, 0]


def bias(params: Any) -> np.ndarray:
  return np.asarray(params['generator']['params']['bias']).ravel()


def pixels(metrics: Metrics, name: str) -> np.ndarray:
  return np.stack([metrics[f'{name}_{i}'] for i in range(2)], axis=-1)


IMAGES = np.random.default_rng(0).normal(size=(12, 2))


def test_one_update_by_hand() -> None:
  """The critic goes from fake to real, and the generator up the critic as it has become."""
  before, after, _, metrics = updated(linear_game(), IMAGES, jax.random.key(1))
  np.testing.assert_allclose(pixels(metrics, 'critic/real'), IMAGES.mean(0), rtol=1e-5)
  moved = RATES['critic'] * (IMAGES.mean(0) - pixels(metrics, 'critic/fake'))
  np.testing.assert_allclose(weights(after), weights(before) + moved, rtol=1e-4, atol=1e-6)
  uphill = RATES['generator'] * weights(after) * pixels(metrics, 'generator/slope')
  np.testing.assert_allclose(bias(after) - bias(before), uphill, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(metrics['real_spread'], np.sqrt(IMAGES.var(0).mean()), rtol=1e-4)
  assert np.abs(moved).min() > 0.01  # else the critic before the step would do as well
  offset = after['critic']['params']['Dense_0']['bias']
  expected = -(weights(after) @ pixels(metrics, 'generator/fake') + offset)
  np.testing.assert_allclose(metrics['generator/loss'], expected[0], rtol=1e-4, atol=1e-6)


def test_both_players_draw_latents_of_their_own() -> None:
  """Standard normal numbers, none of which says anything of another."""

  def latents(key: Key) -> jax.Array:
    _, _, _, metrics = updated(linear_game(), IMAGES[:1], key)
    fakes = [metrics[f'{player}/fake_{i}'] for player in RATES for i in range(2)]
    return jnp.arctanh(jnp.stack(fakes))

  z = np.asarray(jax.jit(jax.vmap(latents))(jax.random.split(jax.random.key(1), 1000)), np.float64)
  assert stats.kstest(z.ravel(), 'norm').pvalue > 0.01
  assert np.abs(np.corrcoef(z.T) - np.eye(4)).max() < 0.15


@pytest.mark.parametrize('critic_steps', [1, 3])
def test_critic_sees_every_image_once_and_tells_of_its_last_step(critic_steps: int) -> None:
  """Halved after every step, as a projection would."""
  model = linear_game(
    critic_steps,
    project=lambda critic: jax.tree.map(lambda w: 0.5 * w, critic),
    critic_loss=lambda f, real, fake, key: (-f(real), seen(real, fake)),
  )
  before, after, opt_state, metrics = updated(model, IMAGES, jax.random.key(1))
  slices, expected = IMAGES.reshape(critic_steps, -1, 2), weights(before)
  for images in slices:
    expected = 0.5 * (expected + RATES['critic'] * images.mean(0))
  np.testing.assert_allclose(weights(after), expected, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(pixels(metrics, 'critic/real'), slices[-1].mean(0), rtol=1e-4)
  np.testing.assert_allclose(pixels(metrics, 'generator/real'), slices[0].mean(0), rtol=1e-4)
  for player, count in (('critic', critic_steps), ('generator', 1)):
    assert optax.tree.get(opt_state[player], 'count') == count
  assert metrics.keys() >= {'critic/loss', 'generator/loss'}


def test_critic_is_projected_from_the_start() -> None:
  ones = lambda critic: jax.tree.map(jnp.ones_like, critic)  # noqa: E731
  params, _ = linear_game(project=ones).init(jax.random.key(0))
  np.testing.assert_array_equal(weights(params), 1.0)
  np.testing.assert_array_equal(bias(params), 0.0)


def test_evaluation_and_samples_are_of_the_generator_given() -> None:
  params, _ = linear_game().init(jax.random.key(0))
  params['generator']['params']['bias'] += 0.5
  keys = jax.random.split(jax.random.key(1), 1000)
  draws = np.asarray(draw(linear_game(), params, keys))
  assert stats.kstest(np.arctanh(draws.ravel()), stats.norm(0.5).cdf).pvalue > 0.01
  image = example(IMAGES[0].reshape(SHAPE))
  evaluate = jax.jit(jax.vmap(linear_game().evaluate, in_axes=(None, None, 0)))
  metrics = evaluate(params, image, keys)
  fakes = pixels(metrics, 'fake')
  assert stats.kstest(np.arctanh(fakes.ravel()), stats.norm(0.5).cdf).pvalue > 0.01
  np.testing.assert_allclose(pixels(metrics, 'real'), np.tile(IMAGES[0], (1000, 1)), rtol=1e-6)


@pytest.mark.parametrize('truncation', [0.0, 0.5, 2.0])
def test_latents_of_samples_are_truncated_and_those_of_training_are_not(truncation: float) -> None:
  players = Players(Revealing(), mlp.Encoder(1, ()), SHAPE, LATENT, truncation=truncation)
  loss = lambda f, real, fake, key: (0.0, {'z': jnp.arctanh(fake).ravel()})  # noqa: E731
  model = game(players, {'generator': optax.sgd(1.0), 'critic': optax.sgd(1.0)}, loss, loss)
  params, _ = model.init(jax.random.key(0))
  keys = jax.random.split(jax.random.key(1), 1000)
  z = np.arctanh(np.asarray(draw(model, params, keys)).ravel())
  law = stats.truncnorm(-truncation, truncation) if truncation else stats.norm
  assert stats.kstest(z, law.cdf).pvalue > 0.01
  assert not truncation or np.abs(z).max() <= truncation + 1e-5
  image = example(IMAGES[0].reshape(SHAPE))
  played = jax.vmap(lambda key: model.evaluate(params, image, key)['z'])(keys)
  assert stats.kstest(np.asarray(played).ravel(), 'norm').pvalue > 0.01


def test_evaluation_asks_the_critic_as_it_is_and_an_averaged_generator() -> None:
  model = linear_game(critic_loss=lambda f, real, fake, key: (f(fake), {'f': f(real)}))
  params, _ = model.init(jax.random.key(0))
  image = example(IMAGES[0].reshape(SHAPE))
  found = model.evaluate(params, image, jax.random.key(1))
  assert found.keys() == {'f'}
  np.testing.assert_allclose(found['f'], IMAGES[0] @ weights(params), rtol=1e-5)
  other = jax.tree.map(lambda leaf: leaf + 1.0, params)
  ema = parallel.moving_average(params, other, 0.9, jnp.int32(10**6), model.averaged)
  np.testing.assert_array_equal(weights(ema), weights(other))
  np.testing.assert_allclose(bias(ema), 0.1, rtol=1e-5)


@pytest.mark.parametrize('devices', [1, 2, 4])
@pytest.mark.parametrize('critic_steps', [1, 3])
def test_slices_are_disjoint_and_the_same_on_any_devices(devices: int, critic_steps: int) -> None:
  """Slice k of all devices together is images k B / K ... (k + 1) B / K - 1, each once."""
  batch = np.arange(24)
  slices = [
    critic_slices((jnp.asarray(share), jnp.asarray(share)), critic_steps)
    for share in parallel.shard(batch[None], devices)[:, 0]
  ]
  for images, keys in slices:
    np.testing.assert_array_equal(images, keys)  # an image stays with its key
  for k in range(critic_steps):
    together = np.sort(np.concatenate([images[k] for images, _ in slices]))
    size = len(batch) // critic_steps
    np.testing.assert_array_equal(together, batch[k * size : (k + 1) * size])


def test_a_batch_that_critic_steps_do_not_divide_is_an_error() -> None:
  with pytest.raises(ValueError, match='7 images a device cannot be divided'):
    critic_slices((jnp.zeros(7), jnp.zeros(7)), 3)


@pytest.mark.parametrize('fields', [{'critic_steps': 0}, {'latent': 0}])
def test_players_without_latents_or_steps_are_an_error(fields: dict[str, int]) -> None:
  ((name, value),) = fields.items()
  with pytest.raises(ValueError, match=f'objective.{name}={value}'):
    linear_game(**fields)
  linear_game(**{name: 2})


def experiment(critic_steps: int = 3, **optimizer: Any) -> ml_collections.ConfigDict:
  """The GAN's config for two pixels, with one hidden unit."""
  config = configuration.execute(str(ROOT / 'experiments' / 'gan.py'))
  config.num_steps, config.objective.critic_steps, config.network.hidden = 4, critic_steps, (1,)
  plain = {'name': 'sgd', 'learning_rate': 1.0, 'b1': 0.0}
  config.optimizer.update(plain | optimizer)
  return config


def rates(optimizer: optax.GradientTransformation, count: int) -> np.ndarray:
  """What plain SGD moves under a gradient of 1, update by update."""
  state, moved = optimizer.init(jnp.zeros(())), []
  for _ in range(count):
    update, state = optimizer.update(jnp.ones(()), state)
    moved.append(-update)
  return np.asarray(moved)


@pytest.mark.parametrize('warmup', [0, 2])
def test_both_players_rates_follow_one_schedule(warmup: int) -> None:
  """The critic's counts its own updates, of which each update of the generator holds three."""
  config = experiment(critic_steps=3, schedule='cosine', warmup_steps=warmup)
  optimizer = optimizers_of(config, 3)
  t = np.arange(12) / 3  # in updates of the generator, of which there are four
  decay = 0.5 * (1 + np.cos(np.pi * (t - warmup) / (4 - warmup)))
  expected = np.where(t < warmup, t / max(warmup, 1), decay)
  np.testing.assert_allclose(rates(optimizer['critic'], 12), expected, atol=1e-6)
  np.testing.assert_allclose(rates(optimizer['generator'], 4), expected[::3], atol=1e-6)


def test_players_have_rates_of_their_own() -> None:
  config = experiment()
  config.critic_optimizer.learning_rate = 0.25
  optimizer = optimizers_of(config, 1)
  np.testing.assert_allclose(rates(optimizer['critic'], 2), 0.25)
  np.testing.assert_allclose(rates(optimizer['generator'], 2), 1.0)


@pytest.mark.parametrize(('offset', 'slope'), [(-9.0, 0.2), (9.0, 1.0)])
def test_critic_teaches_on_either_side_of_its_units(offset: float, slope: float) -> None:
  """Its gradient in the image: the weights, times 0.2 where the only hidden unit is below zero."""
  critic = players_of(experiment(), facts(SHAPE)).critic
  params = {
    'Dense_0': {'kernel': jnp.array([[2.0], [-3.0]]), 'bias': jnp.array([offset])},
    'Dense_1': {'kernel': jnp.array([[5.0]]), 'bias': jnp.zeros(1)},
  }
  f = lambda image: critic.apply({'params': params}, image).squeeze()  # noqa: E731
  gradient = jax.grad(f)(jnp.full(SHAPE, 0.1))
  np.testing.assert_allclose(gradient.ravel(), [10.0 * slope, -15.0 * slope], rtol=1e-6)


def test_players_are_as_large_as_the_config_says() -> None:
  """Two pixels, one hidden unit, latents of any size."""
  found = players_of(experiment(), facts(SHAPE))
  assert found.image_shape == SHAPE
  for player, seen_by, shapes in (
    ('generator', jnp.zeros(7), [(1,), (7, 1), (2,), (1, 2)]),
    ('critic', jnp.zeros(SHAPE), [(1,), (2, 1), (1,), (1, 1)]),
  ):
    params = jax.eval_shape(getattr(found, player).init, jax.random.key(0), seen_by)
    assert [leaf.shape for leaf in jax.tree.leaves(params)] == shapes
