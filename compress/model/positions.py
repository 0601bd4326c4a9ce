"""Families whose position ids start after the padding id, so that their table has that many rows less."""

from __future__ import annotations

# Position tables that begin after the padding index, so that they are longer than the longest text.
OFFSET_POSITIONS = frozenset(
    {
        *("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "longformer"),
        *("mpnet", "data2vec-text", "xmod", "ibert", "esm"),
    }
)
