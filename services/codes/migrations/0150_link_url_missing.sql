-- A program that never said where its links lead had the address of a reserved name, which was handed out to customers.
-- Empty means that it has not said so; the service refuses to mint then.
UPDATE programs SET link_url = '' WHERE link_url = 'https://example.com/';
