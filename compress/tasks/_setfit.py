"""What a SetFit folder adds to one of sentence-transformers: a classifier on the vector of a text.

SetFit writes its classifier as a pickle of joblib, ``model_head.pkl``, which runs code when it is opened:
nothing here opens it. ``command`` is what writes its numbers as ``model_head.safetensors``, to be run by
whoever trusts the pickle: ``coef`` [outputs, size], ``intercept`` [outputs], and in the file's metadata what
the classifier was (``Written``). The classifiers that are one linear layer are folded into one: a logistic
regression, one of each label, and SetFit's own head.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from compress import log
from compress.errors import ModelError
from compress.reading import files, json_values
from compress.recipe import explain
from compress.strict import Strict
from compress.tasks import _embedding as embedding
from compress.tasks import _heads as heads

if TYPE_CHECKING:
    import torch

CONFIG = "config_setfit.json"
PICKLE = "model_head.pkl"
WEIGHTS = "model_head.safetensors"
NOTE = "head"
"""The entry of the metadata of ``WEIGHTS`` that says what the classifier was."""
COEFFICIENTS, INTERCEPT = "coef", "intercept"
WEIGHT, BIAS = "classifier.weight", "classifier.bias"
_REGRESSIONS = ("LogisticRegression", "LogisticRegressionCV")
_BY_LABEL = ("OneVsRestClassifier", "MultiOutputClassifier")
_OWN = "SetFitHead"
_SETTINGS = ("multi_class", "solver", "temperature", "eps", "multitarget")
_CODE = (
    "import json, joblib, numpy; from safetensors.numpy import save_file; head = joblib.load({pickle}); "
    'linear = getattr(head, "linear", None); parts = getattr(head, "estimators_", [head]); '
    "coef = numpy.vstack([part.coef_ for part in parts]) if linear is None "
    "else linear.weight.detach().cpu().numpy(); "
    "intercept = numpy.concatenate([part.intercept_ for part in parts]) if linear is None "
    "else numpy.zeros(len(coef)) if linear.bias is None else linear.bias.detach().cpu().numpy(); "
    'about = {{"type": type(head).__name__, "parts": [type(part).__name__ for part in parts], '
    '"classes": getattr(head, "classes_", None), "multilabel": bool(getattr(head, "multilabel_", False)), '
    '"settings": {{name: getattr(head, name) for name in {settings} if hasattr(head, name)}}}}; '
    'rows = lambda array: numpy.ascontiguousarray(array, "float32"); '
    'save_file({{"coef": rows(coef), "intercept": rows(intercept)}}, {weights}, '
    '{{"{note}": json.dumps(about, default=lambda value: value.tolist())}})'
)


class Settings(Strict):
    """What decides how outputs become probabilities.

    Attributes:
        multi_class: of a logistic regression of older scikit-learn.
        solver: of a logistic regression.
        temperature: that SetFit's own head divides its outputs by.
        eps: what it adds to the temperature.
        multitarget: whether its outputs are labels that hold each by itself.
    """

    multi_class: str | None = None
    solver: str | None = None
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    eps: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    multitarget: bool = False


class Written(Strict):
    """What the metadata of the classifier's file says of it.

    Attributes:
        type: its class.
        parts: the classes of the classifiers of which it is made, one a label.
        classes: the labels that it was trained on; of several outputs a list of each.
        multilabel: whether one-versus-rest was of labels that hold each by itself.
        settings: what decides how outputs become probabilities.
    """

    type: str = Field(min_length=1, max_length=100)
    parts: tuple[str, ...] = ()
    classes: list[Any] | None = None
    multilabel: bool = False
    settings: Settings = Settings()


@dataclass(frozen=True)
class Classifier:
    """A classifier that is one linear layer.

    Attributes:
        kind: the class that it was.
        problem: what it answers.
        labels: in output order.
        outputs: how many rows the layer has.
        one_sided: whether the file holds the second of two classes alone: the first one's output is then 0,
            so that a softmax of both is the sigmoid of the one.
        scale: what coefficients and intercepts are multiplied by.
    """

    kind: str
    problem: Literal["single_label", "multi_label"]
    labels: tuple[str, ...]
    one_sided: bool = False
    scale: float = 1.0

    @property
    def outputs(self) -> int:
        """How many rows the layer has."""
        return len(self.labels)

    def shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """The shapes of the layer's weights, by our name, from those of the file's tensors."""
        return {WEIGHT: (self.outputs, *shapes[COEFFICIENTS][1:]), BIAS: (self.outputs,)}

    def folded(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The layer's weights, by our name, from the file's tensors."""
        import torch

        weights = {}
        for name, stored in ((WEIGHT, tensors[COEFFICIENTS]), (BIAS, tensors[INTERCEPT])):
            rows = stored * self.scale
            weights[name] = torch.cat([torch.zeros_like(rows), rows]) if self.one_sided else rows
        return weights


