"""``python -m volflow.testing.simulation``."""

from volflow.testing.simulation.program import main

if __name__ == "__main__":
    main()
