"""Batches: one image cannot end another, what is done is not done again, and whoever waits is told the truth."""

import bz2
import csv
import gzip
import json
import lzma
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from radrim.batch import run as batch_run
from radrim.batch.config import BatchConfig, load_batch, to_duration
from radrim.batch.items import choose_item, expand, make_items
from radrim.batch.report import duration, summarise, write_summaries
from radrim.batch.run import Terms, lock, make_image, make_images, terms_of
from radrim.batch.slurm import job_script
from radrim.cli.imaging import parse_config
from radrim.cli.parser import build_parser
from radrim.cli.spelling import wsclean_spelling
from radrim.errors import ConfigError, InputError
from radrim.ms.inputs import open_inputs
from radrim.ms.tables import read_subtables
from radrim.report import qa

NOTHING = qa.Limits(min_dynamic_range=None, max_flagged=None)

# In place of `radrim image`: does what the name of the Measurement Set says, and otherwise writes an image's files.
ACTOR = """
import json, os, signal, sys, time
from pathlib import Path
words = sys.argv[1:]
ms, prefix = Path(words[1]), Path(words[words.index("--name") + 1])
tried = prefix.parent / "tried"
tried.write_text(tried.read_text() + "x" if tried.exists() else "x")
first = tried.read_text() == "x"
print("radrim image begins", flush=True)
act = ms.stem.split("_")[0]
if act == "bad" or act == "mended" and first:
    sys.exit(print("radrim: it is damaged: copy it again.", file=sys.stderr) or 2)
if act == "killed" or act == "unlucky" and first:
    os.kill(os.getpid(), signal.SIGKILL)
if act == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
if act == "bug":
    raise ValueError("nobody thought of this")
if act == "slow" and first:
    signal.signal(signal.SIGTERM, lambda *_: (tried.with_name("ended").touch(), os._exit(130)))
    time.sleep(60)
if act == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
quality = json.loads(Path(__file__).with_name("quality.json").read_text())
quality["files"] = [f"{prefix.name}-image.fits", f"{prefix.name}-qa.json"]
if "--channels-out" in words:
    quality["files"].append(f"{prefix.name}-0001-image.fits")
for name in quality["files"]:
    (prefix.parent / name).write_text(json.dumps(quality))
"""
QUALITY = {
    "schema": qa.SCHEMA, "schema_version": qa.VERSION, "peak_jy_per_beam": 1.0, "dynamic_range": 1000.0,
    "noise": {"residual_rms_jy_per_beam": 1e-3, "ratio_to_scatter": 1.1},
    "beam": {"major_arcsec": 5.0, "minor_arcsec": 4.0, "pa_deg": 30.0}, "data": {"flagged_fraction": 0.1},
    "peak_memory_bytes": 900_000_000, "checks": [],
}  # fmt: skip
TERMS = Terms(retries=1, time_limit=100.0, threads=1, memory=None, pause=0.01)


@pytest.fixture
def actor(tmp_path, monkeypatch):
    """The command that stands for `radrim image`, in place of it; the current folder is the test's."""
    (tmp_path / "actor").mkdir()
    (tmp_path / "actor" / "actor.py").write_text(ACTOR)
    (tmp_path / "actor" / "quality.json").write_text(json.dumps(QUALITY))
    child = (sys.executable, str(tmp_path / "actor" / "actor.py"))
    monkeypatch.setattr(batch_run, "CHILD", child)
    monkeypatch.setattr(batch_run, "Terms", partial(Terms, pause=0.01))
    monkeypatch.chdir(tmp_path)
    return child


@pytest.fixture
def batch(actor, tmp_path):
    """Items with these names, as a batch of these options has them: `batch("good", "bad", size=64) -> list of Item`."""

    def make(*names, **image):
        for name in names:
            path = tmp_path / "obs" / f"{name}.ms"
            if not path.exists():
                path.mkdir(parents=True)
                (path / "table.dat").write_text(name)
        config = BatchConfig(output=Path("out"), image=image)
        return make_items(config, [f"obs/{name}.ms" for name in names])

    return make


