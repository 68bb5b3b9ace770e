"""Learning curves of a training run: CSV files that grow line by line, and a figure."""

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from radrim.errors import OutputError


class Curve:
    """A CSV file that grows with a training run; its first column is the number of the update.

    Parameters
    ----------
    path : path-like
        The file; it is created with the first lines.
    columns : sequence of str
        Names, written as the first line.
    """

    def __init__(self, path: str | Path, columns: Sequence[str]) -> None:
        self.path, self.columns = Path(path), list(columns)

    def add(self, rows: Iterable[Sequence]) -> None:
        """Append lines.

        Parameters
        ----------
        rows : sequence of sequences
            One value per column.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        try:
            with open(self.path, "a", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                if file.tell() == 0:
                    writer.writerow(self.columns)
                writer.writerows(rows)
                file.flush()
                # The state is written after this file, and a resumed run expects these lines.
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror or error}.") from error

    def forget(self, update: int) -> None:
        """Drop incomplete lines, and lines of later updates, which a resumed run writes again.

        Parameters
        ----------
        update : int
            The last update whose lines are kept.

        Raises
        ------
        OutputError
            The file cannot be read or written.
        """
        part = self.path.with_suffix(".part")
        try:
            if not self.path.exists():
                return
            before = self.path.read_text(errors="replace")
            rows = [row for row in csv.reader(before.splitlines()) if len(row) == len(self.columns)]
            kept = [row for row in rows if row[0].isdigit() and int(row[0]) <= update]
            with open(part, "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([self.columns, *kept])
            part.replace(self.path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise OutputError(f"{self.path} cannot be read or written: {error.strerror or error}.") from error

    def read(self) -> list[dict[str, str]]:
        """All lines, by column; empty without a file."""
        if not self.path.exists():
            return []
        with open(self.path, newline="") as file:
            return list(csv.DictReader(file))


def plot(path: str | Path, losses: Sequence[dict[str, str]], scores: Sequence[dict[str, str]]) -> None:
    """Draw the loss of every update with its running mean, and the scores of the held-back problems.

    Without matplotlib nothing is done.

    Parameters
    ----------
    path : path-like
        Of the picture (PNG).
    losses, scores : list of dict
        From `Curve.read`; with the columns ``seen`` and ``loss_db`` [dB], and ``seen``, ``class``, ``native``,
        ``half`` and ``beam`` [dB].

    Raises
    ------
    OutputError
        The picture cannot be written.
    """
    try:
        import matplotlib as mpl
    except ImportError:  # a training machine with few packages
        return
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    seen = np.array([float(row["seen"]) for row in losses])
    loss = np.array([float(row["loss_db"]) for row in losses])
    left.plot(seen, loss, ".", ms=1, color="0.75")
    width = max(1, len(loss) // 50)
    if len(loss) >= width:
        left.plot(seen[width - 1 :], np.convolve(loss, np.ones(width) / width, "valid"), color="C0")
    left.set(xlabel="problems", ylabel="loss [dB]", title="training")
    scores = [row for row in scores if row["class"] == "all"]
    for key in ("native", "half", "beam"):
        right.plot([float(row["seen"]) for row in scores], [float(row[key]) for row in scores], ".-", label=key)
    right.set(xlabel="problems", ylabel="median SNR [dB]", title="held-back problems")
    if scores:
        right.legend()
    try:
        figure.savefig(path, dpi=90)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        plt.close(figure)
