"""Tests of what an operator does with the broker."""
