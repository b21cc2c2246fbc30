"""The one way a file is written: whole or not at all."""

import os
from pathlib import Path


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part.

    Args:
        path: The file to write or replace; its folder must exist.
        content: All of its bytes.

    Raises:
        OSError: The file cannot be written (full disk, no permission). What was at ``path`` before
            is still there, and nothing is left beside it.
    """
    # The temporary name is fixed, so that what a killed process left behind is overwritten by the
    # next write; it lies in the same folder because a rename is atomic only within a file system.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {path}: {error.strerror}; the last good {path.name}, if there was one, "
            "is kept. Free some space or give another folder",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """Make a folder, and those that it is in, where they are missing.

    Args:
        path: The folder.

    Raises:
        OSError: It cannot be made (no permission, or there is a file).
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot make the folder {path}: {error.strerror}; give another folder that may be "
            "written",
        ) from error
