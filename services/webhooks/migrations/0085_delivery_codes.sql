-- By what a delivery is found that is about one promo code: made of the program and the code's canonical form, so that no
-- program comes upon another's. Without a default, so that no row is written anew; a message hands its own on to
-- deliveries that are made of it later.
ALTER TABLE deliveries ADD COLUMN code_key uuid;
ALTER TABLE messages ADD COLUMN code_key uuid;
