"""What a hand-over folder holds beside the artifact: the card, Triton's configuration, the build script."""
