"""Factories of torch modules: what is imported, called, exported, and refused."""

from __future__ import annotations

import contextlib
import io
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from gossamer.errors import ExportError, SourceError
from gossamer.export.agree import outputs_on_ort
from gossamer.source import FloatModel, TensorType
from gossamer.sources import find

pytestmark = pytest.mark.torch
Factory = Callable[[str], FloatModel]


HEADER = "import torch\nfrom torch import nn\n"
NET = """
print("imported")
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    def forward(self, image):
        return self.norm(self.conv(image)).relu()
def make():
    print("called")
    return Net().half().train(), torch.randn(1, 3, 8, 8).half()
"""


def open_factory(text: str, folder: Path, name: str = "make") -> FloatModel:
    """Opens `factory_of_tests:make`, the given source text, from the current directory."""
    sys.modules.pop("factory_of_tests", None)
    (folder / "factory_of_tests.py").write_text(HEADER + textwrap.dedent(text))
    with contextlib.chdir(folder):
        try:
            return find(f"factory_of_tests:{name}").open(folder / "cache")
        finally:
            sys.modules.pop("factory_of_tests", None)


@pytest.fixture(autouse=True)
def no_traces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No byte code, which Python would take for newer than a file written within the second."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = list(sys.path)
    yield
    assert sys.path == before


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    return lambda text: open_factory(text, tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("net")


@pytest.fixture(scope="module")
def printed() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(scope="module")
def net(folder: Path, printed: io.StringIO) -> FloatModel:
    with contextlib.redirect_stdout(printed):
        return open_factory(NET, folder)


def test_a_module_opens_with_an_open_batch_and_the_names_of_forward(net: FloatModel) -> None:
    assert net.inputs == (TensorType(name="image", dtype="float32", shape=("batch", 3, 8, 8)),)
    assert net.outputs == (TensorType(name="output", dtype="float32", shape=("batch", 4, 6, 6)),)
    assert dict(net.description)["kind"] == "torch callable"


def test_half_precision_and_training_mode_are_left_behind(net: FloatModel) -> None:
    feed = {"image": np.ones((5, 3, 8, 8), np.float32)}
    y = outputs_on_ort(net.path, [feed])[0]["output"]

    assert y.dtype == np.float32
    assert np.array_equal(y[0], y[4])  # batch statistics would depend on the batch


def test_what_user_code_prints_stays_off_standard_output(
    net: FloatModel, printed: io.StringIO
) -> None:
    assert net.path.exists()
    assert printed.getvalue() == ""


def test_opening_again_exports_nothing(net: FloatModel, folder: Path) -> None:
    written = net.path.stat().st_mtime_ns

    assert open_factory(NET, folder) == net
    assert net.path.stat().st_mtime_ns == written


def test_other_weights_are_another_model(net: FloatModel, folder: Path) -> None:
    other = open_factory(NET.replace("return Net()", "torch.manual_seed(1); return Net()"), folder)

    assert other.digest != net.digest
    assert other.path != net.path


def test_names_come_from_forward_and_from_the_fields_of_its_output(factory: Factory) -> None:
    model = factory("""
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.embed = nn.Embedding(50, 8)
                self.head = nn.Linear(8, 2)
                self.example_inputs = {
                    "attention_mask": torch.ones(2, 6, dtype=torch.int64),
                    "input_ids": torch.arange(12).reshape(2, 6),
                }
            def forward(self, input_ids, attention_mask):
                x = self.embed(input_ids) * attention_mask[..., None]
                return {"hidden": x, "logits": self.head(x.sum(1)), "nothing": None}
        def make():
            return Net()
    """)

    assert [(t.name, t.shape) for t in model.inputs] == [
        ("input_ids", ("batch", "sequence")),
        ("attention_mask", ("batch", "sequence")),
    ]
    assert [(t.name, t.shape) for t in model.outputs] == [
        ("hidden", ("batch", "sequence", 8)),
        ("logits", ("batch", 2)),
    ]
    names = {i.name for i in onnx.load(model.path).graph.initializer}
    assert {"embed.weight", "head.bias"} <= names


# -- refused --


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("factory_of_test:make", r"no module 'factory_of_test'.*Did you mean factory_of_tests\?"),
        ("nowhere.at_all:make", r"no module 'nowhere'.*Run from the folder"),
        ("factory_of_tests:mak", r"no 'mak' there.*Did you mean make\?"),
        ("factory_of_tests:zzz", r"no 'zzz' there.*There are: .*make"),
        ("factory_of_tests:nn", r"a callable factory_of_tests:nn; received module"),
    ],
)
def test_a_misspelt_callable_is_met_with_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("factory_of_tests", None)
    Path("factory_of_tests.py").write_text("from torch import nn\ndef make(): ...")
    with pytest.raises(SourceError, match=said):
        find(text).open(tmp_path / "cache")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import a_package_that_is_not_there", "that imports; received ModuleNotFoundError"),
        ("raise SystemExit(3)", r"that imports; received SystemExit: 3 \(.*factory_of_tests"),
        ("def make(): raise ValueError('no weights')", "ValueError: no weights"),
        ("def make(size): return nn.Linear(size, 2)", "TypeError.*missing 1 required"),
        ("def make(): return 'a string'", "a torch.nn.Module.*; received str"),
        ("def make(): return nn.Linear(4, 2), 1, 2", "a torch.nn.Module.*; received tuple"),
        (
            "def make(): return nn.Linear(4, 2)",
            r"example inputs.*\(module, example_inputs\)",
        ),
        ("def make(): return nn.Linear(4, 2), {'x': torch.ones(2, 4)}", r"forward.*argument"),
        ("def make(): return nn.Linear(4, 2), {'input': 3}", "tensors; received .*'input': 'int'"),
        ("def make(): return nn.Linear(4, 2), torch.tensor(1.0)", r"one common batch.*input \[\]"),
        (
            "def make(): return nn.Bilinear(4, 4, 2), (torch.ones(2, 4), torch.ones(3, 4))",
            r"one common batch; received input1 \[2, 4\], input2 \[3, 4\]",
        ),
        (
            "class Net(nn.Module):\n"
            "    def forward(self, *xs): return xs[0]\n"
            "def make(): return Net(), torch.ones(2, 4)",
            r"inputs with names in Net.forward; received \*xs",
        ),
        (
            "def make():\n"
            "    net = nn.Linear(4, 2)\n"
            "    nn.init.constant_(net.weight, float('nan'))\n"
            "    return net, torch.ones(2, 4)",
            "finite weights; received NaN in 'weight'",
        ),
    ],
)
def test_a_factory_that_gives_no_model_is_refused(factory: Factory, text: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        factory(text)


def test_an_example_that_the_module_cannot_run_is_an_export_error(factory: Factory) -> None:
    with pytest.raises(ExportError, match=r"whose forward takes input \[2, 5\].*Linear"):
        factory("def make(): return nn.Linear(4, 2), torch.ones(2, 5)")


def test_a_branch_on_values_is_an_export_error(factory: Factory) -> None:
    with pytest.raises(ExportError, match=r"torch.export can trace with open axes \(batch\).*Net"):
        factory("""
            class Net(nn.Module):
                def forward(self, x):
                    return x if x.sum() > 0 else -x
            def make():
                return Net(), torch.ones(2, 4)
        """)


def test_a_module_without_tensors_to_return_is_an_export_error(factory: Factory) -> None:
    with pytest.raises(ExportError, match="a module that returns tensors; received Net"):
        factory("""
            class Net(nn.Module):
                def forward(self, x):
                    return 3
            def make():
                return Net(), torch.ones(2, 4)
        """)
