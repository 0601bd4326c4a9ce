"""Real data that scikit-learn carries: handwritten digits, 1,797 images of 8 by 8 pixels.

The set has no split of its own. A quarter of each class is held out for evaluation by a fixed seed,
the same for every run, so that no model ever meets its training rows in another run's evaluation.
Pixels come as 0 to 16 and are stretched to 0 to 255, as image processors expect.
"""

from __future__ import annotations

from typing import Any

from compress import environment
from compress.data.table import Table
from compress.errors import DataError, UnknownName
from compress.tasks import _images as images

_SPLIT_SEED = 0
_EVALUATION_SHARE = 0.25


class Bundled:
    """A data set of scikit-learn by name; ``digits`` is the one."""

    def __init__(self, name: str) -> None:
        if name != "digits":
            raise UnknownName("sklearn data set", name, ["digits"])

    def splits(self) -> tuple[str, ...]:
        """Names of the splits, sorted."""
        return ("test", "train")

    def pin(self) -> str | None:
        """The version of scikit-learn, and how we split."""
        return f"sklearn:digits {environment.version('scikit-learn')} split {_SPLIT_SEED}"

    def read(self, split: str) -> Table:
        """The rows of a split."""
        environment.require("sklearn", extra="cpu", purpose="the data source sklearn:digits")
        import numpy as np
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
        train, test = train_test_split(
            np.arange(len(pixels)),
            test_size=_EVALUATION_SHARE,
            random_state=_SPLIT_SEED,
            stratify=digits.target,
        )
        chosen = {"train": np.sort(train), "test": np.sort(test)}
        rows: list[dict[str, Any]] = [
            {"image": pixels[i], "label": int(digits.target[i])} for i in chosen[split]
        ]
        names = {"label": tuple(str(name) for name in digits.target_names)}
        return Table(f"sklearn:digits ({split})", ("image", "label"), rows, names)

    def identity(self, split: str) -> str:
        """What changes whenever the split's rows could."""
        return f"{self.pin()} {split}"

    def label_names(self, split: str) -> Any:
        """The content of ``labels.json``, or None."""
        return None

    def license(self) -> str | None:
        """The license that the data's card states, or None."""
        return "CC BY 4.0 (UCI Optical Recognition of Handwritten Digits)"

    def image(self, reference: str, split: str) -> images.ImageFile | None:
        """No image lies outside the rows."""
        raise DataError(f"sklearn:digits has no image file '{reference}'")
