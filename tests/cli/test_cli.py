import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from radrim import pipeline
from radrim.cli.log import YELLOW, coloured
from radrim.cli.main import main
from radrim.config.groups.option import GROUPS
from radrim.config.options import ImageConfig
from radrim.config.values import Weighting
from radrim.version import __version__

HEAVY = ("torch", "numpy", "scipy", "astropy", "matplotlib", "casacore", "dask", "numba", "rich", "ducc0", "finufft",
         "erfa", "pyuvdata")  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder: a new one with observations of these names, which are empty."""
    for name in ("a.ms", "b.ms", "c.ms", "my obs.ms"):
        (tmp_path / name).mkdir()
    (tmp_path / "m.fits").touch()
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def parsed(monkeypatch, command):
    """What `radrim image` hands to the pipeline: `parsed("image", "a.ms", ...) -> ImageConfig`."""

    def parse(*words):
        runs = []
        monkeypatch.setattr(pipeline, "run", lambda config, command, **how: runs.append((config, command)))
        done = command(*words)
        assert done.status == 0, done.err
        (config, line), *more = runs
        assert not more
        assert line.startswith("radrim image")
        return config

    return parse


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["--help"],
        *([name, "--help"] for name in ("image", "batch", "compare", "info", "simulate", "convert")),
        ["image", "nowhere.ms"],
        ["image", "a.ms", "--solver", "claen"],
        ["translate", "wsclean -size 64 64 a.ms"],
        ["translate", "tclean(vis='a.ms')"],
        ["completion", "bash"],
    ],
)
def test_help_and_slips_import_nothing_heavy(words):
    """Help, version, slips and translations answer at once, because nothing that takes long to import is imported."""
    code = (
        "import sys, json, radrim.cli.main\n"
        f"try: radrim.cli.main.main({words!r})\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_version(command):
    """`radrim --version` names the program and its version."""
    assert command("--version").out == f"radrim {__version__}\n"


def test_no_arguments_show_the_help(command):
    """`radrim` alone shows what it can do and exits with 0."""
    done = command()
    assert done.status == 0
    assert all(name in done.out for name in ("image", "info", "simulate", "examples:"))


def test_help_lists_every_option_with_its_default(command):
    """Each option stands in its group's part of the help; defaults are there."""
    text = " ".join(command("image", "--help").out.split())
    for group in GROUPS:
        assert f"{group}: " in text
    for name, field in ImageConfig.options().items():
        assert f"--{name}" in text
        assert all(f"--{alias}" in text for alias in field.metadata["aliases"])
    for default in ("(default: briggs 0)", "(default: 0.1)", "(default: 0.8)", "(default: I)", "(default: on)"):
        assert default in text


@pytest.mark.parametrize(
    "words, weight, ms",
    [
        ("--weight briggs -0.5 a.ms", Weighting("briggs", -0.5), ("a.ms",)),
        ("-weight briggs 1 a.ms", Weighting("briggs", 1), ("a.ms",)),
        ("--weight Briggs .5 a.ms", Weighting("briggs", 0.5), ("a.ms",)),
        ("--weight briggs a.ms b.ms", Weighting("briggs", 0), ("a.ms", "b.ms")),
        ("a.ms --weight briggs", Weighting("briggs", 0), ("a.ms",)),
        ("--weight=briggs -0.5 a.ms", Weighting("briggs", -0.5), ("a.ms",)),
        ("-weight natural a.ms", Weighting("natural"), ("a.ms",)),
        ("a.ms -weight=natural", Weighting("natural"), ("a.ms",)),
        ("a.ms --weight=uniform", Weighting("uniform"), ("a.ms",)),
        ("--weight uniform a.ms", Weighting("uniform"), ("a.ms",)),
    ],
)
def test_weight_spellings(parsed, words, weight, ms):
    """One or two words, an equals sign or none, one dash or two: the weight and the files are told apart."""
    config = parsed("image", *words.split())
    assert (config.weight, config.ms) == (weight, ms)


def test_quoted_weight(parsed):
    """`--weight "briggs 0.5"` as one word works, too."""
    assert parsed("image", "--weight", "briggs 0.5", "a.ms").weight == Weighting("briggs", 0.5)


