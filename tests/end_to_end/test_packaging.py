"""radrim as others install it: sdist, wheel, empty environment; recipes that require what pyproject.toml does."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import radrim
from radrim.version import __version__

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CITATION.cff", "radrim")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
CONDA_NAMES = {"astropy-base": "astropy", "dask-core": "dask", "matplotlib-base": "matplotlib", "pytorch": "torch",
               "pytorch-cpu": "torch", "python-finufft": "finufft"}  # fmt: skip


def run(words, folder, **variables):
    """Output of a process that must succeed."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        list(map(str, words)), cwd=folder, env=clean | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel, made from an sdist, made from what belongs to the package."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    source.mkdir()
    for name in PACKAGED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, source / name)
    run([sys.executable, "-c", BUILD, "build_sdist", folder], source)
    with tarfile.open(folder / f"radrim-{__version__}.tar.gz") as archive:
        archive.extractall(folder / "unpacked", filter="data")
    run([sys.executable, "-c", BUILD, "build_wheel", folder], folder / "unpacked" / f"radrim-{__version__}")
    return folder / f"radrim-{__version__}-py3-none-any.whl"


def test_wheel_is_complete(wheel):
    """A wheel that went through an sdist holds every file of the package, and nothing else."""
    package = Path(radrim.__file__).parent
    here = {str(path.relative_to(package.parent)) for path in package.rglob("*") if path.is_file()}
    expected = {name for name in here if "__pycache__" not in name and not name.endswith((".nbi", ".nbc"))}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_wheel_works_alone(wheel, tmp_path):
    """`radrim info` and `radrim image` run from a wheel in a new environment, without this checkout."""
    run([sys.executable, "-m", "venv", tmp_path / "new"], tmp_path)
    bin_ = tmp_path / "new" / "bin"
    run([bin_ / "python", "-m", "pip", "install", "--no-deps", "--no-index", wheel], tmp_path)
    # The dependencies are those of the tests. A folder in PYTHONPATH does not read .pth files, such as the one that
    # leads to this checkout.
    lent = {"PYTHONPATH": os.pathsep.join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})}
    where = run([bin_ / "python", "-c", "import radrim; print(radrim.__file__)"], tmp_path, **lent)
    assert Path(where.strip()).is_relative_to(tmp_path)
    run(
        [bin_ / "radrim", "simulate", "test.ms", "--sky", "point", "--hours", "0.2", "--channels", "1"],
        tmp_path,
        **lent,
    )
    assert "radrim image test.ms" in run([bin_ / "radrim", "info", "test.ms"], tmp_path, **lent)
    run([bin_ / "radrim", "image", "test.ms", "--size", "64", "64", "--niter", "0", "--name", "test"], tmp_path, **lent)
    assert (tmp_path / "test-dirty.fits").exists()
    assert (tmp_path / "test-report.html").exists()


def required(lines):
    """{name: least version} of requirements such as `numpy>=1.26` or `numpy >=1.26`."""
    found = (re.match(r"([A-Za-z0-9-]+)\s*>=\s*([0-9.]+)", line) for line in lines)
    return {CONDA_NAMES.get(match[1], match[1]): match[2] for match in found if match}


@pytest.mark.parametrize("recipe", ["pipelines/packaging/conda/meta.yaml", "environment.yml"])
def test_conda_requires_the_same(recipe):
    """Conda's recipe and environment have every requirement of pyproject.toml, with the same least version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / recipe).read_text()
    listed = required(re.findall(r"^ *- (\S.*)$", text, re.MULTILINE))
    assert required(project["dependencies"]).items() <= listed.items()


def test_recipe_has_the_version():
    """The recipe names this version."""
    assert f'version = "{__version__}"' in (ROOT / "pipelines/packaging/conda/meta.yaml").read_text()
