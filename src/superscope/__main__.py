"""``python -m superscope`` is ``superscope``."""

from superscope.cli import main

if __name__ == "__main__":
    main()
