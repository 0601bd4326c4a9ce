"""The data model of a report: measurements, verdicts, findings, intervals and limits."""
