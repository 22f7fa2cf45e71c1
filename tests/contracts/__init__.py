"""What the services promise to others: their API documents, held against them as they run."""
