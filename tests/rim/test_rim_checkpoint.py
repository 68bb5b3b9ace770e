"""Checkpoints: what is saved comes back, and what is not whole or does not fit is refused with path and reason."""

import dataclasses
import json
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from radrim.errors import InputError, OutputError
from radrim.rim import checkpoint
from radrim.rim.network.irim import IRIM, IRIMConfig
from radrim.rim.network.plain import PlainConfig, PlainRIM

CONFIG = IRIMConfig(channels=28, hidden=4, depth=2, factors=(1, 2), steps=2)


@pytest.fixture
def saved(tmp_path):
    """A good checkpoint file."""
    torch.manual_seed(1)
    path = tmp_path / "good.safetensors"
    checkpoint.save(path, IRIM(CONFIG), {"seed": 3}, {"native": 21.5})
    return path


@pytest.fixture
def rewritten(saved, tmp_path):
    """Factory: the good file with other metadata, or other tensors, as a third party could have written it."""

    def rewrite(tensors=None, **metadata):
        with safe_open(saved, "pt") as file:
            header = file.metadata() | metadata
        path = tmp_path / "bad.safetensors"
        save_file(load_file(saved) if tensors is None else tensors, path, header)
        return path

    return rewrite


@pytest.mark.parametrize(
    "model",
    [IRIM(CONFIG), IRIM(dataclasses.replace(CONFIG, dims=3, shared=False)), PlainRIM(PlainConfig(channels=8))],
    ids=["irim", "cube", "rim"],
)
def test_what_is_saved_comes_back(model, tmp_path):
    """Tensors bit for bit, architecture, recipe and scores; ready to run and to train."""
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, model, {"seed": 3, "mix": [0.5, 0.5]}, {"native": {"m31": 21.5}})
    found = checkpoint.load(path, dims=model.config.dims)
    assert type(found.model) is type(model)
    assert found.model.config == model.config
    assert found.recipe == {"seed": 3, "mix": [0.5, 0.5]}
    assert found.scores == {"native": {"m31": 21.5}}
    for key, value in model.state_dict().items():
        assert torch.equal(found.model.state_dict()[key], value)
    assert not found.model.training
    assert all(p.requires_grad and p.device.type == "cpu" for p in found.model.parameters())


def test_describe_reads_the_header(saved):
    """The header answers without the tensors."""
    found = checkpoint.describe(saved)
    assert found["architecture"] == "irim"
    assert found["config"]["channels"] == 28
    assert found["scores"] == {"native": 21.5}


def test_saving_replaces_or_leaves_the_old_file(saved, monkeypatch):
    """A write that fails leaves the old checkpoint as it was, and no other file."""
    before = saved.read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OutputError, match=r"good.safetensors.*No space left"):
        checkpoint.save(saved, IRIM(CONFIG), {}, {})
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_saving_into_no_folder(tmp_path):
    """A folder that is not there is an OutputError with the path."""
    with pytest.raises(OutputError, match="nowhere"):
        checkpoint.save(tmp_path / "nowhere" / "x.safetensors", IRIM(CONFIG), {}, {})


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
def test_truncated(saved, keep):
    """A file cut off anywhere is refused."""
    whole = saved.read_bytes()
    saved.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    with pytest.raises(InputError, match=r"good.safetensors.*cut off"):
        checkpoint.load(saved)


@pytest.mark.parametrize("where", [-1, -1000, 3])
def test_corrupt(saved, where):
    """One changed byte, in the tensors or in the header, is noticed."""
    data = bytearray(saved.read_bytes())
    data[where] ^= 0x11
    saved.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"good.safetensors.*damaged"):
        checkpoint.load(saved)


def test_pickle_is_never_loaded(tmp_path):
    """A pickle under this name is refused, and not executed."""

    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    path = tmp_path / "trap.safetensors"
    for write in (lambda: path.write_bytes(pickle.dumps(Trap())), lambda: torch.save({"x": Trap()}, path)):
        write()
        with pytest.raises(InputError, match=r"trap.safetensors is no safetensors file"):
            checkpoint.load(path)
        assert not (tmp_path / "sprung").exists()


def test_absent(tmp_path):
    """A path without a file is an InputError with the path."""
    with pytest.raises(InputError, match=r"nothing.safetensors"):
        checkpoint.load(tmp_path / "nothing.safetensors")


