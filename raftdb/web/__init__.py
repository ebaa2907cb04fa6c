"""HTTP for the clients: Klein apps over a Database."""
