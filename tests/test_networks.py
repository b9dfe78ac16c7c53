"""Every network, found in jaxgen/networks: one example at a time, sizes, normalisation, dtypes."""

import dataclasses
import importlib
import pkgutil
from functools import cache, partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen.networks
from jaxgen import configuration, objectives
from jaxgen.errors import UserError
from jaxgen.layers.convolution import StridedConvolution
from jaxgen.layers.normalisation import STATISTICS
from jaxgen.networks import convolutional, find_network, mlp
from tests.examples import facts

ROOT = Path(__file__).parent.parent
SHAPE = (8, 8, 3)
ROLES = (
  *('Encoder', 'Decoder', 'Denoiser', 'Predictor', 'Conditioner'),
  *('GridEncoder', 'GridDecoder'),
)

# Attributes that make a network small, or turn on what it may do; given where it has them.
SMALL = {
  'features': 5,
  'image_shape': SHAPE,
  'hidden': (8, 12),
  'channels': 8,
  'multipliers': (1, 2),
  'blocks': 1,
  'normalise': True,
  'width': 16,
  'depth': 2,
  'heads': 2,
}
DENOISERS = 'diffusers_unet, mlp, transformer, unet'
OF_ITS_OWN = {
  'diffusers_unet.Denoiser': {'channels': (8, 8), 'groups': 4},
  'nvae.GridDecoder': {'stem': 0, 'patch': 4},
}


def found() -> dict[str, type[nn.Module]]:
  """All networks by 'module.Role'."""
  modules = [m.name for m in pkgutil.iter_modules(jaxgen.networks.__path__)]
  return {
    f'{name}.{role}': getattr(module, role)
    for name in modules
    for module in [importlib.import_module(f'jaxgen.networks.{name}')]
    for role in ROLES
    if hasattr(module, role)
  }


NETWORKS = found()
every_network = pytest.mark.parametrize('name', NETWORKS)


def test_every_module_offered_is_a_network() -> None:
  modules = {m.name for m in pkgutil.iter_modules(jaxgen.networks.__path__)}
  assert modules == {name.partition('.')[0] for name in NETWORKS}


@pytest.mark.parametrize(
  ('name', 'role', 'message'),
  [
    (
      'dcgan',
      'Denoiser',
      "network.name='dcgan' has no Denoiser: choose diffusers_unet or mlp or transformer or unet",
    ),
    (
      'unet',
      'Encoder',
      "network.name='unet' has no Encoder: choose convolutional or dcgan or mlp or progressive or "
      'r3gan',
    ),
    ('uent', 'Denoiser', f"Unknown network 'uent'. Did you mean 'unet'? Known: {DENOISERS}."),
  ],
)
def test_a_network_that_cannot_play_its_role_is_an_error(
  name: str, role: str, message: str
) -> None:
  with pytest.raises(UserError) as error:
    find_network(name, role)
  assert str(error.value) == message


def test_a_network_of_another_section_is_refused_by_its_field() -> None:
  config = configuration.execute(str(ROOT / 'experiments' / 'vq_vae.py'))
  config.prior.name = 'mlp'
  with pytest.raises(UserError, match=r"prior\.name='mlp' has no Predictor: choose pixelcnn"):
    objectives.find_objective(config, facts((8, 8, 1)))


@pytest.mark.parametrize(
  ('experiment', 'name', 'role'),
  [
    ('vae', 'unet', 'Decoder'),
    ('gan', 'unet', 'Decoder'),
    ('ddpm', 'dcgan', 'Denoiser'),
    ('flow_matching', 'dcgan', 'Denoiser'),
  ],
)
def test_every_model_refuses_a_network_of_the_wrong_role(
  experiment: str, name: str, role: str
) -> None:
  config = configuration.execute(str(ROOT / 'experiments' / f'{experiment}.py'))
  config.network.name = name
  with pytest.raises(UserError, match=f"network.name='{name}' has no {role}: choose "):
    objectives.find_objective(config, facts((8, 8, 1)))


def small(name: str, **fields: Any) -> nn.Module:
  known = {field.name for field in dataclasses.fields(NETWORKS[name])}
  values = SMALL | OF_ITS_OWN.get(name, {}) | fields
  return NETWORKS[name](**{k: v for k, v in values.items() if k in known})


