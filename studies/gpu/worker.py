"""One cell in a process of its own: ``python -m studies.gpu.worker``, asked on stdin by the coordinator.

The request is one line of JSON; the answer goes to the file that it names, whole or not at all. The
process ends itself when its stdin closes: a coordinator that was killed leaves nobody on the GPU.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from compress.errors import UserError
from studies.gpu import artifacts, cells, state
from studies.gpu.around import Around, Skip
from studies.gpu.plan import PLANS

ORPHANED = 3


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do a cell.

    Returns:
        ``{"status": "done", "result": ...}``, or ``skipped`` or ``failed`` with a ``reason``.
    """
    try:
        folder = Path(request["artifacts"]) if request["artifacts"] else None
        around = Around(
            plan=PLANS[request["plan"]],
            device=request["device"],
            folder=folder,
            manifest=artifacts.read(folder) if folder else {},
        )
        return {"status": "done", "result": cells.KINDS[request["kind"]](request["params"], around)}
    except Skip as reason:
        return {"status": "skipped", "reason": str(reason)}
    except UserError as reason:
        return {"status": "failed", "reason": str(reason)}
    except Exception as cause:
        # Everything else is told with its last line here and whole on stderr: other cells go on.
        traceback.print_exc()
        return {"status": "failed", "reason": f"{type(cause).__name__}: {cause}"}


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(ORPHANED)


def main() -> int:
    """Read the request, do it, write the answer."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    state.write_json(Path(request["answer"]), answer(request))
    return 0


if __name__ == "__main__":
    sys.exit(main())