def test_one_dash_is_as_good_as_two(parsed):
    """WSClean's spelling gives the same run, for every option with WSClean's name."""
    words = [
        "-size",
        "512",
        "256",
        "-scale",
        "1asec",
        "-weight",
        "briggs",
        "-0.5",
        "-taper-gaussian",
        "5asec",
        "-name",
        "out",
        "-data-column",
        "DATA",
        "-field",
        "1",
        "-spws",
        "0,1",
        "-channel-range",
        "1",
        "3",
        "-minuv-l",
        "10",
        "-maxuv-l",
        "1e5",
        "-channels-out",
        "2",
        "-pol",
        "RR",
        "-niter",
        "100",
        "-gain",
        "0.2",
        "-mgain",
        "0.7",
        "-auto-mask",
        "4",
        "-auto-threshold",
        "1",
        "-fits-mask",
        "m.fits",
        "-nmiter",
        "5",
        "-padding",
        "1.3",
        "-wgridder-accuracy",
        "1e-5",
        "-j",
        "2",
        "-no-multiscale",
        "a.ms",
        "b.ms",
    ]
    double = [f"-{w}" if w.startswith("-") and not w[1:2].isdigit() else w for w in words]
    config = parsed("image", *words)
    assert config == parsed("image", *double)
    assert config.size == (512, 256)
    assert config.spw == (0, 1)
    assert config.chan_range == (1, 3)
    assert config.threads == 2
    assert config.multiscale is False
    assert config.max_major == 5


def test_options_may_stand_between_files(parsed):
    """`radrim image a.ms --niter 0 b.ms` images both."""
    assert parsed("image", "a.ms", "--niter", "0", "b.ms", "--gain", "0.2", "c.ms").ms == ("a.ms", "b.ms", "c.ms")


def test_uv_range_is_both_limits(parsed):
    """--uv-range MIN MAX is --minuv-l MIN --maxuv-l MAX."""
    config = parsed("image", "a.ms", "--uv-range", "10", "1e4")
    assert (config.minuv_l, config.maxuv_l) == (10, 1e4)


def test_command_line_wins_over_the_file(parsed, tmp_path):
    """An option given twice counts as on the command line; the rest, and the files, come from the TOML."""
    (tmp_path / "a.toml").write_text("ms = ['a.ms']\nniter = 5\ngain = 0.3\nauto_mask = 4\n[run]\ncommand = 'x'")
    config = parsed("image", "--config", tmp_path / "a.toml", "--niter", "7", "--auto-mask", "6")
    assert (config.ms, config.niter, config.gain, config.auto_mask) == (("a.ms",), 7, 0.3, 6)
    assert parsed("image", "b.ms", "--config", tmp_path / "a.toml").ms == ("b.ms",)


def test_command_line_is_kept_as_it_could_be_typed(monkeypatch, command):
    """The headers' HISTORY holds the command with blanks quoted."""
    lines = []
    monkeypatch.setattr(pipeline, "run", lambda config, command, **how: lines.append(command))
    command("image", "my obs.ms", "-niter", "0")
    assert lines == ["radrim image 'my obs.ms' -niter 0"]


@pytest.mark.parametrize(
    "words, expected",
    [
        ("imgae a.ms", ["imgae", "'image'"]),
        ("image a.ms --nitre 5", ["unknown option --nitre", "'--niter'", "radrim image --help"]),
        ("compare a.ms --peer wsclaen", ["--peer 'wsclaen'", "auto, wsclean, clean", "'wsclean'"]),
        ("image a.ms --solver claen", ["--solver 'claen'", "'clean'"]),
        ("obs.ms -size 64 64", ["radrim image obs.ms -size 64 64"]),
        ("clean field", ["radrim discard field", "--solver clean"]),
        ("image a.ms -shift 1h 2x", ["--shift", "'2x' is not a coordinate"]),
        ("image a.ms -save-uv", ["-save-uv", "Fourier transform"]),
        ("image a.ms --threshold 1mjy", ["'mjy'", "1mJy"]),
        ("simulate a.ms --noise 3K", ["--noise", "'K'", "20mJy"]),
        ("image nowhere.ms", ["nowhere.ms does not exist"]),
        ("info nowhere.ms", ["nowhere.ms does not exist"]),
        ("translate", ["wsclean"]),
        ("image a.ms -nope", ["unknown option -nope"]),
        ("image a.ms --size 512", ["--size", "expected 2 arguments"]),
        ("image", ["No Measurement Set given"]),
        ("info", ["OBS.ms", "radrim info --help"]),
        ("simulate a.ms b.ms", ["unknown option b.ms"]),
        ("convert a.uvfits", ["OBS.ms", "radrim convert --help"]),
        ("--nope", ["unknown option --nope"]),
        ("image a.ms --uv-range 1 2 --minuv-l 1", ["--uv-range", "one or the other"]),
    ],
)
def test_slips_on_the_command_line_get_one_line(command, words, expected):
    """What argparse would answer with a page of usage is one line on stderr, and status 2."""
    done = command(*words.split())
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("radrim: ")
    assert done.err.count("\n") == 1
    for word in expected:
        assert word in done.err


