"""The numbers that the paper publishes: a CSV file for each of its tables."""
