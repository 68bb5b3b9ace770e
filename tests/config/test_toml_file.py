"""What is wrong in a TOML file is said with its line, however the file is written."""

import pytest

from radrim.config.files import load_toml
from radrim.config.toml_file import TomlFile, line_of, nearest
from radrim.errors import ConfigError, InputError

TEXT = '''# niter = "not this"
size = 512

note = """
niter = 3
[image]
"""
spw = [
  0,  # niter
  2,
]
niter = 5
image.scale = "1asec"

[quality]  # niter
max-rms = 1.0
"quoted key" = 2

[[override]]
match = "a"
[[override]]
# of the second
match = "b"
inner = { deep = [1,
   2] }
'''


@pytest.mark.parametrize(
    "keys, line",
    [
        (["size"], 2),
        (["note"], 4),
        (["spw"], 8),
        (["niter"], 12),
        (["image", "scale"], 13),
        (["quality"], 15),
        (["quality", "max-rms"], 16),
        (["quality", "quoted key"], 17),
        (["override", 0, "match"], 20),
        (["override", 1], 21),
        (["override", 1, "match"], 23),
        (["override", 1, "inner", "deep"], 24),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_of_a_value(keys, line, newline):
    """Comments, texts and arrays of several lines, dotted keys, tables and arrays of tables do not mislead."""
    assert line_of(TEXT.replace("\n", newline), keys) == line


@pytest.mark.parametrize(
    "text, says",
    [
        ("size = 64\n\nwieght = 'natural'", ["line 3: unknown key 'wieght'; did you mean 'weight'?"]),
        ("# size\nsize = 511", ["line 2: --size 511 511: sizes must be even"]),
        ("niter = true", ["line 1: --niter takes a whole number, got 'True'"]),
        ("size = 64\nms = 5", ["line 2: ms takes the path of a Measurement Set"]),
        ("data_colum = 'DATA'", ["line 1: unknown key 'data_colum'; did you mean 'data-column'?"]),
        ("zzz = 1", ["line 1: unknown key 'zzz'; radrim image --help lists them all."]),
        ("[image]\nsize = 64", ["line 1: unknown key 'image'"]),
    ],
)
def test_options_in_a_file_are_checked_with_their_line(tmp_path, text, says):
    """`radrim image --config` names the file and the line of what it cannot take."""
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_toml(tmp_path / "a.toml")
    for words in [f"--config {tmp_path / 'a.toml'}, ", *says]:
        assert words in str(error.value)


def test_what_is_no_text_is_no_toml(tmp_path):
    """A FITS file in the place of the TOML file is refused, not a traceback."""
    (tmp_path / "a.toml").write_bytes(b"SIMPLE\xff\x00")
    with pytest.raises(InputError, match=r"a.toml is not valid TOML: .*utf-8"):
        TomlFile(tmp_path / "a.toml")


def test_nearest_word():
    """The most similar known word, or what there is to say instead."""
    assert nearest("inputss", ["output", "inputs"], "no idea") == "did you mean 'inputs'?"
    assert nearest("xyz", ["output", "inputs"], "no idea") == "no idea"
