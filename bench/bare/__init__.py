"""Bare programs: the same work on the same servers and libraries, with nothing that a product needs beside it."""
