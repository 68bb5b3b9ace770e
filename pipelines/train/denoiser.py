"""Train a denoiser of skies: the prior of the plug-and-play solver, which sees images only.

    python pipelines/train/denoiser.py --first galaxy_data_h5.zip --work bench-work/denoiser --hours 2.5 --half

Draws skies with `radrim.rim.training.skies` (and galaxies of FIRST if given), scales them to peaks of 1 to 1e5 times
the noise, adds Gaussian noise, white or as a data step leaves it, as much as the network is told or less, and learns to
take it out again. Goes on from `WORK/state.pt` if there is one; a new `WORK` begins with the network that comes with
radrim, whose training denoiser.csv, beside this file, tells. Every `--every` seconds it writes that state, the
checkpoint `WORK/denoiser.safetensors` and one line of `WORK/scores.csv`: core-hours and steps, both with those of the
network that it began with, the training's loss and, on fixed test images, the error in dB of the noise told for each of
`RANGES` (0 dB: no better than the image with that noise), then for the second and fourth range with a fifth of the
noise, and with coloured noise. `radrim.rim.network.denoiser` describes the network.
"""

import argparse
import csv
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses
from noise import ColouredNoise, draw_spectra
from scipy.ndimage import gaussian_filter

from radrim.rim import checkpoint
from radrim.rim.network.denoiser import Denoiser, DenoiserConfig
from radrim.rim.training.coverages import read_layouts
from radrim.rim.training.skies import draw_sky, read_first, stretch

RANGES = ((1, 10), (10, 100), (100, 1000), (1000, 10000), (10000, 100000))
"""Peak over noise of the test images."""

CLASSES = ["texture", "shell", "mixture", "radio_galaxy", "jet", "disc", "crescent", "points", "compact", "empty"]
SHARES = [4, 3, 4, 4, 2, 2, 1, 2, 3, 2]
FIRST_SHARE = 0.35


COLOURED_SHARE = 0.5
"""Half of the images have the noise that a data step leaves, which is not white (`noise.py`, beside this file)."""
LEAST_NOISE = 0.1
LESS_NOISE_SHARE = 0.5
"""Half of the images have less noise than the network is told (1), down to this part of it. Late turns of plug and play
have such images, and a network that never saw one diverges there."""


def draw(rng, count, size, galaxies):
    """Skies (count, size, size) float32 with peak 1, of every class, some smoothed or stretched."""
    skies = np.zeros((count, size, size), np.float32)
    share = np.array(SHARES) / np.sum(SHARES)
    for sky in skies:
        name = "first" if galaxies and rng.random() < FIRST_SHARE else CLASSES[rng.choice(len(CLASSES), p=share)]
        made = draw_sky(rng, name, size, galaxies)
        if rng.random() < 0.5:  # simulated skies have sharper pixels than real ones
            made = gaussian_filter(made, rng.uniform(0.4, 1.5))
        if name not in ("points", "empty") and rng.random() < 0.5:
            made = stretch(made / made.max(), rng.uniform(1, 9))
        sky[:] = made / max(made.max(), 1e-30)
    return skies


def turn(rng, skies):
    """Random turns and mirrors of a batch."""
    skies = torch.rot90(skies, int(rng.integers(4)), (2, 3))
    return skies.flip(3) if rng.random() < 0.5 else skies


def draw_noise(count, patch, coloured):
    """Noise of the images of a batch in units of the level told, (count, 1, patch, patch)."""
    ones = torch.ones(count, 1, 1, 1)
    level = torch.where(torch.rand_like(ones) < LESS_NOISE_SHARE, LEAST_NOISE ** torch.rand_like(ones), ones)
    is_coloured = torch.rand_like(ones) < COLOURED_SHARE
    return level * torch.where(is_coloured, coloured.draw(count, patch), torch.randn(count, 1, patch, patch))


def error(found, sky):
    """Mean squared error in dB of the noise, per image."""
    return 10 * torch.log10(((found - sky) ** 2).mean((1, 2, 3)) + 1e-4)


def loss(found, sky):
    """Squared error [dB of the noise] at the pixel and, with less weight, in boxes of 4 and 16 pixels.

    Errors that a data step cannot take back are those on the largest scales, and they add up from turn to turn.
    """
    total = 0
    for box, part in ((1, 1.0), (4, 0.5), (16, 0.25)):
        total = total + part * error(*(F.avg_pool2d(image, box) * box for image in (found, sky))).mean()
    return total / 1.75


def fixed_images(galaxies, coloured, size=128, count=24):
    """Fixed skies and noise from a seed that the training does not use.

    A set for each range of peak, then the second and fourth again, with a fifth of the noise and with coloured noise.
    """
    rng, torch_rng = np.random.default_rng(987654321), torch.Generator().manual_seed(5)
    sets = []
    for low, high in RANGES:
        sky = torch.from_numpy(draw(rng, count, size, galaxies))[:, None]
        sky = sky * torch.from_numpy(np.geomspace(low, high, count).astype(np.float32))[:, None, None, None]
        sets.append((sky, torch.randn(sky.shape, generator=torch_rng)))
    with torch.random.fork_rng():
        torch.manual_seed(6)
        others = [coloured.draw(count, size) for _ in range(2)]
    again = sets[1:4:2]
    sets += [(sky, 0.2 * noise) for sky, noise in again]
    return sets + [(sky, noise) for (sky, _), noise in zip(again, others, strict=True)]