def write(path, text):
    path.write_text(text)
    return path


# The file


@pytest.mark.parametrize(
    "text, says",
    [
        ("[batch]\ninput = ['a']", "line 2: unknown key 'input'; did you mean 'inputs'?"),
        ("[bacth]", "line 1: unknown key 'bacth'; did you mean 'batch'?"),
        ("size = 64", "line 1: unknown key 'size'; known are batch, image, quality, slurm, group, override."),
        ("[batch]\n\njobs = 'two'", "line 3: jobs takes a whole number, got 'two'"),
        ("[batch]\njobs = 0", "line 2: jobs 0 is out of range: it must be at least 1"),
        ("[batch]\ntime-limit = 'soon'", "line 2: time-limit takes a time such as 90s, 45min"),
        ("[image]\nsiez = 64", "line 2: unknown key 'siez'; did you mean 'size'?"),
        ("[image]\n# x\nscale = 1", "line 3: --scale '1' has no unit"),
        ("[image]\nname = 'x'", "line 2: name is set by the batch"),
        ("[quality]\nmax_rsm = 1", "line 2: unknown key 'max_rsm'; did you mean 'max-rms'?"),
        ("[quality]\nmax_rms = 'low'", "line 2: max_rms takes a number, got 'low'"),
        ("[slurm]\ncpus = 1.5", "line 2: cpus takes a whole number"),
        ("image = 3", "line 1: 'image' must be a table: write [image] above it"),
        ("[group]\nname = 'a'", "line 1: 'group' must be a table: write [[group]] above it"),
        ("[[group]]\nname = 'a'", "line 1: a group needs its ms, such as ms = ['a.ms', 'b.ms']"),
        ("[[group]]\nname = 'a/b'\nms = 'c'", "line 2: 'a/b' cannot be the name of files"),
        ("[[group]]\nname='a'\nms='b'\n[[group]]\nname='a'\nms='c'", "line 5: two groups are called 'a'"),
        ("[[override]]\nsize = 64", "line 1: an override needs a pattern"),
        ("[[override]]\nmatch='a'\n[[override]]\nmatch='b'\nniter=-1", "line 5: --niter -1 is out of range"),
    ],
)
def test_faults_of_the_file_are_named_with_their_line(tmp_path, command, text, says):
    """Unknown tables and keys, wrong kinds of values: status 2, file, line and what to write."""
    path = write(tmp_path / "b.toml", text)
    done = command("batch", path, "--dry-run")
    assert done.status == 2
    assert done.err.startswith(f"radrim: {path}, ")
    assert done.err.count("\n") == 1
    assert says in done.err


def test_the_whole_file(tmp_path, monkeypatch):
    """Every table arrives; the command line wins; an override holds for what it matches, the later over the earlier."""
    monkeypatch.chdir(tmp_path)
    text = """
        [batch]
        inputs = ["a_L.ms", "b_S.ms"]
        output = "out"
        jobs = 3
        time-limit = "2h"
        memory = "8GB"
        [image]
        size = 128
        data_column = "DATA"
        [quality]
        max-rms = 1e-3
        min_dynamic_range = false
        [slurm]
        partition = "astro"
        at-once = 4
        [[group]]
        name = "both"
        ms = ["b_S.ms", "c.ms"]
        [[override]]
        match = "*_L"
        size = 256
        scale = "1asec"
        [[override]]
        match = "*c.ms"
        size = 512
    """
    config = load_batch(write(tmp_path / "b.toml", text)).with_options(jobs="2", retries=None, time_limit="90s")
    assert (config.jobs, config.retries, config.time_limit, config.memory) == (2, 1, 90, 8e9)
    assert config.quality == {"max_rms": 1e-3, "min_dynamic_range": None}
    assert config.slurm == {"partition": "astro", "at_once": 4}
    both, single = make_items(config)  # b_S.ms is in the group, not once more alone
    assert (both.name, both.config.ms, both.config.size) == ("both", ("b_S.ms", "c.ms"), (512, 512))
    assert (single.name, single.config.size, single.config.data_column) == ("a_L", (256, 256), "DATA")
    assert both.folder == tmp_path / "out" / "both"


