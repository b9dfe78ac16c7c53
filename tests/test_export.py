"""What is written for other programs is read by them, and by ten lines of plain Flax."""

import json
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn

from jaxgen import configuration, export, objectives, safetensors
from jaxgen.devices.parallel import initial_state
from jaxgen.errors import UserError
from jaxgen.fields import flatten
from jaxgen.layers.normalisation import STATISTICS
from jaxgen.model import Model
from tests.examples import TINY, facts

ROOT = Path(__file__).parent.parent
ARRAYS = st.dictionaries(
  st.text(min_size=1, max_size=8).filter(lambda name: name != '__metadata__'),
  st.sampled_from(list(safetensors.NAMES)).flatmap(
    lambda dtype: drawn.arrays(dtype, drawn.array_shapes(min_dims=0, max_dims=3, min_side=0))
  ),
  max_size=4,
)


@given(arrays=ARRAYS)
def test_what_was_written_is_read(
  arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> None:
  path = tmp_path_factory.mktemp('written') / 'arrays.safetensors'
  safetensors.write(path, arrays)
  found = safetensors.read(path)
  assert list(found) == list(arrays)
  for name, array in arrays.items():
    assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
    assert found[name].tobytes() == array.tobytes()


def test_a_file_by_the_formats_own_description(tmp_path: Path) -> None:
  header = (
    b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  '
  )
  content = len(header).to_bytes(8, 'little') + header + np.float32([1.5, -2]).tobytes()
  path = tmp_path / 'file'
  path.write_bytes(content)
  np.testing.assert_array_equal(safetensors.read(path)['a'], [1.5, -2.0])
  for damaged in (
    content[:-1],
    content[:20],
    b'',
    content.replace(b'[2]', b'[3]'),
    content.replace(b'F32', b'BF1'),
    content.replace(b'[0,8]', b'[4,8]'),
    content.replace(b'"shape"', b'"shapf"'),
    (2**60).to_bytes(8, 'little') + header,
  ):
    path.write_bytes(damaged)
    with pytest.raises(UserError, match='is no whole safetensors file'):
      safetensors.read(path)


def model_of(experiment: str) -> Model:
  """An untrained model of an experiment, tiny."""
  config = configuration.load(str(ROOT / f'experiments/{experiment}.py'), None, [])
  known = dict(flatten(config.to_dict()))
  config.update_from_flattened_dict({name: v for name, v in TINY.items() if name in known})
  objective = objectives.find_objective(config, facts((8, 8, 1)))
  return Model(config, objective, facts((8, 8, 1)), initial_state(objective, 0))


@pytest.mark.slow
def test_ten_lines_of_plain_flax_call_the_network(tmp_path: Path) -> None:
  model = model_of('ddpm')
  key = jax.random.key(0)  # the network's last layer starts at zero
  model.params = jax.tree.map(lambda leaf: jax.random.normal(key, leaf.shape), model.params)
  model.export(tmp_path / 'exported')
  lines = export.__doc__.partition('ten lines:\n')[2].partition('\n\n`')[0].strip('\n')
  image, time = jnp.ones((8, 8, 1)), jnp.int32(3)
  known = {'image': image, 'time': time}
  assert len(lines.splitlines()) == 10
  program = textwrap.dedent(lines).replace("'exported/", f"'{tmp_path}/exported/")
  exec(program, known)  # noqa: S102
  expected = model.network.apply(model.params, image, time)
  assert np.abs(expected).max() > 1.0
  np.testing.assert_array_equal(known['output'], expected)


def test_every_network_is_described_and_every_parameter_written(tmp_path: Path) -> None:
  model = model_of('wgan')
  model.export(tmp_path)
  about = json.loads((tmp_path / 'config.json').read_text())
  critic = about['networks']['critic']
  assert critic['class'] == 'jaxgen.networks.mlp.Encoder'
  assert critic['fields']['hidden'] == [16, 16]
  assert critic['fields']['activation'] == 'jaxgen.objectives.adversarial.players.leaky_relu'
  assert about['networks']['generator']['fields']['image_shape'] == [8, 8, 1]
  assert about['config'] == json.loads(json.dumps(model.config.to_dict()))
  arrays = safetensors.read(tmp_path / 'model.safetensors')
  kernel = model.params['generator']['params']['Dense_0']['kernel']
  np.testing.assert_array_equal(arrays['generator/params/Dense_0/kernel'], kernel)
  assert len(arrays) == len(jax.tree.leaves(model.params))
  model.export(tmp_path)  # again


def test_what_is_written_is_what_samples_are_drawn_with(tmp_path: Path) -> None:
  """Of a generator that normalises over the batch, its statistics under the weights as they are."""
  model = model_of('dcgan')
  model.export(tmp_path)
  arrays = safetensors.read(tmp_path / 'model.safetensors')
  names = [name for name in arrays if name.startswith(f'generator/{STATISTICS}/')]
  settled = model.evaluation.settle(model.params)['generator'][STATISTICS]
  for array, leaf in zip(map(arrays.get, names), jax.tree.leaves(settled), strict=True):
    np.testing.assert_array_equal(array, leaf)
  kept = jax.tree.leaves(model.params['generator'][STATISTICS])
  assert not all(map(np.array_equal, kept, map(arrays.get, names)))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
  (tmp_path / 'config.json').write_text('{}')
  with pytest.raises(UserError, match=r'holds another config.json: export to a folder of its own'):
    model_of('vae').export(tmp_path)
  assert (tmp_path / 'config.json').read_text() == '{}'
  (tmp_path / 'model.safetensors').write_bytes(b'of another program')
  with pytest.raises(UserError, match=r'another config.json and model.safetensors'):
    model_of('vae').export(tmp_path)
  (tmp_path / 'config.json').unlink()
  with pytest.raises(UserError, match=r'another model.safetensors'):
    model_of('vae').export(tmp_path)
  assert (tmp_path / 'model.safetensors').read_bytes() == b'of another program'
