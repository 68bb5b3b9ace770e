"""The noise that radrim expects from the scatter of the data, over the true one, on the simulated benchmark cases.

    python pipelines/benchmarks/noise.py --work bench-work/dev

Needs the Measurement Sets that dev_cases.py leaves in its work folder. The true noise is the benchmark's: the rms of
the noise alone, imaged with the same weighting.
"""

import argparse
import json
from pathlib import Path

from peer import table

from radrim.config.options import ImageConfig
from radrim.imagers.grid import choose_grid
from radrim.metrics import measured_scatter
from radrim.read.reader import Selection, read
from radrim.weight.imaging import apply_weights


def main():
    """Print one row per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("bench-work/dev"))
    args = parser.parse_args()
    rows = []
    for path in sorted(args.work.glob("*/case.json")):
        case = json.loads(path.read_text())
        options = {"size": [case["size"]] * 2, "scale": f"{case['scale']:.9g}asec", "weight": case["weight"]}
        config = ImageConfig.parse(case["ms"], options | {"padding": 2})
        observation = read(config.ms, Selection())
        scatter = measured_scatter(observation.blocks)
        grid, _ = choose_grid(observation, config)
        _, thermal = apply_weights(observation.blocks, grid, config.weight, padding=config.padding)
        rows.append((path.parent.name, f"{scatter:.2f}", f"{thermal * scatter / case['noise']:.2f}"))
    print(table(("case", "scatter over weights", "noise expected over true"), rows))


if __name__ == "__main__":
    main()
