"""A report as people read it: terminal, page, Markdown, JUnit."""
