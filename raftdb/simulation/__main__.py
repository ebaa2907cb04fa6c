"""``python -m raftdb.simulation``; see :mod:`raftdb.simulation.command`."""

import sys

from raftdb.simulation.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
