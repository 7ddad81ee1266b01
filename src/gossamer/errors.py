"""Every error that a user of gossamer can meet.

A message has three parts: what was needed, what was received, what to do. `exit_code` is what
the command line ends with: 2 for usage or input errors (nothing was written), 3 for failures of
work that had begun (what exists is kept and resumable).
"""


class GossamerError(Exception):
    """The base of all errors raised on purpose.

    Attributes:
        needed: What the call needed, one clause without a full stop.
        received: What it got instead.
        hint: What to do about it.
    """

    exit_code = 3

    def __init__(self, needed: str, received: str, hint: str = "") -> None:
        self.needed = needed
        self.received = received
        self.hint = hint
        super().__init__(f"needed {needed}; received {received}." + (f" {hint}" if hint else ""))


class InputError(GossamerError):
    """Something the user gave (an option, a file, a folder) cannot be used."""

    exit_code = 2


class SourceError(InputError):
    """The model cannot be read, or is not a model."""


class DataError(InputError):
    """The data cannot be read, or does not fit the model."""


class OutputError(InputError):
    """The output folder exists, cannot be written, or is no output folder."""


class RecipeError(InputError):
    """A recipe, a plug-in name or an option value is not valid."""


class TargetError(InputError):
    """A target, runtime or CPU level does not exist or cannot do what was asked."""


class MissingDependency(InputError):  # noqa: N818 - reads as what it is; it is part of the contract
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"the package {package} for {purpose}",
            "an environment without it",
            f"Install it with: pip install 'gossamer[{extra}]'",
        )


class ExportError(GossamerError):
    """A module could not be exported, or the exported graph disagrees with it."""


class TrainingError(GossamerError):
    """A technique cannot join this training, or the training went wrong."""


class PlanError(GossamerError):
    """A placement cannot be carried out on this graph."""


class CalibrationError(GossamerError):
    """Calibration met values or shapes that it cannot use."""


class BuildError(GossamerError):
    """A runtime refused to build or load a graph."""


class MeasureError(GossamerError):
    """A measurement could not be taken."""


class StorageError(GossamerError):
    """Writing results failed: disk full, or the folder vanished."""
