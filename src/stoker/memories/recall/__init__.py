"""Finding tiles and spans again: embedders, the vector index, and hybrid search over both."""
