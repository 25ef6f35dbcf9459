"""``python -m gradverify`` is the command ``gradverify``."""

from gradverify.cli import main

if __name__ == "__main__":
    main()
