"""PostgreSQL for the services: pool, transactions, migrations, outbox, inbox and the published view of credentials."""
