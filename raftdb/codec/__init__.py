"""The only place that turns entries and messages into bytes, and back; pure."""
