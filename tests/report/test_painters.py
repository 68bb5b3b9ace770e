import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from radrim.geometry import ARCSEC, ImageGrid
from radrim.report import draw_worker as painter
from radrim.report.draw_pool import Painters, PainterSettings
from radrim.report.figures import FIGURES
from radrim.report.specs import FigureKind, Picture, SkyStyle, brightness_norm, even_norm, sky_size

GRID = ImageGrid(48, 32, 2 * ARCSEC, ra=4.9, dec=0.4)


def pictures():
    image = np.random.default_rng(5).normal(0, 1, GRID.shape).astype(np.float32)
    sky = image, GRID, None, SkyStyle(brightness_norm(image, 1.0), "name")
    return {
        "sky": Picture(sky_size(GRID, 3), FigureKind.SKY, sky, 80, (("inferno",), ())),
        "residual": Picture(sky_size(GRID, 3), FigureKind.SKY, (image, GRID, None, SkyStyle(even_norm(5.0))), 80),
        "histogram": Picture((3, 2), FigureKind.HISTOGRAM, (image, 1.0), 80),
    }


@pytest.fixture(scope="module")
def drawn_here():
    return {name: painter.draw(picture) for name, picture in pictures().items()}


def test_painters_draw_what_is_drawn_here(drawn_here):
    with Painters(PainterSettings.number) as painters:
        drawn = painters.draw(pictures())
        again = painters.draw(pictures())
    assert drawn == again == drawn_here
    assert list(drawn) == list(pictures())


def test_one_png_for_each_palette(drawn_here):
    modes = [Image.open(io.BytesIO(png)).mode for png in drawn_here["sky"]]
    assert modes == ["P", "RGB"]
    assert len(drawn_here["histogram"]) == 1


def test_pictures_of_painters_that_are_gone_are_drawn_here(drawn_here):
    with Painters(2) as painters:
        painters._processes[0].kill()
        painters._processes[0].wait()
        assert painters.draw(pictures()) == drawn_here
        for process in painters._processes:
            process.kill()
            process.wait()
        assert painters.draw(pictures()) == drawn_here


def test_no_painter_stays_behind():
    with Painters(2) as painters:
        processes = list(painters._processes)
        assert len(processes) == 2
        assert all(process.poll() is None for process in processes)
    assert all(process.poll() is not None for process in processes)


def test_a_fault_in_a_figure_is_raised():
    """Also where a painter ended because of it."""
    wrong = Picture((3, 2), FigureKind.HISTOGRAM, ("no image", 1.0))
    with Painters(1) as painters, pytest.raises(TypeError):
        painters.draw({"wrong": wrong})


def test_each_kind_of_figure_is_drawn_by_a_function():
    assert set(FIGURES) == set(FigureKind)


def test_imaging_loads_no_matplotlib():
    words = "import sys, radrim.pipeline; print(sorted(n for n in sys.modules if n.partition('.')[0] == 'matplotlib'))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_module_of_the_users_is_not_loaded(tmp_path, monkeypatch, drawn_here):
    (tmp_path / "numpy.py").write_text("raise SystemExit('mine')")
    monkeypatch.chdir(tmp_path)
    with Painters(1) as painters:
        process = painters._processes[0]
        assert painters.draw(pictures()) == drawn_here
        assert process.poll() is None
