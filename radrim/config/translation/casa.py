"""Translates calls of CASA's tclean. The call is parsed, and never run."""

import ast
from typing import Any

from radrim.config.toml_file import nearest
from radrim.config.translation.casa_rows import BY_NAME
from radrim.config.translation.casa_values import items
from radrim.config.translation.parameter import CannotTranslateError, Parameter
from radrim.config.translation.result import Translation
from radrim.config.translation.row import Kind
from radrim.errors import ConfigError


def translate_tclean(text: str) -> Translation:
    """The command of radrim that does what a call of tclean does.

    Parameters
    ----------
    text : str
        Python code with one call, such as ``tclean(vis='obs.ms', imagename='m51', niter=1000)``. Names may stand for
        values that the code assigned to them before.

    Raises
    ------
    ConfigError
        The text is not Python, has no call of tclean, or a value is not written out.
    """
    call, names = _find_call(text)
    given = _values(call, names)
    full = {name: given.get(name, row.default) for name, row in BY_NAME.items()}
    done = Translation(inputs=items(full["vis"]))
    for name, row in BY_NAME.items():
        value = full[name]
        same = value == row.default or value in ([], "", [""])
        if name == "vis" or (same and not row.always):
            continue
        _translate(done, row, value, full)
    deconvolves = int(full["niter"]) > 0
    if deconvolves and full["deconvolver"] != "mem":
        done.notes.append("The minor cycle is learned; --solver clean is multi-scale CLEAN.")
    if not deconvolves and "niter" not in given:
        done.notes.append("tclean makes a dirty image without niter; radrim deconvolves: --niter 0.")
    if "weighting" not in given:
        done.notes.append("tclean's default is natural weighting; radrim's is briggs 0.")
    return done


def _translate(done: Translation, row: Parameter, value: Any, full: dict[str, Any]) -> None:
    shown = f"{row.name}={value!r}"
    if row.convert is None:
        done.notes.append(f"{shown} is left out: {row.note}.")
        return
    try:
        words = row.convert(value, full)
    except CannotTranslateError as error:
        done.missing.append(f"{shown}: {error}.")
        return
    except (TypeError, ValueError):
        raise ConfigError(f"{shown} is not a value that tclean takes; correct it.") from None
    done.options += words
    if words and row.kind is Kind.OTHER and row.name in ("deconvolver", "gridder", "psfcutoff", "pbcor"):
        done.notes.append(f"{shown} is {' '.join(words)}: {row.note}.")
    if row.name == "imsize" and [str(n) for n in items(value)] * (3 - len(items(value))) != words[1:]:
        done.notes.append(f"{shown} is {' '.join(words)}: sizes are even.")


def _find_call(text: str) -> tuple[ast.Call, dict[str, ast.expr]]:
    """The last call of tclean, and what was assigned to names."""
    try:
        tree = ast.parse(text.strip())
    except (SyntaxError, ValueError) as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) else ""
        raise ConfigError(f"The call of tclean is not valid Python ({line}{error.args[0]}); write it as "
                          "\"tclean(vis='obs.ms', imagename='name')\", in double quotes.") from None  # fmt: skip
    names: dict[str, ast.expr] = {}
    calls = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            names |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "tclean":
            calls.append(node)
    if not calls:
        raise ConfigError("There is no call of tclean in the text; write it as \"tclean(vis='obs.ms', ...)\".")
    if len(calls) > 1:
        raise ConfigError(f"The text has {len(calls)} calls of tclean; translate one after the other.")
    return calls[0], names


def _values(call: ast.Call, names: dict[str, ast.expr]) -> dict[str, Any]:
    """The parameters that a call gives, by name."""
    found: dict[str, Any] = {}
    if len(call.args) > len(BY_NAME):
        raise ConfigError(f"tclean takes {len(BY_NAME)} parameters, and the call has {len(call.args)}; correct it.")
    for name, node in zip(BY_NAME, call.args, strict=False):
        found[name] = _value(name, node, names)
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ConfigError("The call has **parameters, which are not known here; write them out.")
        if keyword.arg not in BY_NAME:
            hint = nearest(keyword.arg, BY_NAME, "is it newer?")
            raise ConfigError(f"tclean has no parameter '{keyword.arg}'; {hint}")
        found[keyword.arg] = _value(keyword.arg, keyword.value, names)
    return found


class _Replaced(ast.NodeTransformer):
    """Replaces names by what was assigned to them."""

    def __init__(self, names: dict[str, ast.expr]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The expression that was assigned to a name, or the name."""
        return self._names.get(node.id, node)


def _value(name: str, node: ast.expr, names: dict[str, ast.expr]) -> Any:
    try:
        value = ast.literal_eval(_Replaced(names).visit(node))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise ConfigError(
            f"{name}={ast.unparse(node)} is not written out: only text, numbers and lists are read. Put it there."
        ) from None
    if isinstance(value, tuple):
        return list(value)
    if not isinstance(value, (str, int, float, bool, list)):
        raise ConfigError(f"{name}={value!r} is not a value that tclean takes; correct it.")
    return value
