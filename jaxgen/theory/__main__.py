"""python -m jaxgen.theory [NAME ...] [--output=page.html] [--full]: claims -> a table."""

import sys
from collections.abc import Sequence
from pathlib import Path

from jaxgen import commands
from jaxgen.errors import UserError
from jaxgen.images import write_whole
from jaxgen.theory.claims import findings, names
from jaxgen.theory.page import heading, markdown, page, section


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command line; returns the process's exit code, 1 where a row disagrees."""
  parser = commands.parser(
    'jaxgen.theory',
    'Hold the theory against measurements; run it in the folder that has experiments/.',
    ('', 'linear_vae sampler_orders', '--full --output=theory.html --output=theory.md'),
  )
  parser.add_argument(
    'names', nargs='*', metavar='NAME', help='of experiments/theory/NAME.py; all of them by default'
  )
  parser.add_argument('--full', action='store_true', help='at the size that is reported')
  ending = 'a page, or with the ending .md a Markdown table; may be given twice'
  parser.add_argument('--output', type=Path, action='append', default=[], help=ending)
  options = parser.parse_args(arguments)
  try:
    found, known = [], names()
    for finding in findings(options.names or known, options.full):
      found.append(finding)
      print(section(finding), flush=True)
    print(heading(found))
    for path in options.output:
      made = markdown(found) if path.suffix == '.md' else page(found)
      write_whole(path, made.encode())
      print(path)
  except (UserError, OSError) as error:
    print(f'jaxgen: {error}', file=sys.stderr)
    return 2
  return 0 if all(finding.agrees for finding in found) else 1


if __name__ == '__main__':
  sys.exit(main())
