-- What a customer has redeemed, the latest first.
CREATE INDEX redemptions_of_customer ON redemptions (program_id, customer_key, occurred_at, id)
    WHERE customer_key IS NOT NULL;