def command(folder: Path) -> str:
    """The shell command that writes the numbers of a folder's pickled classifier as safetensors."""
    code = _CODE.format(
        pickle=json.dumps(str(folder / PICKLE)),
        weights=json.dumps(str(folder / WEIGHTS)),
        settings=json.dumps(_SETTINGS),
        note=NOTE,
    )
    return f"python -c {shlex.quote(code)}"


def refusal(folder: Path) -> ModelError:
    """The sentence about a folder whose classifier lies in no file that is safe to open."""
    write = (
        f"write its numbers as {WEIGHTS}, in an environment with joblib, scikit-learn and safetensors "
        f"(and setfit for a head of its own): {command(folder)}"
    )
    if files.exists(folder / PICKLE, error=ModelError):
        return ModelError(
            f"{folder} is a SetFit folder whose classifier is the pickle {PICKLE}, a format that can run "
            f"code when it is opened, and paredown opens none. Where you trust it, {write}"
        )
    return ModelError(
        f"{folder} is a SetFit folder without its classifier (no {WEIGHTS}; pickles are never downloaded): "
        f"put its {PICKLE} there and, where you trust it, {write}"
    )


def is_folder(folder: Path) -> bool:
    """Whether a folder of sentence-transformers is one of SetFit."""
    return embedding.is_modular(folder) and any(
        files.exists(folder / name, error=ModelError) for name in (CONFIG, PICKLE, WEIGHTS)
    )


def configuration(folder: Path, content: Mapping[str, Any], head: Classifier) -> dict[str, Any]:
    """The configuration of a SetFit folder's body with what its classifier is and takes.

    Args:
        folder: of SetFit.
        content: of the body's ``config.json``, with the description of its vectors.
        head: the folder's classifier.

    Raises:
        ModelError: the folder's own settings are damaged.
    """
    description = embedding.described(content)
    if _settings(folder).normalize_embeddings and not description.unit:
        description = description.model_copy(update={"after": (*description.after, "normalize")})
    return {
        **content,
        embedding.FIELD: description.written(),
        embedding.CLASSIFIER: {"origin": "SetFit", "head": head.kind},
        "id2label": {str(number): label for number, label in enumerate(head.labels)},
        "label2id": {label: number for number, label in enumerate(head.labels)},
        "problem_type": heads.PROBLEM_TYPES[head.problem],
    }


def facts(config: Any) -> dict[str, Any]:
    """What makes a label of a text, from a configuration: pooling, what follows it, classifier, labels."""
    content = config.to_dict()
    description = embedding.described(content)
    return {
        "pooling": " and ".join(description.pooling),
        "normalized": description.unit,
        "head": content[embedding.CLASSIFIER].get("head"),
        "labels": list(heads.head_of(content).labels),
    }


def say(folder: Path, content: Mapping[str, Any]) -> None:
    """Say what a SetFit folder is taken as."""
    description, head = embedding.described(content), heads.head_of(content)
    log.info(
        "%s is a SetFit folder: pooling %s, %s; its %s becomes a linear layer on the vector, %s: %s",
        folder,
        " and ".join(description.pooling),
        "normalized" if description.unit else "not normalized",
        content[embedding.CLASSIFIER]["head"],
        "several labels a text" if head.problem == "multi_label" else "one label a text",
        heads.listed(head.labels),
    )
    if _settings(folder).labels is None:
        log.warning(
            "%s names no labels: they are called by the classifier's own classes or their numbers (%s). Name "
            'them in its "labels", in that order',
            folder / CONFIG,
            heads.listed(head.labels),
        )


