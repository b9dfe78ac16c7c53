"""python -m tests.peers: asks independent implementations, and writes answers.npz.

With --check, compares what they say with what is stored. Both need the packages of tests/peers.txt.
"""

import argparse
import contextlib
import functools
import importlib
import importlib.metadata
import io
import sys
import tempfile
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from jaxgen.features.inception_network import SIDE
from tests.answers import (
  FILE,
  PREPARED,
  SAVED,
  SIZES,
  SOME,
  TIMES,
  UNETS,
  draw,
  few,
  halves,
  images,
  inception_weights,
  legacy_weights,
  load,
  probabilities,
  unet_images,
  unet_weights,
)  # fmt: skip
from tests.benchmarks import settings

PEERS = ('torch', 'torch-fidelity', 'torchvision', 'prdc', 'diffusers')


def quietly(name: str) -> ModuleType:
  """Imports a peer's module without its warnings."""
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    return importlib.import_module(name)


def overlap(neighbours: int) -> list[float]:
  """Precision, recall, density, coverage by prdc."""
  sets = draw(0, 700, 32), draw(1, 600, 32, scale=1.1)
  with contextlib.redirect_stdout(io.StringIO()):
    found = quietly('prdc').compute_prdc(*sets, nearest_k=neighbours)
  return [found[name] for name in ('precision', 'recall', 'density', 'coverage')]


def precision_recall() -> list[float]:
  """By torch-fidelity."""
  peer, torch = quietly('torch_fidelity.metric_prc'), quietly('torch')
  real, generated = (
    torch.from_numpy(draw(s, n, 32, f)) for s, n, f in ((0, 700, 1), (1, 600, 0.8))
  )
  return [float(part) for part in peer.calculate_precision_recall_full(generated, real, 3)]


def frechet() -> float:
  """By torch-fidelity."""
  peer, torch = quietly('torch_fidelity.metric_fid'), quietly('torch')
  sets = draw(0, 2000, 64), draw(1, 2000, 64, scale=1.2)
  statistics = [peer.fid_features_to_statistics(torch.from_numpy(f.astype(float))) for f in sets]
  return peer.fid_statistics_to_metric(*statistics, verbose=False)['frechet_inception_distance']


def kernel() -> list[float]:
  """By torch-fidelity: of the whole sets, and the mean over two subsets."""
  peer = quietly('torch_fidelity.metric_kid')
  x, y = draw(0, 400).astype(float), draw(1, 400, scale=1.2).astype(float)
  how = {'kid_kernel': 'poly', 'kid_kernel_poly_degree': 3, 'kid_kernel_poly_coef0': 1.0}
  how['kid_kernel_poly_gamma'] = None
  parts = [peer.kernel_mmd(x[a], y[b], **how) for a, b in halves(400)]
  return [peer.kernel_mmd(x, y, **how), np.mean(parts)]


def score() -> list[tuple[float, ...]]:
  """The inception score by torch-fidelity: mean and deviation over 1 and over 10 splits."""
  peer, torch = quietly('torch_fidelity.metric_isc'), quietly('torch')
  logits = torch.from_numpy(np.log(probabilities()))[np.random.default_rng(0).permutation(200)]
  found = (peer.isc_features_to_metric(logits, splits, shuffle=False) for splits in (1, 10))
  return [tuple(one.values()) for one in found]


def resized(rows: int, columns: int) -> np.ndarray:
  """Some pixels of an image made larger or smaller as in TensorFlow 1, by torch-fidelity."""
  peer, torch = quietly('torch_fidelity.interpolate_compat_tensorflow'), quietly('torch')
  image = images(0, 1, rows, columns, 3).astype(np.float32).transpose(0, 3, 1, 2)
  resize = peer.interpolate_bilinear_2d_like_tensorflow1x
  made = resize(torch.from_numpy(image), size=(SIDE, SIDE), align_corners=False).numpy()
  return made[0][:, SOME][:, :, SOME].transpose(1, 2, 0)


def saved(zipped: bool) -> np.ndarray:
  """The bytes of a file by torch.save, in the layout of today or of before torch 1.6."""
  torch, buffer = quietly('torch'), io.BytesIO()
  state = {name: torch.from_numpy(array) for name, array in SAVED.items()}
  torch.save(state, buffer, _use_new_zipfile_serialization=zipped)
  return np.frombuffer(buffer.getvalue(), np.uint8)


def inception_outputs() -> np.ndarray:
  """Features and logits (3, 2048 + 1008) of images under random weights, by torch-fidelity."""
  torch, peer = quietly('torch'), quietly('torch_fidelity.feature_extractor_inceptionv3')
  weights = inception_weights() | {'fc.bias': np.ones(1008, np.float32)}
  with tempfile.NamedTemporaryFile(suffix='.pth') as file:
    torch.save({name: torch.from_numpy(weight) for name, weight in weights.items()}, file.name)
    network = peer.FeatureExtractorInceptionV3(
      'peer', ['2048', 'logits_unbiased'], feature_extractor_weights_path=file.name
    )
  made = network(torch.from_numpy(images(1, 3, 32, 32, 3)).permute(0, 3, 1, 2))
  return np.concatenate([part.numpy() for part in made], axis=1)


