"""`python -m wavenet` is `wavenet`: what torchrun and accelerate start by a module's name."""

from wavenet.cli import main

if __name__ == "__main__":
    main()
