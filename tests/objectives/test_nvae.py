"""NVAE's towers, and its bound where the answer is known."""

import math
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from scipy import stats

from jaxgen import configuration, objectives
from jaxgen.errors import UserError
from jaxgen.networks.nvae import BottomUp, Gaussian, GridDecoder, TopDown
from jaxgen.objectives.base import Objective, Params
from jaxgen.objectives.variational.hierarchical import layer_kl
from jaxgen.objectives.variational.ladder import Ladder, network_ladder
from tests.examples import example, examples, facts

RNG = np.random.default_rng(0)
SHAPE = (8, 8, 1)
GROUPS = (1, 2)
SMALL = {'channels': 4, 'stem': 1, 'blocks': 1, 'expansion': 2}
SIZES = (2 * 2 * 3, 4 * 4 * 3, 4 * 4 * 3)
DOWN = TopDown(SHAPE, GROUPS, 3, **SMALL)
COUNT = 3000
IMAGES = jnp.asarray(RNG.uniform(-1.0, 1.0, (3, *SHAPE)), jnp.float32)
NOISE = jnp.asarray(RNG.normal(size=(COUNT, sum(SIZES))), jnp.float32)


def drawn(shapes: Any) -> Any:
  """Random numbers where there are initialisers, which leave branches and Gaussians at zero."""
  rng = np.random.default_rng(2)
  return jax.tree.map(
    lambda leaf: jnp.asarray(
      rng.normal(size=leaf.shape) / math.sqrt(max(1, leaf.size / leaf.shape[-1])), jnp.float32
    ),
    shapes,
  )


@cache
def towers() -> tuple[BottomUp, Params, Ladder, Params]:
  """The way up and the ladder, with random parameters each."""
  up, down = BottomUp(GROUPS, **SMALL), network_ladder(DOWN)
  features, up_params = jax.eval_shape(up.init_with_output, jax.random.key(0), IMAGES[0])
  return up, drawn(up_params), down, drawn(jax.eval_shape(down.init, features, jax.random.key(0)))


def look(image: jax.Array, noise: jax.Array) -> tuple[Any, ...]:
  """The last state, e and its posterior, and what every Gaussian of the network says."""
  up, up_params, _, params = towers()
  features = up.apply(up_params, image)
  is_gaussian = lambda layer, method: isinstance(layer, Gaussian)  # noqa: E731
  found, said = DOWN.apply(params, noise, features, capture_intermediates=is_gaussian)
  return *found, said['intermediates']


