"""The table of docs/option_pairs.md: which options of `radrim image` work together.

    python pipelines/option_pairs.py > docs/option_pairs.md

`MODES` are the options that change how an image is made; they are run together, every pair of them, by
tests/end_to_end/test_option_pairs.py. All other options are values (numbers, names, selections), which go with each.
"""

from radrim.config.options import ImageConfig
from radrim.config.rules import exclusions

MODES = {
    "--facet": "facet",
    "--channels-out": "channels_out",
    "--spectral-terms": "spectral_terms",
    "--cube": "cube",
    "--pol": "pol",
    "--pb": "pb",
    "--solver clean": "solver",
    "--solver entropy": "solver",
    "--niter 0": "niter",
    "--compare": "compare",
    "--start-model": "start_model",
    "--continue": "continue_run",
    "--mask": "mask",
    "--uncertainty": "uncertainty",
    "--holdout": "holdout",
    "--update-model": "update_model",
    "--contsub": "contsub",
    "--phase-centre": "phase_centre",
    "--beam-shape": "beam_shape",
    "--common-beam": "common_beam",
    "--data closure": "data",
    "--scheduler": "scheduler",
    "--cluster": "cluster",
}
"""Option as it is used, to its name in `ImageConfig`."""

TITLE = """# Which options work together

Every pair of options of `radrim image` works together, except the pairs below. Mosaics of several pointings (`--pb`
with several fields) count as `--pb`. The table is printed by `python pipelines/option_pairs.py` from
`radrim.config.rules.exclusions`; `tests/end_to_end/test_option_pairs.py` tries every pair.
"""


def excluded():
    """Reasons by pair of options."""
    return {frozenset((one.first.option, one.second.option)): one.why for one in exclusions()}


def main():
    """Print the page."""
    reasons, notes = excluded(), list(dict.fromkeys(one.why for one in exclusions()))
    print(TITLE)
    print("| | " + " | ".join(f"`{mode}`" for mode in MODES) + " |")
    print("|---|" + "---|" * len(MODES))
    for number, row in enumerate(MODES):
        cells = []
        for column in list(MODES)[:number]:
            why = reasons.get(frozenset((row, column)))
            same = MODES[row] == MODES[column]
            cells.append("" if same else "works" if why is None else f"no ({notes.index(why) + 1})")
        cells += [""] * (len(MODES) - number)
        print(f"| `{row}` | " + " | ".join(cells) + " |")
    print()
    for number, why in enumerate(notes):
        print(f"{number + 1}. {why[0].upper()}{why[1:]}.")
    others = [f"`--{name}`" for name, field in ImageConfig.options().items() if field.name not in MODES.values()]
    print(f"\nThese options go with all of the above: {', '.join(others)}.")
    print(
        "\nFive options need another one: `--cube` and `--spectral-terms` need `--channels-out`, `--contsub-channels`"
    )
    print(
        "needs `--contsub`, `--taper-tukey` needs `--maxuv-l`, and `--flux` needs `--data closure`. With `--niter 0`,"
    )
    print("`--uncertainty` needs a start model.")


if __name__ == "__main__":
    main()
