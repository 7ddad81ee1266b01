"""One measurement at a time, and locks that a dead process does not hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gossamer import store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no such locks")
HOLD = {
    "alone": "store.alone(Path(sys.argv[1]))",
    "present": "store.present(Path(sys.argv[1]))",
    "exclusive": "exclusive()",
}


@contextmanager
def held(what: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that is inside of the block until it is killed."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom gossamer import store\n"
        "from gossamer.measure.exclusive import exclusive\n"
        f"with {HOLD[what]}:\n    print('in', flush=True)\n    time.sleep(100)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"in\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def comes_in(code: str, path: Path, seconds: float) -> bool:
    """Whether a third process, once it stands at the door, comes in within so many seconds."""
    told = "import sys\nfrom pathlib import Path\nfrom gossamer import store\n"
    told += "from gossamer.measure.exclusive import exclusive\nprint('at the door', flush=True)\n"
    told += f"with {code}: print('in')"
    # without a buffer, which would hold back from `communicate` what came with the first line
    command = [sys.executable, "-c", told, path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
    assert process.stdout is not None
    assert process.stdout.readline() == b"at the door\n"
    try:
        return process.communicate(timeout=seconds)[0] == b"in\n"
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False


@pytest.mark.parametrize("what", ["alone", "exclusive"])
def test_another_process_waits_until_this_one_is_out_or_dead(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # no measurement of others is in the way
    with held(what, tmp_path / "lock") as holder:
        assert not comes_in(HOLD[what], tmp_path / "lock", seconds=1)
        holder.kill()
        holder.wait()
        assert comes_in(HOLD[what], tmp_path / "lock", seconds=60)  # a busy machine takes its time


def test_a_folder_says_whether_others_are_at_work_in_it(tmp_path: Path) -> None:
    with held("present", tmp_path) as other:
        with store.present(tmp_path) as is_alone:
            assert not is_alone
        other.kill()
        other.wait()
        with store.present(tmp_path) as is_alone:
            assert is_alone
