"""The memory server: how records become tiles, and how tiles are found again."""
