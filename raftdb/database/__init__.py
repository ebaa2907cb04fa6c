"""The database of one node: commands and reads, with their consistency levels, over a Replica."""

from raftdb.database.database import TIMEOUT_S, Database
from raftdb.database.levels import Level, Position

__all__ = ["TIMEOUT_S", "Database", "Level", "Position"]
