"""Files of a model folder that are links: into the folder or a hub's cache, and nowhere else.

What travels with a model is copied, so that a link named ``LICENSE`` to any file of the machine would carry
that file into an artifact, a bundle, and to whoever gets them. A hub's cache is made of links: a snapshot's
files lie among the ``blobs`` of the same model, and so do those of a folder that was filled from a cache.
"""

from __future__ import annotations

from pathlib import Path

from compress.errors import ModelError
from compress.reading import files

_BLOBS, _SNAPSHOTS, _CACHED = "blobs", "snapshots", "models--"


def outside(file: Path, folder: Path) -> Path | None:
    """Where a file lies, links followed, if that is neither in a folder nor in a hub's cache.

    Args:
        file: of the folder.
        folder: the model's.

    Raises:
        ModelError: a link leads back to itself.
    """
    target = files.resolved(file, error=ModelError)
    home = files.resolved(folder, error=ModelError)
    return None if target.is_relative_to(home) or _is_blob(target, home) else target


def check(file: Path) -> None:
    """Refuse a link that leads out of its folder to where no hub's cache is.

    Args:
        file: that is to be copied, or quoted.

    Raises:
        ModelError: it is one; the message says where it leads.
    """
    if file.is_symlink() and (target := outside(file, file.parent)) is not None:
        raise ModelError(
            f"{files.shown(file)} is a link to {files.shown(target)}, outside of the model's folder, and "
            "what lies there would travel with everything that is made of the model: put a copy in the "
            "link's place, or remove it"
        )


def _is_blob(target: Path, home: Path) -> bool:
    """Whether a file lies among the blobs of a cache: of the folder's own, or of one that is called so."""
    cache = target.parent.parent
    own = home.parent.name == _SNAPSHOTS and cache == home.parent.parent
    return target.parent.name == _BLOBS and (own or cache.name.startswith(_CACHED))
