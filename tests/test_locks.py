"""Locks between processes: refused, waited for, shared; and that they die with their process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import warnings

import pytest

from nsd_bench.errors import OutputError
from nsd_bench.locks import change, locked

HOLD = """
import sys, time; from pathlib import Path; from nsd_bench.locks import locked
with locked(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held(path, how="alone"):
    """Hold a lock in another process."""
    command = [sys.executable, "-c", HOLD, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()


def busy():
    return OutputError("busy", place="p", expected="e", fix="f")


def test_alone_or_shared(tmp_path):
    path = tmp_path / "lock"
    with held(path):
        for shared in (False, True):
            with pytest.raises(OutputError, match="busy"), locked(path, busy(), shared=shared):
                pass
    with (
        held(path, "shared"),
        locked(path, busy(), shared=True),
        pytest.raises(OutputError, match="busy"),
        locked(path, busy()),
    ):
        pass
    with locked(path, busy()):
        pass


def test_a_kill_frees_it_and_one_who_waits_gets_it(tmp_path):
    path = tmp_path / "lock"
    with held(path) as process:
        os.kill(process.pid, signal.SIGKILL)
        with locked(path) as file:
            file.write(b"mine")
    assert path.read_bytes() == b"mine"


def test_what_was_shared_is_held_alone_when_the_others_have_gone(tmp_path):
    path = tmp_path / "lock"
    with held(path, "shared") as process, locked(path, busy(), shared=True) as file:
        process.stdin.close()
        change(file, shared=False)
        with pytest.raises(OutputError), locked(path, busy(), shared=True):
            pass
        change(file, shared=True)
        with locked(path, busy(), shared=True):
            pass


def test_a_lock_file_goes_with_the_block_and_content_stays(tmp_path):
    path = tmp_path / "lock"
    path.write_text("line\n")
    with locked(path) as file:
        file.seek(0)
        assert file.read() == b"line\n"
        file.write(b"more\n")
    assert path.read_text() == "line\nmore\n"
    with locked(path, remove=True):
        assert path.exists()
    assert not path.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks(tmp_path, monkeypatch, number):
    def flock(file, kind):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=os.strerror(number)), locked(tmp_path / "lock", busy()):
        pass
    said = f"^{tmp_path}: this disk has no file locks; do not do it twice$"
    path = tmp_path / "lock"
    with pytest.warns(UserWarning, match=said) as found, locked(path, lockless="do not do it twice") as file:
        change(file, shared=False)
    assert [warning.filename for warning in found] == [__file__]


def test_an_open_lock_file_warns_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            with locked(tmp_path / "lock", busy()):
                pass