def test_contradicting_options_name_the_item(tmp_path):
    """Options that exclude each other are found before anything is made."""
    config = BatchConfig(image={"scheduler": "tcp://a:1", "cluster": "slurm"}, output=tmp_path)
    with pytest.raises(ConfigError, match="Item a: --scheduler does not work with --cluster"):
        make_items(config, ["a.ms"])


@pytest.mark.parametrize(
    "text, seconds",
    [("90", 90), ("90s", 90), ("1.5h", 5400), ("2d", 172800), ("01:30:00", 5400), ("1-0:00:10", 86410)],
)
def test_times(text, seconds):
    """As people and SLURM write them."""
    assert to_duration("time-limit", text) == seconds


# Items


def test_inputs(tmp_path):
    """Folders, patterns and lists become what is in them, each once; what does not exist stays, to fail later."""
    for name in ("a.ms", "b.ms", "c.MS", "table"):
        (tmp_path / "obs" / name).mkdir(parents=True)
    (tmp_path / "obs" / "table" / "table.dat").touch()
    (tmp_path / "obs" / "notes.pdf").touch()
    write(tmp_path / "some.txt", "# comment\nobs/b.ms\n\nobs/none.ms\n")
    obs = str(tmp_path / "obs")
    assert expand([obs]) == [f"{obs}/{name}" for name in ("a.ms", "b.ms", "c.MS", "table")]
    assert expand([f"{obs}/*.ms", f"{obs}/a.ms"]) == [f"{obs}/a.ms", f"{obs}/b.ms"]
    assert expand([str(tmp_path / "some.txt")]) == [f"{obs}/b.ms", f"{obs}/none.ms"]
    with pytest.raises(InputError, match=r"\*.zarr matches nothing; give patterns in quotes"):
        expand([f"{obs}/*.zarr"])
    with pytest.raises(InputError, match=r"no observation that radrim reads and holds none; .*/\*\*/\*.ms"):
        expand([str(tmp_path)])


def test_folder_with_all_that_can_be_imaged(tmp_path, small_ms, make_uvfits):
    """A folder's observations are found by content, compressed or not; images and gains are not among them."""
    obs = tmp_path / "obs"
    obs.mkdir()
    plain = make_uvfits(small_ms).read_bytes()
    for name, pack in (("a.uvfits.gz", gzip), ("b.UVP.bz2", bz2), ("c.fits.xz", lzma), ("d.fits", None)):
        (obs / name).write_bytes(pack.compress(plain) if pack else plain)
    shutil.copytree(small_ms, obs / "e")
    (obs / "d.fits.gz").write_bytes(gzip.compress(plain))  # of the file beside it
    fits.PrimaryHDU(np.zeros((8, 8))).writeto(obs / "image.fits")
    (obs / "image2.fits.gz").write_bytes(gzip.compress((obs / "image.fits").read_bytes()))
    (obs / "notes.txt.gz").write_bytes(gzip.compress(b"notes"))
    (obs / "cut.gz").write_bytes(gzip.compress(plain)[:20])
    for name, kind in (("gains.G", "Calibration"), ("m31.image", "Image")):
        (obs / name).mkdir()
        (obs / name / "table.dat").touch()
        (obs / name / "table.info").write_text(f"Type = {kind}\nSubType = \n")
    items = make_items(BatchConfig(output=tmp_path), [str(obs)])
    assert [item.name for item in items] == ["a", "b", "c.fits", "d.fits", "e"]
    with open_inputs([item.config.ms[0] for item in items]) as sets:
        assert {one.rows for one in sets} == {read_subtables(small_ms).rows}


