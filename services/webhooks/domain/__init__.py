"""The rules of webhook delivery: pure functions over facts that are passed in."""
