"""python -m jaxgen.classifiers --data=mnist --output=mnist.npz: a classifier to score samples with.

Made once and handed on (`--config.evaluation.classifier_weights`), it gives everybody the same
numbers. The files in jaxgen/features/weights were made so, those of digits and of MNIST.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxgen import commands, datasets
from jaxgen.errors import UserError
from jaxgen.evaluation.foreign import add_data, data_of
from jaxgen.evaluation.references import labelled
from jaxgen.features import classifier, classifier_file


def parser() -> argparse.ArgumentParser:
  """The command line."""
  result = commands.parser(
    'jaxgen.classifiers',
    'Train the classifier whose features score the samples of a dataset.',
    ('--data=fashion_mnist --output=fashion_mnist.npz',),
  )
  add_data(result)
  result.add_argument('--output', required=True, type=Path, help='.npz file to write')
  return result


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command line; returns the process's exit code."""
  options = parser().parse_args(arguments)
  try:
    sets = labelled(datasets.load(data_of(options)))
    if sets is None:
      raise UserError(f'--data={options.data} has no labels to learn from')
    trained = classifier.fit(*sets)
    classifier_file.save(options.output, trained)
  except (UserError, ValueError, OSError, MemoryError) as error:
    print(f'jaxgen: {error}', file=sys.stderr)
    return 2
  print(f'{options.output}: {trained.accuracy:.2%} of the test images right')
  print(f'trained on {trained.training}')
  print(f'fingerprint {trained.fingerprint}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
