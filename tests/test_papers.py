"""The papers' settings: valid, of the papers' sizes, and able to step; nothing is allocated."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import pytest

from jaxgen import checks, configuration, objectives
from jaxgen.devices import parallel
from jaxgen.objectives.base import DEVICES, Example
from tests.examples import facts

PAPERS = {
  path.stem: path
  for path in sorted((Path(__file__).parent.parent / 'experiments' / 'papers').glob('*.py'))
  if path.stem != 'common'
}
# Millions of parameters: those of the paper, and how near they are to be.
MILLIONS = {'ddpm': (35.7, 0.002), 'edm': (55.7, 0.01), 'mean_flow': (55.0, 0.03)}
SHAPES = {'nvae': (28, 28, 1)}  # of images that are not CIFAR-10's


def config_of(name: str, *overrides: str) -> ml_collections.ConfigDict:
  return configuration.load(str(PAPERS[name]), None, overrides)


def shapes_of(config: ml_collections.ConfigDict, shape: tuple[int, int, int] = (32, 32, 3)) -> Any:
  """Parameters and memory before the first update."""
  objective = objectives.find_objective(config, facts(shape, 50_000, 10))
  return jax.eval_shape(objective.init, jax.random.key(0))


def count(tree: Any) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize('name', MILLIONS)
def test_networks_have_as_many_parameters_as_the_papers(name: str) -> None:
  (paper, near), found = MILLIONS[name], count(shapes_of(config_of(name))[0])
  assert found / 1e6 == pytest.approx(paper, rel=near)
  said = PAPERS[name].read_text()
  assert f'{found:,}' in said or f'{found / 1e6:.1f} M' in said


def test_dcgan_is_the_papers_figure() -> None:
  """100 numbers to 4x4x1024, then 512, 256, 128 and 3 channels; kernels 4x4, not 5x5."""
  config = config_of('dcgan', '--config.network.hidden=(128,256,512,1024)')
  generator = shapes_of(config, (64, 64, 3))[0]['generator']
  widths = (1024, 512, 256, 128, 3)
  kernels = 100 * 4 * 4 * 1024 + sum(16 * a * b for a, b in pairwise(widths))
  biases = 4 * 4 * 1024 + sum(widths[1:])
  scales = 2 * sum(widths[:-1])
  assert count(generator['params']) == kernels + biases + scales


def test_r3gans_players_have_as_many_parameters_as_the_papers() -> None:
  """Eight blocks of 768 channels, doubled within in groups of 16; a 4x4 image for each channel."""
  blocks = 8 * (2 * 768 * 1536 + 9 * 16 * 1536 + 2 * 1536)
  outside = {'generator': 64 * 768, 'critic': 768 * 1}  # from the latent, or to the output
  said = PAPERS['r3gan'].read_text()
  for name, player in shapes_of(config_of('r3gan'))[0].items():
    paper = blocks + 3 * 768 + 16 * 768 + outside[name]
    assert count(player) == paper
    assert f'{paper:,}' in said


def test_players_of_wgan_gp_have_128_channels_at_each_of_four_sizes() -> None:
  config = config_of('wgan_gp')
  assert config.batch_size == 5 * 64
  for player in shapes_of(config)[0].values():
    assert player['params']['basis'].shape == (4, 4, 128)
    widths = {leaf.shape[2] for leaf in jax.tree.leaves(player) if len(leaf.shape) == 4}
    assert widths <= {3, 128}
    assert count(player) == pytest.approx(1.45e6, rel=0.02)


@pytest.mark.slow
def test_nvae_has_the_cells_of_its_paper() -> None:
  """Two before each of 5 and 10 groups, and two at each scale without; counted by hand."""

  def excitation(c: int) -> int:
    narrow = max(4, c // 16)
    return c * narrow + narrow + narrow * c + c

  def encoder_cell(c: int) -> int:
    return 2 * (9 * c * c + c + 2 * c) + excitation(c)

  def generative_cell(c: int) -> int:
    return 2 * c + 6 * c * c + 2 * 6 * c + 25 * 6 * c + 2 * 6 * c + 6 * c * c + excitation(c)

  def gaussian(c: int, side: int) -> int:
    return 2 * c + side**2 * c * 40 + 40

  def group(c: int, prior: bool = True) -> int:
    place = 20 * c + c
    return c * c + c + gaussian(c, 3) + place + (gaussian(c, 1) if prior else 0)

  up = [9 * 32 + 32, *(2 * encoder_cell(c) for c in (32, 64))]
  up += [20 * encoder_cell(128), 10 * encoder_cell(256)]
  up += [4 * c * 2 * c + 2 * c for c in (32, 64, 128)]  # where sides are halved
  down = [4 * 4 * 256, group(256, prior=False), 4 * group(256), 10 * group(128)]
  down += [8 * generative_cell(256), 20 * generative_cell(128), 256 * 4 * 128 + 4 * 128]
  last = [2 * generative_cell(c) for c in (128, 64, 32)] + [2 * 32 + 9 * 32 + 1]
  last += [2 * c * 4 * c + 4 * c for c in (64, 32)]  # where they are doubled
  found = shapes_of(config_of('nvae'), SHAPES['nvae'])[0]
  assert {name: count(part) for name, part in found.items()} == {
    'encoder': sum(up), 'ladder': sum(down), 'decoder': sum(last)
  }  # fmt: skip
  assert f'{sum(up + down + last):,}' in PAPERS['nvae'].read_text()


@pytest.mark.parametrize(
  'name', [pytest.param(n, marks=[] if n == 'dcgan' else pytest.mark.slow) for n in PAPERS]
)
def test_an_update_leaves_all_as_it_was(name: str) -> None:
  """In shapes and types, on 8 devices."""
  config, devices, shape = config_of(name), 8, SHAPES.get(name, (32, 32, 3))
  checks.check_division(config, devices)
  objective = objectives.find_objective(config, facts(shape, 50_000, 10))
  step = parallel.train_step(objective, config.seed, config.ema_decay)
  mapped = jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name=DEVICES)
  share = (devices, config.batch_size // devices)
  number = jax.ShapeDtypeStruct(share, jnp.int32)
  images = jax.ShapeDtypeStruct((*share, *shape), jnp.uint8)
  state = jax.eval_shape(lambda: parallel.initial_state(objective, 0))
  after, metrics = jax.eval_shape(mapped, state, Example(images, number, number))
  assert after == state
  assert all(math.prod(metric.shape) == 1 for metric in metrics.values())
