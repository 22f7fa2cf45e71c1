"""Tests of the HTTP edge, and what the services' own tests borrow from them."""
