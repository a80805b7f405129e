"""``python -m volflow.cli``."""

from volflow.cli import main

if __name__ == "__main__":
    main()
