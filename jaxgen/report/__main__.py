"""python -m jaxgen.report runs/a runs/b --output=report.html: workdirs -> one page."""

import sys
from collections.abc import Sequence
from pathlib import Path

from jaxgen import commands
from jaxgen.errors import UserError
from jaxgen.images import write_whole
from jaxgen.report.page import page
from jaxgen.report.runs import read


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs a command line; returns the process's exit code."""
  examples = 'runs/vae-digits-seed0 runs/gan-digits-seed0', 'runs/* --output=report.html'
  parser = commands.parser('jaxgen.report', 'Compare runs on one page.', examples)
  folders = 'folders of runs; those that differ in nothing but the seed share a column'
  parser.add_argument('workdirs', nargs='+', type=Path, metavar='WORKDIR', help=folders)
  parser.add_argument('--output', type=Path, default=Path('report.html'), help='the page to write')
  options = parser.parse_args(arguments)
  runs, problems = [], []
  try:
    for workdir in dict.fromkeys(options.workdirs):
      try:
        runs.extend(read(workdir))
      except UserError as error:
        problems.append(str(error))
        print(f'jaxgen: left out: {error}', file=sys.stderr)
    if not runs:
      raise UserError('there is no run to report')
    write_whole(options.output, page(runs, problems).encode())
  except (UserError, OSError) as error:
    print(f'jaxgen: {error}', file=sys.stderr)
    return 2
  count = len({run.folder for run in runs})
  print(f'{count} run{"s" if count > 1 else ""}: {options.output}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
