"""From what a user calls a model to a local folder: a path, or a hub id and its downloaded snapshot.

Of a hub repository only configuration, safetensors, processor files and licenses are fetched: never
pickles, graphs or Python files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from compress.errors import ModelError
from compress.model import links
from compress.reading import files as reading
from compress.reading import front_matter
from compress.tasks import _embedding as embedding

_WANTED = (
    "*.json",
    "*.safetensors",
    "*.txt",
    "*.model",
    "*.codes",
    "*.tiktoken",
    "*.jinja",
    "README.md",
    "LICENSE*",
    "LICENCE*",
    "NOTICE*",
    "COPYING*",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.h5", "*.msgpack")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class Snapshot:
    """A model's files on this machine.

    Attributes:
        folder: where they are.
        name: the hub id, or the folder's own name.
        revision: the hub commit; None for a local folder.
    """

    folder: Path
    name: str
    revision: str | None

    @property
    def label(self) -> str:
        """The name with its revision, as a manifest's origin records it."""
        return f"{self.name}@{self.revision}" if self.revision else self.name


def resolve(reference: str, revision: str | None = None) -> Snapshot:
    """The folder of a model: the path itself, or the hub's snapshot, downloaded where it is not cached.

    Args:
        reference: a folder, or a hub id such as ``bert-base-uncased`` or ``owner/name``.
        revision: branch, tag or commit of a hub id.

    Raises:
        ModelError: neither exists, or the hub cannot be reached and the snapshot is not cached.
    """
    path = local(reference)
    if path is not None:
        if revision is not None:
            raise ModelError(f"{reference} is a local folder: a revision belongs to a hub id, leave it out")
        return Snapshot(folder=path, name=path.resolve().name, revision=None)
    return _download(reference, revision)


def local(reference: str) -> Path | None:
    """The folder that a reference names; None where there is none and it can be a hub id.

    Raises:
        ModelError: there is no such folder, and no hub id is written like that.
    """
    path = reading.located(reference, error=ModelError)
    if reading.is_folder(path, error=ModelError):
        return path
    if path.exists():
        raise ModelError(
            f"{reading.shown(reference)} is a file: give the folder that holds config.json and the weights"
        )
    if not _ID.fullmatch(reference) or "--" in reference or ".." in reference:
        raise ModelError(
            f"There is no folder {reading.shown(reference)}: check the path, or give a hub id such as "
            "owner/name"
        )
    return None


@cache
def _download(reference: str, revision: str | None) -> Snapshot:
    # Cached: within one process a branch means one commit, however often it is asked.
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f"{reference} (revision {revision})" if revision else reference
    try:
        path = snapshot_download(
            reference,
            revision=revision,
            allow_patterns=list(_WANTED),
            ignore_patterns=[*_PICKLES, "*/*"],
            local_files_only=constants.HF_HUB_OFFLINE,
        )
    except GatedRepoError as cause:
        raise ModelError(
            f"The hub model {reference} asks for a login or for its terms to be accepted: accept them on its "
            "page and run 'hf auth login'"
        ) from cause
    except RevisionNotFoundError as cause:
        raise ModelError(
            f"The hub model {reference} has no revision '{revision}': check its branches and tags"
        ) from cause
    except RepositoryNotFoundError as cause:
        raise ModelError(
            f"There is no folder and no hub model '{reference}': check the name (a private model needs "
            "'hf auth login')"
        ) from cause
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as cause:
        status = getattr(getattr(cause.__cause__, "response", None), "status_code", None)
        snag = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        snag = f"the hub answers with status {status}" if status else snag
        raise ModelError(
            f"There is no folder '{reference}', and the hub model {at} is not in the local cache while {snag}"
            ": give a folder, or connect once to download it"
        ) from cause
    except HFValidationError as cause:
        raise ModelError(f"There is no folder '{reference}', and it cannot be a hub id: {cause}") from cause
    except (HTTPError, OSError) as cause:
        reason = str(cause).strip().split("\n")[0]
        raise ModelError(f"The hub model {at} could not be downloaded ({reason}): try again") from cause
    folder = Path(path)
    places = _modules(folder)
    if places:
        snapshot_download(
            reference,
            revision=folder.name,
            allow_patterns=[f"{place}/{pattern}" for place in places for pattern in _WANTED],
            ignore_patterns=list(_PICKLES),
            local_files_only=constants.HF_HUB_OFFLINE,
        )
    return Snapshot(folder=folder, name=reference, revision=folder.name)


def pickles(folder: Path) -> list[str]:
    """The names of weight files in formats that run code when they are opened, or are not PyTorch's."""
    return sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern) if file.is_file())


def license_of(folder: Path) -> str | None:
    """The license of a model folder as its ``README.md`` header or its license file names it.

    Raises:
        ModelError: one of them is a link to a file that is not the model's.
    """
    links.check(folder / "README.md")
    stated = front_matter.license_of(folder / "README.md")
    if stated:
        return stated
    for pattern in ("LICENSE*", "LICENCE*", "COPYING*"):
        for file in sorted(path for path in folder.glob(pattern) if path.is_file()):
            links.check(file)
            written = reading.read_bytes(file, error=ModelError).decode("utf-8", errors="replace")
            lines = (line.strip() for line in written.splitlines())
            first = next((line for line in lines if line), None)
            if first:
                return first
    return None


def files(folder: Path) -> list[Path]:
    """The files of a model folder that loading may read, sorted; of subfolders those of its modules alone."""
    places = [folder, *(folder / name for name in _modules(folder))]
    return [
        file
        for place in places
        for file in (sorted(place.iterdir()) if place.is_dir() else ())
        if file.is_file() and any(fnmatch(file.name, pattern) for pattern in _WANTED)
    ]


def _modules(folder: Path) -> list[str]:
    """The subfolders that the ``modules.json`` of a sentence-transformers folder names, sorted."""
    if not embedding.is_modular(folder):
        return []
    return sorted(
        place.relative_to(folder).as_posix() for place in embedding.places(folder) if place != folder
    )
