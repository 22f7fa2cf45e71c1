"""The SQL of the codes service, one module per thing; functions take the connection first."""
