"""A user's own objective is found by its dotted name, and held to the rules in a sentence."""

import sys
from collections.abc import Iterator
from pathlib import Path

import ml_collections
import pytest

from jaxgen import configuration
from jaxgen.errors import UserError
from jaxgen.main import main
from jaxgen.objectives import find_objective, rules
from tests.examples import facts

ROOT = Path(__file__).parent.parent
MODEL = """
import jax, jax.numpy as jnp
from jaxgen.objectives.base import Objective, average

def build(config, facts):
  def init(key):
    return {'mean': jnp.zeros(facts.image_shape)}, {'seen': jnp.int32(0)}
  def update(params, memory, examples, keys, step):
    mean = average(lambda image: image, examples.image)
    return {'mean': mean}, {'seen': memory['seen'] + 1}, {'loss': mean.mean()}
  def evaluate(params, example, key):
    return {'squared_error': jnp.mean((example.image - params['mean']) ** 2)}
  def sample(params, label, key):
    return params['mean'] + 0.1 * jax.random.normal(key, facts.image_shape)
  return Objective(init, update, evaluate, sample, averaged=False)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
  """A folder of the user's, from which Python was started."""
  (tmp_path / 'mine').mkdir()
  (tmp_path / 'mine' / '__init__.py').write_text('')
  (tmp_path / 'mine' / 'model.py').write_text(MODEL)
  monkeypatch.syspath_prepend(str(tmp_path))
  yield tmp_path
  for name in [name for name in sys.modules if name.partition('.')[0] == 'mine']:
    del sys.modules[name]


def config(name: str = 'mine.model') -> ml_collections.ConfigDict:
  fields = configuration.execute(f'{ROOT}/experiments/vae.py')
  fields.objective = ml_collections.ConfigDict({'name': name})
  del fields.network, fields.optimizer
  return fields


def test_a_model_of_the_users_own_trains_and_samples(package: Path) -> None:
  (package / 'configs').mkdir()
  (package / 'configs' / 'mine.py').write_text(
    'from experiments import common\n'
    'def get_config():\n'
    "  config = common.base('mine.model', 'digits')\n"
    '  del config.network, config.optimizer\n'
    '  config.num_steps, config.evaluation.num_samples = 4, 0\n'
    '  config.checkpoint.every = config.evaluation.every = 2\n'
    '  config.evaluation.training_samples = 0\n'
    '  return config\n'
  )
  run = f'--workdir={package}/run'
  assert main([f'--config={package}/configs/mine.py', run]) == 0
  assert main(['--mode=sample', run]) == 0
  assert main(['--mode=evaluate', run]) == 0


@pytest.mark.parametrize(
  ('before', 'after', 'message'),
  [
    ("'mean': mean}", "'mean': mean + jnp.zeros(1)}", 'arrays of different ranks'),
    ('average(lambda image: image, examples.image)', 'examples.image[0]', 'differs between'),
    ("memory['seen'] + 1", "memory['seen'] + 1.0", r"\(params, memory\)\[1\]\['seen'\] is"),
    ("{'seen': memory['seen'] + 1}", '{}', r"\['seen'\] is .* and nothing after `update`"),
    ("{'loss': mean.mean()}", "{'loss': mean}", "the metric 'loss' is .* not one number"),
    ("return params['mean'] +", 'return jnp.ones(3)  #', r'a sample is \(3,\), not'),
    ('(params, label, key)', '(params, key)', 'arguments are not those that `Objective` lists'),
    ('return Objective(', 'return dict(a=init) or Objective(', 'returned dict, not an Objective'),
    ('def build', 'def make', 'has no build'),
  ],
)
def test_a_broken_rule_is_a_sentence(package: Path, before: str, after: str, message: str) -> None:
  find_objective(config(), facts((8, 8, 1)))
  del sys.modules['mine.model']
  assert before in MODEL
  (package / 'mine' / 'model.py').write_text(MODEL.replace(before, after) + '# another length')
  with pytest.raises(UserError, match=message):
    find_objective(config(), facts((8, 8, 1)))


def test_a_package_that_is_not_there_is_a_sentence() -> None:
  with pytest.raises(UserError, match=r"name='nobodys.model' cannot be imported: .*PYTHONPATH"):
    find_objective(config('nobodys.model'), facts((8, 8, 1)))


def test_other_errors_pass_as_they_are() -> None:
  with pytest.raises(ValueError, match='a fault'), rules.sentences('vae'):
    raise ValueError('a fault of the program')


@pytest.mark.parametrize('apart', ['reduction=ordered', 'accumulate=2'])
def test_what_sees_the_whole_batch_is_refused_where_parts_are_apart(
  apart: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  fields = 'network.hidden=(4,8)', apart, 'num_steps=5', 'batch_size=32'
  command = [f'--config={ROOT}/experiments/dcgan.py', f'--workdir={tmp_path}/run']
  every = [f'--config.{f}.every=0' for f in ('checkpoint', 'evaluation')]
  assert main([*command, *every, *(f'--config.{field}' for field in fields)]) == 2
  assert "objective 'gan' looks at the whole batch" in capsys.readouterr().err
