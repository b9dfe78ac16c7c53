"""What a mutant is: one small change of a file that its tests ought to see.

cosmic-ray finds and makes most of them; its operators with many near-equal replacements are held to
the telling ones, and two operators are added that make the bugs numerical code is prone to. Texts,
annotations and decorators are left alone: what they say is not what the tests are for.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cosmic_ray.ast
import cosmic_ray.mutating
import cosmic_ray.plugins
import parso
from cosmic_ray.operators.operator import Example, Operator

BINARY = ('Add_Sub', 'Sub_Add', 'Mul_Div', 'Div_Mul', 'FloorDiv_Mul', 'Mod_FloorDiv', 'Pow_Mul')
BINARY += ('BitOr_BitAnd', 'BitAnd_BitOr', 'LShift_RShift', 'RShift_LShift')
COMPARISON = ('Lt_LtE', 'LtE_Lt', 'Gt_GtE', 'GtE_Gt', 'Lt_GtE', 'LtE_Gt', 'Gt_LtE', 'GtE_Lt')
COMPARISON += ('Eq_NotEq', 'NotEq_Eq', 'Is_IsNot', 'IsNot_Is')
OTHERS = ('NumberReplacer', 'AddNot', 'ReplaceTrueWithFalse', 'ReplaceFalseWithTrue')
OTHERS += ('ReplaceAndWithOr', 'ReplaceOrWithAnd', 'ReplaceBreakWithContinue')
OTHERS += ('ReplaceContinueWithBreak', 'ReplaceUnaryOperator_Delete_USub')
OTHERS += ('ReplaceUnaryOperator_Delete_Not', 'ReplaceUnaryOperator_Delete_Invert')
OTHERS += ('ZeroIterationForLoop',)
# Calls that change how a value is held or computed and not what it is, and, in the last two lines,
# those without which any program stops at once.
FORMS = {'jit', 'asarray', 'array', 'float', 'int', 'str', 'bool', 'list', 'tuple', 'dict', 'copy'}
FORMS |= {'block_until_ready', 'device_get', 'device_put', 'print'}
FORMS |= {
  'len',
  'zip',
  'range',
  'enumerate',
  'isinstance',
  'items',
  'keys',
  'values',
  'map',
  'scan',
}
FORMS |= {'cast', 'partial', 'vmap', 'pmap', 'field', 'namedtuple', 'getLogger', '_asdict'}
GUARDS = {'strict'}  # arguments that guard against the programmer
EXPRESSIONS = {'arith_expr', 'term', 'power', 'expr', 'and_expr', 'shift_expr', 'xor_expr'}


class Mutant(NamedTuple):
  """A file with one change.

  Attributes:
    file: its path from the root of the project.
    line: where it changes, counted from 1.
    before: the lines that change, without indentation.
    after: what they become.
    code: the whole file.
  """

  file: str
  line: int
  before: str
  after: str
  code: str


class Position(NamedTuple):
  """A place where an operator applies: its `occurrence`-th in the file."""

  file: str
  line: int
  operator: Operator
  occurrence: int


class DropKeyword(Operator):
  """Leaves out `name=value` of a call, so that the default holds."""

  def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
    if node.type == 'trailer' and node.children[0].value == '(':
      named = _keywords(node)
      yield from [(argument.start_pos, argument.end_pos) for argument in named]

  def mutate(self, node: Any, index: int) -> Any:
    dropped = _keywords(node)[index]
    kept = [argument.get_code() for argument in _arguments(node) if argument is not dropped]
    node.children[1:-1] = parso.parse(','.join(kept)).children if kept else []
    return node

  @classmethod
  def examples(cls) -> tuple[Example, ...]:
    return (Example('f(x, axis=1)', 'f(x)'),)


class DropCall(Operator):
  """Puts the argument in place of `f(argument)`, and the object in place of `object.method()`."""

  def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
    places = [node.children[place] for place, _ in _calls(node)]
    yield from [(place.start_pos, place.end_pos) for place in places]

  def mutate(self, node: Any, index: int) -> Any:
    place, code = list(_calls(node))[index]
    space = node.get_first_leaf().prefix
    node.children[: place + 1] = parso.parse(f'{space}({code})').children
    return node

  @classmethod
  def examples(cls) -> tuple[Example, ...]:
    return (Example('f(x, y)', '(x)'), Example('x.mean()', 'x.mean()'))


def _arguments(trailer: Any) -> list[Any]:
  inside = trailer.children[1:-1]
  arguments = inside[0].children if inside and inside[0].type == 'arglist' else inside
  return [argument for argument in arguments if argument.get_code().strip() != ',']


def _keywords(trailer: Any) -> list[Any]:
  named = [a for a in _arguments(trailer) if a.type == 'argument' and a.children[1] == '=']
  return [argument for argument in named if argument.children[0].value not in GUARDS]


def _calls(node: Any) -> Iterator[tuple[int, str]]:
  """The calls in `a.b(c).d(e)`: the place of each one's parentheses, and what may replace it."""
  if node.type not in ('atom_expr', 'power') or node.children[0].type != 'name':
    return
  for place, trailer in enumerate(node.children):
    if trailer.type != 'trailer' or trailer.children[0].value != '(':
      continue
    called = node.children[place - 1].get_last_leaf().value
    if called in FORMS or called[0].isupper():
      continue
    first = next(iter(_arguments(trailer)), None)
    if _is_method(node.children[:place]):
      code = ''.join(child.get_code() for child in node.children[: place - 1])
      yield place, code.strip()
    elif first is not None and first.type not in ('argument', 'lambdef'):
      yield place, first.get_code().strip()


