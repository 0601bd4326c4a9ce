"""A data set repository of the hub as a source: ``owner/name``, or ``owner/name:config``.

The revision is resolved to a commit, that commit is what the fingerprint holds, and what gets loaded is
checked to be of that commit. Offline, the copy that was cached for the revision serves; a cached copy of
another commit is refused.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from compress.data.parquet import from_dataset
from compress.data.table import Table
from compress.errors import DataError
from compress.reading import front_matter, json_values
from compress.tasks import _images as images


@cache
def resolve(name: str, revision: str | None) -> str:
    """The commit that a revision means now; offline, what it meant when it was last downloaded.

    Raises:
        DataError: there is no such data set or revision, or it is not cached and out of reach.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    label = f"'{name}'" + (f" (revision {revision})" if revision else "")
    reference = (
        Path(constants.HF_HUB_CACHE) / f"datasets--{name.replace('/', '--')}" / "refs" / (revision or "main")
    )
    try:
        return str(HfApi().dataset_info(name, revision=revision).sha)
    except GatedRepoError as cause:
        raise DataError(
            f"the hub data set {label} asks for a login or for its terms to be accepted: accept them on "
            "its page and run 'hf auth login'"
        ) from cause
    except RevisionNotFoundError as cause:
        raise DataError(
            f"the hub data set '{name}' has no revision '{revision}': check its branches and tags"
        ) from cause
    except RepositoryNotFoundError as cause:
        raise DataError(
            f"there is no folder and no hub data set '{name}': check the path or the name (a private data "
            "set needs 'hf auth login')"
        ) from cause
    except HFValidationError as cause:
        raise DataError(f"there is no folder '{name}', and it cannot be a hub id: {cause}") from cause
    except (OfflineModeIsEnabled, HTTPError, OSError) as cause:
        if reference.is_file():
            return reference.read_text(encoding="utf-8").strip()
        if revision and len(revision) == 40:
            return revision
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise DataError(
            f"there is no folder '{name}', and the hub data set {label} is not in the local cache while "
            f"{reason}: give a folder, or connect once to download it"
        ) from cause


class HubData:
    """A data set of the hub.

    Args:
        reference: ``owner/name``, with ``:config`` where it has several.
        revision: branch, tag or commit; the default branch when None.
    """

    def __init__(self, reference: str, revision: str | None) -> None:
        self.name, _, self.config = reference.partition(":")
        self.revision = revision
        self.commit = resolve(self.name, revision)
        self._loaded: Any = None

    @property
    def _data(self) -> Any:
        if self._loaded is None:
            import datasets
            from huggingface_hub.errors import HTTPError

            label = f"the hub data set '{self.name}' at {self.commit[:12]}"
            try:
                splits = datasets.load_dataset(self.name, self.config or None, revision=self.revision)
            except (datasets.exceptions.DatasetsError, HTTPError, OSError, ValueError, RuntimeError) as cause:
                reason = str(cause.__cause__ or cause).strip().split("\n")[0]
                raise DataError(f"{label} cannot be loaded: {reason}") from cause
            for split, rows in splits.items():
                if rows.cache_files and not all(self.commit in file["filename"] for file in rows.cache_files):
                    raise DataError(
                        f"{label} is not in the local cache (its split '{split}' is there in another version "
                        "only): connect once to download it, or name the revision that is there"
                    )
            self._loaded = splits
        return self._loaded

    def splits(self) -> tuple[str, ...]:
        """Names of the splits, sorted."""
        return tuple(sorted(self._data))

    def pin(self) -> str | None:
        """The id, its config and the commit."""
        return f"{self.name}:{self.config}@{self.commit}"

    def read(self, split: str) -> Table:
        """The rows of a split."""
        return from_dataset(self._data[split], f"{self.name} ({split})")

    def identity(self, split: str) -> str:
        """What changes whenever the split's rows could."""
        return f"{self.pin()} {split}"

    def _file(self, name: str) -> Path | None:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HTTPError

        try:
            return Path(hf_hub_download(self.name, name, repo_type="dataset", revision=self.commit))
        except (HTTPError, OSError):
            return None  # optional files: a repository without them is complete

    def label_names(self, split: str) -> Any:
        """The content of ``labels.json``, or None."""
        path = self._file("labels.json")
        if path is None:
            return None
        return json_values.read(path, error=DataError)

    def license(self) -> str | None:
        """The license that the data's card states, or None."""
        path = self._file("README.md")
        return front_matter.license_of(path) if path else None

    def image(self, reference: str, split: str) -> images.ImageFile | None:
        """No image lies outside the rows."""
        return None
