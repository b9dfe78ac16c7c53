"""What a study has found as a table: a line for each group, a column for each number."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxgen.report.summaries import Summary
from jaxgen.report.tables import Row, arrow
from jaxgen.study.results import Result


class Line(NamedTuple):
  """A group in a table: its name, what is missing of it, and a summary for each column."""

  name: str
  missing: str
  summaries: list[Summary]
  best: list[bool]


def columns(result: Result) -> list[tuple[str, Row]]:
  """The columns of a table: a number, and what it came to under one protocol."""
  return [(name, row) for name, rows in result.rows.items() for row in rows]


def lines(result: Result) -> list[Line]:
  """The lines of a table: a group each, also of those without any run."""
  places = {name: place for place, name in enumerate(result.runs)}
  rows = [row for _, row in columns(result)]
  found = []
  for name, entries in result.groups.items():
    lost, place = sum(entry.run is None for entry in entries), places.get(name)
    missing = f'{lost} of {len(entries)} seeds missing' if lost else ''
    there = [Summary() if place is None else row.summaries[place] for row in rows]
    found.append(Line(name, missing, there, [place in row.best and repeated(row) for row in rows]))
  return found


def repeated(row: Row) -> bool:
  """Whether each of its means is of several trainings: of one, no one knows how far they spread."""
  seeds = [[value is not None for value in summary.values] for summary in row.summaries]
  return all(sum(of) != 1 for of in seeds)


def markdown(result: Result) -> str:
  """The table: a line for each group, every seed beside its mean."""
  of = columns(result)
  text = [f'# {result.study.config.title}', '']
  text += [f'- {problem}' for problem in result.problems] + [''] * bool(result.problems)
  text.append(table_line(['', *(f'{name} {arrow(row.metric)}'.rstrip() for name, row in of)]))
  text.append('|---' * (len(of) + 1) + '|')
  for line in lines(result):
    name = f'{line.name} ({line.missing})' if line.missing else line.name
    shown = [
      f'**{c.text}**' if best else c.text for c, best in zip(line.summaries, line.best, strict=True)
    ]
    seeds = [of_seeds(summary) for summary in line.summaries]
    text.append(table_line([name, *map(' '.join, zip(shown, seeds, strict=True))]))
  if any(row.real.value is not None for _, row in of):
    text.append(table_line(['real images', *(row.real.text for _, row in of)]))
  spreads = dict.fromkeys(
    c.spread_is for line in lines(result) for c in line.summaries if c.spread_is
  )
  said = f'± is the {" or ".join(spreads)}.' if spreads else ''
  if any(len(summary.values) > 1 for line in lines(result) for summary in line.summaries):
    said += ' Every seed stands in brackets.'
  if any(any(line.best) for line in lines(result)):
    said += ' Bold leads by more than noise explains (Welch’s test, 95 %).'
  text += ['', said, '']
  text += [f'- {name}: `{row.protocol}`' for name, row in of if row.protocol]
  made = dict.fromkeys(entry.run.made_with for entry in result.entries if entry.run)
  text += ['', f'`{result.study.command}`', *(f'\n{words}' for words in made)]
  return '\n'.join(text) + '\n'


def table_line(parts: Sequence[str]) -> str:
  """A line of a table in Markdown."""
  return f'| {" | ".join(part.strip() for part in parts)} |'


def of_seeds(summary: Summary) -> str:
  """Every seed's value in brackets, where there are several."""
  if len(summary.values) < 2:
    return ''
  return f'({"; ".join("–" if v is None else Summary(v).text for v in summary.values)})'
