"""The findings of a report in words, tables and plots."""
