"""Fixtures for every test: no network, no hub, no state outside the test's own folder."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parent))
# studies and tools are no part of the wheel; last, so that the packages that are installed are the ones
# tested.
sys.path.append(str(Path(__file__).parent.parent))

# Side by side, each worker and all that it starts keep to one CPU: threads that wait for each other on
# busy CPUs take minutes for what takes seconds.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if _WORKER.startswith("gw") and hasattr(os, "sched_setaffinity"):
    _CPUS = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_CPUS[int(_WORKER[2:]) % len(_CPUS)]})

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def _state_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What fixtures of a module or of the run keep lies in a folder of the run, and not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        _own_folders(tmp_path_factory, patch)
        yield


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store and every cache live in a folder of the test, and messages reach pytest."""
    _own_folders(tmp_path_factory, monkeypatch)
    # A command line of an earlier test keeps the messages to itself, and with --quiet drops most of them.
    logger = logging.getLogger("paredown")
    logger.setLevel(logging.NOTSET)
    monkeypatch.setattr(logger, "propagate", True)


def _own_folders(tmp_path_factory: pytest.TempPathFactory, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PAREDOWN_STORE", str(tmp_path_factory.mktemp("store")))
    patch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))


@pytest.fixture(autouse=True, scope="session")
def _whole_tasks() -> None:
    """Tasks that a test imports by name have what the contract fills in, as those that the catalog gives."""
    from compress import catalog

    for name in catalog.names("task"):
        catalog.task(name)


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Sockets that leave the machine are refused for the whole run."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = str(address[0])
            if not (host.startswith("127.") or host in {"::1", "localhost"}):
                raise OSError(f"a test tried to reach {host}")
        real(self, address)

    socket.socket.connect = connect  # type: ignore[method-assign]
    yield
    socket.socket.connect = real  # type: ignore[method-assign]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and models; the test is skipped where there is none."""
    folder = Path(os.environ.get("PAREDOWN_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no shared data at {folder} (set PAREDOWN_SHARED)")
    return folder


@pytest.fixture
def text_model(tmp_path: Path) -> Path:
    """A tiny BERT text classifier with its tokenizer, as a Hugging Face folder."""
    import tiny

    return tiny.text_model(tmp_path / "text-model")


@pytest.fixture
def text_data(tmp_path: Path) -> Path:
    """A small learnable sentiment set: train.jsonl, validation.jsonl, labels.json."""
    import tiny

    return tiny.text_data(tmp_path / "text-data")
