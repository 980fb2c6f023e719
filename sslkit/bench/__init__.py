"""How fast sslkit is, each figure a ratio within one run. One file a row or a few rows; the folder is the list."""
