"""Makes functions whose keyword arguments come from tables of options explain themselves.

`radrim.config.keywords` has the tables as TypedDicts, which editors and type checkers read. At run time, `takes` gives
a function the signature, the help text and the message about a misspelt argument that go with them.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

from radrim.config.options import ImageConfig
from radrim.config.toml_file import nearest
from radrim.errors import KeywordError

Function = TypeVar("Function", bound=Callable[..., Any])


def takes(table: type | None = None) -> Callable[[Function], Function]:
    """A decorator for functions with keyword arguments.

    It gives the function a signature with each of its arguments, for `help` and completion, and refuses unknown ones
    with the name of the most similar one. The docstring gets a section with the options of the table.

    Parameters
    ----------
    table : TypedDict, optional
        Type of the ``**options`` that the function takes; its keys are options of `radrim.config.options.ImageConfig`.
    """

    def decorate(function: Function) -> Function:
        called = function.__qualname__.removesuffix(".__init__")
        signature, options = _expanded(function, table)
        names = [one.name for one in signature.parameters.values() if one.kind is one.KEYWORD_ONLY]
        known = set(signature.parameters)

        @functools.wraps(function)
        def call(*args: Any, **keywords: Any) -> Any:
            for name in keywords:
                if name.replace("-", "_") not in known:
                    hint = nearest(name.replace("-", "_"), names, f"help(radrim.{called}) lists them all.")
                    raise KeywordError(f"radrim.{called} has no argument '{name}'; {hint}")
            return function(*args, **keywords)

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__doc__ = _documented(function.__doc__ or "", options)
        return call  # type: ignore[return-value]

    return decorate


def _expanded(function: Callable, table: type | None) -> tuple[inspect.Signature, list[str]]:
    """The signature with the options of the table in place of ``**options``, and the names of these options."""
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    hints = get_type_hints(table) if table else {}
    names = [option.name for option in ImageConfig.options().values() if option.name in hints]
    more = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hints[name])
            for name in names if name not in signature.parameters]  # fmt: skip
    return signature.replace(parameters=[*own, *more]), [one.name for one in more]


def _documented(text: str, options: list[str]) -> str:
    """A docstring with the options' help as a section of its own."""
    text = inspect.cleandoc(text)
    if not options:
        return text
    table = ImageConfig.options()
    lines = ["Other Parameters", "----------------"]
    for name in options:
        # An asterisk would begin emphasis in the pages made of docstrings.
        lines += [name, "    " + table[name.replace("_", "-")].metadata["help"].replace("*", "...")]
    head, separator, tail = text.partition("\n\nReturns\n")
    return "\n".join([head, "", *lines]) + separator + tail
