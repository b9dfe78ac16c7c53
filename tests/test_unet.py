"""The U-Net's parts against others' and by hand, and how they are put together."""

import itertools
from collections import Counter
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.layers import embedding
from jaxgen.layers.embedding import timestep_embedding
from jaxgen.networks import mlp, unet
from tests.examples import random_like

RNG = np.random.default_rng(0)


def filled(shapes: Any) -> Any:
  """Random parameters everywhere: initialisers leave whole branches at zero."""
  return jax.tree.map(
    lambda leaf: jnp.asarray(RNG.normal(size=leaf.shape) / 3, jnp.float32), shapes
  )


def first_output(network: nn.Module, *example: jax.Array) -> Any:
  """The output and the parameters of a network at its start."""
  return jax.jit(network.init_with_output)(jax.random.key(0), *example)


X, TIME = (jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((4, 6, 8), (5,)))


@pytest.mark.parametrize('features', [2, 8, 12, 64, 192])
def test_group_norm_equals_flaxs(features: int) -> None:
  """On a batch of one image, where Flax knows which axis is which; then scaled and shifted."""
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(1.0, 2.0, size=(4, 6, features)), jnp.float32)
  scale, bias, factor, shift = (jnp.asarray(v) for v in rng.normal(size=(4, features)))
  params = {'params': {'scale': scale, 'bias': bias}}
  groups = {2: 1, 8: 2, 12: 3, 64: 16, 192: 32}[features]  # of at least 4 channels, at most 32
  expected = nn.GroupNorm(groups, epsilon=1e-5).apply(params, x[None])[0]
  actual = unet.GroupNorm().apply(params, x)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
  modulated = unet.GroupNorm().apply(params, x, jnp.concatenate([factor, shift]))
  expected = expected * (1 + factor)[None, None] + shift[None, None]
  np.testing.assert_allclose(modulated, expected, rtol=1e-4, atol=1e-4)


