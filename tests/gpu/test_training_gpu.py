"""The training loop on a CUDA device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import training_driver as driver

from compress.tasks import Batch
from compress.training.loop import train

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_learns_on_a_gpu_and_comes_back(tmp_path: Path, precision: str) -> None:
    """The loss falls, the best weights are restored, and the model is on the CPU again, in FP32."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model, rows = driver.build(), driver.rows()

    def evaluate(trained: torch.nn.Module) -> dict[str, float]:
        batch: Batch = driver.encode(driver.rows(64, seed=6))
        with torch.inference_mode():
            logits = trained(**{name: torch.from_numpy(array).cuda() for name, array in batch.inputs.items()})
        return {"accuracy": float((logits.argmax(-1).cpu().numpy() == batch.labels).mean())}

    history = train(
        model,
        rows=rows,
        encode=driver.encode,
        lengths=np.array([len(row["ids"]) for row in rows]),
        objective=driver.objective,
        evaluate=evaluate,
        config=driver.CONFIG.model_copy(update={"precision": precision}),
        scratch=tmp_path,
        seed=11,
        device="cuda",
        threads=1,
        description="gpu",
    )
    assert history.losses[-1][1] < 0.6 * history.losses[0][1]
    assert history.best is not None
    assert history.best.metrics["accuracy"] > 0.85
    assert all(p.device.type == "cpu" and p.dtype == torch.float32 for p in model.parameters())
