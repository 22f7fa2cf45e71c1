"""What the rules of the house say and imports cannot show; every check is proved by planted faults."""
