"""What the code behind a route can come to: the refusals that it may raise, the headers that it reads.

Read from the source alone. Whatever a function names it may call, a class that is named may have any of its methods
called, and an SQL function may answer every refusal that its text spells out: rather a refusal too many than one too few.
"""

import ast
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from domain.refusals import BY_SLUG, Refusal

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "functions": ROOT / "functions",
    "domain": ROOT / "shared/domain",
    "runtime": ROOT / "shared/runtime",
    "payments": ROOT / "shared/payments",
    "database": ROOT / "layers/postgres/database",
    "stripe_gateway": ROOT / "layers/stripe/stripe_gateway",
}
# What a request passes through on its way to its route and back.
FRONT_DOOR = ("runtime.http", "HttpFunction.lambda_handler")
ENTRY_POINT = ("runtime.http", "HttpFunction")
TURNED_BY = ("domain.refusals", "BY_SLUG")

type Definition = tuple[str, str]


@dataclass
class Reached:
    """Everything that a route may come to; of each definition, which others it names."""

    definitions: dict[Definition, set[Definition]] = field(default_factory=dict[Definition, set[Definition]])
    refusals: set[type[Refusal]] = field(default_factory=set[type[Refusal]])
    calls: list[ast.Call] = field(default_factory=list[ast.Call])

    def calls_of(self, callee: str) -> Iterator[ast.Call]:
        """Each call of this name, whatever it is a method of."""
        for call in self.calls:
            if callee == (
                call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            ):
                yield call

    def first_arguments_of(self, callee: str) -> Iterator[ast.expr]:
        """The first argument of each call of this name."""
        return (call.args[0] for call in self.calls_of(callee) if call.args)


@dataclass(frozen=True)
class _Module:
    """A module's definitions by name (`Class.method` too), and what its other names were imported from."""

    definitions: dict[str, ast.AST]
    imports: dict[str, Definition]

    @classmethod
    def parsed(cls, text: str) -> "_Module":
        tree = ast.parse(text)
        definitions: dict[str, ast.AST] = {}
        for node in tree.body:
            match node:
                case ast.FunctionDef(name=name):
                    definitions[name] = node
                case ast.ClassDef(name=name, body=body):
                    definitions[name] = node
                    definitions |= {f"{name}.{m.name}": m for m in body if isinstance(m, ast.FunctionDef)}
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    definitions[name] = value
                case ast.AnnAssign(target=ast.Name(id=name), value=value) if value:
                    definitions[name] = value
                case _:
                    pass
        imports = {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        return cls(definitions, imports)


@cache
def _module(name: str) -> _Module | None:
    package, _, rest = name.partition(".")
    if package not in PACKAGES:
        return None
    file = PACKAGES[package].joinpath(*rest.split(".")).with_suffix(".py")
    return _Module.parsed(file.read_text()) if rest and file.is_file() else None


def imports_of(name: str) -> dict[str, Definition]:
    """What a module's names were imported from, for its types alone too."""
    module = _module(name)
    return module.imports if module else {}


def reach(module: str, function: str) -> Reached:
    """What the route `function` of a handler's module may come to."""
    found = Reached()
    _follow((module, function), found)
    _follow(FRONT_DOOR, found)
    # Whoever turns outcomes into refusals by their slugs has them from the statements that its module makes.
    turning = {name[0] for name, named in found.definitions.items() if TURNED_BY in named}
    asked = {to for name, named in found.definitions.items() if name[0] in turning for to in named}
    texts = [text for name in asked for text in _texts(name)]
    found.refusals |= {BY_SLUG[slug] for slug in _statements().slugs_in(texts)}
    return found


def _follow(start: Definition, found: Reached) -> None:
    waiting = [(start, frozenset[str]())]
    known: set[tuple[Definition, frozenset[str]]] = set()
    while waiting:
        definition, caught = waiting.pop()
        if (definition, caught) in known:
            continue
        known.add((definition, caught))
        names = found.definitions.setdefault(definition, set())
        node = _node(definition)
        for named, caught_here in _named_in(node, definition) if node else ():
            caught_by_now = caught | caught_here
            if isinstance(named, ast.Call):
                found.calls.append(named)
            elif refusal := _refusal(named):
                # A table of all refusals raises none.
                if isinstance(node, ast.FunctionDef) and not caught_by_now & {
                    refusal.__name__,
                    Refusal.__name__,
                }:
                    found.refusals.add(refusal)
            else:
                names.add(named)
                waiting.append((named, caught_by_now))


def _node(definition: Definition) -> ast.AST | None:
    module = _module(definition[0])
    return module.definitions.get(definition[1]) if module else None


def _refusal(definition: Definition) -> type[Refusal] | None:
    module, name = definition
    return (
        next((r for r in BY_SLUG.values() if r.__name__ == name), None)
        if module == "domain.refusals"
        else None
    )


def _named_in(
    node: ast.AST, definition: Definition
) -> Generator[tuple[Definition | ast.Call, frozenset[str]]]:
    """Every definition of ours that a definition's code names, and every call in it; what is caught where it does so."""
    if definition == ENTRY_POINT:
        return  # of all that a route could ask it for, what it does ask for is followed by name
    nothing = frozenset[str]()
    if isinstance(node, ast.ClassDef):
        yield from ((named, nothing) for named in _members(node, definition))
        return
    body: list[ast.AST] = list(node.body) if isinstance(node, ast.FunctionDef) else [node]
    waiting = [(part, nothing) for part in body]
    while waiting:
        part, caught = waiting.pop()
        if isinstance(part, ast.Call):
            yield part, caught
        elif isinstance(part, ast.Name | ast.Attribute):
            yield from ((named, caught) for named in _resolved(part, definition))
        followed, tried = _within(part)
        waiting += [(child, caught) for child in followed]
        if isinstance(part, ast.Try):
            waiting += [(child, caught | _put_aside(part.handlers)) for child in tried]


def _members(node: ast.ClassDef, definition: Definition) -> Generator[Definition]:
    module, name = definition
    yield from (
        (module, f"{name}.{method.name}") for method in node.body if isinstance(method, ast.FunctionDef)
    )
    for base in node.bases:
        yield from _resolved(base, definition)


def _within(part: ast.AST) -> tuple[list[ast.AST], list[ast.stmt]]:
    """The parts of a part that may be run, and those of them that are tried; what is only compared with is not run."""
    match part:
        case ast.Try(body=tried):
            return [child for child in ast.iter_child_nodes(part) if child not in tried], tried
        case ast.ExceptHandler(body=after):
            return list(after), []
        case ast.Call(func=ast.Name(id="isinstance"), args=[subject, *_]):
            return [subject], []
        case ast.Compare(left=left, ops=[ast.Is() | ast.IsNot()]):
            return [left], []
        case ast.AnnAssign(value=value):
            return [value] if value else [], []
        case _:
            return list(ast.iter_child_nodes(part)), []


def _put_aside(handlers: list[ast.ExceptHandler]) -> frozenset[str]:
    """The exceptions, by name, that are caught without a look at them."""
    return frozenset(
        name.attr if isinstance(name, ast.Attribute) else name.id
        for handler in handlers
        if handler.name is None and handler.type
        for name in (handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type])
        if isinstance(name, ast.Attribute | ast.Name)
    )


