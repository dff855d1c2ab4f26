"""The readers, one module per format: each takes bytes and gives documents. They know no files."""
