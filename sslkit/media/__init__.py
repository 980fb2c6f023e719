"""The only code that opens media files or encodes them."""
