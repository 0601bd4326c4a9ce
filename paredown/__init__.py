"""The roof: the command line and whole runs, over compress, deploy and bench."""
