"""Tests of the redemption service."""
