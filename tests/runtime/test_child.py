"""radrim.runtime.process: what a command took, and how it ended."""

import sys
import threading

import pytest

from radrim.runtime import process as child


def python(code, log, **options):
    return child.run([sys.executable, "-c", code], log, **options)


def test_output_and_status_are_kept(tmp_path):
    """Both streams in the order of printing, in the log, too; the exit status as it was."""
    code = "import sys; print('one', flush=True); print('two', file=sys.stderr); sys.exit(3)"
    done = python(code, tmp_path / "log")
    assert done.output == "one\ntwo\n" == (tmp_path / "log").read_text()
    assert (done.status, done.stopped) == (3, False)


def test_memory_is_the_process_own_peak(tmp_path):
    """100 MB that are held for a moment and freed count; what this process holds does not."""
    mine = bytearray(b"x") * 300_000_000
    code = "import time; a = bytearray(b'x') * 100_000_000; time.sleep(0.3); del a; time.sleep(0.1)"
    done = python(code, tmp_path / "log")
    assert 100e6 < done.memory < 160e6 < len(mine)


def test_processor_time_counts_the_work_and_not_the_waiting(tmp_path):
    """Sleeping takes wall time only."""
    done = python("import time; time.sleep(0.5)", tmp_path / "log")
    assert done.wall > 0.5
    assert done.cpu < done.wall


def test_limit_stops_the_process(tmp_path):
    """After its time a process is killed, and what it printed before is kept; no thread stays behind."""
    before = threading.active_count()
    done = python("import time; print('begun', flush=True); time.sleep(60)", tmp_path / "log", limit=2)
    assert done.stopped
    assert done.status < 0
    assert done.wall < 30
    assert done.output == "begun\n"
    assert threading.active_count() <= before  # threads of earlier tests may have ended


def test_missing_program_is_an_error(tmp_path):
    """As the operating system says it."""
    with pytest.raises(FileNotFoundError):
        child.run(["no-such-program-here"], tmp_path / "log")


def test_a_stop_event_asks_first_and_kills_later(tmp_path):
    """SIGTERM when the event is set; who ignores it is killed when the grace is over; that is not the time limit."""
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    deaf = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True)); time.sleep(60)"
    done = python(
        f"{deaf}; time.sleep(60)", tmp_path / "log", limit=60, stop=stop, settings=child.ProcessSettings(grace=0.5)
    )
    assert (done.status, done.stopped) == (-9, False)
    assert done.output == "asked\n"
    assert done.wall < 30


def test_a_log_can_go_on(tmp_path):
    """With a heading the log keeps what it has; the output is that of the last command alone."""
    python("print('first')", tmp_path / "log")
    done = python("import os; print(os.getcwd())", tmp_path / "log", heading="--- second", folder=tmp_path)
    assert done.output == f"{tmp_path}\n"
    assert (tmp_path / "log").read_text() == f"first\n--- second\n{tmp_path}\n"
