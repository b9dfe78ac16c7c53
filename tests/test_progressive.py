"""Networks that grow with their images: what they begin as, and what a run takes of another's."""

from functools import cache
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgen import configuration, networks, objectives
from jaxgen.devices.parallel import initial_state
from jaxgen.errors import UserError
from jaxgen.main import main
from jaxgen.networks import convolutional, progressive
from jaxgen.objectives.adversarial.conditional import LabelledGenerator, ProjectionCritic
from jaxgen.objectives.base import Objective
from jaxgen.training.trained import grown_from
from tests.examples import facts

ROOT = Path(__file__).parent.parent
HIDDEN, LATENT = (6, 5, 4), 3
KEY, SOMEWHERE = jax.random.key(0), Path('runs/small')


def decoder(side: int) -> progressive.Decoder:
  return progressive.Decoder((side, side, 2), HIDDEN)


def untrained(network: nn.Module, given: jax.Array) -> dict[tuple[str, ...], Any]:
  """A network's variables as they begin, by their places."""
  return flatten_dict(jax.jit(network.init)(KEY, given))


def trained(network: nn.Module, given: jax.Array) -> dict[tuple[str, ...], Any]:
  """As none of them begin."""
  shapes = flatten_dict(jax.eval_shape(network.init, KEY, given))
  rng = np.random.default_rng(0)
  return {place: jnp.asarray(rng.normal(size=a.shape), jnp.float32) for place, a in shapes.items()}


@cache
def applied(network: nn.Module) -> Any:
  return jax.jit(jax.vmap(network.apply, in_axes=(None, 0)))


def of(network: nn.Module, arrays: dict[tuple[str, ...], Any], given: Any) -> np.ndarray:
  """A batch's outputs."""
  return np.asarray(applied(network)(unflatten_dict(arrays), given))


def enlarged(images: np.ndarray, times: int) -> np.ndarray:
  return np.kron(images, np.ones((1, times, times, 1), np.float32))


def test_resolutions_are_halves_down_to_the_coarsest() -> None:
  assert progressive.levels(8, 8, (64, 32)) == [(4, 4, 64), (8, 8, 32)]
  assert progressive.levels(28, 28, (9, 6)) == [(7, 7, 9), (14, 14, 6), (28, 28, 6)]
  assert progressive.levels(12, 20, (3,)) == [(3, 5, 3), (6, 10, 3), (12, 20, 3)]
  assert progressive.levels(9, 8, (3, 2)) == [(9, 8, 3)]
  with pytest.raises(ValueError, match=r'network\.hidden=\(\) names no channels'):
    progressive.levels(8, 8, ())


def test_pixels_are_normalised_one_by_one() -> None:
  x = jnp.array([[[3.0, 4.0], [0.0, 0.0]]])
  expected = [[[3.0 / np.sqrt(12.5), 4.0 / np.sqrt(12.5)], [0.0, 0.0]]]
  np.testing.assert_allclose(progressive.pixel_norm(x), expected, rtol=1e-6)


def test_a_grown_decoder_draws_the_same_picture_enlarged() -> None:
  """Twice here, from 4x4 to 16x16; and another one once its new layers have learned anything."""
  z, small, large = jax.random.normal(KEY, (4, LATENT)), decoder(4), decoder(16)
  before, begun = trained(small, z[0]), untrained(large, z[0])
  pictures = of(small, before, z)
  assert np.std(pictures, axis=(0, 1, 2)).min() > 0.1
  assert {place: begun[place].shape for place in before} == {p: a.shape for p, a in before.items()}
  found = of(large, begun | before, z)
  np.testing.assert_array_equal(found, enlarged(pictures, 4))
  assert np.abs(of(large, trained(large, z[0]) | before, z) - found).max() > 0.1


def test_a_grown_encoder_says_the_same_of_enlarged_pictures() -> None:
  """And of finer ones, what it said of their means."""
  network, images = progressive.Encoder(3, HIDDEN), jax.random.normal(KEY, (4, 4, 4, 2))
  before = trained(network, images[0])
  large = enlarged(np.asarray(images), 4)
  begun = untrained(network, large[0]) | before
  said = of(network, before, images)
  assert np.std(said, axis=0).min() > 0.1
  np.testing.assert_allclose(of(network, begun, large), said, rtol=1e-5, atol=1e-5)
  noise = np.random.default_rng(1).normal(size=large.shape).astype(np.float32)
  noise -= enlarged(noise.reshape(4, 4, 4, 4, 4, 2).mean(axis=(2, 4)), 4)
  np.testing.assert_allclose(of(network, begun, large + noise), said, rtol=1e-4, atol=1e-4)
  assert np.abs(of(network, trained(network, large[0]) | before, large) - said).max() > 0.1


@pytest.mark.slow
def test_what_is_new_learns_from_the_first_update() -> None:
  """Its last layer: the slope in that one is not zero though its weights are."""
  z, image = jnp.ones(LATENT), jax.random.normal(KEY, (8, 8, 2))
  for network, given, last in (
    (decoder(8), z, 'to_pixels_8'),
    (progressive.Encoder(1, HIDDEN), image, 'down_from_8'),
  ):
    begun = unflatten_dict(untrained(network, given))
    slope = jax.jit(jax.grad(lambda v: jnp.sum(network.apply(v, given) ** 2)))(begun)  # noqa: B023
    assert np.abs(begun['params'][last]['kernel']).max() == 0
    assert np.abs(slope['params'][last]['kernel']).max() > 1e-3


