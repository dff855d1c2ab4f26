"""The live dashboard: one static page, one stream of snapshots for all who look at it."""
