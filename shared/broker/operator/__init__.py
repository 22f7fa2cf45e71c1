"""What an operator does with the broker, with rights of its own: dead letters, depths of queues, watching."""
