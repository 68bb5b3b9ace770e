"""The keyword arguments of the Python functions are those of the option tables, and say so."""

import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import radrim
from radrim.config.keywords import ImageOptions, SelectionOptions
from radrim.config.options import ImageConfig
from radrim.errors import ConfigError, KeywordError

ROOT = Path(__file__).resolve().parents[2]
WITH_OPTIONS = ("image", "compare", "selfcal", "plan")
OTHERS = ("info", "predict", "simulate", "convert")


def test_types_are_those_of_the_table():
    """`python pipelines/keywords.py` writes the module that is there, formatted or not."""
    done = subprocess.run(
        [sys.executable, ROOT / "pipelines" / "keywords.py"], capture_output=True, text=True, check=True
    )
    assert done.stdout == (ROOT / "radrim" / "config" / "keywords.py").read_text()


def test_every_option_is_an_argument():
    """The TypedDict has each option of `radrim image`, and no other key; all may be left out."""
    assert set(ImageOptions.__annotations__) == {one.name for one in ImageConfig.options().values()}
    assert not ImageOptions.__required_keys__
    assert set(SelectionOptions.__annotations__) < set(ImageOptions.__annotations__)


def test_choices_are_taken():
    """Every word that a type lists is one that the option takes."""
    for name, hint in typing.get_type_hints(ImageOptions).items():
        words = [
            word
            for one in typing.get_args(hint)
            for word in typing.get_args(one)
            if typing.get_origin(one) is typing.Literal
        ]
        parse = ImageConfig.options()[name.replace("_", "-")].metadata["parse"]
        assert [parse(name, word) for word in words] == words


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_signature_has_the_options(name):
    """`inspect.signature`, which notebooks complete from, has each option as a keyword, with its type."""
    parameters = inspect.signature(getattr(radrim, name)).parameters
    for option in ImageConfig.options().values():
        assert parameters[option.name].kind is inspect.Parameter.KEYWORD_ONLY
    assert "options" not in parameters
    assert parameters["size"].annotation == typing.get_type_hints(ImageOptions)["size"]


@pytest.mark.parametrize("name", [*WITH_OPTIONS, *OTHERS])
def test_misspelt_argument(name):
    """A wrong keyword is refused before anything is read, with the right one."""
    with pytest.raises(KeywordError, match=rf"radrim.{name} has no argument 'quite'; did you mean 'quiet'\?"):
        getattr(radrim, name)("nowhere.ms", quite=True)


def test_misspelt_argument_is_a_type_error():
    """As Python's own error about unknown arguments; and one that the user can mend."""
    assert issubclass(KeywordError, TypeError)
    assert issubclass(KeywordError, ConfigError)


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_help_explains_each_option(name):
    """The docstring has the help text of each option that the function does not explain itself."""
    text = getattr(radrim, name).__doc__
    for option in ImageConfig.options().values():
        assert option.metadata["help"].replace("*", "...") in text
    assert text.index("Other Parameters") < text.index("Returns")
