-- Whether the partner to whom a code belongs was the buyer. Of redemptions of before nobody has looked.
ALTER TABLE redemptions ADD COLUMN is_self_referral boolean NOT NULL DEFAULT false;
