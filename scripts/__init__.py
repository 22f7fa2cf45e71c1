"""What developers run by hand: generators of the committed documents."""
