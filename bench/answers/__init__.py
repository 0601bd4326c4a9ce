"""What both models answer on the same rows: asked once, scored, cut into parts, and shown row by row."""
