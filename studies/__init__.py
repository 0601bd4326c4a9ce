"""Studies of the product itself, and their recorded results; not part of the wheel."""
