"""What invention.py measures with: simulated observations, both programs, the benchmark's settings and scores."""

import csv
import importlib
import json
import shlex
import shutil
import sys
from dataclasses import dataclass

import numpy as np

from radrim.geometry import ARCSEC, C
from radrim.runtime import process as child
from radrim.simulation import make_sky, read_layout, simulate
from radrim.sky.catalogue import SkyImage

SIZE = 512
"""Pixels along each side of an image; truths have half as many."""
FINER = 1.6
"""Pixels are so much finer than half of what the longest baseline resolves, as in the benchmark's own cases."""
INTEGRATIONS = 100
DYNAMIC_RANGE = 1000
LIMIT = 1200
"""Time for one image [s]."""
PROGRAMS = ("radrim", "WSClean")


@dataclass(frozen=True)
class Setup:
    """An observation.

    Parameters
    ----------
    array : str
        Layout that comes with radrim.
    dec, freq, hours : float
        Declination [deg], frequency [Hz], length [h].
    weight : str
    """

    array: str
    dec: float
    freq: float
    hours: float
    weight: str = "briggs 0"

    @property
    def scale(self):
        """Pixel size [rad]."""
        return C / self.freq / read_layout(self.array).longest_baseline / 2 / FINER

    def observe(self, ms, seed, sky=None):
        """Write the Measurement Set of `sky` (y, x) [Jy/pixel], or of noise alone; noise is 1 Jy per correlation."""
        none = np.zeros(0)
        image = None if sky is None else SkyImage(sky, self.scale)
        simulate(
            ms, array=self.array, sky=make_sky(none, none, none, self.freq, image=image), ra=30.0, dec=self.dec,
            freq=self.freq, bandwidth=0.03 * self.freq, channels=2, hours=self.hours, correlations="XX,YY",
            integration=self.hours * 3600 / INTEGRATIONS, noise=1.0, seed=seed, overwrite=True,
        )  # fmt: skip


class Bench:
    """Both programs beside each other.

    Parameters
    ----------
    folder : Path
        With run.py, score.py and dev_cases.csv of the benchmark.
    work : Path
        For what is made.
    options : list of str
        For radrim.
    programs : sequence of str
        Which of `PROGRAMS` make images.
    """

    def __init__(self, folder, work, options, programs=PROGRAMS):
        self.programs = programs
        sys.path.append(str(folder))
        self.run, self.score = (importlib.import_module(name) for name in ("run", "score"))
        self.work = work
        work.mkdir(parents=True, exist_ok=True)
        with open(folder / "dev_cases.csv") as rows:
            # Sparse arrays, on which CLEAN's strong settings diverge, have settings of their own there.
            self.clean = {row["array"].split("_", 1)[-1]: row["clean"] for row in csv.DictReader(rows)}
        words = [sys.executable, "-m", "radrim", "image"]
        knows = "--uncertainty" in child.run([*words, "--help"], work / "help.log").output
        self.radrim = (
            f"{shlex.join(words)} {{ms}} --size {{size}} {{size}} --scale {{scale}}asec --weight {{weight}} "
            f"--padding 2 --overwrite --name {{name}} {shlex.join(options)}{' --uncertainty' * knows}"
        )

    def commands(self, setup, ms, folder, clean=None):
        """The command of each program, with the benchmark's settings of WSClean or others."""
        clean = clean or self.clean.get(setup.array) or self.run.CLEAN
        common = {"ms": ms, "size": SIZE, "scale": f"{setup.scale / ARCSEC:.9g}", "weight": setup.weight}
        return {
            who: template.format(**common, clean=clean, name=folder / who)
            for who, template in zip(PROGRAMS, (self.radrim, self.run.WSCLEAN), strict=True)
        }

    def image(self, folder, setup, seed, judge, sky=None):
        """What `judge`, given PREFIX, says of each program's images; kept in the folder if neither failed.

        Returns
        -------
        dict of str to dict
            For each program: what `judge` returned and 'wall', the seconds that the image took; or its 'error'.
        """
        kept = folder / "result.json"
        if kept.exists():
            return json.loads(kept.read_text())
        folder.mkdir(parents=True, exist_ok=True)
        ms = folder / "data.ms"
        setup.observe(ms, seed, sky)
        result = {}
        commands = self.commands(setup, ms, folder)
        for who in self.programs:
            done = child.run(shlex.split(commands[who]), folder / f"{who}.log", LIMIT)
            try:
                if done.status:
                    raise OSError("took too long" if done.stopped else f"exit status {done.status}")
                result[who] = judge(folder / who) | {"wall": done.wall}
            except (OSError, KeyError, ValueError) as error:
                result[who] = {"error": str(error)}
        shutil.rmtree(ms)
        if not any("error" in one for one in result.values()):
            kept.write_text(json.dumps(result))
        seconds = [f"{who} {one.get('error') or round(one['wall'], 1)}" for who, one in result.items()]
        print(f"{folder.relative_to(self.work)}: {', '.join(seconds)}", file=sys.stderr, flush=True)
        return result

    def calibrate(self, setup, seed):
        """Sigma [Jy/beam], and the beam as a header has it, of the noise alone: a dirty image by WSClean."""
        folder = self.work / "sigma" / f"{setup.array}-{seed}"
        kept = folder / "sigma.json"
        if not kept.exists():
            folder.mkdir(parents=True, exist_ok=True)
            ms = folder / "data.ms"
            setup.observe(ms, seed)
            command = self.commands(setup, ms, folder, "-niter 0 -make-psf -padding 2")["WSClean"]
            done = child.run(shlex.split(command), folder / "log", LIMIT)
            if done.status:
                raise SystemExit(f"exit status {done.status} from: {command}\n{done.output[-2000:]}")
            dirty, header = self.score.load(f"{folder}/WSClean-dirty.fits")
            beam = {key: header[key] for key in ("CDELT2", "BMAJ", "BMIN", "BPA")}
            kept.write_text(json.dumps([float(dirty.std()), beam]))
            shutil.rmtree(ms)
        return json.loads(kept.read_text())

    def load(self, prefix, kind):
        """(y, x) of PREFIX-KIND.fits."""
        return self.score.load(f"{prefix}-{kind}.fits")[0]

    def scaled(self, sky, sigma, beam):
        """A sky whose peak, seen with the beam, is `DYNAMIC_RANGE` times sigma."""
        return sky * DYNAMIC_RANGE * sigma / self.score.smooth(sky, beam).max()


def successes(results, who):
    """(results of a program where it did not fail, how many times it did)."""
    made = [result[who] for result in results if who in result]
    good = [one for one in made if "error" not in one]
    return good, len(made) - len(good)
