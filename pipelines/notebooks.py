"""Runs notebooks of the documentation and keeps their output, without the folders of this machine.

python pipelines/notebooks.py docs/notebooks/quickstart.ipynb ...
"""

import base64
import io
import os
import re
import resource
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def run(path):
    """Carry out one notebook in place, on one thread."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(path.parent)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times, which differ from run to run
        for output in cell.get("outputs", []):
            for kind, value in output.get("data", {}).items():
                if kind == "image/png":
                    output.data[kind] = with_few_colours(value)
                elif isinstance(value, str) and kind.startswith("text/"):
                    output.data[kind] = without_folders(value)
            if "text" in output:
                output.text = without_folders(output.text)
    nbformat.write(notebook, path)


def without_folders(text):
    """Text without this machine's folders."""
    return re.sub(r"/tmp/\w+/", "", text.replace(f"{ROOT}/", "").replace(f"{sys.prefix}/", ""))


def with_few_colours(png):
    """A picture (base64) in 256 colours, as those of the report: a third of the size."""
    file = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def main():
    """Run the notebooks that the command line names."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JUPYTER_PLATFORM_DIRS": "1"}
    os.environ["PYTHONPATH"] = str(ROOT)
    for path in map(Path, sys.argv[1:]):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run(path.resolve())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{path.name}: {seconds:.0f} CPU s, {path.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