def read(folder: Path, note: str | None, shapes: Mapping[str, tuple[int, ...]], size: int) -> Classifier:
    """A folder's classifier, from what its safe file holds.

    Args:
        folder: of SetFit.
        note: what the file's metadata says of it; None where it says nothing.
        shapes: of the file's tensors.
        size: numbers of a vector.

    Raises:
        ModelError: it is none that is one linear layer, or does not fit the body or the labels.
    """
    place = folder / WEIGHTS
    if shapes.keys() != {COEFFICIENTS, INTERCEPT}:
        raise ModelError(
            f"{place} holds {heads.listed(sorted(shapes))[:200]}, and a classifier is {COEFFICIENTS} and "
            f"{INTERCEPT}: write it anew with {command(folder)}"
        )
    rows = shapes[INTERCEPT][0] if len(shapes[INTERCEPT]) == 1 else 0
    if rows < 1 or len(shapes[COEFFICIENTS]) != 2 or shapes[COEFFICIENTS][0] != rows:
        raise ModelError(
            f"{place}: {COEFFICIENTS} has the shape {list(shapes[COEFFICIENTS])} and {INTERCEPT} "
            f"{list(shapes[INTERCEPT])}, and a classifier has one row and one number an output: {_ANEW}"
        )
    if shapes[COEFFICIENTS][1] != size:
        raise ModelError(
            f"{place}: the classifier takes vectors of {shapes[COEFFICIENTS][1]} numbers, and the body gives "
            f"{size}: classifier and body are not of one model, get the folder again"
        )
    written = _written(place, note)
    names = _settings(folder).labels
    if names is not None:
        _check_names(folder, names)
    if written.type in _BY_LABEL or (written.type == _OWN and written.settings.multitarget):
        return Classifier(
            written.type, "multi_label", _set_labels(folder, written, names, rows), scale=_scale(written)
        )
    return _one_label(folder, written, names, rows)


_ANEW = "write the file anew from the folder's pickle, or get the folder again"


def _one_label(folder: Path, written: Written, names: list[str] | None, rows: int) -> Classifier:
    place, options = folder / WEIGHTS, written.settings
    if written.type not in (*_REGRESSIONS, _OWN):
        raise ModelError(
            f"{place}: the classifier is a {written.type}, which is no linear layer that is known: allowed "
            f"are {', '.join((*_REGRESSIONS, *_BY_LABEL, _OWN))}; train the head anew as one of them"
        )
    if written.type in _REGRESSIONS:
        several = options.multi_class == "ovr" or (options.solver == "liblinear" and rows > 1)
        if (several and rows > 1) or (options.multi_class == "multinomial" and rows == 1):
            raise ModelError(
                f"{place}: the {written.type} was trained with multi_class={options.multi_class}, "
                f"solver={options.solver}, whose probabilities are not those of a softmax of its outputs: "
                "train the head anew with scikit-learn's defaults"
            )
    one_sided = rows == 1
    count = 2 if one_sided else rows
    classes = list(range(count)) if written.classes is None else written.classes
    if len(classes) != count:
        raise ModelError(
            f"{place}: the classifier has {len(classes)} classes and gives {count} outputs: {_ANEW}"
        )
    labels = _class_labels(folder, classes, names)
    return Classifier(written.type, "single_label", labels, one_sided=one_sided, scale=_scale(written))


def _scale(written: Written) -> float:
    """What the outputs are multiplied by: SetFit's own head divides them by its temperature."""
    options = written.settings
    return 1 / (options.temperature + options.eps) if written.type == _OWN else 1.0