@torch.no_grad()
def score(network, sets):
    """Mean error of each range of peak [dB of the noise]."""
    network.eval()
    found = [error(network(sky + noise), sky).mean().item() for sky, noise in sets]
    network.train()
    return found


class Training:
    """A network, its running mean and its optimiser, and the files of a run in the folder `work`.

    Scores are those of the mean.
    """

    def __init__(self, network, work, rate, memory):
        self.network, self.work = network.to(memory_format=torch.channels_last), work
        mean = torch.optim.swa_utils.get_ema_multi_avg_fn(memory)
        self.average = torch.optim.swa_utils.AveragedModel(self.network, multi_avg_fn=mean)
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4, betas=(0.9, 0.98))

    def resume(self):
        """Steps and core-seconds of an earlier run, from which this one goes on; None if there is none."""
        if not (self.work / "state.pt").exists():
            return None
        saved = torch.load(self.work / "state.pt", weights_only=True)
        for name in ("network", "average", "optimizer"):
            getattr(self, name).load_state_dict(saved[name])
        return saved["steps"], saved["core_seconds"]

    def step(self, loss, rate):
        """One step of the optimiser."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)

    def save(self, script, steps, seconds, batch, losses, found, scores):
        """Write a line of scores `found`, the state, and the checkpoint with `scores`."""
        row = [f"{seconds / 3600:.3f}", steps, f"{np.mean(losses):.2f}", *(f"{value:.2f}" for value in found)]
        print(*row, flush=True)
        with (self.work / "scores.csv").open("a", newline="") as out:
            csv.writer(out).writerow(row)
        parts = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimizer")}
        state = self.work / "state.pt"
        torch.save(parts | {"steps": steps, "core_seconds": seconds}, state.with_suffix(".part"))
        state.with_suffix(".part").replace(state)
        recipe = {"script": script, "core_hours": seconds / 3600, "steps": steps, "outcomes": steps * batch}
        checkpoint.save(self.work / checkpoint.DENOISER_NETWORK.name, self.average.module, recipe, scores)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--first", type=Path, help="zip of FIRST galaxies; the last 200 are kept for tests")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=2.5, help="core-hours to add; the rate falls to 0 at their end")
    parser.add_argument("--every", type=float, default=240.0, help="seconds between checkpoints")
    parser.add_argument("--skies", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--half", action="store_true", help="bfloat16 where the processor has it")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    galaxies = read_first(args.first) if args.first else []
    rng = np.random.default_rng()
    training = Training(Denoiser(DenoiserConfig()), args.work, args.rate, 0.999)
    if (begun := training.resume()) is None:
        shipped = checkpoint.load(checkpoint.DENOISER_NETWORK)
        training.network.load_state_dict(shipped.model.state_dict())
        training.average.module.load_state_dict(shipped.model.state_dict())
        begun = shipped.recipe["steps"], 3600 * shipped.recipe["core_hours"]
    steps, spent = begun
    if not (kept := args.work / "spectra.npy").exists():
        np.save(kept, draw_spectra(np.random.default_rng(steps), 800, read_layouts()))
    coloured = ColouredNoise(np.load(kept))
    sets = fixed_images(galaxies[-200:], coloured)
    kept = args.work / "skies.npy"
    if not kept.exists():
        np.save(kept, draw(np.random.default_rng(steps), args.skies, 160, galaxies[:-200]))
    skies = torch.from_numpy(np.load(kept))
    weights = sum(p.numel() for p in training.network.parameters())
    print(f"{weights} weights, {len(skies)} skies, from step {steps}", flush=True)
    start, saved_at, losses, first = time.process_time(), time.monotonic(), [], steps
    while (used := time.process_time() - start) < args.hours * 3600:
        y, x = rng.integers(0, 161 - args.patch, 2)
        batch = skies[torch.randint(len(skies), (args.batch,)), y : y + args.patch, x : x + args.patch][:, None]
        sky = turn(rng, batch) * 10 ** (torch.rand(args.batch, 1, 1, 1) * 5.3 - 0.3)
        noisy = (sky + draw_noise(args.batch, args.patch, coloured)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.half):
            found = training.network(noisy)
        value = loss(found.float(), sky)
        left = 1 - used / (args.hours * 3600)
        training.step(value, args.rate * min((steps - first + 1) / 500, math.sin(math.pi / 2 * left) ** 2))
        losses.append(value.item())
        steps += 1
        over = time.process_time() - start >= args.hours * 3600
        if over or time.monotonic() - saved_at > args.every:
            saved_at = time.monotonic()
            found = score(training.average.module, sets)
            names = [f"{low:g} to {high:g}" for low, high in RANGES]
            again = names[1:4:2]
            names += [f"{name}, {kind}" for kind in ("a fifth of the noise", "coloured noise") for name in again]
            scores = {name: {"error": value} for name, value in zip(names, found, strict=True)}
            training.save("pipelines/train/denoiser.py", steps, spent + used, args.batch, losses, found, scores)
            losses = []


if __name__ == "__main__":
    main()
