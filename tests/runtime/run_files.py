"""`python run_files.py FILE...`: run `RUNTIME/LAYOUT, KIND.onnx` on `LAYOUT.npy`, write the output.

A process of its own, because an emulator runs only the process that it is given.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from gossamer import plugins


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        runtime = plugins.load("runtimes", path.parent.name)()
        session = runtime.open(path, threads=1, precision="f32")
        x = np.load(path.parents[1] / (path.name.split(",")[0] + ".npy"))
        y = next(iter(session.run({"x": x}).values()))
        np.save(path.with_suffix(".npy"), y)


if __name__ == "__main__":
    main()
