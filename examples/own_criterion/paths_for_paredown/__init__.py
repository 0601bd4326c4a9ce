"""What paredown finds by the entry point in pyproject.toml."""
