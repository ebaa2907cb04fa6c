"""raftdb's own dialect: ``/api``, any bytes as key and value, typed answers."""
