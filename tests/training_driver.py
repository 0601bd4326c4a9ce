"""Trains a tiny model in a process of its own, for tests that kill it or launch several of it.

    python training_driver.py SCRATCH OUT [SECONDS_A_STEP [ADVERSARIAL_EPSILON]]

Writes the final weights and the history to OUT (``weights-RANK.safetensors``, ``history-RANK.json``)
and says ``step N`` on stdout after each step, so that a test can choose the moment to kill.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from compress import processes
from compress.tasks import Batch
from compress.training.adversarial import AdversarialObjective
from compress.training.loop import TrainingConfig, train


class Small(torch.nn.Module):
    """Two Linears with dropout between, and an embedding that half of the rows use."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(7, 8)
        self.first = torch.nn.Linear(8, 16)
        self.dropout = torch.nn.Dropout(0.2)
        self.second = torch.nn.Linear(16, 2)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        weights = mask.unsqueeze(-1).float()
        pooled = (self.table(ids) * weights).sum(1) / weights.sum(1)
        return self.second(self.dropout(torch.relu(self.first(pooled))))


def rows(count: int = 203, seed: int = 5) -> list[dict[str, object]]:
    """Sequences of 1 to 9 small numbers; the label is whether even ones prevail."""
    source = np.random.default_rng(seed)
    entries = []
    for _ in range(count):
        ids = source.integers(1, 7, size=int(source.integers(1, 10)))
        entries.append({"ids": ids, "label": int((ids % 2 == 0).mean() > 0.5)})
    return entries


def encode(part) -> Batch:
    """Padded to the longest."""
    width = max(len(row["ids"]) for row in part)
    ids = np.zeros((len(part), width), dtype=np.int64)
    for at, row in enumerate(part):
        ids[at, : len(row["ids"])] = row["ids"]
    labels = np.array([row["label"] for row in part], dtype=np.int64)
    return Batch(inputs={"ids": ids, "mask": (ids > 0).astype(np.int64)}, labels=labels)


def build(seed: int = 0) -> Small:
    """The model with seeded weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Small()


def objective(model: torch.nn.Module, batch) -> torch.Tensor:
    """Cross entropy."""
    return torch.nn.functional.cross_entropy(model(**batch.inputs).float(), batch.labels)


def evaluate(model: torch.nn.Module) -> dict[str, float]:
    """Accuracy on other rows."""
    batch = encode(rows(64, seed=6))
    with torch.inference_mode():
        logits = model(**{name: torch.from_numpy(array) for name, array in batch.inputs.items()})
    return {"accuracy": float((logits.argmax(-1).numpy() == batch.labels).mean())}


CONFIG = TrainingConfig(
    epochs=4,
    batch_size=16,
    learning_rate=2e-2,
    evaluations_per_epoch=2,
    precision="fp32",
    checkpoint_seconds=0.05,
)


def main(scratch: Path, out: Path, pause: float = 0.0, push: float = 0.0) -> None:
    """Train and write what came out."""
    model = build()
    data = rows()
    loss = AdversarialObjective(objective, model.table, push) if push else objective

    def slow(wrapped: torch.nn.Module, batch) -> torch.Tensor:
        time.sleep(pause)
        sys.stdout.write("step\n")
        sys.stdout.flush()
        return loss(wrapped, batch)

    history = train(
        model,
        rows=data,
        encode=encode,
        lengths=np.array([len(row["ids"]) for row in data]),
        objective=slow,
        evaluate=evaluate,
        config=CONFIG,
        scratch=scratch,
        seed=11,
        device="cpu",
        threads=1,
        description="driver",
    )
    rank = processes.index()
    save_file(model.state_dict(), out / f"weights-{rank}.safetensors")
    (out / f"history-{rank}.json").write_text(json.dumps(history.facts()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(float, sys.argv[3:]))
