-- An owner's endpoints with the archived ones, whose deliveries stay readable: lists of deliveries begin with them.
CREATE INDEX endpoints_of_owner ON endpoints (owner_id, id);
