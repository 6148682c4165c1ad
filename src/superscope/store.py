"""Files on disk, written so that a crash never leaves half of one.

Every file is written beside its final name, flushed to the disk and renamed, so a reader sees the old content or the
new one. What is read back is checked against the checksum that was stored with it; anything wrong is a `StoreError`
that says which file, what is wrong and what to do.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: work is shared without a lock, and done twice at worst
    fcntl = None  # type: ignore[assignment]


class StoreError(RuntimeError):
    """Something on the disk cannot be read or written; the message says what and what to do next."""


def explain(action: str, path: Path, error: OSError) -> StoreError:
    """`error` in words: what could not be done to which file, and what to do."""
    hints = {
        errno.ENOSPC: "the disk is full; free some space and run again, finished units are kept",
        errno.EDQUOT: "the disk quota is used up; free some space and run again, finished units are kept",
        errno.EACCES: "no permission; choose another folder with --out",
        errno.EPERM: "no permission; choose another folder with --out",
        errno.EROFS: "the file system is read-only; choose another folder with --out",
        errno.ENOTDIR: "a part of this path is a file, not a folder; choose another folder with --out",
        errno.EEXIST: "a part of this path is a file, not a folder; choose another folder with --out",
        errno.EISDIR: "it is a folder, not a file",
        errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
        errno.ELOOP: "its links go round in a circle; choose another folder with --out",
    }
    reason = hints.get(error.errno or 0, error.strerror or str(error))
    return StoreError(f"cannot {action} {str(path)!r}: {reason}")


# ------------------------------------------------------------------------------------------------ writing and reading


def atomic_write_many(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write several files under `folder`; all of them are on the disk before the first one is renamed into place.

    A full disk is therefore met while the old files are still whole. Files are renamed in the order given: put the
    one that vouches for the others last.
    """
    folder = Path(folder)
    staged: list[tuple[str, Path]] = []
    target = folder
    try:
        for name, data in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=target.parent)
            staged.append((temporary, target))
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        while staged:
            temporary, target = staged[0]
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
            staged.pop(0)
    except OSError as error:
        raise explain("write", target, error) from error
    finally:
        for temporary, _ in staged:
            Path(temporary).unlink(missing_ok=True)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    atomic_write_many(Path(path).parent, {Path(path).name: data})


def atomic_write_text(path: Path, text: str) -> None:
    atomic_write_bytes(path, text.encode())


def atomic_write_json(path: Path, value: Any) -> None:
    atomic_write_text(path, dumps(value))


def remove(folder: Path) -> None:
    """Delete a folder and all that is in it, if it is there."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise explain("remove", folder, error) from error


def read_bytes(path: Path, sha256: str | None = None) -> bytes:
    """The file's bytes; with `sha256`, checked against it."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise explain("read", Path(path), error) from error
    if sha256 is not None and checksum(data) != sha256:
        raise StoreError(f"{str(path)!r} is damaged (its checksum does not match); run the study again to replace it")
    return data


def read_inside(folder: Path, name: str, sha256: str) -> bytes:
    """The bytes of a file that a stored document names: it must lie in `folder`, links followed, and be whole."""
    path = Path(folder) / name
    if not path.resolve().is_relative_to(Path(folder).resolve()):
        raise StoreError(f"{name!r} leads out of {str(folder)!r}; run the study again to replace it")
    return read_bytes(path, sha256)


def read_json(path: Path) -> Any:
    data = read_bytes(path)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{str(path)!r} is not whole JSON ({error}); run the study again to replace it") from error


# ------------------------------------------------------------------------------------------- one process at a time


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, a hidden file beside it that names its owner's process and host.

    While another process has it, say so on stderr and wait. The system drops a lock with the process that holds it, so that
    a lock left by a killed one is taken over at once. Where no lock can be had (a read-only folder, a file system without
    locks) the work goes on without: every write is one rename, and equal work gives equal bytes.
    """
    handle = _lock(Path(path))
    try:
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):
                _lock_file(Path(path)).unlink()
            os.close(handle)


def _lock_file(path: Path) -> Path:
    return path.with_name(f".{path.name[:200]}.lock")


def _lock(path: Path) -> int | None:
    file, told = _lock_file(path), False
    while fcntl is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                owner = os.read(handle, 200).decode(errors="replace") or "another process"
                print(f"superscope: {owner} is working on {str(path)!r}: waiting for it (Ctrl-C gives up)", file=sys.stderr)
                told = True
            os.close(handle)
            time.sleep(0.2)
            continue
        except OSError:  # this file system has no locks
            os.close(handle)
            return None
        if _same_file(handle, file):
            os.truncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            return handle
        os.close(handle)  # its owner removed it between our open and our lock
    return None


def _same_file(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except OSError:
        return False


def set_aside(folder: Path) -> Path:
    """Rename what cannot be used to a free name beside it, so that nothing is lost; returns that name."""
    folder = Path(folder)
    aside = next(place for k in range(1, 10_000) if not (place := folder.with_name(f"{folder.name}.damaged-{k}")).exists())
    try:
        os.rename(folder, aside)
    except OSError as error:
        raise explain("rename", folder, error) from error
    return aside


# ----------------------------------------------------------------------------------------------------- JSON and digests


def plain(value: Any) -> Any:
    """`value` as strict JSON types: NaN becomes null, infinities become the strings "Infinity" and "-Infinity"."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, bool | str | int) or value is None:
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays, torch tensors
        return plain(value.tolist())
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise TypeError(f"{value!r} ({type(value).__name__}) cannot be stored as JSON")


def number(value: Any) -> float:
    """The float that `plain` stored."""
    return math.nan if value is None else float(value)


def dumps(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of `value`; equal values have equal digests on every machine."""
    return checksum(json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def seal(document: dict[str, Any]) -> dict[str, Any]:
    """`document` with the checksum of all its other fields."""
    body = {key: value for key, value in document.items() if key != "checksum"}
    return {**body, "checksum": digest(body)}


def read_sealed(path: Path) -> dict[str, Any]:
    document = read_json(path)
    if not isinstance(document, dict) or document.get("checksum") != seal(document)["checksum"]:
        raise StoreError(f"{str(path)!r} is damaged (its checksum does not match); run the study again to replace it")
    return document


def shipped(name: str) -> Path:
    """A folder that comes with superscope ("results", "models", "corpus"): in the package, in its checkout, or where
    SUPERSCOPE_DATA says, for code that was sent to another machine without its data."""
    here = Path(__file__).resolve()
    elsewhere = os.environ.get("SUPERSCOPE_DATA", "")
    places = [here.parent / name, here.parents[2] / name, *([Path(elsewhere) / name] if elsewhere else [])]
    return next((place for place in places if place.is_dir()), places[1])
