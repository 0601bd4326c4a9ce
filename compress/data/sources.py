"""What a source of rows is, and the usual one: a folder of files, or files named one by one.

A source names its splits, reads one as a ``Table`` and says what identifies it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

from compress.artifacts import artifact
from compress.data.files import digest, first_row, read_file, suffix_of
from compress.data.table import Table
from compress.errors import DataError
from compress.reading import files, front_matter, json_values
from compress.tasks import _audio
from compress.tasks import _images as images

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
REFERENCES = (*_IMAGES, *_audio.SUFFIXES)
"""How the names of files end that cells refer to."""
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


class Source(Protocol):
    """What every kind of source has."""

    def splits(self) -> tuple[str, ...]:
        """Names of the splits, sorted."""
        ...

    def pin(self) -> str | None:
        """What identifies all splits at once, where nothing needs to be read for it; else None."""
        ...

    def read(self, split: str) -> Table:
        """The rows of a split."""
        ...

    def identity(self, split: str) -> str:
        """What changes whenever the split's rows could: a checksum, or an id with a revision."""
        ...

    def label_names(self, split: str) -> Any:
        """The content of the ``labels.json`` that goes with a split, or None."""
        ...

    def license(self) -> str | None:
        """The license that the data's card states, or None."""
        ...

    def image(self, reference: str, split: str) -> images.ImageFile | None:
        """The image or sound that a cell refers to, or None where there is none."""
        ...


class Files:
    """A folder of data files, and files that were named one by one.

    A split is a file ``<split>.<suffix>`` (or its shards ``<split>-00000-of-00002.<suffix>``) in the
    folder or its ``data`` folder.
    """

    def __init__(self, folder: Path | None) -> None:
        """List the splits of a folder; of none where files get named later.

        Raises:
            DataError: several files could be the same split.
        """
        self.folder = folder
        self._paths: dict[str, tuple[Path, ...]] = {}
        self._archives: dict[str, dict[str, Path]] = {}
        if folder is not None:
            self._paths = self._scan(folder)

    @staticmethod
    def _scan(folder: Path) -> dict[str, tuple[Path, ...]]:
        by_split: dict[str, list[Path]] = {}
        for place in (folder, folder / "data"):
            for path in sorted(place.glob("*")) if place.is_dir() else ():
                suffix = suffix_of(path)
                if suffix:  # what is no regular file is refused when it is read
                    by_split.setdefault(_SHARD.sub("", path.name.removesuffix(suffix)), []).append(path)
        for split, paths in by_split.items():
            shards = [_SHARD.search(path.name.removesuffix(suffix_of(path) or "")) for path in paths]
            if len(paths) > 1 and not all(shards):
                raise DataError(
                    f"{folder} has several files for the split '{split}' "
                    f"({', '.join(path.relative_to(folder).as_posix() for path in paths)}): keep one"
                )
        return {split: tuple(paths) for split, paths in by_split.items()}

    def add(self, reference: str) -> str | None:
        """Take a file as a split, relative to the folder or to where we are; the split's name, or None."""
        for path in ([self.folder / reference] if self.folder else []) + [
            files.located(reference, error=DataError)
        ]:
            if files.exists(path, error=DataError) and not path.is_dir():
                self._paths[reference] = (path,)
                return reference
        return None

    def splits(self) -> tuple[str, ...]:
        """Names of the splits, sorted."""
        return tuple(sorted(self._paths))

    def pin(self) -> str | None:
        """Files are identified one by one."""
        return None

    def paths(self, split: str) -> tuple[Path, ...]:
        """The files of a split."""
        return self._paths[split]

    def _home(self, split: str) -> Path:
        """The folder that label names and image paths of a split refer to."""
        path = self._paths[split][0]
        real_path = files.resolved(path, error=DataError)
        inside = self.folder is not None and real_path.is_relative_to(
            files.resolved(self.folder, error=DataError)
        )
        return self.folder if inside and self.folder else path.parent

    def read(self, split: str) -> Table:
        """The rows of a split; shards in the order of their names."""
        tables = [read_file(path) for path in self._paths[split]]
        if len(tables) == 1:
            return tables[0]
        return Table(
            name=f"{self._home(split)} ({split})",
            columns=tuple(dict.fromkeys(column for part in tables for column in part.columns)),
            rows=[row for part in tables for row in part.rows],
            names={column: names for part in tables for column, names in part.names.items()},
            quoting=next(
                (part.quoting for part in tables if part.quoting and part.quoting.doubt), tables[0].quoting
            ),
        )

    def identity(self, split: str) -> str:
        """A checksum over the files, the label names, and the images and sounds that the rows refer to."""
        labels = self._home(split) / "labels.json"
        sums = [digest(path) for path in self._paths[split]] + self._image_sums(split)
        return artifact.digest_text(
            artifact.canonical_json([sums, digest(labels) if files.exists(labels, error=DataError) else None])
        )

    def _image_sums(self, split: str) -> list[str]:
        """Checksums of images and sounds; all rows are read only where the first one names one."""
        columns = [
            column
            for column, cell in first_row(self._paths[split][0]).items()
            if isinstance(cell, str) and cell.lower().endswith(REFERENCES)
        ]
        if not columns:
            return []
        paths = {
            image.path
            for row in self.read(split).rows
            for column in columns
            if isinstance(row.get(column), str) and (image := self.image(row[column], split))
        }
        return [digest(path) for path in sorted(paths)]

    def label_names(self, split: str) -> Any:
        """The content of the ``labels.json`` beside the split, or None."""
        path = self._home(split) / "labels.json"
        if not files.exists(path, error=DataError):
            return None
        return json_values.read(path, error=DataError)

    def license(self) -> str | None:
        """The license that the folder's README.md states, or None."""
        return front_matter.license_of(self.folder / "README.md") if self.folder else None

    def image(self, reference: str, split: str) -> images.ImageFile | None:
        """A file below the folder, or a member of a zip archive in it; nothing is unpacked.

        Raises:
            DataError: the path leads out of the folder.
        """
        if Path(reference).is_absolute() or ".." in Path(reference).parts:
            raise DataError(
                f"{self._paths[split][0]}: the path '{reference}' leads out of the data folder; "
                "paths are relative to it"
            )
        file = self._home(split) / reference
        if files.is_file(file, error=DataError):
            return images.ImageFile(file)
        archive = self._archived(split).get(reference)
        return images.ImageFile(archive, reference) if archive else None

    def _archived(self, split: str) -> dict[str, Path]:
        """Member -> archive, of the zip files beside a split; the one that bears its name comes first."""
        if split not in self._archives:
            paths = sorted(self._home(split).glob("*.zip"), key=lambda path: (path.stem == split, path.name))
            self._archives[split] = {member: path for path in paths for member in images.members(path)}
        return self._archives[split]
