"""What whoever reads a report must know before its figures: a baseline at chance, rows cut, names guessed."""

from __future__ import annotations

from bench.lanes import cuts
from bench.record.model import Report
from bench.verdicts import chance
from compress import label_names
from compress.model import padding


def sentences(report: Report) -> list[str]:
    """A sentence each; empty where there is nothing to say."""
    lines = chance.sentences(report) + cuts.sentences(report)
    lines += label_names.evaluation_order(report.label_order)
    for candidate in report.candidates:
        remarks = candidate.labels.sentences() + ([] if candidate.pads else [padding.SENTENCE])
        lines += [f"{candidate.name}: {sentence}" for sentence in remarks]
    return lines
