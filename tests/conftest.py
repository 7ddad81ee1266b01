"""What every test may ask for: the folder of real models, and the promise of no network."""

from __future__ import annotations

import ipaddress
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

from zoo import clock

REPOSITORY = Path(__file__).resolve().parents[1]

# Read when torch and numpy are loaded. Two processes run the tests: with a thread for every core in
# each, small models wait for threads that spin (four times the CPU time in test_shrink_encoders).
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

hypothesis.settings.register_profile("shared-machine", deadline=None)
if "CI" not in os.environ:  # there hypothesis chooses its own profile: no deadline, no random seed
    hypothesis.settings.load_profile("shared-machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real",
        type=Path,
        default=REPOSITORY.parent / "shared" / "real",
        help="folder with the real models and data that docs/real_models.md lists",
    )
    parser.addoption(
        "--arm64", type=Path, help="folder with an arm64 Python, which scripts/arm64 makes"
    )


@pytest.fixture(scope="session")
def real(request: pytest.FixtureRequest) -> Path:
    """The folder of real models and data; the test skips where there is none."""
    folder: Path = request.config.getoption("--real").resolve()
    if not folder.is_dir():
        pytest.skip(f"{folder} is no folder: give --real=DIR (docs/real_models.md)")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout."""
    return REPOSITORY


@pytest.fixture(scope="session", autouse=True)
def own_turns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Processes of this worker take turns at measuring; those of others need not be waited for.

    Models on one thread run on the first CPU that may be used: of each worker that is another one.
    """
    from gossamer.measure import environment, isolate

    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))

    def usable_cpus() -> tuple[int, ...]:
        cpus = environment.usable_cpus()
        first = number % len(cpus)
        return (*cpus[first:], *cpus[:first])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolate, "usable_cpus", usable_cpus)
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.getbasetemp()))
        patch.setenv("TMPDIR", str(tmp_path_factory.getbasetemp()))
        yield


@pytest.fixture(scope="module")
def quick_clock() -> Iterator[None]:
    """For the tests of a module that look at no time: models are timed for moments only."""
    with clock.quick():
        yield


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let the command line keep nothing in the home folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test that reaches for another machine; loopback and AF_UNIX stay open."""
    real_connect, real_connect_ex = socket.socket.connect, socket.socket.connect_ex
    real_lookup = socket.getaddrinfo

    def connect(self: socket.socket, address: object) -> None:
        _only_here(self.family, address)
        real_connect(self, address)

    def connect_ex(self: socket.socket, address: object) -> int:
        _only_here(self.family, address)
        return real_connect_ex(self, address)

    def getaddrinfo(host: object, *args: object, **options: object) -> object:
        _only_here(socket.AF_INET, (host,))
        return real_lookup(host, *args, **options)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def _only_here(family: int, address: object) -> None:
    if family not in {socket.AF_INET, socket.AF_INET6}:
        return
    host = address[0] if isinstance(address, tuple) else address
    text = host.decode() if isinstance(host, bytes) else host
    if text in {None, "", "localhost"}:
        return
    try:
        is_here = ipaddress.ip_address(str(text)).is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        _refuse(text)


def _refuse(host: object) -> NoReturn:
    # not an OSError: code that goes on without the network must not hide the attempt
    pytest.fail(f"a test reached for the network: {host}")
