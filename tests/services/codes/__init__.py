"""Tests of the codes service against a real PostgreSQL and a real RabbitMQ."""