def test_fourier_features_see_how_near_two_times_are() -> None:
  """Their product is the characteristic function of N(0, 16^2): exp(-(2 pi 16 d)^2 / 2)."""
  count = 20_000
  now = embedding.fourier_embedding(jnp.float32(300.0), count)
  for apart in (0.0, 5.0, 10.0, 20.0):
    then = embedding.fourier_embedding(jnp.float32(300.0 + apart), count)
    expected = np.exp(-0.5 * (2 * np.pi * 16 * apart / 1000) ** 2)
    assert float(now @ then) / (count // 2) == pytest.approx(expected, abs=0.03)


def test_timestep_embedding_turns_at_its_frequencies() -> None:
  """sin and cos of t f, with f from 1 to 1e-4 in equal ratios."""
  for t in (0.0, 3.0, 1000.0):
    angles = t * 10.0 ** np.linspace(0, -4, 5)
    expected = np.concatenate([np.sin(angles), np.cos(angles)])
    np.testing.assert_allclose(timestep_embedding(jnp.float32(t), 10), expected, atol=2e-4)


def test_group_norm_of_an_even_image_is_its_bias() -> None:
  """No variance is left to divide by; and little of it is held up by epsilon = 1e-5."""
  params = {'params': {'scale': jnp.full(8, 2.0), 'bias': jnp.full(8, 0.5)}}
  apply = unet.GroupNorm().apply
  np.testing.assert_allclose(apply(params, jnp.full((4, 6, 8), 100.0)), 0.5, atol=1e-2)
  faint = 1e-3 * X
  expected = nn.GroupNorm(2, epsilon=1e-5).apply(params, faint[None])[0]
  np.testing.assert_allclose(apply(params, faint), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('conditioning', unet.CONDITIONINGS)
@pytest.mark.parametrize('features', [8, 12])
def test_residual_block_is_its_formula(features: int, conditioning: str) -> None:
  """In Flax's layers: x + conv(swish(norm(conv(swish(norm(x)))))), modulated by time."""
  block = unet.ResidualBlock(features, conditioning)
  layers = filled(jax.eval_shape(block.init, jax.random.key(0), X, TIME))['params']

  def apply(layer: nn.Module, name: str, x: jax.Array) -> jax.Array:
    return layer.apply({'params': layers[name]}, x[None])[0]

  told = apply(nn.Dense(len(layers['Dense_0']['bias'])), 'Dense_0', TIME)
  h = nn.swish(apply(nn.GroupNorm(2, epsilon=1e-5), 'GroupNorm_0', X))
  h = apply(nn.Conv(features, (3, 3)), 'Convolution_0', h)
  norm = nn.GroupNorm(features // 4, epsilon=1e-5)
  if conditioning == 'addition':
    h = apply(norm, 'GroupNorm_1', h + told[None, None])
  else:
    scale, shift = jnp.split(told, 2)
    h = apply(norm, 'GroupNorm_1', h) * (1 + scale)[None, None] + shift[None, None]
  h = nn.swish(h)
  h = apply(nn.Conv(features, (3, 3)), 'Convolution_1', h)
  x = X if features == 8 else apply(nn.Conv(features, (1, 1)), 'Convolution_2', X)
  np.testing.assert_allclose(block.apply({'params': layers}, X, TIME), x + h, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(('width', 'heads'), [(4, 2), (32, 1), (8, 1), (2, 4)])
def test_attention_is_its_formula(width: int, heads: int) -> None:
  """By hand: every pixel asks, sum_j softmax_j(q_i . k_j / sqrt(d)) v_j, in every head."""
  attention = unet.Attention(width)
  params = filled(jax.eval_shape(attention.init, jax.random.key(0), X))
  layers = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params['params'])
  norm = {'params': layers['GroupNorm_0']}
  h = np.asarray(nn.GroupNorm(2, epsilon=1e-5).apply(norm, X[None])[0]).reshape(24, 8)
  h = h @ layers['Convolution_0']['kernel'][0, 0] + layers['Convolution_0']['bias']
  q, k, v = (a.reshape(24, heads, 8 // heads) for a in np.split(h, 3, axis=1))
  weights = np.exp(np.einsum('ihd,jhd->hij', q, k) / np.sqrt(8 / heads))
  weights /= weights.sum(-1, keepdims=True)
  h = np.einsum('hij,jhd->ihd', weights, v).reshape(24, 8)
  h = h @ layers['Convolution_1']['kernel'][0, 0] + layers['Convolution_1']['bias']
  expected = np.asarray(X) + h.reshape(4, 6, 8)
  np.testing.assert_allclose(attention.apply(params, X), expected, rtol=1e-3, atol=1e-3)


def test_heads_that_do_not_divide_channels_are_an_error() -> None:
  with pytest.raises(ValueError, match='7 channels cannot be shared by 3 heads of 2'):
    jax.eval_shape(unet.Attention(2).init, jax.random.key(0), jnp.zeros((2, 2, 7)))


def test_every_branch_starts_at_zero() -> None:
  """Blocks start as the identity, or as a matrix where channels change; the network as 0."""
  np.testing.assert_array_equal(first_output(unet.ResidualBlock(8), X, TIME)[0], X)
  np.testing.assert_array_equal(first_output(unet.Attention(), X)[0], X)
  out, params = first_output(unet.ResidualBlock(12), X, TIME)
  matrix = params['params']['Convolution_2']['kernel'][0, 0]
  np.testing.assert_allclose(out, np.asarray(X) @ matrix, rtol=1e-5, atol=1e-5)
  network = unet.UNet(4, (1,), 1, attention=(), patch=2)
  out, _ = first_output(network, jnp.ones((2, 2, 1)), jnp.int32(5))
  np.testing.assert_array_equal(out, 0.0)


def layers_of(network: unet.UNet, shape: tuple[int, int, int] = (8, 8, 3)) -> dict[str, Any]:
  """Shapes of the layers' parameters, by name."""
  example = jnp.zeros(shape), jnp.int32(1)
  return jax.eval_shape(network.init, jax.random.key(0), *example)['params']


def kernel_shapes(layers: dict[str, Any], kind: str, layer: str = 'kernel') -> list[Any]:
  """Shapes of a kind of layers in the order in which they are called."""
  names = sorted((n for n in layers if n.startswith(kind)), key=lambda n: int(n.split('_')[-1]))
  return [layers[name][layer]['kernel'].shape for name in names]


def test_levels_have_their_blocks_and_widths() -> None:
  """Two blocks a level down, two in the middle, three a level up, which see what was left there."""
  layers = layers_of(unet.UNet(8, (1, 2, 3), 2, attention=()))
  seen = [shape[2:] for shape in kernel_shapes(layers, 'ResidualBlock', 'Convolution_0')]
  down = [(8, 8), (8, 8), (8, 16), (16, 16), (16, 24), (24, 24)]
  middle = [(24, 24), (24, 24)]
  # What the way down has left, last first: 24, 24, 16; 16, 16, 8; 8, 8, 8.
  up = [(48, 24), (48, 24), (40, 24), (40, 16), (32, 16), (24, 16), (24, 8), (16, 8), (16, 8)]
  assert seen == down + middle + up


@pytest.mark.parametrize(
  ('levels', 'expected'),
  [((), {}), ((0,), {8: 3}), ((1,), {16: 3}), ((-1,), {24: 3}), ((0, -1), {8: 3, 24: 3})],
)
def test_attention_is_on_the_levels_that_ask_for_it(
  levels: tuple[int, ...], expected: dict[int, int]
) -> None:
  """After each block there, one down and two up; and once in the middle, of 24 channels."""
  layers = layers_of(unet.UNet(8, (1, 2, 3), 1, attention=levels, head_width=4))
  widths = Counter(shape[2] for shape in kernel_shapes(layers, 'Attention', 'Convolution_0'))
  assert widths == Counter(expected) + Counter({24: 1})


def test_the_papers_network_has_as_many_parameters() -> None:
  """Ho et al. 2020, app. B: 35.7 M on CIFAR-10, 35,746,307 by their code.

  Theirs halves and doubles by convolutions of 3 x 3, C -> C, where this one takes squares of four
  pixels to one and back by a matrix: 4 C^2 weights, and on the way up 4 C biases.
  """
  halved, doubled = np.array([128, 256, 256]), np.array([256, 256, 256])
  theirs, ours = (9 * halved**2 + halved).sum(), (4 * halved**2 + halved).sum()
  theirs, ours = (
    theirs + (9 * doubled**2 + doubled).sum(),
    ours + (4 * doubled**2 + 4 * doubled).sum(),
  )
  network = unet.UNet(128, (1, 2, 2, 2), 2, attention=(1,), conditioning='addition')
  layers = layers_of(network, (32, 32, 3))
  assert sum(leaf.size for leaf in jax.tree.leaves(layers)) - ours + theirs == 35_746_307


def test_names_that_the_network_does_not_know() -> None:
  for field, name in (('conditioning', 'shift'), ('clock', 'cosines')):
    with pytest.raises(ValueError, match=f"network.{field}='{name}'; choose "):
      layers_of(unet.UNet(8, (1,), 1, **{field: name}))


def test_patches_are_pixels_of_the_first_level() -> None:
  layers = layers_of(unet.UNet(8, (1,), 1, patch=2, output_channels=5))
  convolutions = [layers[n]['kernel'].shape for n in ('Convolution_0', 'Convolution_1')]
  assert convolutions == [(3, 3, 4 * 3, 8), (3, 3, 8, 4 * 5)]
  network = unet.UNet(8, (1,), 1, patch=2, output_channels=5)
  shape = jax.eval_shape(network.init_with_output, jax.random.key(0), *EXAMPLE)[0].shape
  assert shape == (8, 8, 5)


EXAMPLE = jnp.asarray(RNG.normal(size=(8, 8, 3)), jnp.float32), jnp.float32(3.0)


@pytest.mark.slow
def test_every_weight_has_its_part_and_skips_theirs() -> None:
  """Whatever a kernel reads, be it a skip's channel, changes the output: its gradient is not 0.

  With nothing passed down, what the way down has left still tells all pixels apart.
  """
  network = unet.UNet(8, (1, 2), 1, head_width=4)
  params = filled(jax.eval_shape(network.init, jax.random.key(0), *EXAMPLE))
  weight = jnp.asarray(RNG.normal(size=(8, 8, 3)), jnp.float32)
  output = lambda params, x: jnp.sum(weight * network.apply(params, x, EXAMPLE[1]))  # noqa: E731
  gradient = jax.jit(jax.grad(output, (0, 1)))
  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params, EXAMPLE[0])[0]):
    if path[-1].key == 'kernel':
      read = np.abs(np.asarray(leaf)).max(axis=(*range(leaf.ndim - 2), leaf.ndim - 1))
      assert (read > 1e-6).all(), jax.tree_util.keystr(path)
  down = params['params']['Convolution_1']
  assert down['kernel'].shape == (1, 1, 4 * 8, 8)
  down['kernel'] = jnp.zeros_like(down['kernel'])
  assert np.abs(gradient(params, EXAMPLE[0])[1]).min() > 1e-7


@pytest.mark.parametrize(
  ('height', 'width', 'patch', 'levels', 'message'),
  [
    (8, 12, 1, 3, None),
    (8, 12, 2, 2, None),
    (8, 12, 1, 4, r'12 can be halved twice: 12 -> 6 -> 3; use at most 3 multipliers'),
    (8, 12, 2, 3, r'can be halved once after patching: 6 -> 3; use at most 2 .* multiple of 8'),
    (16, 6, 1, 3, r'halve a 16x6 image 2 times, but 6 can be halved once: 6 -> 3;'),
    (7, 8, 1, 2, r'7 can be halved not at all: 7; .* multiple of 2'),
    (8, 16, 1, 5, r'8 can be halved 3 times: 8 -> 4 -> 2 -> 1; use at most 4'),
    (8, 9, 3, 1, r'patches of 3 do not tile a 8x9 image: choose network.patch to divide 8'),
  ],
)
def test_levels_and_patches_must_fit_the_image(
  height: int, width: int, patch: int, levels: int, message: str | None
) -> None:
  if message is None:
    unet.check_divisible(height, width, patch, levels)
    return
  with pytest.raises(ValueError, match=message):
    unet.check_divisible(height, width, patch, levels)


@pytest.mark.parametrize(
  'network',
  [
    unet.UNet(
      channels=8, multipliers=(1,), blocks=1, attention=(), patch=1, classes=3, interval=True
    ),
    mlp.Denoiser(hidden=(8,), classes=3),
  ],
  ids=['unet', 'mlp'],
)
def test_a_label_its_absence_and_an_interval_are_each_felt(network: nn.Module) -> None:
  """No label is none of the classes, and the second time is not the first."""
  x, time = jax.random.normal(jax.random.key(0), (4, 4, 1)), jnp.float32(300.0)
  second = (time,) if getattr(network, 'interval', False) else ()
  shapes = jax.eval_shape(network.init, jax.random.key(0), x, time, jnp.int32(0), *second)
  params = random_like(shapes)
  apply = jax.jit(network.apply)
  outputs = [apply(params, x, time, jnp.int32(label), *second) for label in (0, 1, 2, -1)]
  if second:
    outputs.append(apply(params, x, time, jnp.int32(0), time + 50.0))
    outputs.append(apply(params, x, time + 50.0, jnp.int32(0), time))
  for one, other in itertools.combinations(outputs, 2):
    assert np.abs(one - other).max() > 1e-3