def _resolved(expression: ast.expr, within: Definition) -> Generator[Definition]:
    """The definition that a name, or an attribute of one, stands for there; none for what is not ours."""
    module_name, own_name = within
    module = _module(module_name)
    if module is None:
        return
    match expression:
        case ast.Name(id=name):
            if name in module.definitions:
                yield (module_name, name)
            elif name in module.imports:
                yield from _imported(module.imports[name])
        case ast.Attribute(value=ast.Name(id="app"), attr=attribute):
            yield (ENTRY_POINT[0], f"{ENTRY_POINT[1]}.{attribute}")
        case ast.Attribute(value=ast.Name(id="self"), attr=attribute):
            yield (module_name, f"{own_name.partition('.')[0]}.{attribute}")
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in module.imports:
            package, imported = module.imports[name]
            yield from _imported((f"{package}.{imported}", attribute))
        case _:
            pass


def _imported(definition: Definition) -> Generator[Definition]:
    """Where a name was defined that may have been passed on by import."""
    module = _module(definition[0])
    if module is None:
        return
    if definition[1] not in module.definitions and definition[1] in module.imports:
        yield from _imported(module.imports[definition[1]])
    else:
        yield definition


def _texts(definition: Definition) -> list[str]:
    node = _node(definition)
    parts = ast.walk(node) if node else ()
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


@dataclass(frozen=True)
class _Statements:
    """The SQL functions, by name."""

    bodies: dict[str, str]

    @cached_property
    def _names(self) -> re.Pattern[str]:
        return re.compile(rf"\b({'|'.join(sorted(self.bodies, key=len, reverse=True))})\s*\(")

    def slugs_in(self, texts: list[str]) -> set[str]:
        """The refusals that statements, or what they call, spell out."""
        slugs: set[str] = set()
        known: set[str] = set()
        waiting = [name for text in texts for name in self._names.findall(text)]
        while waiting:
            name = waiting.pop()
            if name not in known:
                known.add(name)
                slugs |= {
                    slug
                    for slug in re.findall(r"""['"]([a-z-]+)['"]""", self.bodies[name])
                    if slug in BY_SLUG
                }
                waiting += self._names.findall(self.bodies[name])
        return slugs


@cache
def _statements() -> _Statements:
    bodies: dict[str, str] = {}
    for file in sorted((ROOT / "migrations").glob("**/*.sql")):
        pieces = re.split(r"CREATE (?:OR REPLACE )?FUNCTION\s+(\w+)", file.read_text())
        bodies |= dict(zip(pieces[1::2], pieces[2::2], strict=True))
    return _Statements(bodies)
