"""Tools of the checkout: generated tables and reference of the docs, screenshots, checks of the house."""