def test_a_network_says_whether_it_grows() -> None:
  grows, fixed = progressive.Encoder(1, HIDDEN), convolutional.Encoder(1, HIDDEN)
  assert networks.grows(grows)
  assert networks.grows(ProjectionCritic(grows, 10))
  assert networks.grows(LabelledGenerator(decoder(8), 10))
  assert not networks.grows(fixed)
  assert not networks.grows(ProjectionCritic(fixed, 10))


def model(side: int, experiment: str = 'progressive_gan', **network: Any) -> Objective:
  config = configuration.execute(str(ROOT / 'experiments' / f'{experiment}.py'))
  config.objective.latent = LATENT
  config.network.update({'hidden': HIDDEN} | network)
  return objectives.find_objective(config, facts((side, side, 1)))


def shapes(objective: Objective) -> Any:
  return jax.eval_shape(objective.init, KEY)[0]


def test_a_run_takes_the_parameters_of_a_smaller_one(capsys: pytest.CaptureFixture[str]) -> None:
  """Beside new ones, which are those that a run of its seed has; and it counts both."""
  large = model(8)
  small = jax.tree.map(lambda a: np.full(a.shape, 7.0, np.float32), shapes(model(4)))
  known = flatten_dict(small)
  found = flatten_dict(grown_from(small, SOMEWHERE, large, seed=1))
  alone = flatten_dict(initial_state(large, seed=1).params)
  assert known.keys() < found.keys() == alone.keys()
  for place, array in found.items():
    np.testing.assert_array_equal(array, known.get(place, alone[place]))
  sizes = sum(a.size for a in known.values()), sum(a.size for a in found.values())
  line = f'{sizes[0]:,} parameters are those of runs/small, {sizes[1] - sizes[0]:,} are new\n'
  assert capsys.readouterr().out == line


def test_a_run_of_the_same_size_takes_all(capsys: pytest.CaptureFixture[str]) -> None:
  objective = model(8)
  parameters = shapes(objective)
  assert grown_from(parameters, SOMEWHERE, objective, seed=1) is parameters
  assert capsys.readouterr().out == ''


@pytest.mark.parametrize(
  ('source', 'target', 'message'),
  [
    ((16, {}), (8, {}), r"'block_16'\]\['bias'\]: float32\[4\] there, nothing expected"),
    ((8, {'hidden': (7, 5)}), (16, {}), r'float32\[7\] there, float32\[6\] expected'),
    ((8, {'name': 'convolutional'}), (16, {}), "'Dense_0'.*: .* there, nothing expected"),
    ((8, {}), (16, {'name': 'convolutional'}), "'Dense_0'.*: nothing there, .* expected"),
  ],
)
def test_what_does_not_grow_into_a_run_is_refused(source: Any, target: Any, message: str) -> None:
  """One that was larger, of other widths, or of another kind."""
  (before, fields), (side, others) = source, target
  with pytest.raises(UserError, match=r'runs/small holds the checkpoint of another') as error:
    grown_from(shapes(model(before, **fields)), SOMEWHERE, model(side, **others), seed=0)
  assert error.match(message)


def test_networks_that_do_not_grow_take_all_or_nothing() -> None:
  """Even where every array of one has its place in the other."""
  small, large = (model(8, 'r3gan', hidden=(4, 4), blocks=blocks) for blocks in (1, 2))
  sizes = [{p: a.shape for p, a in flatten_dict(shapes(one)).items()} for one in (small, large)]
  assert sizes[0].items() < sizes[1].items()
  with pytest.raises(UserError, match=r"'ResidualBlock_2'.*nothing there, float32\[4\] expected"):
    grown_from(shapes(small), SOMEWHERE, large, seed=0)


@pytest.mark.slow
def test_a_run_begins_as_a_smaller_one_enlarged(tmp_path: Path) -> None:
  """By the command line, and its samples are those of that one as long as nothing is learned."""
  few = ('num_steps=2', 'steps_per_call=1', 'network.hidden=(6,4)', 'evaluation.training_samples=0')
  arguments = [f'--config={ROOT}/experiments/progressive_gan.py', '--config.data.image_size=4']
  arguments += [f'--config.{field}' for field in few]
  assert main([*arguments, f'--workdir={tmp_path}/4']) == 0
  arguments += [f'--init_from={tmp_path}/4', '--config.data.image_size=8']
  arguments += ['--config.optimizer.learning_rate=0.0']
  assert main([*arguments, f'--workdir={tmp_path}/8']) == 0
  drawn = []
  for side in (4, 8):
    assert main(['--mode=sample', f'--workdir={tmp_path}/{side}', '--num_samples=5']) == 0
    with np.load(tmp_path / str(side) / 'samples.npz') as file:
      drawn.append(file['samples'])
  np.testing.assert_allclose(enlarged(drawn[0], 2), drawn[1], atol=1)
