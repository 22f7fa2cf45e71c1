-- Since when a partner has its status; null for one that has not changed since before this column.
ALTER TABLE partners ADD COLUMN status_changed_at timestamptz;
