"""The notebooks of the documentation run from their first cell to their last."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
REAL = {"compare"}
"""Those that look at a real observation."""


def run(path, monkeypatch):
    """Carry out a notebook as Jupyter does, one thread each, and return it."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(path.parent)}}).execute()
    return notebook


@pytest.mark.filterwarnings("ignore")  # Jupyter's own
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, monkeypatch, request):
    """No cell fails, and pictures come out."""
    if path.stem in REAL:
        request.getfixturevalue("shared_data")
    notebook = run(path, monkeypatch)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.filterwarnings("ignore")
def test_without_data_it_says_what_to_do(monkeypatch):
    """A notebook about an observation that is not there ends with a message that names the path and what to give."""
    monkeypatch.setenv("RADRIM_OBSERVATION", "nowhere.ms")
    with pytest.raises(CellExecutionError, match=r"nowhere\.ms does not exist; give the path of a Measurement Set"):
        run(ROOT / "docs" / "notebooks" / "compare.ipynb", monkeypatch)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_output_is_small_and_without_errors(path):
    """What is kept for readers is at most 1 MB, without tracebacks or folders of one machine."""
    assert path.stat().st_size < 1e6
    text = path.read_text()
    assert "Traceback" not in text
    assert "/home/" not in text
    assert "/root/" not in text
    assert all(
        cell.get("execution_count") for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"
    )
