"""Diffusion of codes: a linear autoencoder whose codes' law is known, and runs on one another."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

import jaxgen
from experiments import edm, latent_diffusion
from jaxgen import objectives
from jaxgen.errors import UserError
from jaxgen.main import main
from jaxgen.objectives import second_stage as codes
from jaxgen.objectives.base import Objective
from tests.examples import draw, example, examples, facts, on_one_device
from tests.objectives import gaussian
from tests.objectives.gaussian import DEVIATION, SHAPE, Exact

ROOT = Path(__file__).parent.parent.parent
GAIN, SHIFT = 3.0, 2.0  # z = GAIN x + SHIFT


def linear() -> Objective:
  """An autoencoder that loses nothing."""
  return gaussian.model(gaussian.Zero())._replace(
    init=lambda key: ({'gain': jnp.full((), GAIN)}, ()),
    encode=lambda params, image, key: params['gain'] * image + SHIFT,
    decode=lambda params, z, key: (z - SHIFT) / params['gain'],
  )


def model() -> tuple[Objective, Objective]:
  """Of codes, with a denoiser of y ~ N(0, DEVIATION^2), and that of y alone."""
  inner = gaussian.model(Exact('edm', 'preconditioned'), mean=0.0, sampler={'name': 'heun'})
  return codes.second_stage(inner, linear(), SHAPE), inner


def seen(params: Any, mean: float, deviation: float) -> Any:
  """The parameters after codes of this mean and deviation."""
  first = jnp.full(SHAPE, mean)
  return params | {'codes': {'first': first, 'second': first**2 + deviation**2}}


def test_codes_are_standardised_by_all_that_were_seen() -> None:
  """A mean of each number and one deviation, of the images of all batches; the rest stays."""
  objective, _ = model()
  params, memory = objective.init(jax.random.key(0))
  step, rng = jax.jit(on_one_device(objective)), np.random.default_rng(0)
  batches = rng.normal(0.1, 0.5, size=(3, 8, *SHAPE))
  for i, batch in enumerate(batches):
    keys = jax.random.split(jax.random.key(i), 8)
    params, memory, _ = step(params, memory, jnp.asarray(batch, jnp.float32), keys, i)
  z = GAIN * batches.reshape(-1, *SHAPE) + SHIFT
  mean, deviation = codes.scale(params['codes'])
  np.testing.assert_allclose(mean, z.mean(0), rtol=1e-4)
  np.testing.assert_allclose(deviation, np.sqrt(z.var(axis=0).mean()), rtol=1e-4)
  assert params['autoencoder'] == {'gain': GAIN}


def test_samples_are_decoded_from_where_codes_lie() -> None:
  """y ~ N(0, c^2) stands for z = 5 + 2 y, and x = (z - 2) / 3."""
  objective, _ = model()
  params = seen(objective.init(jax.random.key(0))[0], 5.0, 2.0)
  x = np.asarray(draw(objective, params, jax.random.split(jax.random.key(1), 2000)))
  assert x.mean() == pytest.approx((5.0 - SHIFT) / GAIN, abs=0.02)
  assert x.std() == pytest.approx(2.0 * DEVIATION / GAIN, rel=0.03)


def test_held_out_numbers_are_those_of_codes_and_of_what_is_restored() -> None:
  objective, inner = model()
  params = seen(objective.init(jax.random.key(0))[0], 5.0, 2.0)
  image, key = jnp.array([[0.1, -0.3], [0.8, 0.0]])[..., None], jax.random.key(2)
  found = objective.evaluate(params, example(image), key)
  y = (GAIN * image + SHIFT - 5.0) / 2.0
  (expected,) = inner.evaluate(params['second'], example(y), jax.random.split(key, 3)[1]).items()
  assert found[f'code_{expected[0]}'] == pytest.approx(float(expected[1]), rel=1e-5)
  assert found['reconstruction_squared_error'] == pytest.approx(0.0, abs=1e-10)


def test_noise_is_a_code_of_a_code() -> None:
  """There and back, edited by a little, and shown."""
  objective, _ = model()
  params, key = seen(objective.init(jax.random.key(0))[0], 5.0, 2.0), jax.random.key(3)
  image = jnp.array([[0.9, 1.3], [0.8, 1.1]])[..., None]
  latent = jax.jit(objective.encode)(params, image, key)
  y = (GAIN * image + SHIFT - 5.0) / 2.0
  np.testing.assert_allclose(latent, y / DEVIATION, rtol=0.05, atol=0.02)
  np.testing.assert_allclose(jax.jit(objective.decode)(params, latent, key), image, atol=0.02)
  edited = objective.edit(params, image, jnp.int32(-1), 0.02, key)
  np.testing.assert_allclose(edited, image, atol=0.05)
  for figure in objective.figures.values():
    shown = figure(params, examples(jnp.stack([image, -image])), key)
    assert shown.shape[2:] == SHAPE
    assert np.isfinite(shown).all()


def config_of(**sections: dict[str, Any]) -> ml_collections.ConfigDict:
  config = latent_diffusion.get_config()
  config.autoencoder.network.hidden = (8,)
  for name, fields in sections.items():
    with config[name].unlocked():
      config[name].update(fields)
  return config


def built(config: ml_collections.ConfigDict) -> Objective:
  return objectives.find_objective(config, facts((8, 8, 1), classes=10))


def test_spatial_codes_take_a_unet() -> None:
  """Here, the noise of another diffusion model, which has the images' shape."""
  config, first = config_of(), edm.get_config()
  first.network.channels = 8
  config.autoencoder, config.network = first, first.network
  params = jax.eval_shape(built(config).init, jax.random.key(0))[0]
  assert params['codes']['first'].shape == (8, 8, 1)


