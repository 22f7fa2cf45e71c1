-- A program's endpoints with the archived ones, whose deliveries stay readable.
CREATE INDEX endpoints_all ON endpoints (program_id, id);
