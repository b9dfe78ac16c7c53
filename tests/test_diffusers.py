"""Checkpoints of diffusers: their networks' outputs, their names, and what is not to be had."""

import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import diffusers, safetensors
from jaxgen.diffusers import WEIGHTS
from jaxgen.diffusers_checkpoint import OLDER
from jaxgen.errors import UserError
from jaxgen.networks.diffusers_unet import DiffusersUNet
from jaxgen.objectives.diffusion import process
from tests.answers import TIMES, UNETS, stored, unet_images, unet_weights

EXPERIMENT = str(Path(__file__).parent.parent / 'experiments' / 'ddpm.py')
SCHEDULER = {'beta_schedule': 'linear', 'num_train_timesteps': 1000, 'variance_type': 'fixed_large'}


def older(name: str) -> str:
  """How diffusers called a parameter of an attention at first."""
  for before, now in OLDER.items():
    name = name.replace(f'.{now}.', f'.{before}.')
  return name


def checkpoint(folder: Path, name: str = 'first', **changed: Any) -> Path:
  """A folder with a small network, some of whose config is changed."""
  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'config.json').write_text(json.dumps(UNETS[name] | changed))
  weights = unet_weights(name)
  if name == 'first':
    weights = {older(n): w for n, w in weights.items()}
  safetensors.write(folder / WEIGHTS, weights)
  return folder


@pytest.mark.parametrize('name', UNETS)
def test_outputs_agree_with_diffusers(name: str, tmp_path: Path) -> None:
  """Whose steps are counted from 0; here they are from 1."""
  model = diffusers.load(checkpoint(tmp_path, name), EXPERIMENT)
  images = unet_images(name).transpose(0, 2, 3, 1)
  call = jax.jit(jax.vmap(model.network.apply, in_axes=(None, 0, 0)))
  found = call(model.params, images, jnp.array(TIMES) + 1)
  expected = stored(f'unet {name}').transpose(0, 2, 3, 1)
  assert np.abs(expected).max() > 0.3
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_pipeline_is_sampled_by_its_own_noise(tmp_path: Path) -> None:
  checkpoint(tmp_path / 'unet')
  (tmp_path / 'scheduler').mkdir()
  (tmp_path / 'scheduler' / 'scheduler_config.json').write_text(json.dumps(SCHEDULER))
  model = diffusers.load(tmp_path, EXPERIMENT, name='ddim', steps=2)
  assert model.config.objective.timesteps == 1000
  betas = np.linspace(1e-4, 0.02, 1000)  # as diffusers has them
  np.testing.assert_allclose(process.alpha_bars('linear', 1000)[1:], np.cumprod(1.0 - betas))
  assert model.config.objective.variance == 'large'
  assert model.config.sampler.name == 'ddim'
  samples = model.sample(3, seed=1)
  assert samples.shape == (3, 8, 8, 3)
  assert samples.std(axis=(1, 2, 3)).min() > 1.0


def test_the_network_of_ddpm_has_the_papers_parameters() -> None:
  """35.7 M for CIFAR-10 (Ho et al. 2020, app. B); google/ddpm-cifar10-32 has 35,746,307."""
  image = jax.ShapeDtypeStruct((32, 32, 3), jnp.float32)
  shapes = jax.eval_shape(DiffusersUNet().init, jax.random.key(0), image, jnp.int32(1))
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 35_746_307


@pytest.mark.parametrize(
  ('changed', 'message'),
  [
    ({'_class_name': 'UNet2DConditionModel'}, "class 'UNet2DConditionModel' is no UNet2DModel"),
    ({'resnet_time_scale_shift': 'scale_shift'}, "resnet_time_scale_shift='scale_shift' here"),
    ({'up_block_types': ['UpBlock2D', 'AttnUpBlock2D']}, 'or on the way up, but not on both'),
    ({'down_block_types': ['SkipDownBlock2D'] * 2}, "has a block 'SkipDownBlock2D' here"),
    ({'layers_per_block': 2}, "has no 'down_blocks.0.resnets.1."),
    ({'block_out_channels': [8, 8]}, 'in the checkpoint, and '),
    ({'block_out_channels': [8, 18]}, 'network.groups=4 must divide'),
    ({'out_channels': 6}, 'in the checkpoint, and '),
  ],
)
def test_what_is_not_to_be_had_is_a_sentence(
  changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
  checkpoint(tmp_path, **changed)
  with pytest.raises(UserError) as raised:
    diffusers.load(tmp_path, EXPERIMENT)
  assert message in str(raised.value)


def test_files_and_schedulers_that_do_not_fit(tmp_path: Path) -> None:
  with pytest.raises(UserError, match=r'cannot read .*config.json'):
    diffusers.load(tmp_path, EXPERIMENT)
  checkpoint(tmp_path)
  with pytest.raises(UserError, match="has the objective 'vae', not ddpm"):
    diffusers.load(tmp_path, EXPERIMENT.replace('ddpm', 'vae'))
  for field, value in (
    ('prediction_type', 'v_prediction'),
    ('beta_schedule', 'scaled_linear'),
    ('beta_end', 0.012),
    ('_class_name', 'KarrasVeScheduler'),
    ('trained_betas', [0.1, 0.2]),
    ('rescale_betas_zero_snr', True),
    ('thresholding', True),
    ('clip_sample_range', 4.0),
  ):
    (tmp_path / 'scheduler_config.json').write_text(json.dumps(SCHEDULER | {field: value}))
    with pytest.raises(
      UserError, match=re.escape(f'the scheduler has {field}={value!r}, and jaxgen')
    ):
      diffusers.load(tmp_path, EXPERIMENT)
  fewer = SCHEDULER | {'num_train_timesteps': 50}  # whose noise would not be that of ddpm.py
  (tmp_path / 'scheduler_config.json').write_text(json.dumps(fewer))
  with pytest.raises(UserError, match=r'the scheduler has beta_start=0.0001, and jaxgen 0.002'):
    diffusers.load(tmp_path, EXPERIMENT)
  (tmp_path / 'scheduler_config.json').unlink()
  weights = unet_weights('first') | {'more': np.zeros(2, np.float32)}
  safetensors.write(tmp_path / WEIGHTS, weights)
  with pytest.raises(UserError, match="the checkpoint has 'more', which its config"):
    diffusers.load(tmp_path, EXPERIMENT)
