"""``python -m superscope`` is ``superscope``."""

from superscope.cli.main import main

if __name__ == "__main__":
    main()
