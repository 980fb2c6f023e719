"""`python -m sslkit`, which is also what torchrun starts."""

from sslkit.cli import main

if __name__ == "__main__":
    main()
