"""From a sweep's records to the files in docs/results, and from these to the tables and figures."""