def stretched(batch: np.ndarray, real: bool) -> Any:
  """Images as the report feeds torchvision's network: resized, grey thrice, to their own range."""
  torch = quietly('torch')
  x = torch.from_numpy(batch).permute(0, 3, 1, 2)
  x = x if real else x.float()
  x = torch.nn.functional.interpolate(x, size=(SIDE, SIDE), mode='bicubic')
  x = x.float().repeat(1, 3, 1, 1)
  low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
  return (x - low) / (high - low)


def prepared(real: bool, side: int) -> np.ndarray:
  """Some pixels of `stretched` images after the shift that torchvision's network begins with."""
  x = stretched(images(1, 3, side, side, 1), real).numpy().transpose(0, 2, 3, 1)
  deviation, mean = np.array([0.229, 0.224, 0.225]), np.array([0.485, 0.456, 0.406])
  return (x * (deviation / 0.5) + (mean - 0.5) / 0.5)[:, SOME][:, :, SOME].astype(np.float32)


def legacy_features() -> list[np.ndarray]:
  """Every eighth feature of two batches, by torchvision's network in training mode."""
  torch = quietly('torch')
  network = quietly('torchvision').models.inception_v3(
    weights=None, init_weights=False, transform_input=True
  )
  state = {name: torch.from_numpy(weight) for name, weight in legacy_weights().items()}
  assert not network.load_state_dict(state, strict=False).unexpected_keys
  found: list[np.ndarray] = []
  network.avgpool.register_forward_hook(lambda *call: found.append(call[2].flatten(1).numpy()))
  with torch.no_grad():
    for seed in (2, 3):
      network.train()(stretched(images(seed, 6, 28, 28, 1), False))
  return [part[:, ::8] for part in found]


def unet_outputs(name: str) -> np.ndarray:
  """Of a small `UNet2DModel` of diffusers with random weights, (3, C, H, W)."""
  torch = quietly('torch')
  network = quietly('diffusers').UNet2DModel(**UNETS[name])
  network.load_state_dict({n: torch.from_numpy(w) for n, w in unet_weights(name).items()})
  with torch.no_grad():
    return network.eval()(torch.from_numpy(unet_images(name)), torch.tensor(TIMES)).sample.numpy()


def counted(name: str, work: str) -> list[float]:
  """Parameters and FLOPs an image of the benchmark's PyTorch side."""
  built = quietly('tests.benchmarks.pytorch_side').build(few(name, work))
  return [built.parameters, built.flops]


ANSWERS: dict[str, Callable[[], Any]] = {
  'overlap 3': lambda: overlap(3),
  'overlap 5': lambda: overlap(5),
  'precision_recall': precision_recall,
  'frechet': frechet,
  'kernel': kernel,
  'score': score,
  'inception': inception_outputs,
  'saved as zip': lambda: saved(True),
  'saved as stream': lambda: saved(False),
  'legacy features': legacy_features,
  **{f'unet {name}': functools.partial(unet_outputs, name) for name in UNETS},
  **{
    f'resized {rows} {columns}': functools.partial(resized, rows, columns)
    for rows, columns in SIZES
  },
  **{f'prepared {real} {side}': functools.partial(prepared, real, side) for real, side in PREPARED},
  **{
    f'training {name}': functools.partial(counted, name, 'training') for name in settings.SETTINGS
  },
  **{f'forward {name}': functools.partial(counted, name, 'forward') for name in settings.DIFFUSION},
}


def ask() -> dict[str, np.ndarray]:
  """All answers, and the versions that gave them."""
  torch = quietly('torch')
  if torch.version.cuda is None:  # pip's torchvision is made for CUDA, and wants its operators
    library = torch.library.Library('torchvision', 'DEF')
    for name in ('nms', 'qnms'):
      library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    quietly('torchvision')
  versions = [f'{peer}=={importlib.metadata.version(peer).partition("+")[0]}' for peer in PEERS]
  answers = {'versions': np.array(versions)}
  for name, function in ANSWERS.items():
    print(name, flush=True)
    answers[name] = np.asarray(function())
  return answers


def same(one: np.ndarray, other: np.ndarray) -> bool:
  """Whether two answers are: numbers to rounding, versions exactly, files by what they hold."""
  if one.dtype == np.uint8:  # torch names what is in a file by addresses in memory
    files = (io.BytesIO(part.tobytes()) for part in (one, other))
    states = [quietly('torch').load(file, weights_only=True) for file in files]
    first, second = ({name: part.tolist() for name, part in state.items()} for state in states)
    return first == second
  if one.dtype.kind != 'f':
    return np.array_equal(one, other)
  return one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-4)


def main() -> int:
  """Writes the answers, or compares them; returns the process's exit code."""
  parser = argparse.ArgumentParser(prog='python -m tests.peers', description=__doc__)
  parser.add_argument('--check', action='store_true', help='compare with what is stored')
  options = parser.parse_args()
  answers = ask()
  if not options.check:
    np.savez_compressed(FILE, **answers)
    return 0
  found = load()
  different = [
    name
    for name in sorted(found.keys() | answers.keys())
    if name not in found or name not in answers or not same(found[name], answers[name])
  ]
  print('Others than stored:', ', '.join(different) or 'none')
  return 1 if different else 0


if __name__ == '__main__':
  sys.exit(main())