def test_folder(tmp_path):
    """A folder is an InputError with the path."""
    with pytest.raises(InputError, match=str(tmp_path)):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    "metadata, message",
    [
        ({"format": "other"}, "no radrim checkpoint"),
        ({"version": "99"}, "version 99.*version 2"),
        ({"architecture": "unet"}, "'unet'.*irim, rim"),
        ({"config": "{"}, "no readable 'config'"),
        ({"config": "[]"}, "'config'.*no table"),
        ({"config": json.dumps({"channels": 28, "wings": 2})}, "unknown entries: wings"),
        ({"recipe": "no JSON"}, "no readable 'recipe'"),
        ({"digest": "0"}, "damaged"),
    ],
)
def test_headers_that_do_not_fit(rewritten, metadata, message):
    """Another format, version or architecture, and a broken configuration, are named."""
    with pytest.raises(InputError, match=f"bad.safetensors.*{message}"):
        checkpoint.load(rewritten(**metadata))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"channels": 2}, "not valid: channels is 2"),
        ({"channels": "many"}, "not valid: channels is 'many'"),
        ({"channels": 30}, "torch.float32"),
        ({"depth": 3}, r"\d+ missing"),
        ({"depth": 1}, r"\d+ unexpected"),
        ({"lambdas": 2}, "not valid"),
    ],
)
def test_configurations_that_do_not_fit_the_tensors(rewritten, change, message):
    """A header that describes another network than the tensors' is refused."""
    config = json.dumps(dataclasses.asdict(CONFIG) | change)
    with pytest.raises(InputError, match=f"bad.safetensors.*{message}"):
        checkpoint.load(rewritten(config=config))


def test_missing_and_unexpected_tensors(saved, rewritten):
    """One tensor renamed is one missing and one unexpected; both are named."""
    tensors = load_file(saved)
    tensors["layers.0.extra"] = tensors.pop("gradients.0.bias")
    with pytest.raises(InputError, match=r"1 missing \(gradients.0.bias.*1 unexpected \(layers.0.extra"):
        checkpoint.load(rewritten(tensors))


def test_other_types_and_nan(saved, rewritten):
    """Half precision and NaN are refused with the tensor's name."""
    tensors = load_file(saved)
    with pytest.raises(InputError, match=r"gradients.0.bias.*float16"):
        checkpoint.load(rewritten(tensors | {"gradients.0.bias": tensors["gradients.0.bias"].half()}))
    with pytest.raises(InputError, match=r"NaN.*gradients.0.bias"):
        checkpoint.load(rewritten(tensors | {"gradients.0.bias": tensors["gradients.0.bias"] * torch.nan}))


def test_other_number_of_dimensions(saved):
    """A model for images is refused for cubes, and the message says what to choose."""
    with pytest.raises(InputError, match=r"good.safetensors is for 2-D data, 3-D was asked for.*cubes"):
        checkpoint.load(saved, dims=3)


def test_models_by_name_or_path(saved, monkeypatch):
    """Models of the package go by name, others by path; an unknown name lists what there is."""
    monkeypatch.setattr(checkpoint, "MODELS", saved.parent)
    assert checkpoint.list_models() == {"good": saved}
    assert checkpoint.find_model("good") == saved
    assert checkpoint.find_model(str(saved)) == saved
    with pytest.raises(InputError, match=r"'bad'.*are: good"):
        checkpoint.find_model("bad")


def test_of_an_earlier_version(tmp_path):
    """What a file's configuration does not name has the default, with which nothing changes."""
    torch.manual_seed(1)
    machine = IRIM(CONFIG)
    checkpoint.save(tmp_path / "new.safetensors", machine, {}, {})
    with safe_open(tmp_path / "new.safetensors", "pt") as file:
        metadata = file.metadata()
    config = json.loads(metadata["config"])
    del config["detail"], config["unets"], config["widths"]
    save_file(machine.state_dict(), tmp_path / "old.safetensors", metadata | {"config": json.dumps(config)})
    assert checkpoint.load(tmp_path / "old.safetensors").model.config == CONFIG


@pytest.mark.parametrize("name", sorted(checkpoint.list_models()))
def test_loading_a_model_is_quick(name):
    """It does without torch's compiler, whose modules take as long to load as all else of torch."""
    code = (
        "import sys; from radrim.rim import checkpoint; "
        f"checkpoint.load(checkpoint.find_model({name!r})); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
