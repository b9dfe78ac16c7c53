# %% [markdown]
# Train a model on the digits, load it, look at what it knows. Each `# %%` begins a cell where an
# editor, or Jupyter with jupytext, shows this file as a notebook; `python` runs it all.

# %%
import sys
import tempfile
from pathlib import Path

import numpy as np

import jaxgen
from jaxgen.main import main

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
experiment = str(Path(__file__).parent.parent / 'vae.py')
main([f'--config={experiment}', f'--workdir={folder}/vae', '--config.num_steps=2000'])

# %%
digits = jaxgen.data('digits')
model = jaxgen.load(folder / 'vae')
print(model.step, 'updates;', model.evaluate(digits.test.images))

# %% A hundred samples; in a notebook the last line of a cell is shown.
jaxgen.grid(model.sample(100, seed=1)).save(folder / 'samples.png')

# %% Codes: from a three to an eight in nine steps.
three, eight = (digits.test.images[digits.test.labels == label][:1] for label in (3, 8))
ends = model.encode(np.concatenate([three, eight]))
weights = np.linspace(0, 1, 9)[:, None]
way = model.decode((1 - weights) * ends[:1] + weights * ends[1:])
jaxgen.grid(way, columns=9).save(folder / 'way.png')

# %% The network is plain Flax, its parameters a plain pytree.
print(model.network['decoder'].apply(model.params['decoder'], ends[0]).shape, model.config.seed)
