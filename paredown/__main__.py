"""``python -m paredown`` is ``paredown``."""

from paredown.app import main

if __name__ == "__main__":
    main()