@cache
def seen() -> tuple[Any, ...]:
  """Of the three images in turn, each with noise of its own."""
  images = jnp.tile(IMAGES, (COUNT // 3, 1, 1, 1))
  return jax.device_get(jax.jit(jax.vmap(look))(images, NOISE))


def config_of(**fields: Any) -> ml_collections.ConfigDict:
  path = Path(__file__).parents[2] / 'experiments' / 'nvae.py'
  config = configuration.execute(str(path))
  small = {f'network.{name}': value for name, value in SMALL.items()}
  small |= {'network.patch': 1, 'objective.groups': GROUPS, 'objective.latent': 3}
  config.update_from_flattened_dict(small | fields)
  return config


@cache
def model() -> tuple[Objective, Params]:
  """One of two layers, of 2x2 and 4x4 places, as it begins."""
  fields = {'network.stem': 0, 'network.patch': 2, 'objective.groups': (1, 1)}
  objective = objectives.find_objective(config_of(**fields), facts(SHAPE))
  return objective, jax.jit(objective.init)(jax.random.key(0))[0]


@pytest.mark.slow
def test_a_batch_is_its_images_and_layers_are_as_large_as_their_scales() -> None:
  assert towers()[2].sizes == SIZES
  *many, _ = seen()
  assert [array.shape for array in many] == [(COUNT, 4, 4, 8), *[(COUNT, sum(SIZES))] * 3]
  *alone, _ = jax.jit(look)(IMAGES[1], NOISE[1])
  for array, one in zip(many, alone, strict=True):
    np.testing.assert_allclose(array[1], one, rtol=1e-4, atol=1e-4)
  means = many[2]
  assert np.abs(means[0] - means[1]).min() > 1e-6  # every mean depends on the image


@pytest.mark.slow
def test_codes_found_in_an_image_lead_back_to_the_state_they_were_found_with() -> None:
  _, _, down, params = towers()
  state, e, mean, log_square, _ = seen()
  np.testing.assert_allclose(e, mean + np.exp(log_square / 2) * NOISE, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(jax.jit(down.generate)(params, e[0]), state[0], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_layers_see_those_above_them_and_no_others() -> None:
  """By the slopes of each layer's mean in the noise of each: blocks below the diagonal alone."""
  ends = np.cumsum(SIZES)
  slopes = jax.jit(jax.jacfwd(lambda noise: look(IMAGES[0], noise)[2]))(NOISE[0])
  blocks = [np.split(rows, ends[:-1], axis=1) for rows in np.split(slopes, ends[:-1])]
  reached = [[np.abs(block).max() > 1e-6 for block in row] for row in blocks]
  assert reached == [[False] * 3, [True, False, False], [True, True, False]]


@pytest.mark.slow
def test_layers_differ_from_their_priors_by_their_kl() -> None:
  """Of z = m + s e, by the priors that the network sees; and on average over samples of it."""
  _, *laws, said = seen()
  kls = jax.jit(jax.vmap(partial(layer_kl, towers()[2])))(*laws[1:])
  parts = (np.split(np.asarray(law, float), np.cumsum(SIZES)[:-1], axis=1) for law in laws)
  for layer, (e, dm, log_square) in enumerate(zip(*parts, strict=True)):
    m, s, ds = np.zeros_like(e), np.ones_like(e), np.exp(log_square / 2)
    if layer:
      (prior,) = said[f'Group_{layer}']['prior']['__call__']
      m, log_s = (np.asarray(array, float).reshape(e.shape) for array in prior)
      s = np.exp(log_s / 2)
      assert min(m.std(), s.std()) > 0.01
    mean, deviation = m + s * dm, s * ds
    closed = np.log(s / deviation) + (deviation**2 + (mean - m) ** 2) / (2 * s**2) - 0.5
    kl = np.asarray(kls[f'layer_{layer + 1}/kl_nats'])
    np.testing.assert_allclose(kl, closed.sum(1), rtol=1e-4)
    z = m + s * e
    ratio = (stats.norm(mean, deviation).logpdf(z) - stats.norm(m, s).logpdf(z)).sum(1)
    error = float((ratio - kl).std()) / math.sqrt(COUNT)
    assert float((ratio - kl).mean()) == pytest.approx(0.0, abs=5 * error)


def test_layers_of_unequal_sizes_have_kls_of_their_own() -> None:
  """Of N(l, 1.5^2) in the l-th, and the places where they end."""
  ladder = network_ladder(DOWN)
  assert (ladder.codes, [*ladder.ends]) == (108, [12, 60, 108])
  mean = np.repeat([1.0, 2.0, 3.0], SIZES)
  found = layer_kl(ladder, jnp.asarray(mean), jnp.full(len(mean), 2.0 * math.log(1.5)))
  for layer, size in enumerate(SIZES, 1):
    kl = size * ((layer**2 + 1.5**2 - 1.0) / 2.0 - math.log(1.5))
    assert found[f'layer_{layer}/kl_nats'] == pytest.approx(kl, rel=1e-5)


@pytest.mark.slow
def test_bound_of_a_decoder_that_does_not_listen() -> None:
  """log p(x) is what it says anyway, and the bound is below it by the KL of given Gaussians.

  First these are the prior's.
  """
  objective, params = model()
  keys = jax.random.split(jax.random.key(1), 200)
  evaluate = jax.jit(jax.vmap(objective.evaluate, in_axes=(None, None, 0)))
  groups = [params['ladder']['params'][f'Group_{layer}'] for layer in range(2)]
  for group in groups:
    for layer in (group['latents'], group['posterior']['Convolution_0']):
      layer['kernel'] = jnp.zeros_like(layer['kernel'])
  first = evaluate(params, example(IMAGES[0]), keys)
  assert all((value == 0.0).all() for name, value in first.items() if name.endswith('kl_nats'))
  log_p = first['elbo_bernoulli_surrogate_nats'][0]
  np.testing.assert_allclose(first['elbo_bernoulli_surrogate_nats'], log_p, rtol=1e-6)
  total = 0.0
  for layer, (group, size) in enumerate(zip(groups, SIZES[:2], strict=True), 1):
    mean, log_deviation = 0.02 * layer, 0.03
    bias = 5.0 * np.arctanh(np.repeat([mean, log_deviation], 3) / 5.0)
    group['posterior']['Convolution_0']['bias'] = jnp.asarray(bias, jnp.float32)
    total += size * (mean**2 + math.exp(2 * log_deviation) - 2 * log_deviation - 1) / 2
  moved = evaluate(params, example(IMAGES[0]), keys)
  np.testing.assert_allclose(moved['kl_nats'], total, rtol=1e-4)
  np.testing.assert_allclose(moved['elbo_bernoulli_surrogate_nats'], log_p - total, rtol=1e-5)
  weights = np.exp(moved['importance_weighted_10_bernoulli_surrogate_nats'] - log_p)
  assert float(weights.mean()) == pytest.approx(1.0, abs=5 * float(weights.std()) / math.sqrt(200))
  assert weights.std() < 0.3


@pytest.mark.slow
def test_reconstructions_are_the_last_of_the_depths() -> None:
  objective, params = model()
  params = params | {'ladder': drawn(params['ladder'])}
  depths = jax.jit(objective.figures['by_depth'])(params, examples(IMAGES), jax.random.key(0))
  assert depths.shape == (3, 1 + 2, *SHAPE)
  shown = jax.jit(objective.figures['reconstructions'])(params, examples(IMAGES), jax.random.key(0))
  np.testing.assert_allclose(depths[:, [0, -1]], shown, atol=1e-5)
  assert np.abs(np.diff(depths[:, 1:], axis=1)).max((0, 2, 3, 4)).min() > 1e-3


@pytest.mark.slow
def test_padding_is_a_black_frame_that_the_likelihood_does_not_see() -> None:
  small = SMALL | {'stem': 0}
  framed, plain = (BottomUp((1,), padding=padding, **small) for padding in (1, 0))
  image = IMAGES[0, 1:-1, 1:-1]
  black = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=-1.0)
  params = plain.init(jax.random.key(0), black)
  for a, b in zip(framed.apply(params, image), plain.apply(params, black), strict=True):
    np.testing.assert_array_equal(a, b)
  framed, plain = GridDecoder((6, 6, 1), padding=1, **small), GridDecoder(SHAPE, **small)
  state = jnp.asarray(RNG.normal(size=(8, 8, 4)), jnp.float32)
  params = plain.init(jax.random.key(0), state)
  whole = plain.apply(params, state)
  np.testing.assert_array_equal(framed.apply(params, state), whole[1:-1, 1:-1])


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'objective.groups': ()}, r'objective\.groups=\(\) must have a number of at least 1'),
    ({'objective.groups': (2, 0)}, r'objective\.groups=\(2, 0\) must have'),
    ({'network.stem': 3}, r'a 8x8 image, .* cannot be halved 4 times .* let 16 divide its sides'),
    ({'network.padding': 1}, r'a 10x10 image, of which network\.padding=1 each side, .* let 4'),
    ({'network.patch': 3}, r'after network\.patch=3: let 12 divide'),
  ],
)
def test_what_cannot_be_built_says_what_can(fields: dict[str, Any], message: str) -> None:
  with pytest.raises(UserError, match=message):
    objectives.find_objective(config_of(**fields), facts(SHAPE))
