"""Speed and accuracy of the operators: seconds for each direction, and the error against the direct sum.

    python pipelines/benchmarks/operators.py [--mwa ../shared/data/obs/mwa_uvceti_154MHz_2015.ms] [--large]

Prints a Markdown table: a VLA field (2048 x 2048, moderate w), a 37-degree MWA field (3000 x 3000, strong w) and a VLBI
field, each with every operator that can do it. CPU seconds are the fairer number on a busy machine. Errors are in units
of epsilon: the largest of 200 sampled pixels, corners included, over the largest pixel (adjoint), and the rms of 200
sampled visibilities over their rms (forward). `--large` adds 4096 x 4096 pixels with 10.1 million visibilities (VLA B,
16 channels) in a process of its own, with its peak memory. About three minutes on two free cores, `--large` included.
"""

# l and m are the direction cosines of the measurement equation.

import argparse
import multiprocessing
import resource
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from radrim.arrays import read_layout
from radrim.earth import track_times, uvw_tracks
from radrim.geometry import ARCSEC, C, ImageGrid, n_minus_1
from radrim.operator import choose_kind, make_operator
from radrim.operator.w_term import max_w

FIELD_HEAD = ("field", "operator", "epsilon", "precision", "adjoint s (CPU s)", "forward s (CPU s)", "adjoint error",
              "forward error")  # fmt: skip
LARGE_HEAD = ("operator", "epsilon", "dirty s (CPU s)", "psf s (CPU s)", "predict s (CPU s)", "peak memory GB")


def line(*cells):
    """Print one line of a Markdown table."""
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def head(cells):
    """Print the head of a Markdown table."""
    print()
    line(*cells)
    line(*["---"] * len(cells))


@dataclass
class Field:
    """Samples and a grid to image them on; a sky of 200 pixels and visibilities of noise go with it."""

    name: str
    uvw: np.ndarray
    freq: np.ndarray
    grid: ImageGrid
    kinds: tuple

    def __post_init__(self):
        draw = np.random.default_rng(1)
        shape = (len(self.uvw), len(self.freq))
        self.data = draw.normal(size=shape) + 1j * draw.normal(size=shape)
        height, width = self.grid.shape
        pixels = draw.choice(height * width, 200, replace=False)
        pixels[:4] = [0, width - 1, (height - 1) * width, height * width - 1]
        self.y, self.x = np.divmod(pixels, width)
        self.sky = np.zeros(self.grid.shape)
        self.sky[self.y, self.x] = draw.uniform(0.5, 1.5, 200)
        self.sample = draw.integers(0, shape, (200, 2)).T
        l, m = self.grid.l()[self.x], self.grid.m()[self.y]
        directions = np.stack([l, m, n_minus_1(l, m)])
        self.image = np.array([self._image(d) for d in directions.T])
        row, chan = self.sample
        turns = (self.uvw[row] * (self.freq[chan, None] / C)) @ directions
        self.visibilities = np.exp(2j * np.pi * turns) @ self.sky[self.y, self.x]

    def _image(self, direction):
        """Direct sum at one pixel, channel by channel to spare memory."""
        path = self.uvw @ direction
        return sum(
            np.vdot(np.exp(2j * np.pi * f / C * path), d).real for f, d in zip(self.freq, self.data.T, strict=True)
        )


def clocked(work):
    """Result, wall seconds and CPU seconds of `work()`."""

    def cpu():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    wall, start = time.perf_counter(), cpu()
    result = work()
    return result, time.perf_counter() - wall, cpu() - start


def row(field, kind, epsilon, double, threads):
    """One line of the table: the better of two calls, so that plans are there."""
    op = make_operator(kind, field.uvw, field.freq, field.grid, epsilon, threads)
    data = torch.from_numpy(field.data).to(torch.complex128 if double else torch.complex64)
    sky = torch.from_numpy(field.sky).to(torch.float64 if double else torch.float32)
    image, *adjoint = min((clocked(lambda: op.adjoint(data)) for _ in range(2)), key=lambda c: c[1])
    visibilities, *forward = min((clocked(lambda: op.forward(sky)) for _ in range(2)), key=lambda c: c[1])
    off = np.abs(image.numpy()[field.y, field.x] - field.image).max() / np.abs(field.image).max() / epsilon
    rms = np.linalg.norm(visibilities.numpy()[*field.sample] - field.visibilities)
    rms /= np.linalg.norm(field.visibilities) * epsilon
    precision = "double" if double else "single"
    line(field.name, kind, f"{epsilon:.0e}", precision, seconds(adjoint), seconds(forward), f"{off:.2g}", f"{rms:.2g}")


