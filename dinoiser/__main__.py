"""`python -m dinoiser` is the command `dinoiser`, for where scripts are not on the path."""

from dinoiser.cli import main

if __name__ == "__main__":
    main()
