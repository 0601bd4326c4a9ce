"""From a report and limits to verdicts, and to an exit code."""
