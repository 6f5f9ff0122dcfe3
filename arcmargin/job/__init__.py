"""One run of a configuration."""
