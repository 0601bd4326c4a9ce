"""What whoever reads a report must know before its figures: rows cut, names guessed, rows not padded."""

from __future__ import annotations

from bench.lanes import cuts
from bench.record.model import Report
from compress import label_names
from compress.model import padding


def sentences(report: Report) -> list[str]:
    """A sentence each; empty where there is nothing to say."""
    lines = cuts.sentences(report) + label_names.evaluation_order(report.label_order)
    for candidate in report.candidates:
        remarks = candidate.labels.sentences() + ([] if candidate.pads else [padding.SENTENCE])
        lines += [f"{candidate.name}: {sentence}" for sentence in remarks]
    return lines
