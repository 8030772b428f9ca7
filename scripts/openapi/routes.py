"""Every route of every function with a URL, as the functions themselves have registered it."""

import ast
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel

from local.paths import ROOT
from local.template import load_template
from runtime.http import HttpFunction
from scripts.openapi.reach import Reached, imports_of, reach


@dataclass(frozen=True)
class Route:
    """A method and a path of a function, and what its code may come to."""

    function: str
    method: str
    path: str
    name: str
    handler: ModuleType
    declared: object

    @cached_property
    def reached(self) -> Reached:
        """What its code may come to."""
        return reach(self.handler.__name__, self.name)

    def uses(self, module: str, name: str) -> bool:
        """Whether this definition is among what the code may come to."""
        return (module, name) in self.reached.definitions

    def models(self, reader: str) -> list[type[BaseModel]]:
        """What `body_as`, or `query_as`, is asked for."""
        names = {ast.unparse(argument) for argument in self.reached.first_arguments_of(reader)}
        return [vars(self.handler)[name] for name in sorted(names & vars(self.handler).keys())]

    @cached_property
    def headers(self) -> list[str]:
        """The headers that the route itself puts on its answer: the keys of what it writes out, by their capitals."""
        parts = ast.walk(ast.parse(inspect.getsource(vars(self.handler)[self.name])))
        keys = {
            key.value
            for part in parts
            if isinstance(part, ast.Dict)
            for key in part.keys
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        }
        return sorted(key for key in keys if key.istitle() or key == "ETag")

    @cached_property
    def answer(self) -> tuple[Any, tuple[int, ...]] | None:
        """The shape of its success and the statuses that it may have; None where the route does not say."""
        if not isinstance(self.declared, str) or not self.declared.startswith("Answer["):
            return None
        # What is imported for the types alone is not there while a function runs.
        names = {
            name: getattr(import_module(module), imported)
            for name, (module, imported) in imports_of(self.handler.__name__).items()
            if name in self.declared
        }
        body, *statuses = get_args(eval(self.declared, names))  # noqa: S307 - an annotation of ours
        return body, get_args(statuses[0] if statuses else Literal[200])


def routes() -> Iterator[Route]:
    """All of them, in the template's order of functions."""
    for function in load_template(ROOT / "template.yaml").functions.values():
        if function.url_auth is None:
            continue
        handler = import_module(function.handler.rpartition(".")[0])
        app = cast("HttpFunction", handler.app)
        for registered in [*app._static_routes, *app._dynamic_routes]:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            act = cast("Callable[..., object]", registered.func)
            yield Route(
                function.name,
                registered.method.lower(),
                registered.path,
                act.__name__,
                handler,
                act.__annotations__.get("return"),
            )
