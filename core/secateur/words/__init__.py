"""Text that is worded once, for the command line, the API and the console."""