@pytest.mark.parametrize(
  ('sections', 'message'),
  [
    ({'sampler': {'clip': True}}, 'sampler.clip=True would cut codes'),
    ({'network': {'name': 'unet', 'channels': 8, 'hidden': ()}}, "unexpected keyword .*'hidden'"),
  ],
)
def test_what_cannot_be_of_codes(sections: dict[str, Any], message: str) -> None:
  with pytest.raises(UserError, match=message):
    built(config_of(**sections))


def test_vectors_and_a_network_of_images_do_not_go_together() -> None:
  config = config_of()
  config.network = edm.get_config().network
  with pytest.raises(UserError, match=r"network.name='unet' does not take codes \(8,\): .* mlp"):
    built(config)


TINY = (
  'optimizer.warmup_steps=0',
  *('num_steps=4', 'steps_per_call=1', 'checkpoint.every=4', 'network.hidden=(8,)', 'log_every=4'),
  *('evaluation.every=0', 'evaluation.training_samples=0', 'evaluation.num_samples=0'),
)


def train(experiment: str, workdir: Path, *fields: str) -> int:
  arguments = [f'--config.{field}' for field in (*TINY, *fields)]
  return main([f'--config={ROOT}/experiments/{experiment}.py', f'--workdir={workdir}', *arguments])


@pytest.fixture(scope='module')
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
  """An autoencoder, and diffusion of its codes."""
  folder = tmp_path_factory.mktemp('runs')
  assert train('autoencoder', folder / 'first') == 0
  named = f'objective.autoencoder={folder}/first'
  assert train('latent_diffusion', folder / 'second', named, 'sampler.steps=5') == 0
  yield folder
  jax.clear_caches()


@pytest.mark.slow
def test_a_run_keeps_what_it_stands_on(
  runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  """In checkpoints and config: where the first is gone, it resumes, samples and is evaluated."""
  first, second = jaxgen.load(runs / 'first'), jaxgen.load(runs / 'second')
  for params in (second.params, second.state.params):
    for ours, theirs in zip(
      *map(jax.tree.leaves, (params['autoencoder'], first.params)), strict=True
    ):
      np.testing.assert_array_equal(ours, theirs)
  alone = shutil.copytree(runs / 'second', tmp_path / 'second')
  first_folder = (runs / 'first').rename(runs / 'moved')
  try:
    samples = jaxgen.load(alone).sample(3)
    assert (
      train('latent_diffusion', alone, f'objective.autoencoder={runs}/first', 'sampler.steps=5')
      == 0
    )
    assert 'Resuming from step 4' in capsys.readouterr().out
    assert main(['--mode=evaluate', f'--workdir={alone}']) == 0
  finally:
    first_folder.rename(runs / 'first')
  np.testing.assert_array_equal(second.sample(3), samples)
  found = json.loads((alone / 'evaluation.json').read_text())
  made = json.loads((runs / 'first' / 'run.json').read_text())['final']
  assert found['autoencoder']['sha256'] == made['ema_sha256']
  assert found['autoencoder']['updates'] == 4
  assert found['autoencoder']['training_flops_per_image'] > 0
  assert found['cost']['network_evaluations_per_sample'] == 5


@pytest.mark.slow
def test_a_first_stage_that_has_trained_on_is_not_taken_for_what_it_was(
  runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  """A run that was killed before it had saved anything knows the step that it was begun with."""
  named = f'objective.autoencoder={tmp_path}/first'
  shutil.copytree(runs / 'first', tmp_path / 'first')
  shutil.copytree(runs / 'second', tmp_path / 'second')
  shutil.rmtree(tmp_path / 'second' / 'checkpoints')
  record = json.loads((tmp_path / 'second' / 'run.json').read_text())
  del record['final']
  (tmp_path / 'second' / 'run.json').write_text(json.dumps(record))
  config = tmp_path / 'second' / 'config.json'
  config.write_text(config.read_text().replace(f'{runs}/first', f'{tmp_path}/first'))
  assert train('autoencoder', tmp_path / 'other', 'num_steps=2', 'checkpoint.every=2') == 0
  shutil.rmtree(tmp_path / 'first' / 'checkpoints')
  (tmp_path / 'other' / 'checkpoints').rename(tmp_path / 'first' / 'checkpoints')
  assert train('latent_diffusion', tmp_path / 'second', named, 'sampler.steps=5') == 2
  assert 'gives step 2 now, and this run is for step 4' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ((), "objective.autoencoder='' must name the folder of a trained autoencoder"),
    (('objective.autoencoder={runs}/none',), 'none holds no config.json'),
    (
      ('objective.autoencoder={runs}/first', 'data.validation_fraction=0.3'),
      'began with other data',
    ),
    (
      ('objective.autoencoder={runs}/first', 'data.binarize=dynamic'),
      'data.binarize=dynamic, and the autoencoder in .* was trained with none',
    ),
    (
      ('objective.autoencoder={runs}/first', 'autoencoder.objective.latent=99'),
      r'config.autoencoder.objective.latent is of the trained autoencoder',
    ),
    (('objective.autoencoder={runs}/gan',), "is of the objective 'gan', which has no codes"),
  ],
)
def test_what_cannot_be_stood_on(
  runs: Path,
  tmp_path: Path,
  capsys: pytest.CaptureFixture[str],
  fields: tuple[str, ...],
  message: str,
) -> None:
  if any('gan' in field for field in fields) and not (runs / 'gan').exists():
    assert train('gan', runs / 'gan') == 0
  capsys.readouterr()
  named = [field.format(runs=runs) for field in fields]
  assert train('latent_diffusion', tmp_path / 'run', *named) == 2
  error = capsys.readouterr().err
  assert 'Traceback' not in error
  assert re.search(message, error), error
  assert not (tmp_path / 'run' / 'config.json').exists()