def test_names_tell_items_apart(tmp_path):
    """Sets of one name are called by their folders, too; a name that has a dot keeps it."""
    paths = ["n1/target.ms", "n2/target.ms", "n2/3c391_4.6GHz", "n2/other.ms"]
    items = make_items(BatchConfig(output=tmp_path), paths)
    assert [item.name for item in items] == ["n1-target", "n2-target", "3c391_4.6GHz", "other"]
    with pytest.raises(ConfigError, match="Two inputs would be called"):
        make_items(BatchConfig(output=tmp_path), ["n1/a.ms", "n1/a.uvfits"])
    with pytest.raises(ConfigError, match="No input given"):
        make_items(BatchConfig())


def test_one_item(tmp_path):
    """By number from 1 on, or by name."""
    items = make_items(BatchConfig(output=tmp_path), ["a.ms", "b.ms"])
    assert [choose_item(items, which).name for which in ("1", "2", "b")] == ["a", "b", "b"]
    for which in ("0", "3", "c", "-1"):
        with pytest.raises(ConfigError, match=f"--item {which}: .*the 2 items are counted from 1"):
            choose_item(items, which)


def test_the_command_of_an_item_means_its_options(tmp_path):
    """What the child is told, and the images' headers say, parses to the options that the file gave."""
    options = {
        "size": [512, 256], "scale": "0.5asec", "weight": "briggs -0.5", "chan-range": [1, 3], "spw": [0, 2],
        "multiscale": False, "cube": True, "channels-out": 2, "pb": True, "contsub": 1,
        "contsub-channels": [0, 3, 5, 9], "time-range": ["2020-01-01T00:00:00", "2020-01-02T00:00:00"], "field": "0",
        "maxuv-l": 1e5, "niter": 10, "auto-threshold": 5, "memory": "2GB",
    }  # fmt: skip
    (item,) = make_items(BatchConfig(image=options, output=tmp_path), ["a b.ms"])
    args, rest = build_parser().parse_known_args(wsclean_spelling(["image", *item.config.as_arguments()]))
    assert rest == []
    assert parse_config(args) == item.config


def test_why_an_item_is_to_be_made(batch):
    """Not made, failed, missing files, other settings or another input, each in words; threads do not count."""
    (item,) = batch("good", size=64)
    assert item.to_do() == "not made yet"
    assert make_image(item, TERMS)["state"] == "done"
    assert item.to_do() == ""
    assert batch("good", size=64, threads=3, memory="1GB")[0].to_do() == ""
    assert "settings.size: [64, 64] there, [128, 128] now" in batch("good", size=128)[0].to_do()
    item.file("-image.fits").unlink()
    assert item.to_do() == "good-image.fits is missing"
    make_image(item, TERMS)
    Path("obs/good.ms/table.dat").write_text("new data")
    assert "changed: files" in item.to_do()
    (bad,) = batch("bad")
    make_image(bad, TERMS)
    assert bad.to_do() == "failed before: it is damaged: copy it again."


def test_files_of_other_settings_go_when_the_new_image_is_there(batch):
    """An image of one channel has no second channel's file of an earlier one beside it."""
    make_image(batch("good", **{"channels-out": 2})[0], TERMS)
    (item,) = batch("good")
    second = item.file("-0001-image.fits")
    assert second.exists()
    make_image(item, TERMS)
    assert not second.exists()
    assert item.file("-image.fits").exists()


# Processes


def states(items, **change):
    """Make the items two at once; name to (state, attempts, reason)."""
    make_images(items, replace(TERMS, **change), 2, lambda item, state: None)
    return {item.name: (s["state"], s["attempts"], s["reason"]) for item in items for s in [item.state()]}