def test_debug_shows_where_an_error_came_from():
    """--debug raises the error itself, with its traceback."""
    from radrim.errors import InputError

    with pytest.raises(InputError, match=r"nowhere\.ms does not exist"):
        main(["image", "nowhere.ms", "--debug"])


def test_too_little_memory_is_said(monkeypatch, command):
    """MemoryError becomes a message with what to do, like every error that the user can mend."""

    def fail(config, command, **how):
        raise MemoryError("Unable to allocate 1 TiB")

    monkeypatch.setattr(pipeline, "run", fail)
    done = command("image", "a.ms")
    assert done.status == 2
    assert "Unable to allocate 1 TiB" in done.err
    assert "--chan-range" in done.err


def test_out_of_gpu_memory(command, monkeypatch):
    """So does torch's error of a full GPU; other RuntimeErrors are faults of radrim and keep their traceback."""

    def fail(config, command, **how):
        raise error

    monkeypatch.setattr(pipeline, "run", fail)
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB")
    done = command("image", "a.ms")
    assert done.status == 2
    assert "--device cpu" in done.err
    error = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        command("image", "a.ms")


def test_interrupt_ends_quietly(monkeypatch, command):
    """Ctrl-C gives status 130 and one line, no traceback."""

    def interrupt(config, command, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", interrupt)
    done = command("image", "a.ms")
    assert done.status == 130
    assert done.err == "radrim: interrupted; nothing was half-written, and the same command goes on.\n"


@pytest.mark.parametrize("words", [["info"], ["image", "--niter", "0", "--size", "64", "64", "--scale", "4asec",
                                   "--operator", "wgridder", "--no-report", "--name", "x"]])  # fmt: skip
def test_dirty_images_need_no_torch(words, small_ms, tmp_path):
    """`radrim info` and a dirty image by the w-gridder import neither torch nor the drawing libraries."""
    code = (
        "import sys, radrim.cli.main\n"
        f"assert radrim.cli.main.main({[words[0], str(small_ms), *words[1:]]!r}) == 0\n"
        "assert not {'torch', 'matplotlib', 'finufft', 'scipy.signal', 'astropy.coordinates'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, stdout=subprocess.PIPE)


def test_interrupt_is_answered_while_a_library_computes(tmp_path):
    """Ctrl-C ends the process with 130 and a message, though the main thread is in a call that goes on."""
    code = (
        "import os, signal, sys, threading, time\n"
        "from radrim.cli import imaging, interrupt, log\n"
        "with interrupt.answered_at_once(lambda: log.say_error('interrupted')) as interrupts:\n"
        "    interrupts.force = True\n"
        "    signal.signal(signal.SIGINT, lambda *_: None)\n"  # as a library that never returns to Python
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    threading.Event().wait(60)\n"
        "    sys.exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "radrim: interrupted\n")


def test_interrupt_names_the_work_directory(monkeypatch, command, tmp_path):
    """The message says where the finished steps are, and how to delete them."""

    def interrupt(config, command, **how):
        (tmp_path / "field.radrim").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", interrupt)
    done = command("image", "a.ms", "--name", "field")
    assert done.status == 130
    assert "field.radrim keeps what is finished" in done.err
    assert "radrim discard field" in done.err


def test_log_file_has_times(monkeypatch, command, tmp_path):
    """--log keeps the command, all lines with their times, and errors, also of a quiet run."""
    path = tmp_path / "a.log"
    done = command("image", "nowhere.ms", "--quiet", "-reorder", "--log", path)
    assert done.status == 2
    assert done.out == ""
    lines = path.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line) for line in lines)
    assert "radrim image nowhere.ms --quiet" in lines[0]
    assert "-reorder" in lines[1]
    assert "nowhere.ms does not exist" in lines[-1]


def test_warnings_have_colours_on_a_terminal_only(monkeypatch):
    """Colours are for terminals, unless NO_COLOR says otherwise (https://no-color.org)."""
    terminal = type("Terminal", (io.StringIO,), {"isatty": lambda self: True})()
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert coloured("x", YELLOW, terminal) == f"{YELLOW}x\033[0m"
    assert coloured("x", YELLOW, io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert coloured("x", YELLOW, terminal) == "x"


def test_files_of_an_earlier_run_are_named(command, small_ms, tmp_path):
    """A run says whose files it replaces; --no-report writes neither page nor picture."""
    words = [
        "image",
        small_ms,
        "--size",
        64,
        64,
        "--scale",
        "4asec",
        "--niter",
        0,
        "--no-report",
        "--name",
        tmp_path / "q",
    ]
    assert "Replaces files" not in command(*words).out
    assert "Replaces files of an earlier run" in command(*words).out
    assert not list(tmp_path.glob("q*.html")) + list(tmp_path.glob("q*.png"))
    assert (tmp_path / "q-qa.json").exists()


def test_interval_selects_integrations(command, small_ms, tmp_path):
    """--interval counts integrations as WSClean does: the image is that of their times, and too many are refused."""
    from radrim.read.reader import Selection, read

    whole = read([small_ms])
    times = np.unique(np.concatenate([block.time for block in whole.blocks]))
    part = read([small_ms], Selection(interval=(1, 3)))
    assert set(np.concatenate([block.time for block in part.blocks])) == set(times[1:3])
    done = command("image", small_ms, "--interval", 0, 10000, "--name", tmp_path / "q")
    assert done.status == 2
    assert "integrations" in done.err


@pytest.mark.parametrize(
    "typed, found",
    [
        ("radrim im", {"image"}),
        ("radrim image --solver ", {"rim", "clean", "entropy", "tv", "pnp"}),
        ("radrim image --thresh", {"--threshold"}),
        ("radrim info --ant", {"--antennas"}),
    ],
)
def test_bash_completes(command, typed, found, tmp_path):
    """The script for bash completes commands, options and their values."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not there")
    script = tmp_path / "radrim.bash"
    script.write_text(command("completion", "bash").out)
    words = typed.split(" ")
    line = " ".join(f"'{word}'" for word in words)
    code = (
        f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _radrim; printf '%s\\n' ${{COMPREPLY[@]}}"
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == found


def test_translate_prints_a_command_and_notes(command):
    """The command stands in the first line, in a shell's words; all other lines are comments."""
    done = command("translate", "wsclean", "-name", "my field", "-save-uv", "-reorder", "a.ms")
    first, *others = done.out.splitlines()
    assert first == "radrim image a.ms --name 'my field' --weight uniform --niter 0"
    assert all(line.startswith("# ") for line in others)
    assert any("not translated: -save-uv" in line for line in others)


def test_quiet_prints_warnings_only(command, small_ms, tmp_path, no_report):
    """--quiet leaves nothing on the terminal when all is well."""
    done = command(
        "image", small_ms, "--quiet", "--size", 64, 64, "--scale", "4asec", "--niter", 0, "--name", tmp_path / "q"
    )
    assert (done.status, done.out, done.err) == (0, "", "")


def test_output_that_nobody_reads():
    """`radrim model show base | head`: no traceback, and the exit status that shells give for a closed pipe."""
    command = [sys.executable, "-c", "import sys; from radrim.cli.main import main; sys.exit(main(['model', 'list']))"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 141


@pytest.mark.parametrize("how, kept", [("program", True), ("main", False)])
def test_only_a_process_of_its_own_keeps_its_memory(how, kept):
    """The program changes its process; a caller of `main` finds allocator and garbage collection as they were."""
    code = (
        "import gc; from radrim.cli import main; from radrim.runtime import allocator; before = gc.get_threshold()\n"
        f"status = main.{how}(['model', 'list'])\n"
        "print(status, allocator._State.keeps, gc.get_threshold() != before, gc.get_freeze_count() > 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == f"0 {kept} {kept} {kept}"
