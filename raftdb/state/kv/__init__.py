"""The key-value state machine: pure, deterministic, multi-versioned."""
