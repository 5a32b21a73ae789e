"""``python -m sscha_mlp`` is the command ``sscha-mlp``."""

from sscha_mlp.cli import main

if __name__ == "__main__":
    main()