def test_no_end_of_a_process_ends_the_batch(batch):
    """Bad input fails once; killed and crashed processes are tried again; each reason is one line that says what."""
    found = states(batch("good", "bad", "killed", "unlucky", "crash", "bug"))
    assert found["good"] == ("done", 1, "")
    assert found["bad"] == ("failed", 1, "it is damaged: copy it again.")
    assert found["unlucky"] == ("done", 2, "")
    state, attempts, reason = found["killed"]
    assert (state, attempts) == ("failed", 2)
    assert "killed (SIGKILL) with" in reason
    assert "less --memory" in reason
    assert found["crash"] == ("failed", 2, "crashed (SIGSEGV): radrim image begins")
    assert found["bug"] == ("failed", 2, "failed unexpectedly (exit status 1): ValueError: nobody thought of this")


def test_only_a_full_memory_is_waited_for(batch):
    """Before a killed process is tried again there is a pause, doubled each time; after a crash there is none."""

    class Stop(threading.Event):
        def wait(self, timeout=None):
            pauses.append(timeout)

    for name, expected in (("killed", [10.0, 20.0]), ("crash", [0.0, 0.0]), ("bad", [])):
        pauses: list = []
        (item,) = batch(name)
        make_image(item, replace(TERMS, retries=2, pause=10.0), Stop())
        assert pauses == expected


def test_time_limit(batch):
    """What is too slow is asked to end, and is not tried again; the next batch goes on with it."""
    (item,) = batch("slow")
    assert states([item], time_limit=1.0)["slow"][:2] == ("failed", 1)
    assert (item.folder / "ended").exists()
    assert "ended at the time limit of 1 s" in item.state()["reason"]
    assert states([item])["slow"][0] == "done"


def test_who_does_not_end_is_killed(batch):
    """A process that ignores SIGTERM is killed a while later."""
    state, attempts, reason = states(batch("stubborn"), time_limit=1.0, grace=0.3)["stubborn"]
    assert (state, attempts) == ("failed", 1)
    assert "time limit" in reason


def test_an_image_that_cannot_be_noted_fails_alone(batch, monkeypatch):
    """A full disk or a missing right in one folder is that item's failure."""
    items = batch("good", "other")
    items[0].folder.parent.mkdir(exist_ok=True)
    items[0].folder.write_text("a file")
    seen = {}
    make_images(items, TERMS, 1, lambda item, state: seen.setdefault(item.name, state["state"]))
    assert seen == {"good": "failed", "other": "done"}


def test_threads_and_memory_are_divided(batch, monkeypatch):
    """Among the images at once, unless the options of an image say; a task of an array takes what SLURM gave."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(batch_run, "total_memory", lambda: 100e9)
    terms = terms_of(BatchConfig(jobs=4))
    assert (terms.threads, terms.memory) == (2, 15e9)
    assert terms_of(BatchConfig(jobs=4, memory=8e9)).memory == 2e9
    assert terms_of(BatchConfig()).memory is None
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "10000")
    alone = terms_of(BatchConfig(jobs=4), alone=True)
    assert (alone.threads, alone.memory) == (6, pytest.approx(0.6 * 10000 * 2**20))
    (item,) = batch("good", threads=5)
    make_image(item, terms)
    line = " ".join(item.state()["command"])
    assert "--threads 5" in line
    assert "--threads 2" not in line
    assert "--memory 15000MB" in line


DRIVER = """
import sys
from radrim.batch import run as batch_run
from radrim.cli.main import main
batch_run.CHILD = {child!r}
sys.exit(main(sys.argv[1:]))
"""


def start_driver(child, *words):
    """`radrim batch` as a process, with the actor."""
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER.format(child=child), "batch", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONWARNINGS": "ignore"},
        # Tests in the background ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread holds a lock here
    )  # fmt: skip


def wait_for(path):
    for _ in range(600):
        if path.exists() and path.read_text():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_batch_goes_on(batch, actor, number):
    """SIGTERM, SLURM's warning, and Ctrl-C: status 130, the child has ended, and the same command makes the rest."""
    slow, good = batch("slow", "zgood")
    driver = start_driver(actor, "obs", "--output", "out")
    wait_for(slow.folder / "tried")
    driver.send_signal(number)
    out, err = driver.communicate(timeout=180)
    assert driver.returncode == 130
    assert err == "radrim: interrupted; nothing was half-written, and the same command goes on.\n"
    assert "1 interrupted" in out
    assert "1 waiting" in out
    assert (slow.folder / "ended").exists()
    assert (slow.state()["state"], good.state()["state"]) == ("interrupted", "waiting")
    again = start_driver(actor, "obs", "--output", "out")
    assert again.wait(180) == 0
    assert "2 done" in again.communicate()[0]


