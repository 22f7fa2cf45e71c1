-- A purchase that is heard of after what took it back keeps its use exactly if it had kept it the other way round. So what
-- took back remembers whether it said that uses stay taken; null is not known, as of those of before. Of an order further
-- cancellations are kept than the newest of each clock (`cancelled_besides`), each with that.
ALTER TABLE orders ADD COLUMN cancel_releases boolean;
ALTER TABLE refunds ADD COLUMN releases boolean;