def _is_method(callee: list[Any]) -> bool:
  """Whether `a.b.c` belongs to an object, and not to an imported module."""
  name, *trailers = callee
  if not trailers or trailers[-1].children[0].value != '.':
    return False
  imports = name.get_root_node().iter_imports()
  imported = any(name.value == n.value for i in imports for n in i.get_defined_names())
  return not imported or any(trailer.children[0].value != '.' for trailer in trailers)


def _tells(node: Any) -> bool:
  """Whether a change here is one of what the program does, not of what it says."""
  child, parent = node, node.parent
  while parent is not None:
    if parent.type in ('raise_stmt', 'assert_stmt', 'fstring', 'decorator', 'import_from'):
      return False
    if parent.type == 'argument' and parent.children[0].get_code().strip() in GUARDS:
      return False
    annotated = parent.type in ('tfpdef', 'annassign') and child is parent.children[1]
    if annotated or (parent.type == 'tfpdef' and child is parent.children[-1]):
      return False
    if parent.type == 'funcdef' and child is parent.annotation:
      return False
    if parent.type == 'atom_expr' and parent.get_code().strip().startswith('log.'):
      return False
    if parent.type == 'if_stmt' and '__name__' in parent.children[1].get_code():
      return False
    child, parent = parent, parent.parent
  return True


def _operators() -> list[Operator]:
  names = [f'ReplaceBinaryOperator_{name}' for name in BINARY]
  names += [f'ReplaceComparisonOperator_{name}' for name in COMPARISON]
  found = [cosmic_ray.plugins.get_operator(f'core/{name}')() for name in (*names, *OTHERS)]
  return [*found, DropKeyword(), DropCall()]


def positions(root: Path, file: str) -> list[Position]:
  """Where the operators apply in a file, most of them to a mutant that compiles."""
  tree = parso.parse((root / file).read_text())
  nodes = list(cosmic_ray.ast.ast_nodes(tree))
  found = []
  for operator in _operators():
    places = ((n, start) for n in nodes for start, _ in operator.mutation_positions(n))
    for occurrence, (node, start) in enumerate(places):
      binary = 'Binary' in type(operator).__name__
      if _tells(node) and (not binary or node.parent.type in EXPRESSIONS):
        found.append(Position(file, start[0], operator, occurrence))
  return found


def mutate(root: Path, position: Position) -> Mutant | None:
  """The file with the change, or None where that is no program or the same one."""
  code = (root / position.file).read_text()
  changed = cosmic_ray.mutating.mutate_code(code, position.operator, position.occurrence)
  try:
    if ast.dump(ast.parse(changed)) == ast.dump(ast.parse(code)):
      return None
    compile(changed, position.file, 'exec', dont_inherit=True)
  except SyntaxError:
    return None
  old, new = code.splitlines(), changed.splitlines()
  same = min(len(old), len(new))
  head = next((i for i in range(same) if old[i] != new[i]), same)
  tail = next((i for i in range(same - head) if old[-1 - i] != new[-1 - i]), same - head)
  before, after = old[head : len(old) - tail], new[head : len(new) - tail]
  return Mutant(position.file, head + 1, _joined(before), _joined(after), changed)


def _joined(lines: list[str]) -> str:
  return '\n'.join(line.strip() for line in lines)
