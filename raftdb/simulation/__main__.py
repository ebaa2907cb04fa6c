"""``python -m raftdb.simulation``; see :mod:`raftdb.simulation.run.command`."""

import sys

from raftdb.simulation.run.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
