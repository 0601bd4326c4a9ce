"""Candidates in processes of their own, measured in turns."""
