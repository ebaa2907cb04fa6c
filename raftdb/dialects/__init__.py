"""What each URL means, over the database: one package for each family of clients."""
