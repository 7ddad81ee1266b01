"""Seeing the outputs of a module's inner modules in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle


class Watcher:
    """Keeps the last output of some modules while it is open.

    Attributes:
        outputs: By path.
    """

    def __init__(self, model: nn.Module, paths: Iterable[str]) -> None:
        self.outputs: dict[str, object] = {}
        self._is_open = False
        self._hooks: list[RemovableHandle] = [
            model.get_submodule(path).register_forward_hook(self._keeper(path))
            for path in dict.fromkeys(paths)
        ]

    def _keeper(self, path: str) -> Callable[[nn.Module, object, object], None]:
        def keep(_module: nn.Module, _args: object, output: object) -> None:
            if self._is_open:
                self.outputs[path] = output

        return keep

    def open(self) -> None:
        """Forget what was seen, and see what comes."""
        self.outputs = {}
        self._is_open = True

    def close(self) -> dict[str, object]:
        """What was seen, which is kept here no longer."""
        self._is_open = False
        seen, self.outputs = self.outputs, {}
        return seen

    def detach(self) -> None:
        """Leave the modules; twice does nothing more."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self.close()
