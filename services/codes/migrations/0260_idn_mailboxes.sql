-- A mailbox at a domain with other letters than ASCII is one, whichever way the domain is written. Two partners that were
-- told apart by that stay two: the one keeps its address as it was compared.
-- As `shared.mailboxes` has it, for this once: `xn--mnchen-3ya` is `münchen` (RFC 3492). What is no such label stays.
CREATE FUNCTION pg_temp.idn_label(label text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $function$
DECLARE
    rest text := substr(label, 5);
    basic text := '';
    points integer[] := '{}';
    next_point bigint := 128;
    place bigint := 0;
    bias bigint := 72;
    before bigint;
    weight bigint;
    step bigint;
    threshold bigint;
    digit integer;
    size integer;
    delta bigint;
    at integer := 1;
BEGIN
    IF label !~ '^xn--[a-z0-9-]*[a-z0-9]$' OR length(label) > 63 THEN
        RETURN label;
    END IF;
    IF position('-' IN rest) > 0 THEN
        basic := regexp_replace(rest, '-[^-]*$', '');
        rest := regexp_replace(rest, '^.*-', '');
    END IF;
    points := ARRAY(SELECT ascii(substr(basic, n, 1)) FROM generate_series(1, length(basic)) n ORDER BY n);
    WHILE at <= length(rest) LOOP
        before := place;
        weight := 1;
        step := 36;
        LOOP
            IF at > length(rest) OR place > 2147483647 THEN
                RETURN label;
            END IF;
            digit := ascii(substr(rest, at, 1));
            digit := CASE WHEN digit >= 97 THEN digit - 97 ELSE digit - 22 END;
            at := at + 1;
            place := place + digit * weight;
            threshold := greatest(1, least(26, step - bias));
            EXIT WHEN digit < threshold;
            weight := weight * (36 - threshold);
            step := step + 36;
        END LOOP;
        size := cardinality(points) + 1;
        delta := (place - before) / CASE WHEN before = 0 THEN 700 ELSE 2 END;
        delta := delta + delta / size;
        bias := 0;
        WHILE delta > 455 LOOP
            delta := delta / 35;
            bias := bias + 36;
        END LOOP;
        bias := bias + 36 * delta / (delta + 38);
        next_point := next_point + place / size;
        place := place % size;
        IF next_point > 1114111 OR next_point BETWEEN 55296 AND 57343 THEN
            RETURN label;
        END IF;
        points := points[1 : place] || next_point::integer || points[place + 1 : size];
        place := place + 1;
    END LOOP;
    RETURN replace(
        lower(normalize((SELECT string_agg(chr(p), '' ORDER BY n) FROM unnest(points) WITH ORDINALITY u (p, n)), NFKC)),
        'ß', 'ss');
END
$function$;
CREATE FUNCTION pg_temp.idn(address text) RETURNS text LANGUAGE sql IMMUTABLE AS $function$
    SELECT regexp_replace(address, '[^@]*$', '') || string_agg(pg_temp.idn_label(label), '.' ORDER BY n)
    FROM unnest(string_to_array(substring(address FROM '[^@]*$'), '.')) WITH ORDINALITY u (label, n)
$function$;

UPDATE partners p SET email_canonical = pg_temp.idn(p.email_canonical)
WHERE p.email_canonical LIKE '%@%xn--%' AND NOT EXISTS (
    SELECT 1 FROM partners o
    WHERE o.program_id = p.program_id AND o.id <> p.id AND o.archived_at IS NULL AND p.archived_at IS NULL
      AND pg_temp.idn(o.email_canonical) = pg_temp.idn(p.email_canonical)
);
