"""``python -m compress`` is ``paredown``, as it was before the roof had a package of its own."""

from paredown.app import main

if __name__ == "__main__":
    main()
