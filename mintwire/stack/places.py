"""Finds folders that an unprivileged account can reach, and removes those created outside the stack's folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

from mintwire.stack.errors import StackError

_OUTSIDE = Path("/var/tmp")  # noqa: S108 - the name is derived and its owner is checked before use
# A file system in memory; creating a database there takes a tenth of the time.
_MEMORY = Path("/dev/shm")  # noqa: S108 - as above
_MEMORY_FREE_BYTES = 2 * 1024**3
_ORIGIN = "origin"


def is_reachable(path: Path) -> bool:
    """Return whether any account may reach the path."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


def reachable_folder(folder: Path) -> Path:
    """Create the folder, behind a link to a place outside if its parents let no other account through."""
    if folder.is_symlink():
        return _behind_link(folder)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    if is_reachable(folder):
        folder.mkdir()
        return folder
    return _linked(folder, _OUTSIDE)


def memory_folder(folder: Path) -> Path:
    """Create the folder in memory if there is plenty, for disposable data."""
    if folder.is_symlink():
        return _behind_link(folder)
    if folder.is_dir() or not _has_memory():
        return reachable_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return _linked(folder, _MEMORY)


def forgotten_in_memory() -> list[Path]:
    """Return our folders in memory whose link was removed by hand."""
    found = []
    for outside in _MEMORY.glob("mintwire-*"):
        origin = outside / _ORIGIN
        if outside.lstat().st_uid == os.geteuid() and origin.is_file():
            link = Path(origin.read_text())
            if not link.is_symlink() or link.readlink() != outside:
                found.append(outside)
    return found


def outside_folder(folder: Path, base: Path) -> Path:
    """Return the place outside that belongs to this folder only."""
    return base / f"mintwire-{hashlib.sha256(os.fsencode(_full(folder))).hexdigest()[:16]}"


def remove(folder: Path) -> None:
    """Remove the folder and the place outside that it links to."""
    if folder.is_symlink():
        outside = folder.readlink()
        if _is_own(folder, outside) and outside.is_dir() and not outside.is_symlink():
            shutil.rmtree(outside)
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _behind_link(folder: Path) -> Path:
    outside = folder.readlink()
    if not _is_own(folder, outside):
        raise StackError(f"{folder} links to a place that the stack did not create")
    _own(outside)
    return outside


def _linked(folder: Path, base: Path) -> Path:
    outside = outside_folder(folder, base)
    _own(outside)
    folder.symlink_to(outside)
    # Last, because a folder without a link counts as forgotten.
    (outside / _ORIGIN).write_text(str(_full(folder)))
    return outside


def _is_own(folder: Path, outside: Path) -> bool:
    return outside in (outside_folder(folder, _OUTSIDE), outside_folder(folder, _MEMORY))


def _full(folder: Path) -> Path:
    return folder.parent.resolve() / folder.name


def _has_memory() -> bool:
    return _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _MEMORY_FREE_BYTES


def _own(outside: Path) -> None:
    """Create the folder, or make sure that it is ours: anyone may create names in a shared place."""
    try:
        outside.mkdir(mode=0o755)
    except FileExistsError:
        found = outside.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise StackError(f"{outside} exists and is not ours; remove it") from None
