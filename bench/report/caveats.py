"""What whoever reads a report must know before its figures: a baseline at chance, rows cut, names guessed."""

from __future__ import annotations

from bench.lanes import cuts
from bench.record.model import Report
from bench.verdicts import chance
from compress import label_names
from compress.model import padding


def sentences(report: Report) -> list[str]:
    """A sentence each; empty where there is nothing to say."""
    said = chance.sentences(report) + cuts.sentences(report)
    said += label_names.evaluation_order(report.label_order)
    for candidate in report.candidates:
        own = candidate.labels.sentences() + ([] if candidate.pads else [padding.SENTENCE])
        said += [f"{candidate.name}: {sentence}" for sentence in own]
    return said