def test_two_batches_at_once(batch, actor, command, tmp_path):
    """The second is refused with a message as long as the first goes on; an array's tasks share the folder."""
    (item,) = batch("good")
    Path("out").mkdir()
    with lock(Path("out"), "The folder out"):
        done = command("batch", "obs", "--output", "out")
        assert done.status == 2
        assert f"The folder out is being worked on by another radrim batch (process {os.getpid()} on" in done.err
    with lock(Path("out"), "The folder out", shared=True):
        assert command("batch", "obs", "--output", "out").status == 2
        assert command("batch", "obs", "--output", "out", "--item", 1).status == 0
    item.folder.mkdir(exist_ok=True)
    with lock(item.folder, "Item good"):
        assert "Item good is being worked on" in make_image(item, TERMS)["reason"]
    assert item.state()["state"] == "done"


def test_a_child_ends_with_its_parent(tmp_path):
    """However the batch dies, no image goes on without it; asked to end, a child ends as after Ctrl-C."""
    child = (
        "import os, sys, time, radrim.cli.main, radrim.cli.child\n"
        f"def wait(argv, **how):\n    open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        f"    try: time.sleep(60)\n    except KeyboardInterrupt: open({str(tmp_path / 'tidied')!r}, 'w').write('x')\n"
        "radrim.cli.main.main = wait\nradrim.cli.child.main([])"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])", child]
    )
    wait_for(tmp_path / "pid")
    parent.kill()
    parent.wait()
    wait_for(tmp_path / "tidied")


