"""The log of calls from Python: at a prompt, in a notebook, in a script."""

import logging
import sys
from types import SimpleNamespace

import pytest

from radrim.runtime import told
from radrim.runtime.notebook_log import NotebookLog, NotebookLogSettings
from radrim.runtime.progress_bar import ProgressBar


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A logger without handlers, as in a new process, in a script."""
    logger = logging.getLogger("radrim")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    monkeypatch.setattr(logger, "propagate", False)  # pytest's handlers listen at the root
    logger.manager._clear_cache()
    yield logger
    logger.manager._clear_cache()


class Shown:
    """Stands for a display of IPython: keeps what was shown."""

    def __init__(self):
        self.pages = []

    def display(self, data, **_):
        self.pages.append(data["text/html"])
        return SimpleNamespace(update=lambda data, **_: self.pages.append(data["text/html"]))


@pytest.fixture
def notebook(monkeypatch):
    """As in the kernel of a notebook; returns what is shown."""
    shown = Shown()
    ipython = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=True))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=shown.display))
    return shown


def speak(quiet):
    """Log a line and a warning as a call would."""
    with told.told(quiet) as log:
        log.info("a line")
        log.warning("a warning")


def test_script_is_silent(capsys):
    """In a script nothing is printed but what Python prints of warnings; with quiet=False the log is."""
    speak(None)
    assert "a line" not in capsys.readouterr().out
    speak(False)
    assert capsys.readouterr().out == "a line\nwarning: a warning\n"


def test_prompt_shows_the_log(capsys, monkeypatch):
    """At a prompt the log is printed, unless it is switched off."""
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    speak(None)
    assert capsys.readouterr().out.startswith("a line\n")
    speak(True)
    assert "a line" not in "".join(capsys.readouterr())


def test_nothing_is_left_behind(fresh):
    """Handlers and levels are those before the call, also after an error."""
    before = list(fresh.handlers)  # pytest's own
    with pytest.raises(ZeroDivisionError), told.told(False):
        _ = 1 / 0
    assert fresh.handlers == before
    assert fresh.level == logging.NOTSET


def test_handler_of_the_caller_is_enough(fresh, capsys):
    """Who has set up logging gets each line once, in his own way."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    fresh.addHandler(handler)
    fresh.setLevel(logging.INFO)
    speak(False)
    assert lines == ["a line", "a warning"]
    assert capsys.readouterr().out == ""
    speak(True)
    assert lines[2:] == ["a warning"]


def test_notebook_folds_the_log(notebook):
    """The running log is replaced by one line that opens, with all lines, beside warnings that stay visible."""
    speak(None)
    last = notebook.pages[-1]
    assert "<details" in last
    assert "2 lines of log" in last
    assert last.count("a warning") == 2
    assert last.count("a line") == 1


def test_notebook_is_quiet(notebook):
    """quiet=True shows nothing in a notebook."""
    speak(True)
    assert notebook.pages == []


def test_notebook_shows_errors_and_escapes(notebook):
    """After an error the block says so; what is logged cannot be markup."""
    with pytest.raises(ZeroDivisionError), told.told() as log:
        _ = log.info("<b>bold</b>") or 1 / 0
    assert "stopped by an error" in notebook.pages[-1]
    assert "&lt;b&gt;" in notebook.pages[-1]


def test_notebook_shows_progress(notebook):
    """A bar of the run is drawn in the block with its part, and is gone at the end."""
    shown_log = NotebookLog(NotebookLogSettings(interval=0.0))
    logging.getLogger("radrim").addHandler(shown_log)
    with ProgressBar("reading", 4) as bar:
        bar.advance()
        assert "reading" in notebook.pages[-1]
        assert "25%" in notebook.pages[-1]
    assert "reading" not in notebook.pages[-1]
    shown_log.close()
