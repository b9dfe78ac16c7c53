"""jaxgen.load: what a notebook does with a trained model is what the command line does."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import jaxgen
from jaxgen.errors import UserError
from jaxgen.main import main
from jaxgen.training.workdir import RECORD

ROOT = Path(__file__).parent.parent
SMALL = (
  *('num_steps=20', 'steps_per_call=1', 'checkpoint.every=10', 'network.hidden=(16,)'),
  *('evaluation.every=10', 'evaluation.training_samples=0', 'evaluation.num_samples=0'),
)


def train(experiment: str, workdir: Path, *fields: str) -> int:
  overrides = [f'--config.{field}' for field in (*SMALL, *fields)]
  return main([f'--config={ROOT}/experiments/{experiment}.py', f'--workdir={workdir}', *overrides])


@pytest.fixture(scope='module')
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
  """A VAE, a conditional GAN and a mixture after a few updates."""
  folder = tmp_path_factory.mktemp('runs')
  best = 'checkpoint.best=validation/elbo_bernoulli_surrogate_nats'
  assert train('vae', folder / 'vae', best) == 0
  assert train('cgan', folder / 'cgan') == 0
  yield folder
  jax.clear_caches()


def drawn(workdir: Path, *arguments: str) -> np.ndarray:
  """What the command line samples."""
  assert main(['--mode=sample', f'--workdir={workdir}', '--num_samples=7', *arguments]) == 0
  with np.load(workdir / 'samples.npz') as file:
    return file['samples']


@pytest.mark.parametrize('parameters', ['ema', 'raw'])
@pytest.mark.parametrize('which', ['last', 'best'])
def test_samples_are_those_of_the_command_line(runs: Path, parameters: str, which: str) -> None:
  model = jaxgen.load(runs / 'vae', which=which, parameters=parameters)
  arguments = f'--parameters={parameters}', f'--checkpoint={which}'
  expected = drawn(runs / 'vae', *arguments, '--config.seed=3')
  np.testing.assert_array_equal(model.sample(7, seed=3), expected)
  assert repr(model) == f'<vae after {model.step} updates on digits (8, 8, 1)>'
  assert model.sample(3).dtype == np.uint8


def test_labels_are_asked_for_alone_or_in_turn(runs: Path) -> None:
  model = jaxgen.load(runs / 'cgan')
  for label, argument in ((np.int64(7), '7'), ((0, 1, 2), '0,1,2')):
    expected = drawn(runs / 'cgan', f'--label={argument}')
    np.testing.assert_array_equal(model.sample(7, label=label), expected)
  zeros, ones = (model.sample(7, label=label) for label in (0, 1))
  mixed = model.sample(7, label=(0, 1))
  np.testing.assert_array_equal(mixed[::2], zeros[::2])
  np.testing.assert_array_equal(mixed[1::2], ones[1::2])
  assert (zeros != ones).any()


def test_labels_that_nobody_asks_for_are_drawn_as_the_data_have_them(runs: Path) -> None:
  """Each by its seed and index alone, and none of an unconditional model."""
  evaluation, key = jaxgen.load(runs / 'cgan').evaluation, jax.random.key(1)
  labels = evaluation.labels(2000, key)
  counts = json.loads((runs / 'cgan' / RECORD).read_text())['class_counts']
  assert sum(counts) == 1258
  shares = np.bincount(labels, minlength=10) / 2000
  np.testing.assert_allclose(shares, np.array(counts) / 1258, atol=0.03)
  np.testing.assert_array_equal(evaluation.labels(5, key), labels[:5])
  assert (jaxgen.load(runs / 'vae').evaluation.labels(3, key) == -1).all()


def test_codes_go_there_and_back(runs: Path) -> None:
  """The posterior's mean and the decoder's, by the networks themselves."""
  model, digits = jaxgen.load(runs / 'vae'), jaxgen.data('digits')
  images = digits.test.images[:5]
  codes = model.encode(images)
  floats = images.astype(np.float32) / 127.5 - 1.0
  network = jax.vmap(model.network['encoder'].apply, in_axes=(None, 0))
  np.testing.assert_allclose(codes, network(model.params['encoder'], floats)[:, :8], atol=1e-5)
  pictures = model.decode(codes)
  assert (pictures.shape, pictures.dtype) == (images.shape, np.uint8)
  logits = jax.vmap(model.network['decoder'].apply, in_axes=(None, 0))(
    model.params['decoder'], codes
  )
  np.testing.assert_allclose(pictures, 255 / (1 + np.exp(-logits)), atol=0.6)


def test_evaluation_is_that_of_the_command_line(runs: Path) -> None:
  model, test = jaxgen.load(runs / 'vae'), jaxgen.data('digits').test
  assert main(['--mode=evaluate', f'--workdir={runs}/vae']) == 0
  expected = json.loads((runs / 'vae' / 'evaluation.json').read_text())['ema']
  assert model.evaluate(test.images, test.labels) == pytest.approx(expected, rel=1e-6)


def test_plain_orbax_reads_a_checkpoint(runs: Path) -> None:
  state = ocp.StandardCheckpointer().restore((runs / 'vae' / 'checkpoints' / '20').resolve())
  assert state.keys() == {'step', 'params', 'memory', 'ema'}
  model = jaxgen.load(runs / 'vae')
  for ours, theirs in zip(*map(jax.tree.leaves, (model.params, state['ema'])), strict=True):
    np.testing.assert_array_equal(ours, theirs)


def test_a_run_begins_with_anothers_averaged_parameters(
  runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
  """And with nothing else of it; it resumes as itself, and only as what it began as."""
  source = f'--init_from={runs}/vae'
  arguments = [f'--config={ROOT}/experiments/vae.py', f'--workdir={tmp_path}/fine']
  arguments += [f'--config.{field}' for field in SMALL] + ['--config.optimizer.learning_rate=0.0']
  assert main([*arguments, source]) == 0
  tuned, before = jaxgen.load(tmp_path / 'fine'), jaxgen.load(runs / 'vae')
  for parameters in (tuned.params, tuned.state.params):
    for a, b in zip(*map(jax.tree.leaves, (parameters, before.params)), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-6)
  assert tuned.step == 20
  assert main([f'--workdir={tmp_path}/fine']) == 0
  capsys.readouterr()
  assert main(arguments) == 2
  assert 'init_from' in capsys.readouterr().err
  other = ['--config.network.hidden=(8,)', f'--workdir={tmp_path}/other']
  assert main([*arguments, source, *other]) == 2
  assert 'another architecture' in capsys.readouterr().err
  assert main([*arguments, f'--workdir={tmp_path}/none', f'--init_from={tmp_path}/nothing']) == 2
  assert f'{tmp_path}/nothing holds no config.json' in capsys.readouterr().err
  assert main([*arguments, source, f'--workdir={tmp_path}/none']) == 0  # nothing was spoilt
  by_em = [f'--config={ROOT}/experiments/probabilistic_pca.py', f'--workdir={tmp_path}/em']
  assert main([*by_em, source]) == 2
  assert 'probabilistic_pca is not averaged, as its updates replace' in capsys.readouterr().err


def test_what_cannot_be_is_one_sentence(runs: Path, tmp_path: Path) -> None:
  vae, images = jaxgen.load(runs / 'vae'), jaxgen.data('digits').test.images[:2]
  gan = jaxgen.load(runs / 'cgan')
  (tmp_path / 'foreign').mkdir()
  (tmp_path / 'foreign' / 'config.json').write_text('[]')
  for attempt, message in (
    (lambda: jaxgen.load(tmp_path), 'holds no config.json'),
    (lambda: jaxgen.load(tmp_path / 'foreign'), 'cannot read'),
    (
      lambda: jaxgen.load(runs / 'vae', which='newest'),
      "checkpoint 'newest' are not kept.",
    ),
    (
      lambda: jaxgen.load(runs / 'vae', parameters='mean'),
      "parameters 'mean' are not kept",
    ),
    (lambda: jaxgen.load(runs / 'vae', steps=5), "this experiment has no section 'sampler'"),
    (lambda: vae.sample(0), '0 samples were asked for'),
    (lambda: vae.sample(2.5), '2.5 samples were asked for'),
    (lambda: gan.sample(3, label=2.0), 'label=2.0: classes are whole numbers'),
    (lambda: gan.evaluate(images), 'this model is conditional: give the labels'),
    (lambda: gan.evaluate(images, [1, 77]), 'classes 0 to 9, and these labels others'),
    (lambda: gan.evaluate(images, [1]), r'there are 2 pictures, and labels \(1,\)'),
    (lambda: vae.decode(np.zeros((2, 5))), r'codes \(2, 5\) cannot be decoded'),
    (lambda: vae.decode(np.zeros(8)), r'codes \(8,\) cannot be decoded'),
    (lambda: vae.decode(np.zeros((0, 8))), r'codes \(0, 8\) cannot be decoded'),
    (lambda: vae.decode(np.full((1, 8), np.nan)), 'not finite'),
    (lambda: vae.sample(3, label=1), 'label=1: this model was trained without labels'),
    (lambda: gan.sample(3, label=(0, 10)), 'label=10: the data have the classes 0 to 9'),
    (lambda: gan.encode(images), "the objective 'adversarial' cannot encode"),
    (lambda: gan.decode(np.zeros((1, 100))), "the objective 'adversarial' cannot decode"),
    (lambda: vae.encode(images / 255), r'pictures are float64 \(2, 8, 8, 1\); this model takes'),
    (lambda: vae.evaluate(images[:, :4]), r'this model takes uint8 \(N, 8, 8, 1\)'),
    (lambda: jaxgen.data('digits', size=8), "unknown field 'size' of data"),
  ):
    with pytest.raises(UserError, match=message):
      attempt()
  with pytest.raises(AttributeError, match='no attribute'):
    _ = jaxgen.nothing


def test_importing_jaxgen_takes_nothing_with_it() -> None:
  program = 'import sys, jaxgen; assert jaxgen.__version__; assert "jax" not in sys.modules'
  finished = subprocess.run([sys.executable, '-c', program], cwd=ROOT, check=False)
  assert finished.returncode == 0


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
  path = ROOT / 'experiments' / 'notebooks' / 'first_look.py'
  scores = "'--config.evaluation.training_samples=0'"  # which a classifier would have to see
  program = path.read_text().replace("num_steps=2000'", f"num_steps=20', {scores}")
  (tmp_path / 'notebooks').mkdir()
  copy = tmp_path / 'notebooks' / 'first_look.py'
  copy.write_text(program)
  os.symlink(ROOT / 'experiments' / 'vae.py', tmp_path / 'vae.py')
  monkeypatch.setattr(sys, 'argv', ['first_look.py', str(tmp_path)])
  runpy.run_path(str(copy))
  assert {'samples.png', 'way.png'} <= {file.name for file in tmp_path.iterdir()}


@pytest.mark.slow
def test_the_tour_runs_from_top_to_end(
  tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
  """On a small network, and a few steps."""
  (tmp_path / 'notebooks').mkdir()
  copy = tmp_path / 'notebooks' / 'tour.py'
  copy.write_text((ROOT / 'experiments' / 'notebooks' / 'tour.py').read_text())
  os.symlink(ROOT / 'experiments' / 'vae.py', tmp_path / 'vae.py')
  (tmp_path / 'edm.py').write_text("""
from experiments import edm

def get_config():
  config = edm.get_config('digits')
  config.network.channels, config.network.multipliers, config.network.attention = 8, (1,), ()
  config.sampler.steps, config.cpu_devices, config.optimizer.warmup_steps = 8, 1, 10
  return config
""")
  few = ['num_steps=40', 'evaluation.training_samples=0', 'evaluation.num_samples=100']
  arguments = [f'--config.{field}' for field in (*few, 'checkpoint.best=')]
  monkeypatch.setattr(sys, 'argv', ['tour.py', str(tmp_path / 'tour'), *arguments])
  runpy.run_path(str(copy))
  said = capsys.readouterr().out
  assert 'edm: codes (8, 8, 1), off by' in said
  assert said.count('real images: ') == 2
  made = {file.name for file in (tmp_path / 'tour').iterdir()}
  assert {'report.html', 'edm-five-steps.png'} <= made
  for name in ('vae', 'edm'):
    assert {f'{name}-{what}.png' for what in ('samples', 'back', 'way')} <= made
