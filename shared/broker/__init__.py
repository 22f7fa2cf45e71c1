"""RabbitMQ for every service: topology as data, a confirming publisher, the outbox relay and the batch consumer.

Only this package knows the AMQP client. It knows no database and no service: what it needs of them comes in as a
protocol or a callable.
"""
