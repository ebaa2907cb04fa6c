"""Makes ``python -m raftdb.cli`` the same as the command ``raftdb``."""

from raftdb.cli.start import main

if __name__ == "__main__":
    main()
