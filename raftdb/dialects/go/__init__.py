"""The dialect of the Go program that raftdb re-implements: ``/key`` and ``/join``."""