def test_the_batch_itself_stays_small(batch):
    """What images need, torch above all, is loaded by their processes only: the memory is theirs."""
    batch("good")
    code = (
        "import sys, radrim.batch.run, radrim.batch.report\n"
        "from radrim.cli.main import main\n"
        "main(['batch', 'obs', '--dry-run'])\n"
        "print([name for name in ('torch', 'numba', 'ducc0', 'finufft', 'casacore') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["1 of 1 images would be made.", "[]"]


# The summary


def test_summary(batch):
    """CSV and ECSV have a row for each item, with units and with empty cells for what is not known."""
    from astropy.table import Table

    items = batch("good", "bad", "later")
    make_images(items[:2], TERMS, 1, lambda item, state: None)
    rows = write_summaries(items, NOTHING, "out")
    assert [row["state"] for row in rows] == ["done", "failed", "waiting"]
    table = Table.read("out/summary.ecsv")
    assert str(table["rms"].unit) == "Jy / beam"
    assert str(table["beam_major"].unit) == "arcsec"
    assert table["rms"][0] == 1e-3
    assert table["dynamic_range"][0] == 1000
    assert table["peak_memory"][0] == 900
    assert table["rms"].mask.tolist() == [False, True, True]
    assert table["attempts"].mask.tolist() == [False, False, True]
    with open("out/summary.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert found[1]["reason"] == "it is damaged: copy it again."
    assert found[1]["rms"] == ""


def test_limits_make_suspects_without_imaging_again(batch):
    """Other limits judge the image that is there: state, reason and the checks in its quality file change."""
    (item,) = batch("good")
    make_image(item, TERMS)
    assert summarise(item, NOTHING)["state"] == "done"
    before = item.file("-qa.json").stat().st_mtime_ns
    summarise(item, NOTHING)
    assert item.file("-qa.json").stat().st_mtime_ns == before
    row = summarise(item, replace(NOTHING, max_rms=1e-4))
    assert (row["state"], row["reason"]) == ("suspect", "rms 0.001, above max_rms = 0.0001")
    assert qa.read_qa(item.file("-qa.json"))["checks"][0]["state"] == "warn"
    assert item.to_do() == ""


class Page(HTMLParser):
    """Links, pictures and the order of names of index.html."""

    def __init__(self, text):
        super().__init__()
        self.links, self.classes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.links += [attrs[key] for key in ("href", "src") if key in attrs]
        if tag == "tr" and "class" in attrs:
            self.classes.append(attrs["class"])


def test_the_page(batch):
    """Failures first; links are relative and lead to files that are there; nothing is fetched; names are escaped."""
    items = batch("good", "bad", "odd <b> & co")
    items[0].folder.mkdir(parents=True)
    items[0].file(".png").touch()
    make_images(items, TERMS, 1, lambda item, state: None)
    write_summaries(items, NOTHING, "out")
    text = Path("out/index.html").read_text()
    page = Page(text)
    assert page.classes == ["failed", "done", "done"]
    assert "odd &lt;b&gt; &amp; co" in text
    assert "<b>" not in text
    assert "1 mJy/beam" in text
    assert "5 × 4 asec" in text
    assert "good/good.png" in page.links
    assert "good/good-qa.json" in page.links
    assert "bad/bad.log" in page.links
    from urllib.parse import unquote

    assert all(Path("out", unquote(link)).exists() for link in page.links)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)


@pytest.mark.parametrize(
    "seconds, text", [(3.4, "3 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_durations(seconds, text):
    """Rounded to what matters."""
    assert duration(seconds) == text


# SLURM and Dask


def test_job_script(batch):
    """Options of the file and names of the images; a task has time to end before SLURM ends it."""
    slurm = {
        "partition": "astro", "time": "02:00:00", "mem": "16G", "cpus": 4, "at_once": 5, "options": ["--qos=low"],
        "setup": ["module load python"],
    }  # fmt: skip
    config = BatchConfig(output=Path("out"), slurm=slurm)
    script = job_script(batch("a b", "c"), config, ["survey.toml"])
    head, body = script.split("\n\n")
    for option in (
        "array=1-2%5", "partition=astro", "time=02:00:00", "mem=16G", "cpus-per-task=4", "qos=low", "signal=B:TERM@120",
        f"output={Path('out').absolute()}/slurm-%A_%a.log", "job-name=radrim-out",
    ):  # fmt: skip
        assert f"#SBATCH --{option}" in head.splitlines()
    assert head.startswith("#!/bin/bash\n")
    assert "items=('a b' c)" in body
    assert "module load python" in body
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_an_array_makes_what_is_missing(batch, actor, command, tmp_path, monkeypatch):
    """The script, submitted to a stand-in for SLURM that runs each task: only images that were missing are made."""
    items = batch("bad", "good", "mended", "other")
    make_image(items[1], TERMS)
    made = items[1].file("-image.fits").stat().st_mtime_ns
    make_image(items[2], TERMS)
    config = write(tmp_path / "b.toml", "[batch]\ninputs = ['obs']\noutput = 'out'\n")
    fake = write(tmp_path / "sbatch", '#!/bin/sh\necho "$@" > submitted\necho 4711\n')
    fake.chmod(0o755)
    done = command("batch", config, "--slurm", "--submit", "--retries", 0)
    assert done.status == 2
    assert "There is no sbatch on this machine; out/slurm.sh is written" in done.err
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = command("batch", config, "--slurm", "--submit", "--retries", 0)
    assert done.status == 0
    assert "Job 4711: out/slurm.sh, 3 tasks" in done.out
    assert (tmp_path / "submitted").read_text() == "--parsable out/slurm.sh\n"
    script = (tmp_path / "out" / "slurm.sh").read_text()
    assert f"{sys.executable} -m radrim batch {config} --retries 0 --item" in script
    # The actor in place of radrim image, in the processes of the tasks, too.
    driver = write(tmp_path / "driver.py", DRIVER.format(child=actor))
    task = write(tmp_path / "task.sh", script.replace("-m radrim", str(driver)))
    statuses = [
        subprocess.run(
            ["bash", task], env=os.environ | {"SLURM_ARRAY_TASK_ID": number}, cwd="/", check=False
        ).returncode
        for number in "123"
    ]
    assert statuses == [3, 0, 0]
    assert [item.state()["state"] for item in items] == ["failed", "done", "done", "done"]
    assert items[1].file("-image.fits").stat().st_mtime_ns == made
    assert (tmp_path / "out" / "summary.csv").read_text().count("done") == 3


@pytest.mark.filterwarnings("ignore")  # distributed's own
def test_on_a_dask_cluster(batch, command):
    """Items are tasks of the workers, and failures are reported as everywhere."""
    from distributed import LocalCluster

    batch("bad", "good", "other")
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", host="127.0.0.1",
                      dashboard_address=None, memory_limit="4GB") as workers:  # fmt: skip
        done = command("batch", "obs", "--output", "out", "--scheduler", workers.scheduler_address)
    assert done.status == 3, done.err
    assert "2 done, 1 failed" in done.out
    assert "bad: failed" in done.out
    line = " ".join(json.loads(Path("out/good/good-batch.json").read_text())["command"])
    assert "--threads 1" in line
    assert "--memory 1200MB" in line


@pytest.mark.parametrize(
    "words, says",
    [
        (["--submit"], "--submit is for --slurm"),
        (["--slurm", "--item", "1"], "three ways of running a batch"),
        (["--jobs", "x"], "--jobs takes a whole number"),
        (["--item", "9"], "--item 9: there is no item of that name or number"),
        (["--config", "none.toml"], "none.toml cannot be read"),
    ],
)
def test_wrong_command_lines(batch, command, words, says):
    """One line, status 2, and nothing begins."""
    batch("good")
    done = command("batch", "obs", "--output", "out", *words)
    assert done.status == 2
    assert says in done.err
    assert not Path("out").exists()


# All of it


def test_four_observations_one_of_them_broken(make_ms, edit_ms, command, tmp_path, monkeypatch):
    """Three images and one reason; again, only what failed is tried; mended, only that is made; then nothing is."""
    import shutil

    monkeypatch.chdir(tmp_path)
    for number in range(4):
        shutil.copytree(make_ms(noise=0.01, seed=number), tmp_path / "obs" / f"f{number}.ms")
    lost = tmp_path / "obs" / "f2.ms" / "SPECTRAL_WINDOW"
    lost.rename(tmp_path / "kept")
    text = "[batch]\ninputs=['obs']\noutput='out'\njobs=2\n[image]\nsize=64\nscale='4asec'\nniter=0\n"
    config = write(tmp_path / "b.toml", text + "[quality]\nmin_dynamic_range = 3\n")
    assert "4 of 4 images would be made" in command("batch", config, "--dry-run").out
    done = command("batch", config)
    assert done.status == 3
    assert "4 images: 3 done, 1 failed" in done.out
    assert "f2: failed" in done.out
    assert "f2.ms/SPECTRAL_WINDOW cannot be opened" in done.out

    def made():
        return {
            path: path.stat().st_mtime_ns for path in tmp_path.glob("out/f*/*") if path.suffix in (".fits", ".json")
        }

    first = made()
    assert {path.parent.name for path in first if path.suffix == ".fits"} == {"f0", "f1", "f3"}
    lost.parent.joinpath("SPECTRAL_WINDOW").symlink_to(tmp_path / "kept")
    done = command("batch", config)
    assert done.status == 0
    assert "1 of 4 images to make" in done.out
    assert "4 images: 4 done" in done.out
    second = made()
    assert {path.parent.name for path, when in second.items() if first.get(path) != when} == {"f2"}
    assert command("batch", config).status == 0
    assert made() == second
