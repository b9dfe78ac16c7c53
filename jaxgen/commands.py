"""What all command lines share: --help that shows defaults and examples."""

import argparse
from collections.abc import Sequence
from typing import Any


class Format(argparse.RawDescriptionHelpFormatter):
  """Names each default that says something, and leaves the lines of the examples as they are."""

  def _get_help_string(self, action: argparse.Action) -> str:
    said = action.help or ''
    unsaid = action.default in (None, '', False, 0, argparse.SUPPRESS) or action.default == []
    return said if unsaid else f'{said} (default: %(default)s)'


def parser(
  program: str, description: str, examples: Sequence[str], **options: Any
) -> argparse.ArgumentParser:
  """A command line of `python -m PROGRAM`, whose options are never abbreviated.

  Args:
    program: 'jaxgen.main', ...
    description: what it does, in a sentence.
    examples: what may stand after the program, each for a line below the options.
    **options: others of argparse's.
  """
  lines = [f'  python -m {program} {example}' for example in examples]
  return argparse.ArgumentParser(
    prog=f'python -m {program}',
    description=description,
    epilog='\n'.join(['examples:', *lines]),
    formatter_class=Format,
    allow_abbrev=False,
    **options,
  )
