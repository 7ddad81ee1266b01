"""Python that loads a compressed model, for the model card."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gossamer.result import Candidate

ORT = """\
import numpy as np
import onnxruntime as ort

session = ort.InferenceSession({path}, providers={providers})
{feed}
outputs = session.run(None, feed)
for output, value in zip(session.get_outputs(), outputs):
    print(output.name, value.shape)
"""
ORT_FEED = """\
types = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
feed = {  # put real inputs here; open axes are 1 long
    i.name: np.ones(
        [d if isinstance(d, int) else 1 for d in i.shape],
        types.get(i.type, i.type.removeprefix("tensor(").removesuffix(")")),
    )
    for i in session.get_inputs()
}"""
ORT_TEXT = """\
names = {i.name for i in session.get_inputs()}"""

OPENVINO = """\
import numpy as np
import openvino as ov

model = ov.Core().compile_model({path}, "CPU"{options})
{feed}
outputs = model(feed)
for output, value in outputs.items():
    print(output.any_name, value.shape)
"""
OPENVINO_FEED = """\
feed = {  # put real inputs here; open axes are 1 long
    i.any_name: np.ones(
        [d.get_length() if d.is_static else 1 for d in i.partial_shape],
        i.get_element_type().to_dtype(),
    )
    for i in model.inputs
}"""
OPENVINO_TEXT = """\
names = {i.any_name for i in model.inputs}"""

TORCH = """\
from pathlib import Path

import numpy as np
import torch
from gossamer import plugins

runtime = plugins.load("runtimes", "torch-cpu")()
session = runtime.open(Path({path}), threads=torch.get_num_threads())
{feed}
outputs = session.run(feed)
for name, value in outputs.items():
    print(name, value.shape)
"""
TORCH_FEED = """\
feed = {  # put real inputs here; open axes are 1 long
    t.name: np.ones([d if isinstance(d, int) else 1 for d in t.shape], t.dtype)
    for t in session.inputs
}"""
TORCH_TEXT = """\
names = {t.name for t in session.inputs}"""

TEXT = """

from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({folder})
encoded = tokenizer(["gossamer is light"], return_tensors="np")
feed = {{name: np.asarray(encoded[name], "int64") for name in names if name in encoded}}"""
TOKENIZERS = ("tokenizer.json", "vocab.txt", "spiece.model", "vocab.json")
SUFFIXES = (".onnx", ".xml")


def snippet(candidate: Candidate) -> str | None:
    """A script that runs a kept model, from the folder of the card; None if nothing is kept."""
    if candidate.path is None:
        return None
    name = next((f for f in candidate.files if f.endswith(SUFFIXES)), None)
    if name is None:
        return None
    folder = candidate.path.rstrip("/")
    has_tokenizer = any(f.rsplit("/", 1)[-1] in TOKENIZERS for f in candidate.files)
    text = TEXT.format(folder=json.dumps(folder)) if has_tokenizer else ""
    path = json.dumps(f"{folder}/{name}")
    if candidate.runtime == "torch-cpu":
        return TORCH.format(path=path, feed=TORCH_TEXT + text if text else TORCH_FEED)
    if name.endswith(".onnx"):
        feed = ORT_TEXT + text if text else ORT_FEED
        return ORT.format(path=path, providers=json.dumps(_providers(candidate)), feed=feed)
    is_f32 = candidate.recipe.get("precision") == "f32"
    options = ', {"INFERENCE_PRECISION_HINT": "f32"}' if is_f32 else ""
    feed = OPENVINO_TEXT + text if text else OPENVINO_FEED
    return OPENVINO.format(path=path, options=options, feed=feed)


def _providers(candidate: Candidate) -> list[str]:
    on_gpu = ["CUDAExecutionProvider"] if candidate.runtime == "ort-cuda" else []
    return [*on_gpu, "CPUExecutionProvider"]
