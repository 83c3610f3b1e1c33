"""Real stores for the tests: MinIO and the registry of distribution, built from their Go modules into the cache."""