def seconds(times):
    """'wall (CPU)' of a pair of times."""
    return f"{times[0]:.2f} ({times[1]:.2f})"


def vla_b_tracks(rows):
    """UVW [m] of about this many rows: VLA B at declination 35 degrees, five hours around transit."""
    layout = read_layout("vla-b")
    times = track_times(layout, 5.2, 0.61, 0.0, 5.0, 5.0 * 3600 * 351 / rows)
    return uvw_tracks(layout.positions, 5.2, 0.61, times).reshape(-1, 3)


def fields(mwa):
    """The fields of the table, one after the other."""
    uvw, freq = vla_b_tracks(60_000), 1.4e9 + 4e6 * np.arange(16)
    yield Field("VLA B 2048²", uvw, freq, ImageGrid(2048, 2048, 1.3 * ARCSEC), ("wgridder", "nufft"))
    if mwa.is_dir():
        from casacore.tables import table

        uvw = table(str(mwa), ack=False).getcol("UVW")
        uvw = uvw[np.isfinite(uvw).all(1) & (uvw != 0).any(1)]
        freq = table(str(mwa / "SPECTRAL_WINDOW"), ack=False).getcol("CHAN_FREQ")[0]
    else:
        uvw = np.random.default_rng(2).normal(size=(5460, 3)) * [600, 600, 250]
        freq = 153e6 + 0.2e6 * np.arange(11)
    yield Field("MWA 3000², 37°", uvw, freq, ImageGrid(3000, 3000, 45 * ARCSEC), ("wgridder", "nufft"))
    uvw, freq = vla_b_tracks(6_300) * 800, np.array([8.10e9, 8.11e9])  # baselines up to 9,000 km
    yield Field("VLBI 512²", uvw, freq, ImageGrid(512, 512, 0.2e-3 * ARCSEC), ("wgridder", "nufft", "dft"))


def large(threads):
    """Dirty image, PSF and prediction of 10.1 million visibilities on 4096 x 4096 pixels."""
    torch.set_num_threads(threads)
    uvw, freq = vla_b_tracks(631_800), 1.4e9 + 4e6 * np.arange(16)
    shape = (len(uvw), len(freq))
    draw = np.random.default_rng(0)
    data = draw.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]
    weight = torch.from_numpy(draw.uniform(0.5, 1.5, shape).astype(np.float32))
    data = torch.from_numpy(data)
    grid = ImageGrid(4096, 4096, 1.3 * ARCSEC)
    print(f"\n4096², {data.numel():,} visibilities; memory before: {peak():.2f} GB")
    head(LARGE_HEAD)
    for epsilon in (1e-4, 1e-5):
        op = make_operator("wgridder", uvw, freq, grid, epsilon, threads)
        image, *dirty = clocked(lambda op=op: op.adjoint(data, weight))
        _, *psf = clocked(lambda op=op: op.psf(weight))
        _, *predict = clocked(lambda op=op, image=image: op.forward(image))
        line("wgridder", f"{epsilon:.0e}", seconds(dirty), seconds(psf), seconds(predict), f"{peak():.2f}")


def peak():
    """Largest resident memory of this process so far [GB]; ru_maxrss would start at that of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mwa", type=Path, default=Path("../shared/data/obs/mwa_uvceti_154MHz_2015.ms"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--large", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    head(FIELD_HEAD)
    for field in fields(args.mwa):
        for epsilon, double in ((1e-4, False), (1e-5, False), (1e-7, True)):
            for kind in field.kinds:
                row(field, kind, epsilon, double, args.threads)
        kind = choose_kind(field.data.size, field.grid, max_w(field.uvw, field.freq))
        line(field.name, f"auto: {kind}", *[""] * 6)
    if args.large:
        # A fresh process: its peak memory is its own.
        process = multiprocessing.get_context("spawn").Process(target=large, args=(args.threads,))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