def inputs(name: str, count: int) -> tuple[jax.Array, ...]:
  """A batch of what the role takes: codes, grids of them, images, or images and times."""
  images = jax.random.normal(jax.random.key(1), (count, *SHAPE))
  times = jnp.linspace(1, 1000, count).astype(jnp.int32)
  codes = jax.random.normal(jax.random.key(2), (count, 4))
  others = {
    'Decoder': (codes,),
    'GridDecoder': (jax.random.normal(jax.random.key(3), (count, 2, 2, 4)),),
    'Denoiser': (images, times),
    'Conditioner': (images.reshape(count, -1, 3),),
  }
  return others.get(role(name), (images,))


def role(name: str) -> str:
  return name.partition('.')[2]


@cache
def parameters(name: str) -> Any:
  """Random parameters everywhere: initialisers leave whole branches at zero."""
  first = [a[0] for a in inputs(name, 2)]
  shapes = jax.eval_shape(small(name).init, jax.random.key(0), *first)
  leaves, tree = jax.tree.flatten(shapes)
  rng = np.random.default_rng(0)
  values = [
    jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(max(1, leaf.size / leaf.shape[-1])))
    for leaf in leaves
  ]
  assert {leaf.dtype for leaf in leaves} == {jnp.dtype('float32')}
  drawn = jax.tree.unflatten(tree, [v.astype(jnp.float32) for v in values])
  moments = jax.tree.map(jnp.square, drawn.get(STATISTICS, {}))  # a variance is not negative
  return drawn | ({STATISTICS: moments} if moments else {})


@cache
def outputs(name: str) -> np.ndarray:
  """Of a batch of three, through vmap."""
  apply = jax.jit(jax.vmap(small(name).apply, in_axes=(None, *(0 for _ in inputs(name, 3)))))
  return np.asarray(apply(parameters(name), *inputs(name, 3)))


@every_network
def test_batch_equals_one_by_one(name: str) -> None:
  apply = jax.jit(small(name).apply)
  singles = [apply(parameters(name), *example) for example in zip(*inputs(name, 3), strict=True)]
  np.testing.assert_allclose(outputs(name), np.stack(singles), rtol=1e-4, atol=1e-4)
  shapes = {
    'Encoder': (5,),
    'GridEncoder': (2, 2, 5),
    'Predictor': (8, 8, 5),
    'Conditioner': (64, 5),
  }
  assert outputs(name).shape == (3, *shapes.get(role(name), SHAPE))
  spread = np.std(outputs(name), axis=0)
  if role(name) in ('Predictor', 'Conditioner'):
    first, spread = np.split(spread.reshape(64, 5), [1])
    assert first.max() < 1e-6  # of which nothing is known
  assert spread.min() > 1e-6  # every output depends on the example


@every_network
def test_computation_in_bfloat16_is_close_and_comes_back_in_float32(name: str) -> None:
  """Parameters stay float32; products lose digits, so that some difference must show."""
  network = small(name, dtype=jnp.bfloat16)
  apply = jax.jit(jax.vmap(network.apply, in_axes=(None, *(0 for _ in inputs(name, 3)))))
  coarse = apply(parameters(name), *inputs(name, 3))
  assert coarse.dtype == jnp.float32
  error = np.abs(coarse - outputs(name)).max() / np.abs(outputs(name)).max()
  assert 1e-5 < error < 0.1


@pytest.mark.parametrize('name', [n for n in NETWORKS if role(n) == 'Denoiser'])
def test_denoisers_see_the_time_and_every_pixel(name: str) -> None:
  apply, params = jax.jit(small(name).apply), parameters(name)
  image = inputs(name, 1)[0][0]
  times = [np.asarray(apply(params, image, jnp.int32(t))) for t in (1, 2, 500)]
  assert np.abs(times[0] - times[1]).max() > 1e-4
  assert np.abs(times[0] - times[2]).max() > 1e-2
  corner = jnp.zeros(SHAPE).at[0, 0, 0].set(1.0)
  reached = np.abs(np.asarray(apply(params, image + corner, jnp.int32(1))) - times[0])
  assert reached.min(axis=-1).max() > 0
  assert (reached.max(axis=-1) > 0).all()  # through attention, the opposite corner too


@pytest.mark.parametrize('name', ['convolutional.Encoder', 'convolutional.Decoder'])
def test_layers_are_normalised_over_the_whole_image(name: str) -> None:
  """Flax takes the first axis of (H, W, C) for the batch unless told: rows apart, moments off."""
  is_norm = lambda module, method: isinstance(module, nn.LayerNorm)  # noqa: E731
  network, example = small(name), [a[0] for a in inputs(name, 1)]
  params = jax.jit(network.init)(jax.random.key(0), *example)
  apply = jax.jit(partial(network.apply, capture_intermediates=is_norm))
  layers = jax.tree.leaves(apply(params, *example)[1])
  assert len(layers) == 2
  for x in layers:
    assert x.mean() == pytest.approx(0.0, abs=1e-5)
    assert x.std() == pytest.approx(1.0, abs=1e-2)
    assert np.abs(x.mean(axis=(1, 2))).max() > 1e-2  # a row keeps its own mean