def _class_labels(folder: Path, classes: Sequence[Any], names: list[str] | None) -> tuple[str, ...]:
    """The name of each class, in output order."""
    if not all(isinstance(value, str | int | float) and str(value).strip() for value in classes):
        raise ModelError(
            f"{folder / WEIGHTS}: the classes are {str(list(classes))[:120]}, and a class is a name or a "
            f"number: {_ANEW}"
        )
    numbers = [int(value) if isinstance(value, bool) else heads.whole(value) for value in classes]
    titles = tuple(
        str(value) if number is None or isinstance(value, str | bool) else str(number)
        for value, number in zip(classes, numbers, strict=True)
    )
    if len(set(titles)) < len(titles):
        raise ModelError(
            f"{folder / WEIGHTS}: the classes {heads.listed(titles)} are not all different: {_ANEW}"
        )
    # SetFit takes whole numbers as places among its labels, even where a label is called like a number.
    by_name = any(isinstance(value, str) for value in classes)
    if names is None or (by_name and sorted(names) == sorted(titles)):
        return titles
    if len(names) != len(titles):
        raise _other_count(folder, names, len(titles))
    if sorted(number for number in numbers if number is not None) == list(range(len(names))):
        return tuple(names[number] for number in numbers if number is not None)
    raise ModelError(
        f"{folder / CONFIG} names the labels {heads.listed(names)}, and the classifier's classes are "
        f"{heads.listed(titles)}, which are neither these nor their numbers from 0: correct the labels"
    )


def _set_labels(folder: Path, written: Written, names: list[str] | None, rows: int) -> tuple[str, ...]:
    """The names of labels that hold each by itself."""
    place, classes = folder / WEIGHTS, written.classes
    stranger = next((part for part in written.parts if part not in (*_REGRESSIONS, _OWN)), None)
    if stranger is not None:
        raise ModelError(
            f"{place}: the {written.type} is made of a {stranger}, which is no linear layer that is known: "
            f"allowed are {' and '.join(_REGRESSIONS)}; train the head anew with one of them"
        )
    if written.type == "OneVsRestClassifier" and not written.multilabel:
        raise ModelError(
            f"{place}: the OneVsRestClassifier gives one label a text, by sigmoids that are divided by their "
            "sum, which is no softmax of its outputs: train the head anew as a LogisticRegression"
        )
    two = all(isinstance(values, list) and len(values) == 2 for values in classes or ())
    if written.type == "MultiOutputClassifier" and not two:
        raise ModelError(
            f"{place}: an output of the MultiOutputClassifier has other than two classes, and each is one "
            "label that holds or not: train the head anew with a 0/1 vector a text"
        )
    if classes is not None and len(classes) != rows:
        raise ModelError(
            f"{place}: the classifier has {len(classes)} labels and gives {rows} outputs: {_ANEW}"
        )
    if names is not None and len(names) != rows:
        raise _other_count(folder, names, rows)
    return tuple(names) if names is not None else tuple(f"LABEL_{number}" for number in range(rows))


def _other_count(folder: Path, names: Sequence[str], count: int) -> ModelError:
    return ModelError(
        f"{folder / CONFIG} names {len(names)} labels ({heads.listed(names, 8)}), and the classifier tells "
        f"{count} apart: correct the labels, or get the folder again"
    )


def _check_names(folder: Path, names: Sequence[str]) -> None:
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise ModelError(
            f"{folder / CONFIG}: the labels {heads.listed(names)} are not all different names: correct them"
        )


class _Settings(Strict):
    """What SetFit writes beside a model.

    Attributes:
        normalize_embeddings: whether vectors get the length 1 before the classifier.
        labels: names in the order of their numbers.
    """

    normalize_embeddings: bool = False
    labels: list[str] | None = None


def _settings(folder: Path) -> _Settings:
    """What ``config_setfit.json`` says; other fields of it are of other models of SetFit."""
    content = embedding.json_object(folder / CONFIG)
    values = {name: content[name] for name in _Settings.model_fields if name in content}
    return _parsed(_Settings, values, folder / CONFIG, "correct it")


def _written(place: Path, note: str | None) -> Written:
    if note is None:
        raise ModelError(
            f"{place} does not say what the classifier was (no '{NOTE}' in its metadata): write it anew with "
            f"{command(place.parent)}"
        )
    content = json_values.parse(note, f"{place}: '{NOTE}' in its metadata", error=ModelError)
    return _parsed(Written, content, place, _ANEW)


_Model = TypeVar("_Model", bound=Strict)


def _parsed(model: type[_Model], content: Any, place: Path, remedy: str) -> _Model:
    try:
        return model.model_validate_json(json.dumps(content))
    except ValidationError as cause:
        raise ModelError(f"{explain(cause, str(place))}: {remedy}") from cause
