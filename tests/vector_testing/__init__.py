"""What the tests and benchmarks in Python share: private servers, connections, data from seeds, invariants, results."""
