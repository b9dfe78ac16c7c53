"""Sheets of edited images, of a diffusion model that knows the data's law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import edm
from jaxgen.datasets.splits import Dataset, Facts, Split, subset
from jaxgen.devices.parallel import TrainState
from jaxgen.latents import edits, pictures
from jaxgen.latents.explore import explore
from jaxgen.model import Model
from tests.objectives import gaussian


@pytest.fixture(scope='module')
def model() -> Model:
  """Of images of two by two pixels."""
  objective = gaussian.model(gaussian.Zero(), sampler={'steps': 10})
  params, _ = objective.init(jax.random.key(0))
  config, facts = edm.get_config(), Facts(gaussian.SHAPE, 8, (3, 5))
  return Model(config, objective, facts, TrainState(jnp.int32(0), params, (), params))


@pytest.fixture(scope='module')
def split() -> Split:
  """More images than a sheet has."""
  pixels = 127.5 * (1.0 + np.asarray(gaussian.gaussian(30)))
  return Split(np.clip(pixels, 0.0, 255.0).astype(np.uint8), np.arange(30) % 2)


def test_what_is_known_stays_and_the_rest_is_drawn_from_the_law(model: Model, split: Split) -> None:
  sheet = edits.inpainting(model, split)
  assert sheet.shape == (10, 2 + edits.DRAWINGS, *gaussian.SHAPE)
  assert all((row[0] == split.images).all(axis=(1, 2, 3)).any() for row in sheet)
  np.testing.assert_array_equal(sheet[:, 1:, 0], sheet[:, :1, 0].repeat(edits.DRAWINGS + 1, axis=1))
  assert (sheet[:, 1, 1] == pictures.BLANK).all()
  drawn = sheet[:, 2:, 1].astype(float) / 127.5 - 1.0
  law = np.clip(np.asarray(gaussian.gaussian(20_000)), -1.0, 1.0)
  assert drawn.mean() == pytest.approx(law.mean(), abs=4 * law.std() / np.sqrt(drawn.size))
  assert drawn.std() == pytest.approx(law.std(), rel=0.3)


def test_more_noise_leaves_less_of_an_image(model: Model, split: Split) -> None:
  """Of the last fifth of the steps nearly all, of all steps nothing."""
  sheet = edits.redrawing(model, split).astype(float)
  columns = sheet.swapaxes(0, 1).reshape(sheet.shape[1], -1)
  correlations = np.corrcoef(columns)[0, 1:].tolist()
  assert correlations[0] > 0.95
  assert abs(correlations[-1]) < 4 / np.sqrt(sheet[:, 0].size)
  assert correlations == sorted(correlations, reverse=True)


def test_a_conditional_model_is_told_the_labels_and_has_no_codes(
  model: Model, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
  told = {}
  unlike = model.objective._replace(conditional=True, encode=None, decode=None)
  monkeypatch.setattr(model, 'objective', unlike)
  for name in edits.SHEETS:

    def seen(images: np.ndarray, _: object, label: np.ndarray, name: str = name) -> np.ndarray:
      told[name] = label
      return images

    monkeypatch.setattr(model, name, seen)
  explored = explore(model, Dataset(split, split, split))
  assert set(explored.record['pictures']) == {'inpainting.png', 'redrawing.png'}
  labels = split.labels[subset(30, 10)]
  np.testing.assert_array_equal(told['edit'], labels)
  np.testing.assert_array_equal(told['inpaint'], labels.repeat(edits.DRAWINGS))
