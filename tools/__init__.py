"""Tools of the checkout: the tables of the README, screenshots, checks of the house."""
