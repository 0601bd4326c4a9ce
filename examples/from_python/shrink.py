"""The whole way in a program: build from a recipe, measure and judge, then predict with what ships.

python examples/from_python/shrink.py MODEL DATA OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import paredown


def main(model: str, data: str, out: str) -> int:
    """Quantize a text classifier; 0 where every gate passed.

    Args:
        model: folder of a fine-tuned model.
        data: folder with training and evaluation rows.
        out: the run's folder.
    """
    recipe = paredown.read(
        str(Path(__file__).parent.parent / "text_int8" / "recipe.yaml"),
        overrides=[f"model={model}", f"data.source={data}"],
    )
    outcome = paredown.run(recipe, out)
    for verdict in outcome.report.verdicts:
        print(f"{verdict.gate}: {verdict.status}")
    with paredown.load(Path(out, "model")) as shipped:
        print(shipped.predict(["a fine film"])[0].label)
    return 0 if all(verdict.status == "pass" for verdict in outcome.report.verdicts) else 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
