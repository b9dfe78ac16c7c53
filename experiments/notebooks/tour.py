# %% [markdown]
# A first evening: train a VAE and a diffusion model on the digits, load them, draw, encode,
# interpolate, compare, read the report. About ten minutes on two cores. Each `# %%` begins a cell
# where an editor, or Jupyter with jupytext, shows this file as a notebook; `python tour.py FOLDER`
# runs it all, and overrides such as `--config.num_steps=400` may follow.

# %%
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import jaxgen
from jaxgen.main import main
from jaxgen.report.__main__ import main as report

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
experiments = Path(__file__).parent.parent
steps = {'vae': 2000, 'edm': 1000}

# %% Train. The same cell again resumes what was stopped, and does nothing where all is done.
for name, count in steps.items():
  command = [f'--config={experiments}/{name}.py', f'--workdir={folder}/{name}']
  main([*command, f'--config.num_steps={count}', *sys.argv[2:]])

# %% Load. A model is its config, its Flax networks, its parameters, and functions of images.
digits = jaxgen.data('digits')
models = {name: jaxgen.load(folder / name) for name in steps}
for name, model in models.items():
  print(name, model, model.evaluate(digits.test.images[:100], digits.test.labels[:100]))

# %% Draw. Sample 7 of seed 1 is the same, however many are drawn; in a notebook the last line of a
# cell is shown. A diffusion model takes another sampler, or fewer steps, without training.
for name, model in models.items():
  jaxgen.grid(model.sample(100, seed=1)).save(folder / f'{name}-samples.png')
quick = jaxgen.load(folder / 'edm', steps=5)
jaxgen.grid(quick.sample(100, seed=1)).save(folder / 'edm-five-steps.png')

# %% Encode and decode. A VAE's code is a few numbers, and loses something; a diffusion model's is
# the noise that its flow leads to the image, as large as the image, and loses little.
some = digits.test.images[:9]
for name, model in models.items():
  codes = model.encode(some)
  back = model.decode(codes)
  error = np.abs(back.astype(float) - some).mean()
  print(f'{name}: codes {codes.shape[1:]}, off by {error:.1f} of 255 grey levels')
  jaxgen.grid(np.concatenate([some, back]), columns=9).save(folder / f'{name}-back.png')


# %% Interpolate, from a three to an eight.
def way(start: np.ndarray, end: np.ndarray, count: int = 9) -> np.ndarray:
  """Codes between two, as long as codes are: noise of variance 1 keeps that variance."""
  weight = np.linspace(0, 1, count).reshape(-1, *[1] * start.ndim)
  return ((1 - weight) * start + weight * end) / np.sqrt((1 - weight) ** 2 + weight**2)


ends = np.stack([digits.test.images[digits.test.labels == label][0] for label in (3, 8)])
for name, model in models.items():
  codes = way(*model.encode(ends))
  jaxgen.grid(model.decode(codes), columns=9).save(folder / f'{name}-way.png')

# %% Compare. Every number comes with its error and with what real images score; the smaller the
# Fréchet distance the better, down to that of real images.
for name in steps:
  main(['--mode=evaluate', f'--workdir={folder}/{name}'])

for name in steps:
  scores = json.loads((folder / name / 'evaluation.json').read_text())['ema_scores']
  for whose, numbers in ((name, scores['numbers']), ('real images', scores['real']['numbers'])):
    for number in numbers:
      if number['protocol']['name'].startswith('fid_') and number['protocol']['split'] == 'test':
        print(f'{whose}: {number["value"]:.1f} ± {number["standard_error"]:.1f}')

# %% Read the report: one page with both models, to be opened in a browser.
page = folder / 'report.html'
report([*(f'{folder}/{name}' for name in steps), f'--output={page}'])
