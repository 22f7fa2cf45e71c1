"""The rules of redeeming: which code is meant, whether an order may use it, and what it takes off the price."""