@pytest.mark.parametrize('halved', [(6, 8), (8, 6), (7, 7)])
def test_images_that_cannot_be_halved_are_an_error(halved: tuple[int, int]) -> None:
  encoder = convolutional.Encoder(5, (8, 8))
  decoder = convolutional.Decoder((*halved, 1), (8, 8))
  message = f'a {halved[0]}x{halved[1]} image cannot be halved 2 times'
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((*halved, 1)))
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(decoder.init, jax.random.key(0), jnp.zeros(3))


def test_the_unet_refuses_images_too_odd_for_its_levels() -> None:
  for shape, accepted in (((28, 28, 1), True), ((7, 7, 1), False), ((8, 9, 1), False)):
    init = small('unet.Denoiser', multipliers=(1, 2)).init
    if accepted:
      jax.eval_shape(init, jax.random.key(0), jnp.zeros(shape), jnp.int32(1))
      continue
    with pytest.raises(ValueError, match=f'{shape[0]}x{shape[1]} image'):
      jax.eval_shape(init, jax.random.key(0), jnp.zeros(shape), jnp.int32(1))


def test_mlp_of_the_papers_size_has_the_papers_parameters() -> None:
  """784-400-20 (Kingma & Welling 2013): weights and biases, counted by hand."""
  encoder, decoder = mlp.Encoder(40, (400,)), mlp.Decoder((28, 28, 1), (400,))
  for network, example, count in (
    (encoder, jnp.zeros((28, 28, 1)), 784 * 400 + 400 + 400 * 40 + 40),
    (decoder, jnp.zeros(20), 20 * 400 + 400 + 400 * 784 + 784),
  ):
    params = jax.eval_shape(network.init, jax.random.key(0), example)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_mlp_decoder_mirrors_the_encoder() -> None:
  """Widths of the kernels, out and back."""
  encoder, decoder = mlp.Encoder(3, (16, 8)), mlp.Decoder((2, 2, 1), (16, 8))
  widths = []
  for network, example in ((encoder, jnp.zeros((2, 2, 1))), (decoder, jnp.zeros(3))):
    layers = jax.eval_shape(network.init, jax.random.key(0), example)['params']
    widths.append([layers[f'Dense_{i}']['kernel'].shape for i in range(3)])
  assert widths[0] == [(4, 16), (16, 8), (8, 3)]
  assert widths[1] == [shape[::-1] for shape in reversed(widths[0])]


def test_mlp_computes_what_its_weights_say() -> None:
  """One hidden ReLU layer by hand; the output has no activation."""
  rng = np.random.default_rng(0)
  first, second = rng.normal(size=(4, 6)), rng.normal(size=(6, 2))
  params = {
    'Dense_0': {'kernel': jnp.asarray(first), 'bias': jnp.full(6, 0.1)},
    'Dense_1': {'kernel': jnp.asarray(second), 'bias': jnp.full(2, -0.2)},
  }
  x = rng.normal(size=(2, 2, 1))
  expected = np.maximum(x.ravel() @ first + 0.1, 0.0) @ second - 0.2
  actual = mlp.Encoder(2, (6,)).apply({'params': params}, jnp.asarray(x))
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_convolutions_of_stride_two_see_their_neighbourhood() -> None:
  """A pixel reaches the hidden units whose 4x4 window covers it, and no others."""
  encoder = convolutional.Encoder(1, (3,), activation=lambda x: x)
  is_layer = lambda module, method: isinstance(module, StridedConvolution)  # noqa: E731
  image = jnp.zeros((8, 8, 1))
  params = jax.jit(encoder.init)(jax.random.key(0), image)
  apply = jax.jit(partial(encoder.apply, capture_intermediates=is_layer))

  def hidden(image: jax.Array) -> np.ndarray:
    return np.asarray(jax.tree.leaves(apply(params, image)[1])[0])

  changed = np.abs(hidden(image.at[4, 5, 0].set(1.0)) - hidden(image)).max(-1) > 0
  # Unit i covers rows 2 i - 1 ... 2 i + 2: row 4 is seen by units 1 and 2, column 5 by 2 and 3.
  expected = np.zeros((4, 4), bool)
  expected[1:3, 2:4] = True
  np.testing.assert_array_equal(changed, expected)
