"""HTTP/1.1 for clients: connections, requests, responses, limits. Knows neither Raft nor database."""
