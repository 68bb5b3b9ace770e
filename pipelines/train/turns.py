"""Train the denoiser through the data step: on the states in which plug and play asks for it.

    python pipelines/train/turns.py --first galaxy_data_h5.zip --work bench-work/turns --hours 2 --half

What the data step leaves is not white: what the array measured well has little noise, what it did not measure is what
the denoiser said before. This script makes observations of skies with random coverages (`radrim.rim.training`), on one
periodic grid, where the data step is a division of spectra; runs plug and play with the present network, and after each
data step trains the network to find the sky. Beside the image the network sees that part of it which data determine.
It begins with the network of `--start` (pipelines/train/denoiser.py) or goes on from `WORK/state.pt`; the rate falls to
0 at the end of `--hours`. Every `--every` seconds it writes that state, `WORK/denoiser.safetensors` and a line of
`WORK/scores.csv`: core-hours, steps, the training's loss, and of fixed test problems the signal to noise [dB] of the
model at the pixel and at the beam after the last turn, by range of the peak over the noise.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses
from denoiser import RANGES, Training, draw
from noise import SIZE, draw_spectra

from radrim.rim import checkpoint
from radrim.rim.network.denoiser import Denoiser, DenoiserConfig
from radrim.rim.training.coverages import read_layouts
from radrim.rim.training.skies import read_first


class Problems:
    """Observations that plug and play is busy with, each at a turn of its own."""

    def __init__(self, rng, count, skies, spectra):
        self.rng, self.skies, self.spectra = rng, skies, spectra
        self.items = [self.new() for _ in range(count)]

    def new(self, peak=None):
        rng = self.rng
        transfer, correlation = torch.from_numpy(self.spectra[rng.integers(len(self.spectra))])
        y, x = rng.integers(0, self.skies.shape[1] - SIZE + 1, 2)
        sky = torch.from_numpy(self.skies[rng.integers(len(self.skies))][y : y + SIZE, x : x + SIZE])
        sky = torch.rot90(sky, int(rng.integers(4)), (0, 1))
        if rng.random() < 0.5:
            edge = torch.hann_window(SIZE, periodic=False) ** 0.3
            sky = sky * edge * edge[:, None]
        spectrum = torch.fft.rfft2(sky) * transfer
        seen = torch.fft.irfft2(spectrum, s=(SIZE, SIZE)).max()
        scale = (10 ** rng.uniform(0.7, 5) if peak is None else peak) / max(float(seen), 1e-30)
        scale = 0 if float(sky.max()) <= 0 else scale
        noise = torch.from_numpy(rng.standard_normal((SIZE, SIZE)).astype(np.float32))
        dirty = scale * spectrum + torch.fft.rfft2(noise) * correlation.sqrt()
        return self.started({"sky": scale * sky, "transfer": transfer, "dirty": dirty}, torch.zeros(SIZE, SIZE))

    def started(self, item, model):
        """The problem with a schedule of turns, from a model on."""
        rng = self.rng
        turns = int(rng.integers(4, 10))
        item["levels"] = np.geomspace(10 ** rng.uniform(-0.3, 1.2), 10 ** rng.uniform(-1.7, -0.7), turns)
        item["part"] = 10 ** rng.uniform(-1.2, 0)
        item["model"], item["turn"] = model, 0
        return item

    def advance(self, index, model):
        """Take the model that the network found; begin again when the turns are over."""
        item = self.items[index]
        item["model"], item["turn"] = model, item["turn"] + 1
        if item["turn"] == len(item["levels"]):
            again = self.rng.random() < 0.3 and "again" not in item and bool(model.isfinite().all())
            self.items[index] = self.started(item | {"again": True}, model) if again else self.new()


def data_step(model, dirty, transfer, ratio):
    """The image that data and model agree on, and that part of it which data determine, both (batch, 1, y, x)."""
    spectrum = (dirty + ratio * torch.fft.rfft2(model)) / (transfer + ratio)
    both = torch.stack([spectrum, spectrum * transfer / (transfer + ratio)], 1)
    return torch.fft.irfft2(both, s=(SIZE, SIZE)).split(1, 1)


def loss(found, sky, transfer, level):
    """Squared error [dB] at the pixel and in boxes of 4 and 16 pixels, and that of the dirty image over its noise.

    Images are in units of the noise told, `level` in that of the dirty image. Negative pixels hardly count: each turn
    makes them 0, and a network that knows it leaves no haze of positive ones.
    """
    left = F.leaky_relu(found, 0.05) - sky
    total, weight = 0, 0
    for box, part in ((1, 1.0), (4, 0.5), (16, 0.25)):
        mean = F.avg_pool2d(left, box) * box
        total = total + part * 10 * torch.log10(mean.square().mean((1, 2, 3)) + 1e-4)
        weight += part
    seen = torch.fft.irfft2(torch.fft.rfft2(left[:, 0] * level) * transfer.sqrt(), s=(SIZE, SIZE))
    total = total + 0.75 * 10 * torch.log10(seen.square().mean((1, 2)) + 0.03)
    return (total / (weight + 0.75)).mean()


@torch.no_grad()
def scores(network, sets, first=3.0, last=0.05, turns=8, part=0.3):
    """Signal to noise of the model [dB] at the pixel and at the beam, by range of the peak: two rows."""
    network.eval()
    out = []
    for items in sets:
        sky, dirty, transfer = (torch.stack([item[name] for item in items]) for name in ("sky", "dirty", "transfer"))
        model = torch.zeros_like(sky)
        for level in np.geomspace(first, last, turns):
            model = turn(network, model, dirty, transfer, part / level**2, level)
        beam = transfer.sqrt() * torch.fft.rfft2(torch.stack([sky, model - sky]))
        beam = torch.fft.irfft2(beam, s=(SIZE, SIZE))
        pairs = ((sky, model - sky), beam)
        out.append([(20 * torch.log10(a.norm(dim=(1, 2)) / b.norm(dim=(1, 2)))).mean().item() for a, b in pairs])
    network.train()
    return np.array(out).T


def turn(network, model, dirty, transfer, ratio, level):
    """One turn of plug and play: data step, then denoiser."""
    image, seen = data_step(model, dirty, transfer, ratio)
    parts = (image / level, seen / level) if network.config.seen else (image / level,)
    return level * network(*parts)[:, 0].clamp_min(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--first", type=Path, help="zip of FIRST galaxies; the last 200 are kept for tests")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--start", type=Path, default=checkpoint.DENOISER_NETWORK)
    parser.add_argument("--hours", type=float, default=2.0, help="core-hours to add; the rate falls to 0 at their end")
    parser.add_argument("--every", type=float, default=400.0, help="seconds between checkpoints")
    parser.add_argument("--skies", type=int, default=4000)
    parser.add_argument("--coverages", type=int, default=800)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rate", type=float, default=7e-4)
    parser.add_argument("--half", action="store_true", help="bfloat16 where the processor has it")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng()
    galaxies = read_first(args.first) if args.first else []
    layouts = read_layouts()
    kept = args.work / "skies.npy"
    if not kept.exists():
        np.save(kept, draw(np.random.default_rng(1), args.skies, 160, galaxies[:-200]))
    drawn = args.work / "spectra.npy"
    if not drawn.exists():
        np.save(drawn, draw_spectra(np.random.default_rng(2), args.coverages, layouts))
    skies, spectra = np.load(kept, mmap_mode="r"), np.load(drawn, mmap_mode="r")
    fixed = np.random.default_rng(987654321)
    test = Problems(fixed, 0, draw(fixed, 120, SIZE, galaxies[-200:]), draw_spectra(fixed, 60, layouts))
    sets = [[test.new(p) for p in np.geomspace(low, high, 16)] for low, high in RANGES]
    sets = [[item for item in items if item["sky"].any()] for items in sets]

    started = checkpoint.load(args.start)
    network = Denoiser(DenoiserConfig(**{**vars(started.model.config), "seen": True}))
    network.begin_with(started.model)
    training = Training(network, args.work, args.rate, 0.998)
    if (earlier := training.resume()) is None:
        earlier = 0, 3600 * started.recipe["core_hours"]
        for name, model in (("start", started.model), ("with what data determine", network)):
            print(name, *np.round(scores(model, sets), 2).tolist(), flush=True)
    steps, spent = earlier
    problems = Problems(rng, 64, skies, spectra)
    begun, saved_at, losses, first = time.process_time(), time.monotonic(), [], steps
    while (used := time.process_time() - begun) < args.hours * 3600:
        chosen = rng.choice(len(problems.items), args.batch, replace=False)
        items = [problems.items[i] for i in chosen]
        level = torch.tensor([item["levels"][item["turn"]] for item in items], dtype=torch.float32)[:, None, None]
        part = torch.tensor([item["part"] for item in items], dtype=torch.float32)[:, None, None]
        stacked = {name: torch.stack([item[name] for item in items]) for name in ("sky", "dirty", "transfer", "model")}
        with torch.no_grad():
            image, seen = data_step(stacked["model"], stacked["dirty"], stacked["transfer"], part / level**2)
        scale = level[:, None]
        with torch.autocast("cpu", torch.bfloat16, enabled=args.half):
            found = training.network(
                *((x / scale).contiguous(memory_format=torch.channels_last) for x in (image, seen))
            )
        error = loss(found.float(), stacked["sky"][:, None] / scale, stacked["transfer"], level)
        left = 1 - used / (args.hours * 3600)
        training.step(error, args.rate * min((steps - first + 1) / 300, math.sin(math.pi / 2 * left) ** 2))
        models = (found.detach().float() * scale)[:, 0].clamp_min(0)
        for index, model in zip(chosen, models, strict=True):
            problems.advance(index, model)
        losses.append(error.item())
        steps += 1
        over = time.process_time() - begun >= args.hours * 3600
        if over or time.monotonic() - saved_at > args.every:
            saved_at = time.monotonic()
            table = scores(training.average.module, sets)
            names = [f"{low:g} to {high:g}" for low, high in RANGES]
            found = {name: {"native": a, "beam": b} for name, a, b in zip(names, *table, strict=True)}
            training.save("pipelines/train/turns.py", steps, spent + used, args.batch, losses, table.flat, found)
            losses = []


if __name__ == "__main__":
    main()
