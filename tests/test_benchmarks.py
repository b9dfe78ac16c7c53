"""The benchmark compares equals: networks of one row have the same parameters and operations."""

import json
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import pytest

from jaxgen import checks, configuration, objectives
from jaxgen.devices import flops, parallel
from tests import answers
from tests.benchmarks import interleave, jaxgen_side, settings, tables, throughput
from tests.benchmarks.contender import Contender, Measure, missing
from tests.benchmarks.interleave import Timing, measure, ratio
from tests.examples import facts


def every_contender() -> Iterator[Contender]:
  """Of all measures and curves, on a CPU and on an accelerator."""
  for accelerator in (False, True):
    parts = settings.ceiling, settings.training, settings.sampling, settings.evaluation
    for part in parts:
      for one in part(accelerator):
        yield from one.contenders.values()
    for _, places in settings.growth(accelerator):
      for _, one in places:
        yield from one.contenders.values()


def test_every_contender_has_a_valid_config_and_survives_its_journey() -> None:
  for contender in dict.fromkeys(every_contender()):
    assert Contender.loads(contender.dumps()) == contender
    config = configuration.load(contender.source, None, contender.overrides)
    checks.check_division(config, contender.devices or parallel.cpu_devices(config))


def test_operations_are_those_of_the_textbook() -> None:
  x, w = jnp.zeros((3, 5)), jnp.zeros((5, 7))
  assert flops.count(jnp.matmul, x, w) == 2 * 3 * 5 * 7

  def loop(x: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, 10, lambda _, y: y @ jnp.eye(5), x)

  assert flops.count(loop, x) == 10 * 2 * 3 * 5 * 5
  image, kernel = jnp.zeros((1, 8, 8, 4)), jnp.zeros((3, 3, 4, 6))
  dimensions = ('NHWC', 'HWIO', 'NHWC')
  convolution = jax.jit(
    lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), 'SAME', dimension_numbers=dimensions)
  )
  assert flops.count(convolution, image, kernel) == 2 * 8 * 8 * 9 * 4 * 6


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(settings.SETTINGS))
def test_both_sides_of_a_row_train_networks_of_one_size(name: str) -> None:
  ours = jaxgen_side.build(answers.few(name, 'training'))
  parameters, operations = answers.stored(f'training {name}')  # PyTorch's
  assert ours.images == 20
  assert ours.parameters == parameters
  # jaxgen's also report the slope of WGAN's critic, and differentiate in the first layer's input.
  assert ours.flops == pytest.approx(operations, rel=0.1)


@pytest.mark.parametrize('name', sorted(settings.DIFFUSION))
def test_denoisers_of_a_row_do_the_same_operations(name: str) -> None:
  ours = jaxgen_side.build(answers.few(name, 'forward'))
  # jaxgen's group norms pool their channels' means by matrix products, which are counted.
  assert ours.flops == pytest.approx(answers.stored(f'forward {name}')[1], rel=0.005)


def timing(*rates: float) -> Timing:
  """Rounds at these rates."""
  return Timing(list(rates), list(rates), [0.1], 3.0, 2.0, 1.0, 100.0, 50.0, 1000, 2e6, 'cpu')


def test_a_ratio_is_taken_round_by_round() -> None:
  # The machine was half as fast in the second round: no contender's fault.
  assert ratio(timing(20.0, 10.0, 22.0), timing(10.0, 5.0, 11.0)) == 2.0


def test_a_row_is_json_and_text() -> None:
  timings = {'jaxgen': timing(20.0, 22.0), 'PyTorch': timing(10.0, 11.0)}
  row = tables.measure_row('vae', timings, {'pythae': 'not installed'}) | {'others': 0.25}
  assert json.loads(json.dumps(row))['contenders']['PyTorch']['ratio'] == 2.0
  text = tables.measure_text(row)
  assert '2.00 x' in text
  assert 'pythae: not installed' in text
  assert '25% of the cores' in text


@pytest.mark.slow
def test_a_contender_that_fails_leaves_the_others() -> None:
  small = ('network.hidden=(8,)', 'steps_per_call=1')
  contenders = {
    'jaxgen': settings.VAE.contender('jaxgen', 'training', *small),
    'broken': settings.VAE.contender('jaxgen', 'training', 'network.hidden=()', 'batch_size=0'),
  }
  timings, absent = measure(Measure('vae', contenders), seconds=0.01, rounds=2)
  assert list(timings) == ['jaxgen']
  assert len(timings['jaxgen'].images_per_second) == 2
  assert 'exit code 1' in absent['broken']


def test_contenders_without_room_beside_each_other_take_turns_alone(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  living: list[Contender] = []

  class Worker:
    """Takes a second for a unit, and tells who lives."""

    def __init__(self, contender: Contender) -> None:
      self.contender, self.first_step, self.computed = contender, 3.0, [0.1]
      self.about = {'images': 20, 'steps': 1, 'first_call': 2.0, 'imported_megabytes': 50.0}
      self.about |= {'parameters': 1000, 'flops': 2e6, 'device': 'cpu'}
      self.last = {'peak_megabytes': 100.0}
      living.append(contender)

    def seconds(self, units: int) -> float:
      most.append(len(living))
      return float(units)

    def close(self) -> None:
      living.remove(self.contender)

  monkeypatch.setattr(interleave, 'Worker', Worker)
  contenders = {str(i): settings.VAE.contender('jaxgen', 'training', devices=i) for i in (1, 2)}
  for alone, expected in ((False, 2), (True, 1)):
    most: list[int] = []
    timings, _ = measure(Measure('vae', contenders, alone), seconds=1.0, rounds=2)
    assert {label: one.median for label, one in timings.items()} == {'1': 20.0, '2': 20.0}
    assert max(most) == expected


def test_a_share_is_of_the_most_that_any_side_did() -> None:
  products = {'jaxgen': timing(30.0, 30.0), 'PyTorch': timing(40.0, 40.0)}
  ceiling = tables.highest([tables.measure_row('products', products, {})])
  assert ceiling == 40.0 * 2e6
  row = tables.measure_row('vae', {'jaxgen': timing(10.0, 10.0)}, {})
  assert '25%' in tables.measure_text(row | {'others': 0.0, 'ceiling': ceiling})
  assert '25%' not in tables.measure_text(row | {'others': 0.0, 'ceiling': 0.0})


def test_what_is_compiled_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
  """And every row of networks on two sides has a compiled one, on a CPU too."""
  for part in (settings.training, settings.sampling, settings.evaluation):
    for one in part(accelerator=False):
      assert 'compile' in one.contenders['PyTorch, compiled'].variant
  monkeypatch.setattr('shutil.which', lambda name: None)
  assert not missing('jaxgen')
  assert missing('jaxgen', ('compile',)) == ['a C++ compiler, such as g++,']


def test_an_unknown_part_is_named(capsys: pytest.CaptureFixture[str]) -> None:
  assert throughput.main(['--only=trainings']) == 2
  assert 'trainings' in capsys.readouterr().err


def test_objectives_are_built_for_every_setting() -> None:
  for setting in settings.SETTINGS.values():
    config = configuration.load(
      setting.source, None, [f'--config.{field}' for field in setting.overrides]
    )
    objectives.find_objective(config, facts(setting.image_shape))
